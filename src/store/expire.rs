//! Clearing away in the background what has expired, been flushed or been outdated, a little at a time.
//!
//! There are two ways. A segment can be searched: what is over in it is found in the index, item by item, and that
//! takes most of the time, because the slots of neighbours in the log lie far apart. Where a good part of a shard is
//! segments that are over as a whole, as after a burst of items with one time to live or after a flush, they are wiped
//! together: one pass over the index empties their slots, and one over the segments takes the items out of memory.

use super::Now;
use super::deadlines::Deadlines;
use super::index::Location;
use super::record::{self, Header};
use super::segment::{FIRST, Segment};
use super::shard::{Found, Reason, Shard};

/// A segment that is being searched for items that are over, as far as it has been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub segment: u32,
    at: usize,
    /// Of the items that stay.
    pub left: Deadlines,
    /// How many updates of sources there had been when it began.
    updates: u64,
    /// Many items of the segment are over.
    urgent: bool,
}

/// How far the wiping of doomed segments has got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wipe {
    /// Their slots are being taken out of the index, up to this tag.
    Index(u64),
    /// Their items are being taken out of memory, in this segment up to this offset.
    Log(u32, usize),
}

/// Segments are wiped together if they hold more than this part of a shard's items: a pass over the index takes a few
/// nanoseconds a slot, finding a slot in it some hundred.
const WIPED_PART: usize = 32;
/// Regions of the index gone through in one slice of background work: some 100 microseconds.
const REGIONS: usize = 16;
/// What one slice may cost, in bytes given back to the system: some 100 microseconds; and as many bytes as make up for
/// wiping, or for finding, a record.
const SLICE: usize = 1 << 20;
const WIPING: usize = 1 << 10;
const FINDING: usize = 4 << 10;
/// Records searched at once.
const BATCH: usize = 32;

impl Shard {
    /// A bounded slice of background work. True if more of it is waiting.
    pub fn maintain(&mut self, now: Now) -> bool {
        self.now = now;
        self.flush_if_due(now);
        self.report();
        let mut more = false;
        if self.pool.is_over() && !self.no_evictions && !self.pool.is_poor(self.number) {
            more |= self.evict_one(now) && self.pool.is_over();
            // Beside what others last reported this one would seem poor next time, as they would beside it.
            self.report();
        }
        let is_wiping = self.wipe.is_some_and(|wipe| self.wipe_further(wipe));
        // More may have come to its end since the wiping began.
        more |= is_wiping || self.look(now);
        more |= self.index.give_back();
        more
    }

    /// Whether all items of a segment are over, and it has some.
    pub fn is_over(&self, segment: &Segment, now: Now) -> bool {
        let is_rest_over = || segment.rest_of().is_none_or(|of| self.log.header(of).expiry().is_over(now));
        segment.live_items > 0
            && (segment.sequence < self.flushed_below || segment.is_over(now) && is_rest_over())
    }

    /// Begins to wipe all segments that are over, if that is worth it.
    fn begin_wipe(&mut self, now: Now) {
        let segments = self.log.ids().filter_map(|id| self.log.segment(id));
        let items: usize =
            segments.filter(|segment| self.is_over(segment, now)).map(|segment| segment.live_items).sum();
        if items == 0 || items * WIPED_PART < self.index.len() {
            return;
        }
        for id in self.log.ids() {
            if self.log.segment(id).is_some_and(|segment| self.is_over(segment, now)) {
                self.log.doom(id);
            }
        }
        self.wipe = Some(Wipe::Index(0));
    }

    /// Goes on with the wiping of doomed segments; true if it is not done.
    fn wipe_further(&mut self, wipe: Wipe) -> bool {
        self.wipe = match wipe {
            Wipe::Index(from) => {
                let log = &self.log;
                let next = self.index.retain(from, REGIONS, |location| !log.segment_of(location).is_doomed());
                Some(next.map_or(Wipe::Log(0, FIRST), Wipe::Index))
            }
            Wipe::Log(id, at) => self.wipe_log(id, at),
        };
        if self.wipe.is_none() {
            self.log.end_dooms();
        }
        self.wipe.is_some()
    }

