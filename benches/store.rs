//! The store alone: what one operation costs, in a set that fits the processor's cache and at ten million items, with
//! one thread and with two. `cargo bench --bench store`; `SMALL=1` leaves the ten million out.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use memcarp::store::{
    Change, Eviction, Expiry, Hash, Item, Key, NewItem, NewValue, Now, Options, Short, Store, Value,
};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const VALUE: [u8; 32] = [b'v'; 32];
/// Keys of a multiget.
const TOGETHER: usize = 100;

fn now() -> Now {
    Now::new(Now::EARLIEST, 1_700_000_000)
}

/// A key of 20 bytes, written to `to`.
fn name(number: u64, to: &mut [u8; 20]) -> Key<'_> {
    to.copy_from_slice(b"key:0000000000000000");
    for (at, byte) in to[4..].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
    }
    Key::new(to).expect("20 bytes")
}

fn filled(items: u64) -> Store {
    let store = Store::new(&Options {
        limit: 4 << 30,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 2,
        eviction: Eviction::default(),
    });
    for number in 0..items {
        put(&store, number);
    }
    store
}

fn put(store: &Store, number: u64) {
    let new = NewItem::plain(NewValue::Bytes(&VALUE), 0, Expiry::NEVER);
    store.update(name(number, &mut [0; 20]), now(), |_| (Change::Put(new), ()));
}

fn get(store: &Store, key: Key<'_>) -> usize {
    store.read(key, now(), |item| item.map_or(0, look))
}

/// What a get does with an item.
fn look(item: &mut Item<'_>) -> usize {
    item.mark_used(now());
    match item.value() {
        Value::Small(bytes) => black_box(bytes).iter().map(|&byte| usize::from(byte)).sum(),
        value @ (Value::Cut(_) | Value::Large(..)) => value.len(),
    }
}

fn increment(store: &Store, number: u64) {
    store.update(name(number, &mut [0; 20]), now(), |item| {
        let count = match item.map(|item| item.value()) {
            Ok(Value::Small(bytes)) => {
                bytes.iter().fold(0u64, |sum, &byte| sum.wrapping_add(u64::from(byte)))
            }
            _ => 0,
        };
        let value = Short::padded(&(count % 10).to_string().into_bytes(), 20).expect("short");
        (Change::Put(NewItem::plain(NewValue::Short(value), 0, Expiry::NEVER)), ())
    });
}

/// Runs `work` with the numbers of random items, on so many threads at once; the time of one.
fn timed(threads: u64, rounds: u64, items: u64, work: impl Fn(u64) + Sync) -> Duration {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let run = || {
        let mut random = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let begun = Instant::now();
        for _ in 0..rounds {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            work(((u128::from(random) * u128::from(items)) >> 64) as u64);
        }
        begun.elapsed()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mine = run();
        others.into_iter().map(|other| other.join().expect("it does not panic")).fold(mine, Duration::max)
    })
}

fn operations(criterion: &mut Criterion) {
    let sizes: &[(&str, u64)] = match std::env::var_os("SMALL") {
        Some(_) => &[("1K", 1000)],
        None => &[("1K", 1000), ("10M", 10_000_000)],
    };
    for &(size, items) in sizes {
        let store = filled(items);
        let fresh = AtomicU64::new(1 << 40);
        let mut group = criterion.benchmark_group(size);
        group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
        for threads in [1, 2] {
            let mut bench = |name: &str, work: &(dyn Fn(u64) + Sync)| {
                group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                    bencher.iter_custom(|rounds| timed(threads, rounds, items, work));
                });
            };
            bench("get hit", &|number| {
                black_box(get(&store, name(number, &mut [0; 20])));
            });
            bench("get miss", &|number| {
                black_box(get(&store, name(number | 1 << 50, &mut [0; 20])));
            });
            bench("overwrite", &|number| put(&store, number));
            bench("incr", &|number| increment(&store, number));
        }
        // Each of these is a hundred gets.
        group.throughput(Throughput::Elements(TOGETHER as u64));
        for (way, prefetch) in [("100 gets one by one", false), ("100 gets fetched ahead", true)] {
            group.bench_function(way, |bencher| {
                bencher.iter_custom(|rounds| {
                    timed(1, rounds, items - TOGETHER as u64, |number| {
                        let mut names = [[0; 20]; TOGETHER];
                        // Far apart, as keys of a request are.
                        let keys: Vec<Key<'_>> = (number..)
                            .zip(&mut names)
                            .map(|(number, bytes)| name(number.wrapping_mul(0x9e37_79b9) % items, bytes))
                            .collect();
                        let mut hashes = [Hash::default(); TOGETHER];
                        hashes.iter_mut().zip(&keys).for_each(|(hash, key)| *hash = store.hash(*key));
                        if prefetch {
                            store.prefetch(&hashes);
                        }
                        let get = |(key, hash): (&Key<'_>, Hash)| {
                            store.read_hashed(*key, hash, now(), |item| item.map_or(0, look))
                        };
                        black_box(keys.iter().zip(hashes).map(get).sum::<usize>());
                    })
                });
            });
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function("set new", |bencher| {
            bencher.iter_custom(|rounds| {
                timed(1, rounds, 1, |_| put(&store, fresh.fetch_add(1, Ordering::Relaxed)))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
