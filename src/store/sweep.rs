//! Getting memory back: evicting, compacting, and clearing away what has expired or been flushed, a little at a time.

use super::deadlines::Deadlines;
use super::eviction::{Candidate, Fate};
use super::index::Location;
use super::record::{self, Header};
use super::segment::{FIRST, Place, QUEUES};
use super::shard::{Found, Reason, Shard};
use super::write::Target;
use super::{Evicted, Now, Stats, class_of, memcached_size};

/// A segment that is being emptied, as far as it has been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    segment: u32,
    at: usize,
    /// All live items are carried on: the segment is given up for its dead ones.
    compact: bool,
}

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

/// What had been stored and copied when the time began that counts as lately: so that what was saved long ago is not
/// spent at once. Lately is while about as much was stored as the shard holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copying {
    stored: u64,
    copied: u64,
}

impl Copying {
    /// Bytes copied for each one stored lately.
    fn ratio(&self, stats: &Stats) -> f32 {
        (stats.carried_bytes - self.copied) as f32 / (stats.stored_bytes - self.stored).max(1) as f32
    }

    /// Forgets half of it when more was stored than counts as lately.
    fn forget(&mut self, stats: &Stats, lately: usize) {
        let stored = stats.stored_bytes - self.stored;
        if stored > lately as u64 {
            self.stored += stored / 2;
            self.copied += (stats.carried_bytes - self.copied) / 2;
        }
    }
}

/// Records looked at in one slice of background work, a batch at a time.
const SLICE: usize = 512;
const BATCH: usize = 32;

/// A segment is compacted if less than this percentage of it is live, and dead bytes are more than this part of all.
/// More would be copied than is won otherwise: at 70 it is at most 2.3 bytes for each one won.
const COMPACT_BELOW: usize = 70;
const DEAD_PART: usize = 12;
/// The same when nothing may be evicted.
const COMPACT_BELOW_WITHOUT_EVICTION: usize = 94;

/// Bytes copied for each one stored, lately, beyond which nothing is compacted while something can be evicted.
const MOST_COPIES: f32 = 1.5;

/// Oldest segments of a queue among which the one with the least live bytes goes first.
const OLDEST: usize = 4;

impl Shard {
    /// Evicts or compacts something; false if there is nothing.
    pub fn evict_one(&mut self, now: Now) -> bool {
        if let Some(block) = self.spare.take() {
            self.pool.give_back(block);
            return true;
        }
        self.drain(self.pool.block_len(), now)
    }

    /// Does the part of evicting that the next stores will need, in proportion to the `len` bytes just stored, so
    /// that none of them has to do all of it.
    pub fn work_ahead(&mut self, len: usize, target: Target<'_>) {
        if self.no_evictions {
            return;
        }
        let is_over = self.pool.is_over();
        if !is_over && (self.spare.is_some() || self.pool.has_room(self.pool.block_len())) {
            return;
        }
        self.report();
        if self.pool.is_poor(self.number) {
            // Somebody else has had this shard's room, and gives it back once it is needed.
            if is_over {
                (target.others)();
            }
        } else if is_over {
            self.evict_one(target.now);
        } else {
            self.drain(6 * len + 256, target.now);
        }
    }

    /// Tells the pool how much this shard holds.
    pub fn report(&self) {
        let bytes = self.log.segment_count() * self.pool.block_len() + self.bodies.bytes();
        self.pool.report(self.number, bytes);
    }

    /// Empties the segment that is to go, as far as `quantum` bytes of items; false if there is none.
    fn drain(&mut self, mut quantum: usize, now: Now) -> bool {
        if self.drain.is_none() {
            self.copying.forget(&self.stats, self.log.segment_count() * self.pool.block_len());
            let Some((segment, compact)) = self.victim() else { return false };
            self.log.close_segment(segment);
            self.drain = Some(Drain { segment, at: FIRST, compact });
        }
        // A segment is freed, and the drain with it, when its last live item has gone.
        while let Some(drain) = &mut self.drain {
            let Some(segment) = self.log.segment(drain.segment) else { break };
            if drain.at >= segment.end() {
                let id = drain.segment;
                self.free_segment(id);
                break;
            }
            if quantum == 0 {
                break;
            }
            let at = drain.at;
            let found = record::find(segment.record(at));
            let len = match &found {
                record::Found::Live(header) => header.len(),
                record::Found::Dead { len } => *len,
            };
            drain.at += len;
            quantum = quantum.saturating_sub(len);
            let drain = *drain;
            if let record::Found::Live(header) = found {
                quantum = quantum.saturating_sub(header.body().len as usize);
                self.carry_or_evict(drain, self.log.location(drain.segment, at), &header, now);
            }
        }
        true
    }

