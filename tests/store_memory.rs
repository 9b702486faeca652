//! Resident memory stays within the limit plus 8 % while item sizes change, and follows a lower limit down: values of
//! one size after those of another, and of all sizes at once. One test only in this file: it measures its process.

use memcarp::store::{Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};

const LIMIT: usize = 64 << 20;
/// What the process needs beside the store once it runs: its stacks, and the output of the test.
const PROGRAM: usize = 2 << 20;
/// Longest value, as by default.
const LONGEST: usize = 1_000_000;

fn now() -> Now {
    Now::new(Now::EARLIEST, 1_700_000_000)
}

/// A store, and what it does to the memory of the process.
struct Measured {
    store: Store,
    /// Resident before there was a store.
    before: usize,
    next: u64,
    bytes: Vec<u8>,
}

impl Measured {
    fn new() -> Measured {
        let options = Options {
            limit: LIMIT,
            item_limit: 1 << 20,
            no_evictions: false,
            workers: 4,
            eviction: Eviction::default(),
        };
        let bytes = vec![b'v'; LONGEST];
        let before = resident();
        let store = Store::new(&options);
        assert!(resident() - before < LIMIT / 20, "memory is taken as it is used");
        Measured { store, before, next: 0, bytes }
    }

    /// A number that looks random, below this.
    fn random(&self, below: usize) -> usize {
        let mixed = (self.next ^ 0x5bd1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mixed) * below as u128) >> 64) as usize
    }

    /// Stores a value of this length, under a new key or one there may be.
    fn put(&mut self, len: usize, new: bool) {
        let number = if new { self.next } else { self.random(self.next as usize + 1) as u64 };
        let key = format!("key:{number:018}");
        let value = if len <= self.store.inline_limit() {
            NewValue::Bytes(&self.bytes[..len])
        } else {
            let mut incoming = self.store.incoming(len);
            while incoming.missing() > 0 {
                let space = incoming.space().expect("something can be evicted");
                space.fill(b'l');
                let count = space.len();
                incoming.filled(count);
            }
            NewValue::Received(incoming)
        };
        let new = NewItem::plain(value, 0, Expiry::NEVER);
        let key = Key::new(key.as_bytes()).unwrap();
        assert!(!self.store.update(key, now(), |_| (Change::Put(new), ())).refused);
        self.next += 1;
    }

    fn check(&self, limit: usize, phase: &str) {
        let resident = resident() - self.before;
        let counted = self.store.stats(now()).memory_bytes as usize;
        println!("{phase}: {resident} bytes resident, {counted} counted");
        assert!(resident <= limit + limit * 8 / 100 + PROGRAM, "{phase}: {resident} bytes resident");
        assert!(resident >= limit * 9 / 10, "{phase}, the memory is used: {resident} bytes resident");
        assert!(counted <= limit + limit / 50, "{phase}: {counted} bytes counted");
        assert!(mappings() < 4000, "{phase}: {} mappings", mappings());
        self.store.check();
    }
}

/// Without what is mapped from files: how much of its code a program has touched says nothing about the store.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<usize> = statm.split(' ').map(|field| field.trim().parse().unwrap()).collect();
    (pages[1] - pages[2]) * 4096
}

/// The system allows some tens of thousands.
fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
#[cfg(target_os = "linux")]
fn resident_memory_stays_near_the_limit_whatever_the_sizes() {
    let mut measured = Measured::new();
    // Values of one size after those of another, each a quarter more or less.
    for (len, count) in [(60, 900_000), (4000, 40_000), (250, 300_000), (12_000, 15_000), (60, 400_000)] {
        for _ in 0..count {
            measured.put(len * 3 / 4 + measured.random(len / 2), true);
        }
        measured.check(LIMIT, &format!("values of {len} bytes"));
    }
    // All sizes up and down, so that each length follows upon many others.
    for round in 0..4 {
        for step in 0..400 {
            let up = 20.0 * (LONGEST as f64 / 20.0).powf(f64::from(step) / 400.0);
            for _ in 0..1 + 2_000 / (1 + step * step / 40) {
                measured.put(up as usize, round % 2 == 0);
            }
        }
        measured.check(LIMIT, "values from 20 bytes to a million");
    }
    // All sizes in no order.
    for _ in 0..30_000 {
        let len = 20.0 * (LONGEST as f64 / 20.0).powf(measured.random(1000) as f64 / 1000.0);
        measured.put(len as usize, !measured.next.is_multiple_of(3));
    }
    measured.check(LIMIT, "values of any length");
    for _ in 0..300_000 {
        measured.put(250, true);
    }
    measured.check(LIMIT, "short values after long ones");
    for _ in 0..1_000 {
        measured.put(measured.random(LONGEST), true);
    }
    measured.check(LIMIT, "long values after short ones");

    for part in [2, 4] {
        measured.store.set_limit(LIMIT / part);
        while measured.store.maintain(now()) {}
        measured.check(LIMIT / part, "a lower limit");
    }
    for _ in 0..10_000 {
        measured.put(measured.random(100_000), true);
    }
    measured.check(LIMIT / 4, "a lower limit, later");
    drop(measured.store);
    let left = resident() - measured.before;
    assert!(left < LIMIT / 20, "{left} bytes left of a store that is gone");
}
