//! Where sources are kept: by the hash of its key, how many name a source and when it was last updated. Knows no items.
//!
//! The table is cut into parts, each with a lock and memory of its own, straight from the system: a part grows and
//! shrinks with what is in it, and what it gives back is gone from the process. It is charged with its memory, to the
//! byte, whether there are sources in it or not.

use super::super::pool::{Block, Pool, page_len};
use super::super::sync::{AtomicBool, AtomicUsize, Ordering, RwLock};
use std::sync::Arc;

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub hash: u64,
    /// Live items and derivations that name it. Never 0 in the table: a slot of zeros is free.
    pub dependents: u64,
    /// Stamp of its last update since it has been in the table; 0 if there was none.
    pub updated: u64,
}

/// The sources that something names.
#[derive(Debug)]
pub(super) struct Table {
    pool: Arc<Pool>,
    /// By the highest bits of the hash.
    parts: Box<[RwLock<Part>]>,
    part_bits: u32,
    /// Nobody evicts: over the limit no part grows.
    no_evictions: bool,
    /// How many sources there are.
    len: AtomicUsize,
    /// Set after a part has become empty, which keeps its last memory for what comes next.
    has_emptied: AtomicBool,
}

/// One part has about this many bytes when all memory is the table's: so none takes long to grow.
const PART_BYTES: usize = 1 << 20;
/// But each may have a mapping of its own, of which the system allows some tens of thousands.
const MOST_PARTS: usize = 4096;
/// And one that grows takes no great part of the memory.
const LEAST_PARTS: usize = 64;

impl Table {
    pub fn new(pool: Arc<Pool>, no_evictions: bool) -> Table {
        let parts = (pool.limit() / PART_BYTES).next_power_of_two().clamp(LEAST_PARTS, MOST_PARTS);
        Table {
            pool,
            parts: (0..parts).map(|_| RwLock::default()).collect(),
            part_bits: parts.trailing_zeros(),
            no_evictions,
            len: AtomicUsize::new(0),
            has_emptied: AtomicBool::new(false),
        }
    }

    /// Stamp of a source's last update; `None` if nothing names it.
    pub fn updated(&self, hash: u64) -> Option<u64> {
        let part = self.part(hash).read();
        part.find(hash).ok().map(|at| part.slot(at).updated)
    }

    /// Notes an update of a source, with a stamp that is taken while its entry is held. False if nothing names it.
    pub fn update(&self, hash: u64, stamp: impl FnOnce() -> u64) -> bool {
        let mut part = self.part(hash).write();
        let Ok(at) = part.find(hash) else { return false };
        let updated = stamp();
        part.change(at, |source| source.updated = updated);
        true
    }

    /// One more names a source. False, and none does, if there is no memory for another source: the system has none,
    /// or the limit is passed and nobody evicts.
    pub fn name(&self, hash: u64) -> bool {
        let may_grow = !(self.no_evictions && self.pool.is_over());
        let mut part = self.part(hash).write();
        if let Ok(at) = part.find(hash) {
            part.change(at, |source| source.dependents += 1);
            return true;
        }
        let added = part.add(hash, may_grow, &self.pool);
        self.len.fetch_add(usize::from(added), Ordering::Relaxed);
        added
    }

    /// One less names a source.
    pub fn release(&self, hash: u64) {
        let mut part = self.part(hash).write();
        let Ok(at) = part.find(hash) else { return };
        if part.slot(at).dependents > 1 {
            return part.change(at, |source| source.dependents -= 1);
        }
        part.remove(at, &self.pool);
        self.len.fetch_sub(1, Ordering::Relaxed);
        if part.used == 0 {
            drop(part);
            self.has_emptied.store(true, Ordering::Release);
        }
    }

    /// How many sources there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Bytes charged to the pool.
    pub fn charged(&self) -> usize {
        self.parts.iter().map(|part| part.read().charged()).sum()
    }

    /// Gives back the last memory of parts that are empty.
    pub fn give_back(&self) {
        if !self.has_emptied.swap(false, Ordering::Acquire) {
            return;
        }
        for part in &self.parts {
            let mut part = part.write();
            if part.used == 0 {
                std::mem::take(&mut *part).give_back(&self.pool);
            }
        }
    }

    /// Shows every source.
    pub fn each(&self, mut show: impl FnMut(Source)) {
        for part in &self.parts {
            part.read().each(&mut show);
        }
    }

