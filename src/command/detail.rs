//! `stats detail`: gets, sets and deletes by key prefix, while it is on. Knows no store.

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Most prefixes counted; keys with further ones are only counted as such.
const MAX_PREFIXES: usize = 10_000;

/// Counts by key prefix: what stands before the first delimiter. Keys without one have no prefix. Workers meet only
/// where they count the same prefix.
///
/// Invariant: `places` is at least the number of prefixes; a place is taken before a prefix comes in.
#[derive(Debug)]
pub struct Detail {
    on: AtomicBool,
    delimiter: u8,
    prefixes: DashMap<Box<[u8]>, Counts, RandomState>,
    places: AtomicUsize,
    /// Commands not counted because all places were taken.
    dropped: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Detail {
    /// An empty table.
    pub fn new(on: bool, delimiter: u8) -> Detail {
        Detail {
            on: AtomicBool::new(on),
            delimiter,
            prefixes: DashMap::default(),
            places: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether it counts: ask before recording.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Switches it; what has been counted stays.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Counts a key that was asked for.
    pub fn record_get(&self, key: &[u8], hit: bool) {
        self.record(key, |counts| {
            counts.gets += 1;
            counts.hits += u64::from(hit);
        });
    }

    /// Counts a store.
    pub fn record_set(&self, key: &[u8]) {
        self.record(key, |counts| counts.sets += 1);
    }

    /// Counts a delete.
    pub fn record_delete(&self, key: &[u8]) {
        self.record(key, |counts| counts.deletes += 1);
    }

    /// Forgets what has been counted.
    pub fn clear(&self) {
        self.prefixes.retain(|_, _| {
            self.places.fetch_sub(1, Ordering::Relaxed);
            false
        });
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// Commands not counted because there were too many prefixes.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Appends a `PREFIX` line for each prefix, in order.
    pub fn put_dump(&self, into: &mut Vec<u8>) {
        let mut prefixes: Vec<_> =
            self.prefixes.iter().map(|entry| (entry.key().clone(), *entry.value())).collect();
        prefixes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (prefix, Counts { gets, hits, sets, deletes }) in prefixes {
            into.extend_from_slice(b"PREFIX ");
            into.extend_from_slice(&prefix);
            // Writing to memory does not fail.
            let _ = write!(into, " get {gets} hit {hits} set {sets} del {deletes}\r\n");
        }
    }

    fn record(&self, key: &[u8], count: impl FnOnce(&mut Counts)) {
        let Some(end) = memchr::memchr(self.delimiter, key) else { return };
        let prefix = &key[..end];
        if let Some(mut counts) = self.prefixes.get_mut(prefix) {
            return count(&mut counts);
        }
        let take_place = |taken| (taken < MAX_PREFIXES).then_some(taken + 1);
        if self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_place).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.prefixes.entry(prefix.into()) {
            Entry::Vacant(entry) => count(&mut entry.insert(Counts::default())),
            Entry::Occupied(mut entry) => {
                // Another worker was first.
                count(entry.get_mut());
                self.places.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(detail: &Detail) -> String {
        let mut bytes = Vec::new();
        detail.put_dump(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn counts_by_what_stands_before_the_first_delimiter() {
        let detail = Detail::new(true, b':');
        detail.record_get(b"user:1", true);
        detail.record_get(b"user:2:x", false);
        detail.record_set(b"user:1");
        detail.record_delete(b"user:1");
        detail.record_get(b":a", false);
        detail.record_get(b"no-prefix", true);
        assert_eq!(
            dump(&detail),
            "PREFIX  get 1 hit 0 set 0 del 0\r\nPREFIX user get 2 hit 1 set 1 del 1\r\n"
        );
        detail.clear();
        assert_eq!(dump(&detail), "");
    }

    #[test]
    fn the_table_is_bounded() {
        let detail = Detail::new(true, b'/');
        for number in 0..MAX_PREFIXES + 5 {
            detail.record_set(format!("{number}/x").as_bytes());
        }
        detail.record_set(b"0/x");
        assert_eq!(detail.dropped(), 5);
        assert_eq!(dump(&detail).lines().count(), MAX_PREFIXES);
        assert!(dump(&detail).contains("PREFIX 0 get 0 hit 0 set 2 del 0\r\n"));
        detail.clear();
        detail.record_set(b"0/x");
        assert_eq!(dump(&detail), "PREFIX 0 get 0 hit 0 set 1 del 0\r\n");
    }

    #[test]
    fn workers_that_meet_lose_no_count_and_no_place() {
        let detail = Detail::new(true, b'/');
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    (0..MAX_PREFIXES).for_each(|number| detail.record_set(format!("{number}/x").as_bytes()));
                });
            }
        });
        let counted: u64 = detail.prefixes.iter().map(|entry| entry.value().sets).sum();
        assert_eq!(counted + detail.dropped(), 4 * MAX_PREFIXES as u64);
        assert_eq!(detail.places.load(Ordering::Relaxed), detail.prefixes.len());
    }
}
