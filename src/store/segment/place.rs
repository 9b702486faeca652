//! To which open segment an item goes.

use crate::store::{Expiry, Now};

/// Groups of items by how long they have to live, so that the items of a segment end at about the same time.
pub(super) const GROUPS: usize = 5;

/// What an item is appended to: the open segment of this queue, for items that live about this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Place {
    pub queue: u8,
    group: u8,
}

impl Place {
    pub fn new(queue: u8, expiry: Expiry, now: Now) -> Place {
        let group = match expiry.remaining(now) {
            Some(0..64) => 4,
            Some(64..1024) => 3,
            Some(1024..16_384) => 2,
            Some(_) => 1,
            None => 0,
        };
        Place { queue, group }
    }

    /// Which of the groups, of [`GROUPS`].
    pub fn group(self) -> usize {
        self.group.into()
    }

    /// Seconds between two looks for expired items among others.
    pub fn look_interval(self) -> u32 {
        [600, 600, 60, 8, 2][self.group()]
    }
}
