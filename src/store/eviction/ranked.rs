//! Two queues, and of the items nobody used those are kept that promise most hits for their bytes.

use super::queues::{MAIN, TwoQueues};
use super::scores::Scores;
use super::{Candidate, Fate};
use crate::store::pool::Pool;
use std::sync::Arc;

#[derive(Debug)]
pub(in crate::store) struct Ranked {
    pub(super) queues: TwoQueues,
    scores: Scores,
    /// Share of the bytes of main segments that is to be carried on: as much as the copying allows.
    keep: f32,
    /// Bytes of items since that share was last changed.
    seen: usize,
}

/// The most that may be kept: with more, new items get too little of the memory.
const MOST_KEPT: f32 = 0.75;
/// Bytes copied for each one stored that are aimed at; a little is left for compacting.
const COPIES: f32 = 1.4;
/// Bytes of items after which the share is changed, and by how much for each copy more or less than is aimed at.
const REVIEW: usize = 64 << 10;
const STEP: f32 = 0.02;
/// Bytes lately seen among which an item's rank is found.
const LATELY: f32 = (4 << 20) as f32;
/// What an item that was never used promises, beside one that was used but not lately.
const NEWCOMER: f32 = 0.5;

impl Ranked {
    pub fn new(pool: Arc<Pool>) -> Ranked {
        Ranked { queues: TwoQueues::new(pool), scores: Scores::new(), keep: MOST_KEPT, seen: 0 }
    }

    pub fn fate(&mut self, item: &Candidate) -> Fate {
        let recency = 0.25 + item.idle as f32 / item.age.max(1) as f32;
        let score = (f32::from(item.uses) + 0.5) / item.len as f32 / recency;
        let is_kept = match item.queue {
            MAIN => {
                self.review(item);
                self.scores.is_among_best(score, item.len, self.keep, LATELY)
            }
            _ => self.scores.would_be_among_best(score * NEWCOMER),
        };
        match (item.queue, item.uses) {
            (_, 0) if is_kept => Fate::Carry { queue: MAIN, uses: 0 },
            (MAIN, 1..) => Fate::Carry { queue: MAIN, uses: item.uses / 2 },
            _ => self.queues.fate(item),
        }
    }

    fn review(&mut self, item: &Candidate) {
        self.seen += item.len;
        if self.seen > REVIEW {
            self.seen = 0;
            let step = (STEP * (COPIES - item.copies)).clamp(-STEP / 2.0, STEP / 4.0);
            self.keep = (self.keep + step).clamp(0.0, MOST_KEPT);
        }
    }
}
