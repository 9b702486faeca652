//! One shard: single-threaded. Finds items, shows them, and carries out what is decided about them.

use super::bodies::Bodies;
use super::eviction::Policy;
use super::expire::{Look, Wipe};
use super::index::{Index, Location, Slot};
use super::pool::{Block, Pool};
use super::record::Header;
use super::segment::{CasSpace, Log, LogItem};
use super::sources::{Named, Sources};
use super::sweep::{Copying, Drain};
use super::write::Target;
use super::{
    Absent, Change, EvictionHook, Hash, Item, Key, Lookup, Now, Options, Stats, Updated, class_of,
    memcached_size,
};
use ahash::RandomState;
use std::sync::Arc;

pub(super) struct Shard {
    pub number: usize,
    pub pool: Arc<Pool>,
    pub hasher: RandomState,
    pub index: Index,
    pub log: Log,
    pub bodies: Bodies,
    pub policy: Policy,
    pub sources: Arc<Sources>,
    pub stats: Stats,
    pub hook: Option<Arc<EvictionHook>>,
    pub copying: Copying,
    pub no_evictions: bool,
    /// Longest value that goes to the log as a whole.
    pub inline_limit: usize,
    /// What has a lower sequence number has been flushed.
    pub flushed_below: u64,
    /// When everything stored until then is to be flushed, in milliseconds of the store's clock.
    flush_at: Option<u64>,
    /// Memory of the next segment, had before it is needed.
    pub spare: Option<Block>,
    /// The segment being emptied so that its memory can be used again.
    pub drain: Option<Drain>,
    /// The segment being searched for expired items.
    pub look: Option<Look>,
    /// How far the wiping of segments that are over as a whole has got.
    pub wipe: Option<Wipe>,
    /// A buffer for values and records on their way from one place to another.
    pub scratch: Vec<u8>,
    /// A buffer for what a scan is about to show.
    scan_buffer: Vec<Location>,
    /// The latest time anybody came with.
    pub now: Now,
}

/// Hashes touched at once.
pub(super) const TOUCH: usize = 32;

/// What a lookup finds: where the item is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub slot: Slot,
    pub location: Location,
}

/// What about an item's being gone is to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Replaced, moved or deleted.
    Changed,
    /// Found to be over by a request or by an eviction.
    Expired,
    /// Found to be over in the background.
    Swept,
    Flushed,
}

impl From<Absent> for Reason {
    fn from(absent: Absent) -> Reason {
        if absent == Absent::Flushed { Reason::Flushed } else { Reason::Expired }
    }
}

impl Shard {
    pub fn new(
        pool: Arc<Pool>,
        sources: Arc<Sources>,
        hasher: RandomState,
        cas_space: CasSpace,
        inline_limit: usize,
        options: &Options,
    ) -> Shard {
        Shard {
            number: cas_space.shard(),
            hasher,
            index: Index::new(pool.clone()),
            log: Log::new(pool.clone(), cas_space),
            bodies: Bodies::new(pool.clone()),
            policy: Policy::new(options.eviction, pool.clone()),
            sources,
            stats: Stats::default(),
            hook: None,
            copying: Copying::default(),
            no_evictions: options.no_evictions,
            inline_limit,
            flushed_below: 0,
            flush_at: None,
            spare: None,
            drain: None,
            look: None,
            wipe: None,
            scratch: Vec::new(),
            scan_buffer: Vec::new(),
            now: Now::new(Now::EARLIEST, 0),
            pool,
        }
    }

    pub fn on_eviction(&mut self, hook: Option<Arc<EvictionHook>>) {
        self.hook = hook;
    }

    #[inline]
    pub fn read<R>(
        &mut self,
        hash: u64,
        key: Key<'_>,
        now: Now,
        look: impl FnOnce(Lookup<'_, '_>) -> R,
    ) -> R {
        match self.find_record(hash, key, now) {
            Ok((found, header)) => look(Ok(&mut self.item_of(found.location, header))),
            Err(absent) => look(Err(absent)),
        }
    }

