//! How long a client waits for the store at most while ten million items expire, and while a dump walks over them:
//! `cargo bench --bench pauses`. `ITEMS=1000000` takes fewer.

use memcarp::store::{Change, Cursor, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};
use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds the items live.
const TTL: u32 = 60;
/// Items a dump shows with each call, as `lru_crawler metadump` does.
const AT_ONCE: usize = 100;
const PROBES: u64 = 1000;

fn at(seconds: u32) -> Now {
    Now::new(Now::EARLIEST, 1_700_000_000).plus_seconds(seconds)
}

fn put(store: &Store, name: &str, expiry: Expiry, now: Now) {
    let new = NewItem::plain(NewValue::Bytes(&[b'v'; 32]), 0, expiry);
    store.update(Key::new(name.as_bytes()).expect("a key"), now, |_| (Change::Put(new), ()));
}

fn main() {
    let items = std::env::var("ITEMS").map_or(10_000_000, |items| items.parse().expect("a number"));
    let store = Store::new(&Options {
        limit: 4 << 30,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    });
    for number in 0..PROBES {
        put(&store, &format!("probe:{number:014}"), Expiry::NEVER, at(0));
    }
    println!("{items} items of 20 and 32 bytes; a client reads and stores others, one after the other");
    println!(
        "{:28} {:>10} {:>8} {:>8} {:>8} {:>9}",
        "", "operations", "median", "p99.9", "p99.999", "longest"
    );
    for number in 0..items {
        put(&store, &format!("key:{number:016}"), Expiry::after(TTL, at(0)), at(0));
    }
    probe(&store, "nothing else is done", at(1), || thread::sleep(Duration::from_secs(2)));

    let before = resident();
    let (mut most, mut seen) = (0, 0u64);
    let begun = Instant::now();
    probe(&store, "a dump", at(1), || {
        let mut cursor = Cursor::default();
        while store.scan(&mut cursor, AT_ONCE, at(1), |item| {
            black_box(item.key());
            seen += 1;
        }) {
            if seen.is_multiple_of(1000) {
                most = most.max(resident());
            }
        }
    });
    let grown = most.saturating_sub(before);
    println!("  {seen} items seen in {:.2} s; memory grew by {grown} bytes", begun.elapsed().as_secs_f64());

    let full = store.stats(at(1)).memory_bytes;
    let begun = Instant::now();
    let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
    probe(&store, "all items expire", at(TTL + 1), || {
        let begun = processor_time();
        let mut before = begun;
        while store.maintain_each(at(TTL + 1), || {
            let after = processor_time();
            longest = longest.max(after - before);
            before = after;
        }) {
            thread::yield_now();
            before = processor_time();
        }
        all = processor_time() - begun;
    });
    let left = store.stats(at(TTL + 1)).memory_bytes;
    println!("  {} of {full} bytes back in {:.2} s", full - left, begun.elapsed().as_secs_f64());
    println!("  that took {all:?} of processor time; one slice, with a shard locked, at most {longest:?}");
}

/// Reads and stores some items on this thread for as long as `work` takes on another.
fn probe(store: &Store, name: &str, now: Now, work: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    // Resident from the start, so that what grows is not this.
    let mut times = vec![1u32; 1 << 24];
    times.clear();
    thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.store(true, Ordering::Relaxed);
        });
        let mut number = 0u64;
        while !done.load(Ordering::Relaxed) {
            let key = format!("probe:{:014}", number % PROBES);
            let begun = Instant::now();
            if number.is_multiple_of(8) {
                put(store, &key, Expiry::NEVER, now);
            } else {
                store.read(Key::new(key.as_bytes()).expect("a key"), now, |item| {
                    item.expect("it has no expiry").mark_used(now);
                });
            }
            times.push(begun.elapsed().as_nanos() as u32);
            number += 1;
        }
    });
    times.sort_unstable();
    let at = |share: f64| f64::from(times[(times.len() as f64 * share) as usize]) / 1000.0;
    let longest = f64::from(times[times.len() - 1]) / 1000.0;
    println!(
        "{name:28} {:10} {:6.2}us {:6.1}us {:6.1}us {longest:7.1}us",
        times.len(),
        at(0.5),
        at(0.999),
        at(0.99999)
    );
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux").into()
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}
