//! Two queues, and of the unused items of the main one those are kept that promise most hits for their bytes.

use super::queues::{MAIN, TwoQueues};
use super::scores::Scores;
use super::{Candidate, Fate};
use crate::store::pool::Pool;
use std::sync::Arc;

#[derive(Debug)]
pub(in crate::store) struct Ranked {
    pub(super) queues: TwoQueues,
    scores: Scores,
}

/// Share of the bytes of main segments that is carried on.
const KEEP: f32 = 0.65;
/// Bytes lately seen among which an item's rank is found.
const LATELY: f32 = (4 << 20) as f32;

impl Ranked {
    pub fn new(pool: Arc<Pool>) -> Ranked {
        Ranked { queues: TwoQueues::new(pool), scores: Scores::new() }
    }

    pub fn fate(&mut self, item: &Candidate) -> Fate {
        if item.queue != MAIN {
            return self.queues.fate(item);
        }
        let recency = 0.25 + item.idle as f32 / item.age.max(1) as f32;
        let score = (f32::from(item.uses) + 0.5) / item.len as f32 / recency;
        let best = self.scores.is_among_best(score, item.len, KEEP, LATELY);
        match item.uses {
            0 if best && item.may_copy => Fate::Carry { queue: MAIN, uses: 0 },
            _ => self.queues.fate(item),
        }
    }
}
