//! The items of one shard whose values are too long for the log: a table of them, in the order they are to go.

use super::index::Location;
use super::pool::Pool;
use super::record::MOST_USES;
use super::sources::Named;
use super::{Expiry, LargeValue, Now};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Marks the locations of large items; the rest of the location is the number of the item.
const LARGE: u64 = 1 << (super::index::LOCATION_BITS - 1);

#[derive(Debug)]
pub(super) struct LargeItem {
    pub key: Box<[u8]>,
    pub value: LargeValue,
    pub client_flags: u32,
    pub expiry: Expiry,
    pub cas: u64,
    /// A client may know the CAS value.
    pub cas_shown: bool,
    /// Among the numbers of the log's segments, when it was stored.
    pub sequence: u64,
    /// Seconds of the store's clock, as are all times here.
    pub last_used: u32,
    pub fetched: bool,
    pub uses: u8,
    pub binary_key: bool,
    pub stale: bool,
    pub lease_granted: bool,
    /// What it was derived from, encoded; empty if nothing.
    pub sources: Box<[u8]>,
    /// Like `sequence`, when it was stored or last carried on instead of being evicted.
    pub queued: u64,
    before: u32,
    after: u32,
}

const NONE: u32 = u32::MAX;

impl LargeItem {
    /// An item with nothing special about it, in no queue yet.
    pub fn new(key: &[u8], value: LargeValue, cas: u64, sequence: u64, now: Now) -> LargeItem {
        LargeItem {
            key: key.into(),
            value,
            client_flags: 0,
            expiry: Expiry::NEVER,
            cas,
            cas_shown: false,
            sequence,
            last_used: now.seconds(),
            fetched: false,
            uses: 0,
            binary_key: false,
            stale: false,
            lease_granted: false,
            sources: Box::default(),
            queued: sequence,
            before: NONE,
            after: NONE,
        }
    }

    /// What it was derived from, if anything.
    pub fn named(&self) -> Option<Named<'_>> {
        (!self.sources.is_empty()).then(|| Named::at(&self.sources))
    }

    pub fn mark_used(&mut self, now: Now) {
        self.fetched = true;
        self.uses = (self.uses + 1).min(MOST_USES);
        self.last_used = now.seconds();
    }

    /// Bytes charged beside those of the value's chunks: this, its key, its share of the tables.
    fn cost(&self) -> usize {
        size_of::<LargeItem>() + self.key.len() + self.sources.len() + self.value.overhead() + 32
    }
}

#[derive(Debug)]
pub(super) struct LargeItems {
    pool: Arc<Pool>,
    items: Vec<Option<LargeItem>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    deadlines: BTreeSet<(u32, u32)>,
    /// Bytes of the values.
    pub value_bytes: usize,
    charged: usize,
}

impl LargeItems {
    pub fn new(pool: Arc<Pool>) -> LargeItems {
        LargeItems {
            pool,
            items: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            deadlines: BTreeSet::new(),
            value_bytes: 0,
            charged: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// The number of the large item at a location, if it is one's.
    #[inline]
    pub fn number(location: Location) -> Option<u32> {
        (location.0 & LARGE != 0).then_some(location.0 as u32)
    }

    pub fn get(&self, number: u32) -> &LargeItem {
        self.items[number as usize].as_ref().expect("a location is an item's")
    }

    pub fn get_mut(&mut self, number: u32) -> &mut LargeItem {
        self.items[number as usize].as_mut().expect("a location is an item's")
    }

    pub fn insert(&mut self, item: LargeItem) -> Location {
        self.pool.charge(item.cost());
        self.charged += item.cost();
        self.value_bytes += item.value.len();
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                if self.items.len() == self.items.capacity() {
                    self.items.reserve_exact(self.items.len() / 8 + 16);
                }
                self.items.push(None);
                self.items.len() as u32 - 1
            }
        };
        if let Some(deadline) = item.expiry.deadline() {
            self.deadlines.insert((deadline.get(), number));
        }
        self.items[number as usize] = Some(item);
        self.link_newest(number);
        Location(LARGE | u64::from(number))
    }

    pub fn remove(&mut self, number: u32) -> LargeItem {
        self.unlink(number);
        let item = self.items[number as usize].take().expect("a location is an item's");
        if let Some(deadline) = item.expiry.deadline() {
            self.deadlines.remove(&(deadline.get(), number));
        }
        self.free.push(number);
        self.pool.discharge(item.cost());
        self.charged -= item.cost();
        self.value_bytes -= item.value.len();
        item
    }

    pub fn set_expiry(&mut self, number: u32, expiry: Expiry) {
        let old = std::mem::replace(&mut self.get_mut(number).expiry, expiry);
        if let Some(deadline) = old.deadline() {
            self.deadlines.remove(&(deadline.get(), number));
        }
        if let Some(deadline) = expiry.deadline() {
            self.deadlines.insert((deadline.get(), number));
        }
    }

    /// The one to go next, unless it is used.
    pub fn oldest(&self) -> Option<(u32, &LargeItem)> {
        (self.oldest != NONE).then(|| (self.oldest, self.get(self.oldest)))
    }

    /// Puts an item at the end of those to go.
    pub fn carry_on(&mut self, number: u32, sequence: u64) {
        self.unlink(number);
        self.link_newest(number);
        let item = self.get_mut(number);
        item.queued = sequence;
        item.uses = item.uses.saturating_sub(1);
    }

    /// One whose time is over.
    pub fn expired(&self, now: Now) -> Option<u32> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now.seconds()).map(|&(_, number)| number)
    }

    /// All items with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &LargeItem)> {
        (0..).zip(&self.items).filter_map(|(number, item)| Some((number, item.as_ref()?)))
    }

    /// The first item whose number is not lower than this.
    pub fn next(&self, from: u32) -> Option<(u32, &LargeItem)> {
        let items = self.items.get(from as usize..)?.iter();
        (from..).zip(items).find_map(|(number, item)| Some((number, item.as_ref()?)))
    }

    /// Bytes charged to the pool beside those of the values' chunks.
    pub fn charged(&self) -> usize {
        self.charged
    }

    fn link_newest(&mut self, number: u32) {
        let before = self.newest;
        let item = self.get_mut(number);
        (item.before, item.after) = (before, NONE);
        self.newest = number;
        match before {
            NONE => self.oldest = number,
            before => self.get_mut(before).after = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let LargeItem { before, after, .. } = *self.get(number);
        match before {
            NONE => self.oldest = after,
            before => self.get_mut(before).after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.get_mut(after).before = before,
        }
    }
}

impl Drop for LargeItems {
    fn drop(&mut self) {
        self.pool.discharge(self.charged);
    }
}
