//! The table of sources: which keys live items were derived from, and when those keys were last updated.
//!
//! An item that names sources is *outdated*, and never served again, once one of them has been updated after the
//! item was made. Nothing points from a source to what was derived from it: an update writes one stamp, whoever
//! reads an item compares stamps.
//!
//! - **Stamps** come from one counter that only rises. An item's stamp is taken before its sources are looked at. A
//!   source's stamp is taken when it is updated, under the lock of its shard and with its entry in the table held.
//!   So an update that comes after the look has the higher stamp, and one that came before was seen by the look,
//!   whether that was a look at the source itself or at an item derived from it.
//! - **Transitive.** An item takes over the sources of its sources when it names them, so its own list is all it
//!   needs. That list stays true: changing what a source was derived from means storing it, which is an update.
//! - **Itself.** An item's own key in its list is passed over, so that neither an item derived from itself nor a
//!   cycle is outdated by its own making.
//! - **Names.** Sources are known by the hash of their key. Two keys with one hash outdate each other's dependents:
//!   too much, never too little. (Only an item that shares its hash with its own source would miss updates of that:
//!   one pair of keys in 2^64.)
//!
//! Invariants: a source is in the table exactly while some live item or [`Derivation`] names it, and `dependents`
//! is how many do. The table is locked inside shards' locks, never around them.

mod table;

use super::pool::Pool;
use super::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use table::Table;

/// Most sources, direct and taken over, that an item remembers one by one. An item with more is outdated by any
/// update of anything: too much, never too little. So is one that names a source for which there is no memory.
pub(super) const MAX_REMEMBERED: usize = 1000;

/// The sources that live items name.
#[derive(Debug)]
pub(super) struct Sources {
    table: Table,
    clock: AtomicU64,
    /// How many namings there are, so that servers without any pay one branch.
    named: AtomicUsize,
    /// How many live items depend on everything.
    catch_all: AtomicUsize,
    /// The latest update of anything, kept while something depends on everything.
    latest: Mutex<Latest>,
    updates: AtomicU64,
    /// Most sources that an item remembers one by one.
    remembered: usize,
}

/// The stamps of the latest update, and of the latest of another key: an item is not outdated by its own making.
#[derive(Debug, Default)]
struct Latest {
    hash: u64,
    stamp: u64,
    other: u64,
}

impl Latest {
    /// The latest that matters to the item with this hash.
    fn seen_by(&self, own: Option<u64>) -> u64 {
        if own == Some(self.hash) { self.other } else { self.stamp }
    }
}

impl Sources {
    /// A table that knows nothing, for items that remember up to `remembered` sources one by one.
    pub fn new(pool: Arc<Pool>, no_evictions: bool, remembered: usize) -> Sources {
        Sources {
            table: Table::new(pool, no_evictions),
            clock: AtomicU64::new(0),
            named: AtomicUsize::new(0),
            catch_all: AtomicUsize::new(0),
            latest: Mutex::new(Latest::default()),
            updates: AtomicU64::new(0),
            remembered,
        }
    }

    /// The beginning of an item that is to name sources.
    pub fn derivation(self: &Arc<Sources>) -> Derivation {
        self.derivation_at(self.tick())
    }

    /// The beginning of an item that is derived from what this one is, as of the same time.
    pub fn inherit(self: &Arc<Sources>, item: Named<'_>) -> Derivation {
        let mut derivation = self.derivation_at(item.stamp());
        derivation.add_all(item);
        derivation
    }

    fn derivation_at(self: &Arc<Sources>, stamp: u64) -> Derivation {
        Derivation { sources: self.clone(), stamp, hashes: Vec::new(), catch_all: false, compared: false }
    }

    /// Notes that the data behind a key has been updated. Called under the lock of the key's shard.
    pub fn update(&self, hash: u64) {
        if self.named.load(Ordering::SeqCst) == 0 && self.catch_all.load(Ordering::SeqCst) == 0 {
            return;
        }
        if self.table.update(hash, || self.tick()) {
            self.updates.fetch_add(1, Ordering::Relaxed);
        }
        // Looked at after the entry, as `Derivation::take_over` looks at the entries after it has set it.
        if self.catch_all.load(Ordering::SeqCst) > 0 {
            let mut latest = self.latest.lock();
            if latest.hash != hash {
                (latest.hash, latest.other) = (hash, latest.stamp);
            }
            latest.stamp = self.tick();
        }
    }

    /// Whether nothing that this item was derived from has been updated since. `own` is the item's own hash.
    pub fn is_current(&self, own: u64, item: Named<'_>) -> bool {
        self.holds(Some(own), item.stamp(), item.catch_all(), item.hashes())
    }

    fn holds(
        &self,
        own: Option<u64>,
        stamp: u64,
        catch_all: bool,
        mut hashes: impl Iterator<Item = u64>,
    ) -> bool {
        if catch_all && stamp < self.latest.lock().seen_by(own) {
            return false;
        }
        hashes.all(|hash| {
            // A source that is missing would break the table's invariant; not serving is the safe answer.
            Some(hash) == own || self.table.updated(hash).is_some_and(|updated| updated <= stamp)
        })
    }

    /// Outdates everything that depends on everything.
    fn update_all(&self) {
        let mut latest = self.latest.lock();
        latest.stamp = self.tick();
        latest.other = latest.stamp;
    }