    /// `others` evicts something from another shard, and says whether it could.
    pub fn update<'v, R>(
        &mut self,
        hash: u64,
        key: Key<'_>,
        now: Now,
        others: &dyn Fn() -> bool,
        decide: impl FnOnce(Lookup<'_, '_>) -> (Change<'v>, R),
    ) -> Updated<R> {
        let (found, (change, answer)) = match self.find_record(hash, key, now) {
            Ok((found, header)) => (Some(found), decide(Ok(&mut self.item_of(found.location, header)))),
            Err(absent) => (None, decide(Err(absent))),
        };
        let target = Target { hash, key, found, now, others };
        let updates_source = change.updates_source();
        let made = match (change, found) {
            (Change::Keep, _) => Ok(0),
            (Change::Put(new), _) => self.put(target, new),
            (Change::Delete, Some(found)) => {
                self.discard(found, Reason::Changed);
                Ok(0)
            }
            (Change::Amend(amend), Some(found)) => self.amend(target, found, amend),
            (Change::Append(value, cas, origin), Some(found)) => {
                self.join(target, found, value, cas, origin, false)
            }
            (Change::Prepend(value, cas, origin), Some(found)) => {
                self.join(target, found, value, cas, origin, true)
            }
            (Change::Delete | Change::Amend(_) | Change::Append(..) | Change::Prepend(..), None) => Ok(0),
        };
        if updates_source {
            self.sources.update(hash);
        }
        Updated { answer, refused: made.is_err(), cas: made.unwrap_or(0) }
    }

    /// Everything stored before `at` is gone from then on; later ones stay.
    pub fn flush(&mut self, at: Now, now: Now) {
        self.flush_if_due(now);
        self.flush_at = None;
        if at.millis() <= now.millis() {
            self.flushed_below = self.log.close_all();
        } else {
            self.flush_at = Some(at.millis());
        }
    }

    /// Carries out a flush whose time has come.
    #[inline]
    pub fn flush_if_due(&mut self, now: Now) {
        if self.flush_at.is_some_and(|at| at <= now.millis()) {
            self.flush_at = None;
            self.flushed_below = self.log.close_all();
        }
    }

    pub fn scan(
        &mut self,
        position: &mut u64,
        limit: usize,
        now: Now,
        visit: &mut impl FnMut(&mut Item<'_>),
    ) -> bool {
        self.flush_if_due(now);
        let mut locations = std::mem::take(&mut self.scan_buffer);
        let next = self.index.scan(*position, limit, |location| locations.push(location));
        for location in locations.drain(..) {
            let header = self.log.header(location);
            if self.absence(location, &header, now).is_none() {
                visit(&mut self.item_of(location, header));
            }
        }
        self.scan_buffer = locations;
        *position = next.unwrap_or(0);
        next.is_some()
    }

    /// Brings what a read of these hashes will need into the processor's cache, at most [`TOUCH`] of them. The waits
    /// for memory overlap, as those of one read after another cannot.
    pub fn touch(&self, hashes: &[Hash]) {
        let mut bits = hashes.iter().fold(0, |bits, hash| bits ^ self.index.fetch(hash.0));
        let mut locations = [None; TOUCH];
        for (location, hash) in locations.iter_mut().zip(hashes) {
            *location = self.index.probable(hash.0);
        }
        for location in locations.into_iter().flatten() {
            let (_, record) = self.log.at(location);
            bits ^= u64::from(record[0]);
            // Of a longer record the second line as well, which often holds the rest of a small value.
            bits ^= u64::from(record.get(64).copied().unwrap_or(0));
        }
        std::hint::black_box(bits);
    }

    /// The item of this key, if it may be served. One that may not is discarded.
    pub fn find(&mut self, hash: u64, key: Key<'_>, now: Now) -> Result<Found, Absent> {
        self.find_record(hash, key, now).map(|(found, _)| found)
    }

    /// The same with its header, which is read once for all that a request asks of it.
    #[inline]
    fn find_record(&mut self, hash: u64, key: Key<'_>, now: Now) -> Result<(Found, Header), Absent> {
        self.now = now;
        self.flush_if_due(now);
        let (found, header) = self.look_up_record(hash, key.as_bytes()).ok_or(Absent::NotFound)?;
        match self.absence(found.location, &header, now) {
            None => Ok((found, header)),
            Some(absent) => {
                self.discard(found, absent.into());
                Err(absent)
            }
        }
    }

    pub fn lookup(&self, hash: u64, key: &[u8]) -> Option<Found> {
        self.look_up_record(hash, key).map(|(found, _)| found)
    }

    #[inline]
    fn look_up_record(&self, hash: u64, key: &[u8]) -> Option<(Found, Header)> {
        let mut read = None;
        let (slot, location) = self.index.find(hash, |location| {
            let (_, record) = self.log.at(location);
            let header = Header::read(record);
            let is_same = header.key(record) == key;
            if is_same {
                read = Some(header);
            }
            is_same
        })?;
        Some((Found { slot, location }, read?))
    }

    /// Why the item at this location, with this header, may not be served, if it may not. One in a doomed segment is
    /// over by a later clock than a batch of commands may still have, and nothing may be written over it.
    #[inline]
    pub fn absence(&self, location: Location, header: &Header, now: Now) -> Option<Absent> {
        let segment = self.log.segment_of(location);
        if segment.sequence < self.flushed_below {
            Some(Absent::Flushed)
        } else if header.expiry().is_over(now)
            || segment.is_doomed()
            || self.log.is_rest_doomed(segment, header)
        {
            Some(Absent::Expired)
        } else if header.names_sources() {
            let (_, record) = self.log.at(location);
            let outdated =
                header.sources(record).is_some_and(|named| self.is_outdated(header.key(record), named));
            outdated.then_some(Absent::Outdated)
        } else {
            None
        }
    }

    /// Whether something this item was derived from has been updated since.
    pub fn is_outdated(&self, key: &[u8], named: Named<'_>) -> bool {
        !self.sources.is_current(self.hasher.hash_one(key), named)
    }

    /// What the item at this location was derived from, if anything.
    pub fn named(&self, location: Location) -> Option<Named<'_>> {
        self.log.header(location).sources(self.log.at(location).1)
    }