    /// The segment to be given up next, and whether only for its dead items.
    fn victim(&mut self) -> Option<(u32, bool)> {
        let (mut written, mut dead) = (0, 0);
        let mut least: Option<(usize, u32)> = None;
        let mut near: Option<(usize, u32)> = None;
        let mut bytes = [0; QUEUES];
        let below = if self.no_evictions { COMPACT_BELOW_WITHOUT_EVICTION } else { COMPACT_BELOW };
        let worth_it = self.pool.block_len() / 100 * below;
        for id in self.log.ids() {
            let Some(segment) = self.log.segment(id) else { continue };
            written += segment.end();
            bytes[usize::from(segment.queue())] += segment.weight();
            dead += segment.dead_bytes();
            if segment.is_open() || segment.live_bytes > worth_it {
                continue;
            }
            least = least.into_iter().chain([(segment.live_bytes, id)]).min();
            if self.log.is_near_compacted(id) {
                near = near.into_iter().chain([(segment.live_bytes, id)]).min();
            }
        }
        if let Some((_, id)) = near.or(least)
            && (self.no_evictions || dead * DEAD_PART > written && self.may_copy())
        {
            return Some((id, true));
        }
        if self.no_evictions {
            return None;
        }
        let first = self.policy.victim(bytes, self.index.len());
        let queues = (0..QUEUES as u8).map(|turn| (first + turn) % QUEUES as u8);
        let closed = |id: &&u32| self.log.segment(**id).is_some_and(|segment| !segment.is_open());
        let oldest = queues.clone().find_map(|queue| {
            let oldest = self.log.queue(queue).iter().filter(closed).take(OLDEST);
            oldest.min_by_key(|id| self.log.segment(**id).map_or(0, |segment| segment.live_bytes))
        });
        let open = queues.flat_map(|queue| self.log.queue(queue).front()).next();
        Some((*oldest.or(open)?, false))
    }

    /// Whether what is copied for the sake of memory or hits is little beside what is stored.
    fn may_copy(&self) -> bool {
        self.copying.ratio(&self.stats) <= MOST_COPIES
    }

    fn carry_or_evict(&mut self, drain: Drain, location: Location, header: &Header, now: Now) {
        let segment = self.log.at(location).0;
        let (_, offset) = self.log.split(location);
        let hash = self.hasher.hash_one(header.key(segment.record(offset)));
        let Some((slot, _)) = self.index.find(hash, |other| other == location) else {
            debug_assert!(false, "a live item is in the index");
            return;
        };
        let found = Found { slot, location };
        if segment.sequence < self.flushed_below {
            return self.discard(found, Reason::Flushed);
        }
        let record = segment.record(offset);
        let outdated =
            header.sources(record).is_some_and(|named| self.is_outdated(header.key(record), named));
        if outdated || header.expiry().is_over(now) {
            return self.discard(found, Reason::Expired);
        }
        let candidate = Candidate {
            hash,
            len: header.weight(),
            queue: segment.queue(),
            uses: header.uses(),
            idle: now.seconds().saturating_sub(header.last_used(segment.opened)),
            age: now.seconds().saturating_sub(segment.opened),
            copies: self.copying.ratio(&self.stats),
        };
        let carried = match drain.compact {
            true => self.carry(found, header, None, candidate.uses, now),
            false => match self.policy.fate(&candidate) {
                Fate::Carry { queue, uses } => self.carry(found, header, Some(queue), uses, now),
                Fate::Drop => false,
            },
        };
        if carried {
            return;
        }
        self.evict(found, candidate.age, now);
    }