    #[cfg(test)]
    pub fn hold(&self, hash: u64) -> impl Drop {
        self.part(hash).read()
    }

    fn part(&self, hash: u64) -> &RwLock<Part> {
        &self.parts[(hash >> (64 - self.part_bits)) as usize]
    }
}

/// Slots in which a source lies at its place by its hash, or behind it where the first free one was when it came.
///
/// Invariants: from a source's place to its slot no slot is free; where there are slots at all, one of them is.
#[derive(Debug, Default)]
struct Part {
    memory: Option<Block>,
    slots: usize,
    used: usize,
}

/// Bytes of a slot.
const SLOT: usize = size_of::<Source>();

impl Part {
    /// Where a source is, or the free slot where it would be; `Err` of anything if there is no slot at all.
    fn find(&self, hash: u64) -> Result<usize, usize> {
        let mut at = self.place(hash);
        if self.slots == 0 {
            return Err(at);
        }
        loop {
            match self.slot(at) {
                source if source.dependents == 0 => return Err(at),
                source if source.hash == hash => return Ok(at),
                _ => at = self.after(at),
            }
        }
    }

    /// By the lowest bits, because the highest say which part it is.
    fn place(&self, hash: u64) -> usize {
        (((hash & u64::from(u32::MAX)) * self.slots as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots { 0 } else { at + 1 }
    }

    fn slot(&self, at: usize) -> Source {
        let bytes = self.memory.as_ref().map_or(&[][..], Block::bytes);
        let (words, _) = bytes[at * SLOT..][..SLOT].as_chunks::<8>();
        let [hash, dependents, updated] = [0, 1, 2].map(|word| u64::from_ne_bytes(words[word]));
        Source { hash, dependents, updated }
    }

    fn put(&mut self, at: usize, source: Source) {
        let bytes = self.memory.as_mut().map_or(&mut [][..], Block::bytes_mut);
        let (words, _) = bytes[at * SLOT..][..SLOT].as_chunks_mut::<8>();
        let fields = [source.hash, source.dependents, source.updated];
        words.iter_mut().zip(fields).for_each(|(word, field)| *word = field.to_ne_bytes());
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Source)) {
        let mut source = self.slot(at);
        change(&mut source);
        self.put(at, source);
    }

    /// Adds a source that one names. False if the slots are nearly full, which keeps ways to sources short, and there
    /// is no memory for more.
    fn add(&mut self, hash: u64, may_grow: bool, pool: &Pool) -> bool {
        let used = self.used + 1;
        let has_grown = used * 4 > self.slots * 3 && may_grow && self.resize(used, pool);
        if !has_grown && used * 8 > self.slots * 7 {
            return false;
        }
        if let Err(free) = self.find(hash) {
            self.put(free, Source { hash, dependents: 1, updated: 0 });
            self.used = used;
        }
        true
    }

    fn remove(&mut self, at: usize, pool: &Pool) {
        let (mut free, mut at) = (at, self.after(at));
        loop {
            let source = self.slot(at);
            if source.dependents == 0 {
                break;
            }
            // It may move to the free slot if that lies between its place and its slot.
            let way = |from: usize| (at + self.slots - from) % self.slots;
            if way(self.place(source.hash)) >= way(free) {
                self.put(free, source);
                free = at;
            }
            at = self.after(at);
        }
        self.put(free, Source { hash: 0, dependents: 0, updated: 0 });
        self.used -= 1;
        if self.used * 4 < self.slots && bytes_for(self.used) < self.charged() {
            self.resize(self.used, pool);
        }
    }

    /// Moves all to memory that this many fill by half. False, and nothing has changed, if there is none.
    fn resize(&mut self, sources: usize, pool: &Pool) -> bool {
        let Some(memory) = pool.try_map(bytes_for(sources)) else { return false };
        let slots = memory.bytes().len() / SLOT;
        let before = std::mem::replace(self, Part { memory: Some(memory), slots, used: 0 });
        before.each(|source| {
            if let Err(free) = self.find(source.hash) {
                self.put(free, source);
                self.used += 1;
            }
        });
        before.give_back(pool);
        true
    }

    fn give_back(self, pool: &Pool) {
        if let Some(memory) = self.memory {
            pool.unmap(memory);
        }
    }

    fn each(&self, show: impl FnMut(Source)) {
        (0..self.slots).map(|at| self.slot(at)).filter(|source| source.dependents > 0).for_each(show);
    }

    fn charged(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.bytes().len())
    }
}

