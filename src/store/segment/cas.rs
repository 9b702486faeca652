//! CAS values from places: unique among all items and shards, and higher for what is opened later.

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