    /// Writes an item again, to the end of a queue or where its segment is compacted to; false if the system has no
    /// memory.
    fn carry(&mut self, found: Found, header: &Header, queue: Option<u8>, uses: u8, now: Now) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let (from, _) = self.log.split(found.location);
        let (segment, record) = self.log.at(found.location);
        let opened = segment.opened;
        let cas = header.cas().unwrap_or_else(|| self.log.implied_cas(found.location, header));
        scratch.extend_from_slice(&record[..header.len()]);
        let mut draft = header.draft(&scratch, opened);
        draft.uses = uses;
        let place = queue.map(|queue| Place::new(queue, draft.expiry, now));
        let room = match place {
            Some(place) => self.log.room(place, draft.len()),
            None => self.log.room_compacted(draft.len()),
        };
        // If a new segment must be had beyond the limit, the one being emptied makes up for it.
        let to = room.or_else(|| {
            let block = self.spare.take().or_else(|| self.pool.block())?;
            Some(match place {
                Some(place) => self.log.open(place, block, now),
                None => self.log.open_compacted(from, block),
            })
        });
        if let Some(to) = to {
            let new = self.log.append_moved(to, draft, cas);
            self.index.replace(found.slot, new);
            self.stats.carried_bytes += header.len() as u64;
            if self.log.kill(found.location, header) {
                self.free_segment(from);
            }
        }
        self.scratch = scratch;
        to.is_some()
    }

    fn evict(&mut self, found: Found, age: u32, now: Now) {
        let item = self.item(found.location);
        let size = memcached_size(item.key().len(), item.value().len(), item.client_flags() != 0);
        let (fetched, idle, expiry) = (item.fetched(), item.idle(now), item.expiry());
        let class = &mut self.stats.classes[class_of(size)];
        class.evicted += 1;
        class.evicted_nonzero += u64::from(expiry.deadline().is_some());
        class.evicted_time = u64::from(idle);
        class.evicted_unfetched += u64::from(!fetched);
        class.evicted_active += u64::from(idle < 60);
        self.stats.evicted_age[bit_length(age)] += 1;
        self.stats.evicted_idle[bit_length(idle)] += 1;
        self.stats.evicted_age_sum += u64::from(age);
        self.stats.evicted_idle_sum += u64::from(idle);
        if let Some(hook) = self.hook.clone() {
            let item = self.item(found.location);
            let (remaining, value_len) = (expiry.remaining(now), item.value().len());
            hook(&Evicted { key: item.key(), fetched, remaining, idle, size, value_len, now });
        }
        self.discard(found, Reason::Changed);
    }

    /// Takes a segment without live items out of the log. Its memory is for the next segment, if there is none yet.
    pub fn free_segment(&mut self, id: u32) {
        self.drain = self.drain.filter(|drain| drain.segment != id);
        self.look = self.look.filter(|look| look.segment != id);
        let Some(block) = self.log.remove(id) else { return };
        if self.spare.is_none() && !self.pool.is_over() {
            self.spare = Some(block);
        } else {
            self.pool.give_back(block);
        }
    }

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
        more |= self.look(now);
        more |= self.index.give_back();
        more
    }

    /// Searches a segment for items that are over; true if that is urgent and not done.
    fn look(&mut self, now: Now) -> bool {
        if self.look.is_none() {
            self.look = self.next_look(now);
        }
        for _ in 0..SLICE / BATCH {
            if !self.look_further(now) {
                break;
            }
        }
        if self.look.is_none() {
            self.look = self.next_look(now);
        }
        self.look.is_some_and(|look| look.urgent)
    }

    /// Searches the next [`BATCH`] records, and discards those that are over; false at the end of the segment. The
    /// index is far from the processor's cache, so all the slots it takes are fetched before the first is waited for.
    fn look_further(&mut self, now: Now) -> bool {
        let Some(look) = &mut self.look else { return false };
        let Some(segment) = self.log.segment(look.segment) else { return false };
        let flushed = segment.sequence < self.flushed_below;
        let mut over = [(0, FIRST); BATCH];
        let mut count = 0;
        for _ in 0..BATCH {
            let at = look.at;
            if at >= segment.end() {
                break;
            }
            let record = segment.record(at);
            let header = match record::find(record) {
                record::Found::Dead { len } => {
                    look.at += len;
                    continue;
                }
                record::Found::Live(header) => header,
            };
            look.at += header.len();
            let hash = || self.hasher.hash_one(header.key(record));
            let is_outdated =
                || header.sources(record).is_some_and(|named| !self.sources.is_current(hash(), named));
            if !flushed && !header.expiry().is_over(now) && !is_outdated() {
                look.left.add(header.expiry(), header.weight());
                continue;
            }
            let size = memcached_size(header.key_len(), header.value_len(), header.client_flags() != 0);
            self.stats.classes[class_of(size)].crawler_items_checked += 1;
            over[count] = (hash(), at);
            count += 1;
        }
        let (id, is_end) = (look.segment, look.at >= segment.end());
        let over = &over[..count];
        std::hint::black_box(over.iter().fold(0, |bits, &(hash, _)| bits ^ self.index.fetch(hash)));
        let reason = if flushed { Reason::Flushed } else { Reason::Swept };
        for &(hash, at) in over {
            let location = self.log.location(id, at);
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
            if segment.sequence < self.flushed_below || segment.is_over(now) || segment.crowd_is_over(now) {
                return Some(look(true));
            }
            if segment.is_worth_a_look(now, updates) {
                worth_it = Some(look(false));
            }
        }
        worth_it
    }
}

