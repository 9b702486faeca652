//! `stats detail`: gets, sets and deletes by key prefix, while it is on. Knows no store.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most prefixes counted; keys with further ones are only counted as such.
const MAX_PREFIXES: usize = 10_000;

/// Counts by key prefix: what stands before the first delimiter. Keys without one have no prefix.
#[derive(Debug)]
pub struct Detail {
    on: AtomicBool,
    delimiter: u8,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    prefixes: BTreeMap<Box<[u8]>, Counts>,
    /// Commands not counted because the table was full.
    dropped: u64,
}

#[derive(Debug, Default)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Detail {
    /// An empty table.
    pub fn new(on: bool, delimiter: u8) -> Detail {
        Detail { on: AtomicBool::new(on), delimiter, table: Mutex::default() }
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
        *self.table.lock() = Table::default();
    }

    /// Commands not counted because there were too many prefixes.
    pub fn dropped(&self) -> u64 {
        self.table.lock().dropped
    }

    /// Appends a `PREFIX` line for each prefix.
    pub fn put_dump(&self, into: &mut Vec<u8>) {
        for (prefix, counts) in &self.table.lock().prefixes {
            let Counts { gets, hits, sets, deletes } = counts;
            into.extend_from_slice(b"PREFIX ");
            into.extend_from_slice(prefix);
            // Writing to memory does not fail.
            let _ = write!(into, " get {gets} hit {hits} set {sets} del {deletes}\r\n");
        }
    }

    fn record(&self, key: &[u8], count: impl FnOnce(&mut Counts)) {
        let Some(end) = memchr::memchr(self.delimiter, key) else { return };
        let prefix = &key[..end];
        let mut table = self.table.lock();
        if let Some(counts) = table.prefixes.get_mut(prefix) {
            count(counts);
        } else if table.prefixes.len() < MAX_PREFIXES {
            count(table.prefixes.entry(prefix.into()).or_default());
        } else {
            table.dropped += 1;
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
    }
}
