//! Second chance: one queue; an item read since it was written or carried on is carried on.

use super::{Candidate, Fate};

#[derive(Debug)]
pub(in crate::store) struct Clock;

impl Clock {
    pub fn fate(&mut self, item: &Candidate) -> Fate {
        match item.uses {
            0 => Fate::Drop,
            uses => Fate::Carry { queue: 0, uses: uses - 1 },
        }
    }
}