/// 0 for 0, otherwise the number of the highest bit, from 1.
fn bit_length(seconds: u32) -> usize {
    (32 - seconds.leading_zeros()) as usize
}

impl Shard {
    /// Adds this shard's counts to a sum.
    pub fn add_stats(&self, sum: &mut super::Stats, now: Now) {
        let queues = (0..QUEUES as u8).filter_map(|queue| self.log.queue(queue).front());
        let oldest = queues.filter_map(|&id| self.log.segment(id)).map(|segment| segment.opened).min();
        let age = u64::from(now.seconds().saturating_sub(oldest.unwrap_or(now.seconds())));
        for (total, mine) in sum.classes.iter_mut().zip(&self.stats.classes) {
            total.items += mine.items;
            total.bytes += mine.bytes;
            total.evicted += mine.evicted;
            total.evicted_nonzero += mine.evicted_nonzero;
            total.evicted_time = total.evicted_time.max(mine.evicted_time);
            total.evicted_unfetched += mine.evicted_unfetched;
            total.evicted_active += mine.evicted_active;
            total.expired_unfetched += mine.expired_unfetched;
            total.reclaimed += mine.reclaimed;
            total.crawler_reclaimed += mine.crawler_reclaimed;
            total.crawler_items_checked += mine.crawler_items_checked;
            total.out_of_memory += mine.out_of_memory;
            if mine.items > 0 {
                total.age = total.age.max(age);
            }
        }
        sum.total_items += self.stats.total_items;
        sum.index_slots += self.index.capacity() as u64;
        sum.index_bytes += self.index.bytes() as u64;
        sum.segments += self.log.segment_count() as u64;
        sum.segment_bytes += (self.log.segment_count() * self.pool.block_len()) as u64;
        sum.live_bytes += self.log.live_bytes as u64;
        sum.large_bytes += self.bodies.bytes() as u64;
        sum.ghosts += self.policy.ghosts() as u64;
        sum.stored_bytes += self.stats.stored_bytes;
        sum.carried_bytes += self.stats.carried_bytes;
        sum.evicted_age_sum += self.stats.evicted_age_sum;
        sum.evicted_idle_sum += self.stats.evicted_idle_sum;
        for (total, mine) in sum.evicted_age.iter_mut().zip(self.stats.evicted_age) {
            *total += mine;
        }
        for (total, mine) in sum.evicted_idle.iter_mut().zip(self.stats.evicted_idle) {
            *total += mine;
        }
    }
}
