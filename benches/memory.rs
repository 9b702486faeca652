//! What items cost: `cargo bench --bench memory`. Resident bytes an item at five million items, each size in a process
//! of its own; with `-- --full`, where the memory of a store is that is full of values of a few KiB.

use memcarp::store::{Change, Cursor, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};
use std::process::Command;

const ITEMS: usize = 5_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--value") {
        return measure(args[at + 1].parse().expect("a length"));
    }
    if args.iter().any(|arg| arg == "--full") {
        return fill_all();
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

/// Percentages of what keys and values take, for values of one length and for those of a quarter more or less.
fn fill_all() {
    for mebibytes in [16, 64, 256, 1024] {
        println!(
            "-m {mebibytes}, % of keys and values\n value           all  headers    index  ends, dead   beside   unused"
        );
        for kibibytes in [2, 3, 4, 6, 8, 10, 12, 16, 20, 32, 64, 200] {
            for spread in [0, kibibytes << 9] {
                fill(mebibytes << 20, kibibytes << 10, spread);
            }
        }
    }
}

/// Fills a store twice with values of `len` bytes, up to half of `spread` more or less.
fn fill(limit: usize, len: usize, spread: usize) {
    let store = Store::new(&Options {
        limit,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    });
    let now = Now::new(Now::EARLIEST, 1_700_000_000);
    let mut random = 1u64;
    for number in 0..2 * limit / len {
        let key = format!("key:{number:016}");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let len = len - spread / 2 + (((random >> 32) * (spread as u64 + 1)) >> 32) as usize;
        let bytes = vec![b'v'; len];
        let value = if len <= store.inline_limit() {
            NewValue::Bytes(&bytes)
        } else {
            let mut incoming = store.incoming(len);
            while incoming.missing() > 0 {
                let space = incoming.space().expect("something can be evicted");
                space.fill(b'v');
                let count = space.len();
                incoming.filled(count);
            }
            NewValue::Received(incoming)
        };
        let new = NewItem::plain(value, 0, Expiry::NEVER);
        store.update(Key::new(key.as_bytes()).expect("a key"), now, |_| (Change::Put(new), ()));
    }
    let (mut payload, mut cursor) = (0, Cursor::default());
    while store.scan(&mut cursor, 1000, now, |item| payload += item.key().len() + item.value().len()) {}
    let stats = store.stats(now);
    let part = |bytes: u64| 100.0 * bytes as f64 / payload as f64;
    let in_items = stats.live_bytes + stats.large_bytes;
    println!(
        "{len:6}{} {:8.2} {:8.2} {:8.2} {:11.2} {:8.2} {:8.2}",
        if spread == 0 { "       " } else { " +-25 %" },
        part(limit as u64 - payload as u64),
        part(in_items - payload as u64),
        part(stats.index_bytes),
        part(stats.segment_bytes - stats.live_bytes),
        part(stats.memory_bytes - stats.segment_bytes - stats.index_bytes - stats.large_bytes),
        part(limit as u64) - part(stats.memory_bytes),
    );
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}
