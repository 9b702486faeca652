//! Resident bytes an item at five million items: `cargo bench --bench memory`. Each size has its own process.

use memcarp::store::{Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};
use std::process::Command;

const ITEMS: usize = 5_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--value") {
        return measure(args[at + 1].parse().expect("a length"));
    }
    println!("value   resident an item   over key and value   counted   index   live share");
    for len in ["32", "100", "500"] {
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program).args(["--value", len]).status().expect("it runs");
        assert!(status.success());
    }
}

fn measure(len: usize) {
    let before = resident();
    let store = Store::new(&Options {
        limit: 8 << 30,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    });
    let now = Now::new(Now::EARLIEST, 1_700_000_000);
    let value = vec![b'v'; len];
    let mut payload = 0;
    for number in 0..ITEMS {
        // 20 to 24 bytes.
        let key = format!("key:{number:0width$}", width = 16 + number % 5);
        payload += key.len() + len;
        let new = NewItem::plain(NewValue::Bytes(&value), 0, Expiry::NEVER);
        store.update(Key::new(key.as_bytes()).expect("a key"), now, |_| (Change::Put(new), ()));
    }
    let stats = store.stats(now);
    let an_item = |bytes: usize| bytes as f64 / ITEMS as f64;
    println!(
        "{len:5} {:18.1} {:20.1} {:9.1} {:7.1} {:12.3}",
        an_item(resident() - before),
        an_item(resident() - before) - an_item(payload),
        an_item(stats.memory_bytes as usize),
        an_item(stats.index_bytes as usize),
        stats.live_bytes as f64 / stats.segment_bytes as f64,
    );
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}
