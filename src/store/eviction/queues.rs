//! Two queues: new items go through a small one; those read there, or missed soon after they went, get into the
//! main one, where an item read since it was carried on is carried on.

use super::ghosts::Ghosts;
use super::{Candidate, Fate};
use crate::store::pool::Pool;
use crate::store::segment::QUEUES;
use std::sync::Arc;

const SMALL: u8 = 0;
pub(super) const MAIN: u8 = 1;

/// Share of memory the small queue begins with, and the bounds of what it may become. Nothing is ranked in there, so
/// it must not be more than is needed to see whether an item is read soon.
const SHARE: f64 = 0.10;
const LEAST_SHARE: f64 = 0.01;
const MOST_SHARE: f64 = 0.20;

#[derive(Debug)]
pub(in crate::store) struct TwoQueues {
    pub(super) ghosts: Ghosts,
    /// Share of memory the small queue is meant to have.
    share: f64,
    items: usize,
}

impl TwoQueues {
    pub fn new(pool: Arc<Pool>) -> TwoQueues {
        TwoQueues { ghosts: Ghosts::new(pool), share: SHARE, items: 0 }
    }

    pub fn admit(&mut self, hash: u64, old: Option<u8>) -> u8 {
        if let Some(queue) = old {
            return queue;
        }
        // One missed after it went from a queue: that queue should have been longer.
        let step = 1.0 / (self.items.max(1000) as f64);
        match self.ghosts.take(hash) {
            Some(SMALL) => self.share = (self.share + step).min(MOST_SHARE),
            Some(_) => self.share = (self.share - step).max(LEAST_SHARE),
            None => return SMALL,
        }
        MAIN
    }

    pub fn victim(&mut self, bytes: [usize; QUEUES], items: usize) -> u8 {
        self.items = items;
        self.ghosts.fit(items);
        let small = bytes[usize::from(SMALL)] as f64;
        if small > self.share * bytes.iter().sum::<usize>() as f64 { SMALL } else { MAIN }
    }

    pub fn fate(&mut self, item: &Candidate) -> Fate {
        match (item.queue, item.uses) {
            (SMALL, 1..) => Fate::Carry { queue: MAIN, uses: 0 },
            (_, 1..) => Fate::Carry { queue: MAIN, uses: item.uses - 1 },
            (_, 0) => {
                self.ghosts.add(item.hash, item.queue);
                Fate::Drop
            }
        }
    }

    pub fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    pub fn bytes(&self) -> usize {
        self.ghosts.bytes()
    }
}