    pub fn item(&mut self, location: Location) -> Item<'_> {
        let header = self.log.header(location);
        self.item_of(location, header)
    }

    #[inline]
    fn item_of(&mut self, location: Location, header: Header) -> Item<'_> {
        let body = self.bodies.get(header.body());
        let LogItem { opened, implied_cas, record, rest } = self.log.item_mut(location, &header);
        Item { header, record, body, rest, opened, implied_cas }
    }

    /// Takes an item out of the index and out of memory.
    pub fn discard(&mut self, found: Found, reason: Reason) {
        self.index.remove(found.slot);
        self.unlink(found.location, reason);
    }

    /// Takes an item that is no longer in the index out of memory and out of the counts.
    pub fn unlink(&mut self, location: Location, reason: Reason) {
        let (_, record) = self.log.at(location);
        let header = Header::read(record);
        if let Some(named) = header.sources(record) {
            self.sources.release(named);
        }
        if header.cas_shown() {
            let cas = header.cas().unwrap_or_else(|| self.log.implied_cas(location, &header));
            self.log.forget_cas(cas);
        }
        let size = memcached_size(header.key_len(), header.value_len(), header.client_flags() != 0);
        let class = &mut self.stats.classes[class_of(size)];
        class.items -= 1;
        class.bytes -= size as u64;
        match reason {
            Reason::Expired => class.reclaimed += 1,
            Reason::Swept => class.crawler_reclaimed += 1,
            Reason::Changed | Reason::Flushed => {}
        }
        if matches!(reason, Reason::Expired | Reason::Swept) && !header.fetched() {
            class.expired_unfetched += 1;
        }
        self.bodies.remove(header.body());
        self.kill(location, &header);
    }

    /// Counts an item that has come to memory.
    pub fn count_in(&mut self, key_len: usize, value_len: usize, client_flags: u32) {
        let size = memcached_size(key_len, value_len, client_flags != 0);
        let class = &mut self.stats.classes[class_of(size)];
        class.items += 1;
        class.bytes += size as u64;
        self.stats.total_items += 1;
    }
}
