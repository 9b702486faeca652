//! When the items of a segment end, as far as it pays to know.

use super::Expiry;

/// When the items of a segment end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub earliest: u32,
    /// `u32::MAX` if one has no expiry; 0 if there are no items.
    pub latest: u32,
    /// The deadline most bytes have, if one has more than half of them, and by how many bytes more.
    pub crowd: u32,
    pub crowd_lead: u64,
}

impl Deadlines {
    pub const NONE: Deadlines = Deadlines { earliest: u32::MAX, latest: 0, crowd: u32::MAX, crowd_lead: 0 };

    /// Adds an item of so many bytes.
    pub fn add(&mut self, expiry: Expiry, bytes: usize) {
        let deadline = expiry.deadline().map_or(u32::MAX, u32::from);
        self.earliest = self.earliest.min(deadline);
        self.latest = self.latest.max(deadline);
        let bytes = bytes as u64;
        if deadline == self.crowd {
            self.crowd_lead += bytes;
        } else if self.crowd_lead >= bytes {
            self.crowd_lead -= bytes;
        } else {
            (self.crowd, self.crowd_lead) = (deadline, bytes - self.crowd_lead);
        }
    }
}
