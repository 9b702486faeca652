//! Several threads at once: nothing acknowledged is lost while nothing is evicted, counting is exact, and a reader of
//! a large value keeps what it has.

use memcarp::store::{
    Body, CasChange, Change, Cursor, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Short, Store,
    Value,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn store(limit: usize) -> Store {
    Store::new(&Options {
        limit,
        item_limit: 8 << 20,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    })
}

/// Ends what goes on in the background, also when a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn now() -> Now {
    Now::new(Now::EARLIEST, 1_700_000_000)
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    let new = NewItem::plain(NewValue::Bytes(value), 0, Expiry::NEVER);
    assert!(!store.update(Key::new(key).unwrap(), now(), |_| (Change::Put(new), ())).refused);
}

#[test]
fn no_acknowledged_write_is_lost_while_nothing_is_evicted() {
    const THREADS: u32 = 4;
    const KEYS: u32 = 3000;
    let store = store(256 << 20);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&done);
        // Background work and a dump go on all the time.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.maintain(now());
                let mut cursor = Cursor::default();
                while store.scan(&mut cursor, 100, now(), |item| assert!(item.key().starts_with(b"key-"))) {}
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    // Every thread writes every key, its own share of each round's value.
                    for round in 0..8u32 {
                        for number in 0..KEYS {
                            let key = format!("key-{thread}-{number}");
                            let value = format!("{round}-{number}").repeat(1 + number as usize % 40);
                            put(store, key.as_bytes(), value.as_bytes());
                            if number.is_multiple_of(3) {
                                let earlier = format!("key-{thread}-{}", number / 2);
                                store.read(Key::new(earlier.as_bytes()).unwrap(), now(), |item| {
                                    item.expect("it was stored").mark_used(now());
                                });
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
    });
    for thread in 0..THREADS {
        for number in 0..KEYS {
            let key = format!("key-{thread}-{number}");
            let expected = format!("7-{number}").repeat(1 + number as usize % 40);
            store.read(Key::new(key.as_bytes()).unwrap(), now(), |item| {
                let item = item.unwrap_or_else(|absent| panic!("{key} is gone: {absent:?}"));
                assert!(matches!(item.value(), Value::Small(bytes) if bytes == expected.as_bytes()));
            });
        }
    }
    let mut seen = HashSet::new();
    let mut cursor = Cursor::default();
    while store.scan(&mut cursor, 1000, now(), |item| {
        seen.insert(item.key().to_vec());
    }) {}
    assert_eq!(seen.len(), (THREADS * KEYS) as usize);
    store.check();
}

#[test]
fn a_decision_is_made_about_what_it_saw() {
    const ADDED: u64 = 20_000;
    let store = store(64 << 20);
    put(&store, b"count", b"0");
    let seen: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    for _ in 0..ADDED {
                        let updated = store.update(Key::new(b"count").unwrap(), now(), |item| {
                            let Value::Small(bytes) = item.expect("it is there").value() else {
                                panic!("large")
                            };
                            let count: u64 = std::str::from_utf8(bytes).unwrap().parse().unwrap();
                            let value = Short::padded((count + 1).to_string().as_bytes(), 0).unwrap();
                            let mut new = NewItem::plain(NewValue::Short(value), 0, Expiry::NEVER);
                            new.cas = CasChange::NextShown;
                            (Change::Put(new), ())
                        });
                        seen.push(updated.cas);
                    }
                    seen
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    store.read(Key::new(b"count").unwrap(), now(), |item| {
        let expected = (4 * ADDED).to_string();
        assert!(matches!(item.unwrap().value(), Value::Small(bytes) if bytes == expected.as_bytes()));
    });
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "every change has its own CAS value");
    store.check();
}

#[test]
fn readers_of_a_large_value_are_unaffected_by_its_replacement_and_eviction() {
    const LEN: usize = 1 << 20;
    let store = store(16 << 20);
    let put_large = |seed: u8| {
        let mut incoming = store.incoming(LEN);
        while incoming.missing() > 0 {
            let space = incoming.space().expect("something can be evicted");
            let count = space.len();
            space.fill(seed);
            incoming.filled(count);
        }
        let new = NewItem::plain(NewValue::Received(incoming), 0, Expiry::NEVER);
        assert!(!store.update(Key::new(b"large").unwrap(), now(), |_| (Change::Put(new), ())).refused);
    };
    let take = || -> Option<Body> {
        store.read(Key::new(b"large").unwrap(), now(), |item| match item.ok()?.value() {
            Value::Large(body, _) => Some(body.clone()),
            Value::Small(_) | Value::Cut(_) => panic!("a value of a mebibyte is not small"),
        })
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let Some(large) = take() else { continue };
                    let seed = large.slice_at(0)[0];
                    let mut at = 0;
                    while at < large.len() {
                        let slice = large.slice_at(at);
                        assert!(slice.iter().all(|&byte| byte == seed), "one value, not two");
                        at += slice.len();
                    }
                }
            });
        }
        for round in 0..100u32 {
            put_large(round as u8);
            for number in 0..300 {
                put(&store, format!("key-{round}-{number}").as_bytes(), &[b'v'; 500]);
            }
        }
    });
    store.check();
}
