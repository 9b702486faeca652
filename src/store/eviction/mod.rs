//! Which items stay when memory is short: asked when an item is stored and when its segment is to be given up.
//! Knows queues and what is known of an item, neither segments nor index.

mod clock;
mod ghosts;
mod queues;
mod ranked;
mod scores;

use super::pool::Pool;
use super::segment::QUEUES;
use clock::Clock;
use queues::TwoQueues;
use ranked::Ranked;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The ways to choose what is evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Second chance: items go in the order they were stored; one read since then stays and is taken again for new.
    Clock,
    /// New items must be read, or come back soon after they went, to get from a small queue into the main one. One
    /// pass over many items that nobody reads again (a scan) then costs little of what is used.
    Queues,
    /// Like `queues`; and of what nobody read lately, that is kept which promises most hits for its bytes: small
    /// items, and items that were read not long ago. How much is kept follows from how much may be copied.
    #[default]
    Ranked,
}

impl Eviction {
    /// All of them.
    pub const ALL: [Eviction; 3] = [Eviction::Clock, Eviction::Queues, Eviction::Ranked];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Eviction::Clock => "clock",
            Eviction::Queues => "queues",
            Eviction::Ranked => "ranked",
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Eviction {
    type Err = ();

    fn from_str(name: &str) -> Result<Eviction, ()> {
        Eviction::ALL.into_iter().find(|eviction| eviction.name() == name).ok_or(())
    }
}

/// What a policy is told of an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub hash: u64,
    /// Bytes of memory it takes, those of a long value included.
    pub len: usize,
    /// The queue it is in.
    pub queue: u8,
    /// Uses remembered since it was written or last carried on, at most [`super::record::MOST_USES`].
    pub uses: u8,
    /// Eighths of a second since it was used.
    pub idle: u32,
    /// Eighths of a second since it was written or last carried on.
    pub age: u32,
    /// Bytes copied for each one stored, lately.
    pub copies: f32,
}

/// What becomes of an item whose segment is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Written again, to this queue, with this many uses remembered.
    Carry { queue: u8, uses: u8 },
    /// Evicted.
    Drop,
}

/// The policy of one shard.
#[derive(Debug)]
pub(super) enum Policy {
    Clock(Clock),
    Queues(TwoQueues),
    Ranked(Ranked),
}

impl Policy {
    pub fn new(eviction: Eviction, pool: Arc<Pool>) -> Policy {
        match eviction {
            Eviction::Clock => Policy::Clock(Clock),
            Eviction::Queues => Policy::Queues(TwoQueues::new(pool)),
            Eviction::Ranked => Policy::Ranked(Ranked::new(pool)),
        }
    }

    /// The queue of an item that is stored; `old` is the one of the item it replaces.
    pub fn admit(&mut self, hash: u64, old: Option<u8>) -> u8 {
        match self {
            Policy::Clock(_) => 0,
            Policy::Queues(queues) => queues.admit(hash, old),
            Policy::Ranked(ranked) => ranked.queues.admit(hash, old),
        }
    }

    /// The queue whose oldest segment is to go, given the bytes in each, and the number of items.
    pub fn victim(&mut self, bytes: [usize; QUEUES], items: usize) -> u8 {
        match self {
            Policy::Clock(_) => 0,
            Policy::Queues(queues) => queues.victim(bytes, items),
            Policy::Ranked(ranked) => ranked.queues.victim(bytes, items),
        }
    }

    /// What becomes of an item whose segment is to go.
    pub fn fate(&mut self, item: &Candidate) -> Fate {
        match self {
            Policy::Clock(clock) => clock.fate(item),
            Policy::Queues(queues) => queues.fate(item),
            Policy::Ranked(ranked) => ranked.fate(item),
        }
    }

    /// Items remembered after they went.
    pub fn ghosts(&self) -> usize {
        match self {
            Policy::Clock(_) => 0,
            Policy::Queues(queues) => queues.ghosts(),
            Policy::Ranked(ranked) => ranked.queues.ghosts(),
        }
    }

    /// Bytes of memory it holds, charged to the pool.
    pub fn bytes(&self) -> usize {
        match self {
            Policy::Clock(_) => 0,
            Policy::Queues(queues) => queues.bytes(),
            Policy::Ranked(ranked) => ranked.queues.bytes(),
        }
    }
}