    /// Forgets what an item named that is gone.
    pub fn release(&self, item: Named<'_>) {
        for hash in item.hashes() {
            self.release_one(hash);
        }
        if item.catch_all() {
            self.catch_all.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// How many sources live items name.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// How many namings there are.
    pub fn named(&self) -> usize {
        self.named.load(Ordering::Relaxed)
    }

    /// How many updates of a named source there have been.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// Gives back memory that no source is in any more.
    pub fn give_back(&self) {
        self.table.give_back();
    }

    /// Bytes charged to the pool.
    pub fn charged(&self) -> usize {
        self.table.charged()
    }

    /// Recounts who names what, given a way to show all items, and panics where the table is wrong.
    pub fn check(&self, each: impl FnOnce(&mut dyn FnMut(Named<'_>))) {
        let mut dependents: HashMap<u64, u64> = HashMap::new();
        let mut catch_all = 0;
        each(&mut |named| {
            named.hashes().for_each(|hash| *dependents.entry(hash).or_default() += 1);
            catch_all += usize::from(named.catch_all());
        });
        let mut known = HashMap::new();
        self.table.each(|source| assert_eq!(known.insert(source.hash, source.dependents), None));
        let sum: u64 = known.values().sum();
        assert_eq!(self.named() as u64, sum, "namings are those of all sources");
        assert_eq!(self.len(), known.len());
        assert_eq!(self.catch_all.load(Ordering::SeqCst), catch_all);
        assert_eq!(known, dependents, "a source has the dependents that name it");
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// False if there is no memory for another source.
    fn name_one(&self, hash: u64) -> bool {
        self.named.fetch_add(1, Ordering::SeqCst);
        let is_named = self.table.name(hash);
        if !is_named {
            self.named.fetch_sub(1, Ordering::SeqCst);
        }
        is_named
    }

    fn release_one(&self, hash: u64) {
        self.table.release(hash);
        self.named.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An item in the making that names sources. Dropped without being stored, it forgets them.
#[derive(Debug)]
pub struct Derivation {
    sources: Arc<Sources>,
    stamp: u64,
    hashes: Vec<u64>,
    catch_all: bool,
    /// The CAS value of a source was compared.
    compared: bool,
}

impl Derivation {
    /// Whether the item is to be refused: the CAS value of a source was compared, and since then a source has been
    /// updated. May be asked while a shard is locked.
    pub fn has_lost(&self) -> bool {
        self.compared && !self.sources.holds(None, self.stamp, self.catch_all, self.hashes.iter().copied())
    }

    /// Names one source, and whatever that source was derived from. Called under the lock of the source's shard.
    pub(super) fn name(&mut self, hash: u64, inherited: Option<Named<'_>>) {
        self.add(hash);
        if let Some(inherited) = inherited {
            self.take_over(hash, inherited);
        }
    }

    /// From now on the item is not stored if a source is updated before it is.
    pub(super) fn set_compared(&mut self) {
        self.compared = true;
    }

    /// Names what this item was derived from, which has the hash `own` and was found current after this was begun.
    /// Called under the lock of its shard.
    pub(super) fn take_over(&mut self, own: u64, item: Named<'_>) {
        self.add_all(item);
        // One of its sources may have been updated after it was found current, and before that update could see that
        // this depends on everything.
        if self.catch_all && !self.sources.is_current(own, item) {
            self.sources.update_all();
        }
    }

    fn add_all(&mut self, item: Named<'_>) {
        item.hashes().for_each(|hash| self.add(hash));
        if item.catch_all() {
            self.set_catch_all();
        }
    }

    /// What the item is to carry.
    pub(super) fn encode(&self) -> Vec<u8> {
        let count = self.hashes.len() as u16 | if self.catch_all { Named::CATCH_ALL } else { 0 };
        let mut encoded = Vec::with_capacity(10 + self.hashes.len() * 8);
        encoded.extend_from_slice(&count.to_le_bytes());
        encoded.extend_from_slice(&self.stamp.to_le_bytes());
        self.hashes.iter().for_each(|hash| encoded.extend_from_slice(&hash.to_le_bytes()));
        encoded
    }

    /// The item is stored: the namings are its own from now on.
    pub(super) fn hand_over(mut self) {
        self.hashes.clear();
        self.catch_all = false;
    }

    fn add(&mut self, hash: u64) {
        if self.catch_all || self.hashes.contains(&hash) {
            return;
        }
        if self.hashes.len() == self.sources.remembered || !self.sources.name_one(hash) {
            return self.set_catch_all();
        }
        self.hashes.push(hash);
    }

    fn set_catch_all(&mut self) {
        if !self.catch_all {
            self.sources.catch_all.fetch_add(1, Ordering::SeqCst);
            self.catch_all = true;
        }
    }
}

impl Drop for Derivation {
    fn drop(&mut self) {
        for &hash in &self.hashes {
            self.sources.release_one(hash);
        }
        if self.catch_all {
            self.sources.catch_all.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// What an item carries: a count, its stamp, the hashes of its sources; as bytes, as they stand in its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a>(&'a [u8]);

impl<'a> Named<'a> {
    /// Set in the count of an item that depends on everything.
    const CATCH_ALL: u16 = 0x8000;

    /// What stands at the front of `bytes`.
    pub fn at(bytes: &'a [u8]) -> Named<'a> {
        Named(&bytes[..10 + usize::from(head(bytes) & !Named::CATCH_ALL) * 8])
    }

    /// As it stands in a record.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many sources it remembers.
    pub fn count(self) -> usize {
        usize::from(head(self.0) & !Named::CATCH_ALL)
    }

    fn catch_all(self) -> bool {
        head(self.0) & Named::CATCH_ALL != 0
    }

    fn stamp(self) -> u64 {
        number(&self.0[2..10])
    }

    fn hashes(self) -> impl Iterator<Item = u64> + use<'a> {
        self.0[10..].chunks_exact(8).map(number)
    }
}

fn head(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("the caller cuts eight bytes"))
}

#[cfg(test)]
mod tests;