    /// Takes some items of doomed segments, which the index has no slots of, out of memory; answers where to go on.
    /// A segment goes with its last item.
    fn wipe_log(&mut self, mut id: u32, mut at: usize) -> Option<Wipe> {
        let mut spent = 0;
        while spent < SLICE {
            let is_left = |segment: &&Segment| segment.is_doomed() && at < segment.end();
            let Some(segment) = self.log.segment(id).filter(is_left) else {
                let is_doomed = |id: &u32| self.log.segment(*id).is_some_and(Segment::is_doomed);
                id = self.log.ids().skip(id as usize + 1).find(is_doomed)?;
                at = FIRST;
                continue;
            };
            let flushed = segment.sequence < self.flushed_below;
            let (offset, found) = (at, record::find(segment.record(at)));
            at += found.len();
            if let Some(location) = segment.rest_of().filter(|_| offset == FIRST) {
                spent += FINDING;
                self.wipe_cut(location, flushed);
            } else if let record::Found::Live(header) = found {
                spent += WIPING + header.weight();
                self.stats.count_searched(&header);
                let reason = if flushed { Reason::Flushed } else { Reason::Swept };
                self.unlink(self.log.location(id, offset), reason);
            }
        }
        Some(Wipe::Log(id, at))
    }

    /// Takes the item whose rest is in a doomed segment out of memory, if the segment where it begins is not doomed as
    /// well.
    fn wipe_cut(&mut self, location: Location, flushed: bool) {
        let (segment, record) = self.log.at(location);
        if segment.is_doomed() {
            return;
        }
        let header = Header::read(record);
        let hash = self.hasher.hash_one(header.key(record));
        self.stats.count_searched(&header);
        if let Some((slot, _)) = self.index.find(hash, |other| other == location) {
            let reason = if flushed { Reason::Flushed } else { Reason::Swept };
            self.discard(Found { slot, location }, reason);
        }
    }

    /// Searches a segment for items that are over; true if that is urgent and not done.
    fn look(&mut self, now: Now) -> bool {
        if self.look.is_none() {
            self.begin_wipe(now);
            if self.wipe.is_some() {
                return true;
            }
            self.look = self.next_look(now);
        }
        let mut left = SLICE;
        while left > 0 && self.look_further(now, &mut left) {}
        if self.look.is_none() {
            self.look = self.next_look(now);
        }
        self.look.is_some_and(|look| look.urgent)
    }

    /// Searches the next records, [`BATCH`] or what may be spent, and discards those that are over; false at the end of
    /// the segment. The index is far from the processor's cache, so all the slots it takes are fetched before the first
    /// is waited for.
    fn look_further(&mut self, now: Now, left: &mut usize) -> bool {
        let Some(mut look) = self.look else { return false };
        let Some(segment) = self.log.segment(look.segment) else { return false };
        let flushed = segment.sequence < self.flushed_below;
        let mut over = [None; BATCH];
        let mut count = 0;
        for _ in 0..BATCH {
            let at = look.at;
            if at >= segment.end() || *left == 0 {
                break;
            }
            let found = record::find(segment.record(at));
            look.at += found.len();
            *left = left.saturating_sub(FINDING);
            let Some(location) = self.log.item_at(look.segment, at, &found) else { continue };
            let (_, record) = self.log.at(location);
            let header = Header::read(record);
            if self.absence(location, &header, now).is_none() {
                look.left.add(header.expiry(), header.weight());
                continue;
            }
            self.stats.count_searched(&header);
            *left = left.saturating_sub(header.weight());
            over[count] = Some((self.hasher.hash_one(header.key(record)), location));
            count += 1;
        }
        let is_end = look.at >= segment.end();
        let over = || over.iter().copied().flatten();
        std::hint::black_box(over().fold(0, |bits, (hash, _)| bits ^ self.index.fetch(hash)));
        let reason = if flushed { Reason::Flushed } else { Reason::Swept };
        self.look = Some(look);
        for (hash, location) in over() {
            if let Some((slot, _)) = self.index.find(hash, |other| other == location) {
                self.discard(Found { slot, location }, reason);
            }
        }
        if is_end {
            self.end_look(now);
        }
        !is_end
    }

    /// Takes note of what a search that came to the end of its segment found, unless the segment went with its last
    /// item.
    fn end_look(&mut self, now: Now) {
        let Some(look) = self.look.take() else { return };
        let Some(segment) = self.log.segment_mut(look.segment) else { return };
        segment.deadlines = look.left;
        segment.next_look = now.seconds() + segment.look_interval();
        segment.updates_seen = look.updates;
        if segment.live_items == 0 {
            self.free_segment(look.segment);
        }
    }

    /// The segment where most is to be found, if it is time to search one.
    fn next_look(&self, now: Now) -> Option<Look> {
        let mut worth_it = None;
        let updates = self.sources.updates();
        for id in self.log.ids() {
            let Some(segment) = self.log.segment(id) else { continue };
            if segment.live_items == 0 {
                continue;
            }
            let look = |urgent| Look { segment: id, at: FIRST, left: Deadlines::NONE, updates, urgent };
            if self.is_over(segment, now) || segment.crowd_is_over(now) {
                return Some(look(true));
            }
            if segment.is_worth_a_look(now, updates) {
                worth_it = Some(look(false));
            }
        }
        worth_it
    }
}