/// Bytes of memory that this many sources fill by half.
fn bytes_for(sources: usize) -> usize {
    (2 * sources.max(1) * SLOT).next_multiple_of(page_len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn table() -> Table {
        Table::new(Arc::new(Pool::new(1 << 20, 32 << 10, 1)), false)
    }

    /// Hashes that differ as those of keys do.
    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// What is in it, after a look at every slot.
    fn checked(table: &Table) -> HashMap<u64, Source> {
        let mut sources = HashMap::new();
        table.each(|source| assert_eq!(sources.insert(source.hash, source), None));
        for part in &table.parts {
            let part = part.read();
            (0..part.slots)
                .map(|at| (at, part.slot(at)))
                .filter(|(_, source)| source.dependents > 0)
                .for_each(|(at, source)| {
                    assert_eq!(part.find(source.hash), Ok(at), "no free slot is on the way")
                });
            assert!(part.slots == 0 || part.used < part.slots);
        }
        assert_eq!((table.len(), table.charged()), (sources.len(), table.pool.used()));
        sources
    }

    #[test]
    fn memory_follows_what_is_in_it_and_all_of_it_comes_back() {
        let table = table();
        (0..200_000).for_each(|number| assert!(table.name(hash(number))));
        let full = table.charged();
        assert!((200_000 * SLOT * 4 / 3..200_000 * SLOT * 2).contains(&full), "{full} bytes");
        for number in 0..190_000 {
            table.release(hash(number));
        }
        assert!(table.charged() <= 10_000 * SLOT * 4, "{} bytes", table.charged());
        assert_eq!(checked(&table).len(), 10_000);
        (190_000..200_000).for_each(|number| table.release(hash(number)));
        assert!(table.charged() > 0, "a part keeps a page for what comes next");
        table.give_back();
        assert_eq!((table.charged(), table.pool.used()), (0, 0));
    }

    #[test]
    fn without_memory_known_sources_are_named_and_new_ones_are_not() {
        let pool = Arc::new(Pool::new(1 << 20, 32 << 10, 1));
        let table = Table::new(pool.clone(), true);
        let named = (0..).take_while(|&number| table.name(hash(number))).count() as u64;
        // One growth may pass the limit, none follows it.
        assert!(pool.is_over() && pool.used() <= pool.limit() + pool.limit() / 50, "{} bytes", pool.used());
        let sources = checked(&table);
        assert_eq!(sources.len() as u64, named);
        for part in &table.parts {
            let part = part.read();
            assert!(part.used * 8 <= part.slots * 7, "{} of {}", part.used, part.slots);
        }
        assert!((0..named).all(|number| table.name(hash(number))), "these need no memory");
        for _ in 0..2 {
            (0..named).for_each(|number| table.release(hash(number)));
        }
        table.give_back();
        assert_eq!((table.len(), pool.used()), (0, 0));
        assert!(table.name(hash(named)), "there is memory again");
    }

    proptest! {
        /// Few hashes, and such that many have one place, also the last.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..4, 0u64..40, 0u64..4), 0..400)) {
            let table = table();
            let mut known: HashMap<u64, Source> = HashMap::new();
            for (stamp, (what, low, high)) in (1..).zip(steps) {
                let place = if low < 20 { u64::from(u32::MAX) - low } else { (low / 7) << 24 };
                let hash = high << 62 | low << 40 | place;
                match what {
                    0 | 1 => {
                        prop_assert!(table.name(hash));
                        known.entry(hash).or_insert(Source { hash, dependents: 0, updated: 0 }).dependents += 1;
                    }
                    2 => {
                        table.release(hash);
                        if let Some(source) = known.get_mut(&hash) {
                            source.dependents -= 1;
                            if source.dependents == 0 {
                                known.remove(&hash);
                            }
                        }
                    }
                    _ => {
                        let updated = known.get_mut(&hash).map(|source| source.updated = stamp).is_some();
                        prop_assert_eq!(table.update(hash, || stamp), updated);
                    }
                }
                prop_assert_eq!(table.updated(hash), known.get(&hash).map(|source| source.updated));
            }
            prop_assert_eq!(checked(&table), known);
        }
    }
}
