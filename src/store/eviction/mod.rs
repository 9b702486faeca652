//! Which items stay when memory is short: asked when an item is stored and when its segment has come to its end.
//! Knows queues and what is known of an item, neither segments nor index.

use super::record::MOST_USES;

/// What a policy is told of an item.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // The other policies look at the rest.
pub(super) struct Candidate {
    pub hash: u64,
    /// Bytes of memory it takes.
    pub len: usize,
    /// The queue it is in.
    pub queue: u8,
    /// Uses remembered since it was written or last carried on, at most [`MOST_USES`].
    pub uses: u8,
    /// Seconds since it was used.
    pub idle: u32,
    /// Seconds since it was written or last carried on.
    pub age: u32,
}

/// What becomes of an item whose segment is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Written again, to this queue, with this many uses remembered.
    Carry { queue: u8, uses: u8 },
    /// Evicted.
    Drop,
}

/// Second chance: one queue; an item read since it was written or carried on is carried on.
#[derive(Debug, Default)]
pub(super) struct Policy {}

impl Policy {
    /// The queue of an item that is stored; `old` is the one of the item it replaces.
    pub fn admit(&mut self, _hash: u64, old: Option<u8>) -> u8 {
        old.unwrap_or(0)
    }

    /// The queue whose oldest segment is to go, given the bytes in each queue.
    pub fn victim(&self, _bytes: &[usize]) -> u8 {
        0
    }

    /// What becomes of an item whose segment is to go.
    pub fn fate(&mut self, item: &Candidate) -> Fate {
        match item.uses {
            0 => Fate::Drop,
            uses => Fate::Carry { queue: item.queue, uses: uses.min(MOST_USES) - 1 },
        }
    }
}
