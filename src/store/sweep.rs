//! Making room when memory is short: evicting and compacting, a little at a time.

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

/// A segment is compacted if less than this percentage of it is live, and dead bytes are more than this part of all: so
/// nine tenths of the memory stay live, and nothing is copied for the sake of the last tenth.
const COMPACT_BELOW: usize = 90;
const DEAD_PART: usize = 12;
/// The same when nothing may be evicted.
const COMPACT_BELOW_WITHOUT_EVICTION: usize = 94;

/// Bytes copied for each one stored, lately, beyond which nothing is compacted while something can be evicted. Only where
/// items are replaced at random by longer and shorter ones does it come to that: 1.5 then keep 83 % of the memory live,
/// 2 keep 86 %, 3 keep 89 %, 4 keep 91 %, 6 keep 93 %.
const MOST_COPIES: f32 = 4.0;

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
            self.drain(10 * len + 256, target.now);
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
            let Some((segment, compact)) = self.victim(now) else { return false };
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
            let len = found.len();
            drain.at += len;
            quantum = quantum.saturating_sub(len);
            let drain = *drain;
            if let Some(location) = self.log.item_at(drain.segment, at, &found) {
                let header = self.log.header(location);
                quantum = quantum.saturating_sub(header.body().len as usize);
                self.carry_or_evict(drain, location, &header, now);
            }
        }
        true
    }

    /// The segment to be given up next, and whether only for its dead items. One that is over as a whole goes first.
    fn victim(&mut self, now: Now) -> Option<(u32, bool)> {
        let (mut written, mut dead) = (0, 0);
        let mut least: Option<(usize, u32)> = None;
        let mut near: Option<(usize, u32)> = None;
        let mut bytes = [0; QUEUES];
        let below = if self.no_evictions { COMPACT_BELOW_WITHOUT_EVICTION } else { COMPACT_BELOW };
        let worth_it = self.pool.block_len() / 100 * below;
        for id in self.log.ids() {
            let Some(segment) = self.log.segment(id) else { continue };
            if self.is_over(segment, now) {
                return Some((id, true));
            }
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
        let (segment, record) = self.log.at(location);
        let hash = self.hasher.hash_one(header.key(record));
        let Some((slot, _)) = self.index.find(hash, |other| other == location) else {
            debug_assert!(segment.is_doomed(), "a live item is in the index");
            return self.unlink(location, Reason::Expired);
        };
        let found = Found { slot, location };
        if let Some(absent) = self.absence(location, header, now) {
            return self.discard(found, absent.into());
        }
        let candidate = Candidate {
            hash,
            len: header.weight(),
            queue: segment.queue(),
            uses: header.uses(),
            idle: now.eighths().saturating_sub(header.last_used(segment.opened)),
            age: now.eighths().saturating_sub(segment.opened),
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
        self.evict(found, candidate.age / 8, now);
    }

    /// Writes an item again, to the end of a queue or where its segment is compacted to; false if the system has no
    /// memory.
    fn carry(&mut self, found: Found, header: &Header, queue: Option<u8>, uses: u8, now: Now) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let (from, _) = self.log.split(found.location);
        let (segment, record) = self.log.at(found.location);
        let rest = self.log.rest(segment, header);
        let opened = segment.opened;
        let cas = header.cas().unwrap_or_else(|| self.log.implied_cas(found.location, header));
        scratch.extend_from_slice(&record[..header.len()]);
        scratch.extend_from_slice(rest);
        let (record, rest) = scratch.split_at(header.len());
        let mut draft = header.draft(record, rest, opened);
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
            self.stats.carried_bytes += (header.len() + header.rest_len()) as u64;
            self.kill(found.location, header);
        }
        self.scratch = scratch;
        to.is_some()
    }

    fn evict(&mut self, found: Found, age_seconds: u32, now: Now) {
        let item = self.item(found.location);
        let size = memcached_size(item.key().len(), item.value().len(), item.client_flags() != 0);
        let (fetched, idle, expiry) = (item.fetched(), item.idle(now), item.expiry());
        let class = &mut self.stats.classes[class_of(size)];
        class.evicted += 1;
        class.evicted_nonzero += u64::from(expiry.deadline().is_some());
        class.evicted_time = u64::from(idle);
        class.evicted_unfetched += u64::from(!fetched);
        class.evicted_active += u64::from(idle < 60);
        self.stats.evicted_age[bit_length(age_seconds)] += 1;
        self.stats.evicted_idle[bit_length(idle)] += 1;
        self.stats.evicted_age_sum += u64::from(age_seconds);
        self.stats.evicted_idle_sum += u64::from(idle);
        if let Some(hook) = self.hook.clone() {
            let item = self.item(found.location);
            let (remaining, value_len) = (expiry.remaining(now), item.value().len());
            hook(&Evicted { key: item.key(), fetched, remaining, idle, size, value_len, now });
        }
        self.discard(found, Reason::Changed);
    }

    /// Takes an item out of the log, and the segments that leaves without live items.
    pub fn kill(&mut self, location: Location, header: &Header) {
        for id in self.log.kill(location, header).into_iter().flatten() {
            self.free_segment(id);
        }
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
}

/// 0 for 0, otherwise the number of the highest bit, from 1.
fn bit_length(seconds: u32) -> usize {
    (32 - seconds.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was copied is measured by what was stored lately, not by what was stored long ago without copying.
    #[test]
    fn the_copies_that_count_are_those_of_lately() {
        let mut copying = Copying::default();
        let mut stats = Stats { stored_bytes: 1000, ..Stats::default() };
        assert_eq!(copying.ratio(&stats), 0.0);
        let lately = 100;
        for _ in 0..10 {
            copying.forget(&stats, lately);
        }
        stats.stored_bytes += 50;
        stats.carried_bytes += 200;
        let ratio = copying.ratio(&stats);
        assert!((1.0..4.0).contains(&ratio), "{ratio}: little of what was stored before counts");
        let before = copying;
        copying.forget(&stats, 1000);
        assert_eq!(copying.ratio(&stats), before.ratio(&stats), "all of it is lately");
        stats.stored_bytes += 950;
        for _ in 0..10 {
            copying.forget(&stats, lately);
        }
        assert!(
            copying.ratio(&stats) < 0.5,
            "{}: what was copied is forgotten as well",
            copying.ratio(&stats)
        );
    }
}
