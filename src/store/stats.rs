//! What the store counts. Each number is kept by one shard and added up when asked for.

use super::record::Header;
use super::segment::QUEUES;
use super::shard::Shard;
use super::{CLASS_COUNT, Now, class_of, memcached_size};

/// Counts of one size class.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassStats {
    /// Items now.
    pub items: u64,
    /// Their bytes now, by memcached's way of counting.
    pub bytes: u64,
    /// Seconds since the least recently used item was used, roughly.
    pub age: u64,
    /// Live items thrown out for room.
    pub evicted: u64,
    /// Of these, items that had an expiry.
    pub evicted_nonzero: u64,
    /// Seconds the item last thrown out had not been used.
    pub evicted_time: u64,
    /// Of `evicted`, items never read.
    pub evicted_unfetched: u64,
    /// Of `evicted`, items used in their last minute.
    pub evicted_active: u64,
    /// Items whose time was over and that were never read.
    pub expired_unfetched: u64,
    /// Expired items whose memory came back because a store needed it or found them.
    pub reclaimed: u64,
    /// Expired items whose memory came back in the background.
    pub crawler_reclaimed: u64,
    /// Items looked at in the background.
    pub crawler_items_checked: u64,
    /// Stores refused for want of memory.
    pub out_of_memory: u64,
}

/// Counts of the whole store.
#[derive(Clone, Debug)]
pub struct Stats {
    /// By size class; index 0 is not used.
    pub classes: [ClassStats; CLASS_COUNT],
    /// Items stored since start.
    pub total_items: u64,
    /// Bytes of memory the store holds, everything included.
    pub memory_bytes: u64,
    /// Sources that live items name, each counted once.
    pub sources: u64,
    /// Namings of sources by live items.
    pub source_namings: u64,
    /// Updates of sources while live items named them.
    pub source_updates: u64,
    /// Slots of the index.
    pub index_slots: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of memory of the log's segments.
    pub segment_bytes: u64,
    /// Bytes of the log's segments that live items take, headers included.
    pub live_bytes: u64,
    /// Bytes of values held beside the log.
    pub large_bytes: u64,
    /// Items remembered by the eviction policy after they went.
    pub ghosts: u64,
    /// Bytes written to the log for clients since start.
    pub stored_bytes: u64,
    /// Bytes copied within the log since start, for items carried on.
    pub carried_bytes: u64,
    /// Evicted items, by the bit length of their age in seconds when they went: since they were written or last
    /// carried on.
    pub evicted_age: [u64; 33],
    /// Evicted items, by the bit length of the seconds they had not been used when they went.
    pub evicted_idle: [u64; 33],
    /// The ages of all evicted items, in seconds.
    pub evicted_age_sum: u64,
    /// The seconds all evicted items had not been used.
    pub evicted_idle_sum: u64,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            classes: [ClassStats::default(); CLASS_COUNT],
            total_items: 0,
            memory_bytes: 0,
            sources: 0,
            source_namings: 0,
            source_updates: 0,
            index_slots: 0,
            index_bytes: 0,
            segments: 0,
            segment_bytes: 0,
            live_bytes: 0,
            large_bytes: 0,
            ghosts: 0,
            stored_bytes: 0,
            carried_bytes: 0,
            evicted_age: [0; 33],
            evicted_idle: [0; 33],
            evicted_age_sum: 0,
            evicted_idle_sum: 0,
        }
    }
}

impl Stats {
    /// Takes away what had been counted at `earlier`; what tells of now stays.
    pub fn since(&mut self, earlier: &Stats) {
        for (class, earlier) in self.classes.iter_mut().zip(&earlier.classes) {
            let ClassStats {
                items: _,
                bytes: _,
                age: _,
                evicted_time: _,
                evicted,
                evicted_nonzero,
                evicted_unfetched,
                evicted_active,
                expired_unfetched,
                reclaimed,
                crawler_reclaimed,
                crawler_items_checked,
                out_of_memory,
            } = class;
            *evicted = evicted.saturating_sub(earlier.evicted);
            *evicted_nonzero = evicted_nonzero.saturating_sub(earlier.evicted_nonzero);
            *evicted_unfetched = evicted_unfetched.saturating_sub(earlier.evicted_unfetched);
            *evicted_active = evicted_active.saturating_sub(earlier.evicted_active);
            *expired_unfetched = expired_unfetched.saturating_sub(earlier.expired_unfetched);
            *reclaimed = reclaimed.saturating_sub(earlier.reclaimed);
            *crawler_reclaimed = crawler_reclaimed.saturating_sub(earlier.crawler_reclaimed);
            *crawler_items_checked = crawler_items_checked.saturating_sub(earlier.crawler_items_checked);
            *out_of_memory = out_of_memory.saturating_sub(earlier.out_of_memory);
        }
        self.total_items = self.total_items.saturating_sub(earlier.total_items);
        self.source_updates = self.source_updates.saturating_sub(earlier.source_updates);
        self.stored_bytes = self.stored_bytes.saturating_sub(earlier.stored_bytes);
        self.carried_bytes = self.carried_bytes.saturating_sub(earlier.carried_bytes);
        self.evicted_age_sum = self.evicted_age_sum.saturating_sub(earlier.evicted_age_sum);
        self.evicted_idle_sum = self.evicted_idle_sum.saturating_sub(earlier.evicted_idle_sum);
        let ages = self.evicted_age.iter_mut().zip(&earlier.evicted_age);
        for (count, earlier) in ages.chain(self.evicted_idle.iter_mut().zip(&earlier.evicted_idle)) {
            *count = count.saturating_sub(*earlier);
        }
    }

    /// One count, added up over the classes.
    pub fn sum(&self, count: impl Fn(&ClassStats) -> u64) -> u64 {
        self.classes.iter().map(count).sum()
    }

    /// Counts an item that was looked at in the background.
    pub(super) fn count_searched(&mut self, header: &Header) {
        let size = memcached_size(header.key_len(), header.value_len(), header.client_flags() != 0);
        self.classes[class_of(size)].crawler_items_checked += 1;
    }
}

impl Shard {
    /// Adds this shard's counts to a sum.
    pub fn add_stats(&self, sum: &mut Stats, now: Now) {
        let queues = (0..QUEUES as u8).filter_map(|queue| self.log.queue(queue).front());
        let oldest = queues.filter_map(|&id| self.log.segment(id)).map(|segment| segment.opened / 8).min();
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
