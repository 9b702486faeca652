//! CAS values from places: unique among all items and shards, and higher for what is opened later.

use super::Log;

/// How the places of one shard become CAS values.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct CasSpace {
    shard: usize,
    shard_bits: u32,
    offset_bits: u32,
}

impl CasSpace {
    /// Of the shard of this number among so many, a power of two, with segments of this length, another.
    pub fn new(shard: usize, shards: usize, segment_len: usize) -> CasSpace {
        CasSpace { shard, shard_bits: shards.trailing_zeros(), offset_bits: segment_len.trailing_zeros() }
    }

    /// The number of the shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The value of an offset in the segment of this sequence number.
    #[inline]
    pub fn at(&self, sequence: u64, offset: usize) -> u64 {
        (sequence << self.offset_bits | offset as u64) << self.shard_bits | self.shard as u64
    }

    /// The first sequence number whose values are all above `floor`.
    pub fn sequence_above(&self, floor: u64) -> u64 {
        (floor >> (self.offset_bits + self.shard_bits)) + 1
    }
}

impl Log {
    /// The number of what is written next that has no segment of its own, above all before it.
    pub fn fresh_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    /// A CAS value above all there have been.
    pub fn fresh_cas(&mut self) -> u64 {
        let sequence = self.fresh_sequence();
        self.cas_space.at(sequence, 0)
    }

    /// A CAS value that no item has had, nor one below it has yet to get.
    pub fn cas_ceiling(&self) -> u64 {
        self.cas_space.at(self.next_sequence, 0)
    }

    /// Makes every CAS value from now on one above `floor`. Only while there are no items.
    pub fn raise_cas(&mut self, floor: u64) {
        self.next_sequence = self.next_sequence.max(self.cas_space.sequence_above(floor));
    }

    /// Remembers that clients may know the CAS value of an item that goes away.
    pub fn forget_cas(&mut self, cas: u64) {
        // A value a client chose may be near the end of the range, and says nothing about ours.
        if cas < self.cas_space.at(self.next_sequence, 0) {
            self.cas_floor = self.cas_floor.max(cas);
        }
    }

    /// What a new CAS value has to be above, whatever its key.
    pub(super) fn floor(&self) -> u64 {
        self.cas_floor.max(self.doomed_floor)
    }
}
