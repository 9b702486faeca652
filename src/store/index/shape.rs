//! Growing, shrinking, splitting and joining the regions of the index, and giving their memory back.

use super::{
    Compaction, Index, LOCATION_MASK, Location, MAX_PAGES, MAX_SLOTS, PAGE_SLOTS, Region, TAG_BITS, TAIL,
    home,
};

/// Most entries of the directory for each region, before a region is split. Hashes that nobody can choose need about
/// four; if somebody could, a thousand of keys with tags near each other would double the directory again and again.
const MOST_ENTRIES: usize = 64;

/// Regions whose pages are moved with one lock held, and blocks given to the system: some 100 microseconds for either.
const REGIONS_AT_ONCE: usize = 16;
pub(super) const BLOCKS_AT_ONCE: usize = 2;

impl Index {
    /// Gives back memory that has become much more than the slots need, a little at a time. True if more can be done.
    pub fn give_back(&mut self) -> bool {
        let pages = self.blocks.len() * self.pages_per_block();
        let spare = (pages / 4).max(2 * self.pages_per_block());
        let Compaction { next_region, keep_blocks } = match self.compaction {
            Some(under_way) => under_way,
            None if self.free.len() > spare => {
                let used = pages - self.free.len();
                let keep_blocks = (used + used / 16).div_ceil(self.pages_per_block()).max(1);
                Compaction { next_region: 0, keep_blocks }
            }
            None => return false,
        };
        if next_region >= self.regions.len() {
            self.compaction =
                Some(Compaction { next_region, keep_blocks }).filter(|_| self.drop_free_blocks());
            return self.compaction.is_some();
        }
        let threshold = (keep_blocks * self.pages_per_block()) as u32;
        let end = (next_region + REGIONS_AT_ONCE).min(self.regions.len());
        for region in next_region..end {
            for at in 0..usize::from(self.regions[region].page_count) {
                let page = self.regions[region].pages[at];
                if page < threshold || self.free.lowest().is_none_or(|lowest| lowest >= threshold) {
                    continue;
                }
                let Some(lowest) = self.free.take() else { continue };
                let copy = *self.page(page);
                *self.page_mut(lowest) = copy;
                self.regions[region].pages[at] = lowest;
                self.free.give(page);
            }
        }
        self.compaction = Some(Compaction { next_region: end, keep_blocks });
        true
    }

    /// Gives some blocks at the end back that no region has pages of. True if there may be more.
    pub(super) fn drop_free_blocks(&mut self) -> bool {
        for _ in 0..BLOCKS_AT_ONCE {
            if !self.free.remove(self.pages_per_block()) {
                return false;
            }
            let Some(block) = self.blocks.pop() else { return false };
            self.pool.give_back(block);
        }
        true
    }

    /// Makes room for at least one more: a page or two more, or two regions of one. If that cannot be, the region
    /// stays as it is.
    pub(super) fn grow(&mut self, region: usize) -> bool {
        let mut slots = [0; MAX_SLOTS];
        let len = self.collect(region, &mut slots);
        let pages = usize::from(self.regions[region].page_count);
        for more in (pages + 1 + pages / 16)..=MAX_PAGES {
            if !self.resize(region, more) {
                break;
            }
            if self.lay_out(region, &slots[..len]) {
                return true;
            }
        }
        let doubles = u32::from(self.regions[region].depth) == self.directory_bits;
        let may_split = !doubles || self.directory.len() <= MOST_ENTRIES * self.regions.len();
        if may_split && self.split(region, &slots[..len]) {
            return true;
        }
        self.resize(region, pages);
        let laid_out = self.lay_out(region, &slots[..len]);
        debug_assert!(laid_out, "slots no longer fit where they were");
        false
    }

    /// Gives a region that lies at this hash as many pages as its slots need.
    pub(super) fn shrink(&mut self, region: usize, hash: u64) {
        let mut slots = [0; MAX_SLOTS];
        let len = self.collect(region, &mut slots);
        self.refit(region, hash, &mut slots, len);
    }

    /// Empties the slots of a region, which lies at this hash, whose locations `keep` does not want.
    pub(super) fn retain_in_region(&mut self, region: usize, hash: u64, keep: &impl Fn(Location) -> bool) {
        let mut slots = [0; MAX_SLOTS];
        let before = self.collect(region, &mut slots);
        let mut len = 0;
        for at in 0..before {
            slots[len] = slots[at];
            len += usize::from(keep(Location(slots[at] & LOCATION_MASK)));
        }
        if len < before {
            self.len -= before - len;
            self.regions[region].len = len as u16;
            self.refit(region, hash, &mut slots, len);
        }
    }

    /// Puts what is left of a region's slots into as few pages as they need, together with those of its other half if
    /// both have become small. Never into more pages than there were, so that no memory is needed.
    fn refit(&mut self, region: usize, hash: u64, slots: &mut [u64; MAX_SLOTS], mut len: usize) {
        let Region { depth, page_count, .. } = self.regions[region];
        if let Some(pages) = fewest_pages(&slots[..len], depth, page_count.into()) {
            self.resize(region, pages);
        }
        while let Some(joined) = self.join(region, hash, slots, len) {
            len = joined;
        }
        let laid_out = self.lay_out(region, &slots[..len]);
        debug_assert!(laid_out, "slots no longer fit where they were");
    }

    /// Two regions of one, each with the slots that are its own. Nothing has changed if that cannot be.
    fn split(&mut self, region: usize, slots: &[u64]) -> bool {
        let depth = u32::from(self.regions[region].depth);
        if depth >= TAG_BITS {
            return false;
        }
        let Some(mut first_entry) = slots.first().map(|&slot| self.first_entry(region, slot)) else {
            return false;
        };
        let middle = slots.partition_point(|slot| slot << depth >> 63 == 0);
        // So the two can be filled without asking for more.
        let missing = 2 * MAX_PAGES - usize::from(self.regions[region].page_count);
        if !self.has_pages(missing) || !self.has_room_for_region() {
            return false;
        }
        if depth == self.directory_bits {
            if !self.double_directory() {
                return false;
            }
            first_entry *= 2;
        }
        let second = match self.free_regions.pop() {
            Some(id) => id as usize,
            None => {
                self.regions.push(Region { pages: [0; MAX_PAGES], page_count: 0, depth: 0, len: 0 });
                self.regions.len() - 1
            }
        };
        let entries = 1usize << (self.directory_bits - depth);
        self.directory[first_entry + entries / 2..first_entry + entries].fill(second as u32);
        self.regions[region].depth += 1;
        self.regions[second].depth = depth as u8 + 1;
        self.recharge();
        self.fill(region, &slots[..middle]) && self.fill(second, &slots[middle..])
    }

    /// Sees that this many pages are free; false if the system has no memory for them.
    pub(super) fn has_pages(&mut self, count: usize) -> bool {
        while self.free.len() < count {
            if !self.add_block() {
                return false;
            }
        }
        true
    }

    /// Sees that there is a place for one more region.
    fn has_room_for_region(&mut self) -> bool {
        let full = self.free_regions.is_empty() && self.regions.len() == self.regions.capacity();
        // An eighth more, not twice as many: the memory counts.
        !full || self.regions.try_reserve_exact(self.regions.len() / 8 + 4).is_ok()
    }

    fn double_directory(&mut self) -> bool {
        let mut doubled = Vec::new();
        if doubled.try_reserve_exact(2 * self.directory.len()).is_err() {
            return false;
        }
        doubled.extend(self.directory.iter().flat_map(|&region| [region; 2]));
        self.directory = doubled;
        self.directory_bits += 1;
        true
    }

    /// The first entry in the directory of a region, which lies at this hash.
    fn first_entry(&self, region: usize, hash: u64) -> usize {
        let entry = (hash >> 1 >> (63 - self.directory_bits)) as usize;
        let entries = 1usize << (self.directory_bits - u32::from(self.regions[region].depth));
        entry & !(entries - 1)
    }

    /// Joins a region that has become small with its other half, if that is small too: `slots`, of which `len` are its
    /// own, become those of both. Answers how many those are; they are not laid out yet.
    fn join(&mut self, region: usize, hash: u64, slots: &mut [u64; MAX_SLOTS], len: usize) -> Option<usize> {
        let Region { depth, page_count, .. } = self.regions[region];
        if depth == 0 || len > MAX_SLOTS / 6 {
            return None;
        }
        let entry = self.first_entry(region, hash);
        let entries = 1usize << (self.directory_bits - u32::from(depth));
        let other = self.directory[entry ^ entries] as usize;
        let other_len = usize::from(self.regions[other].len);
        if self.regions[other].depth != depth || other_len > MAX_SLOTS / 3 {
            return None;
        }
        let mut both = [0; MAX_SLOTS];
        let count = self.collect(other, &mut both);
        debug_assert_eq!(count, other_len);
        if entry & entries == 0 {
            both.copy_within(..other_len, len);
            both[..len].copy_from_slice(&slots[..len]);
        } else {
            both[other_len..other_len + len].copy_from_slice(&slots[..len]);
        }
        let len = len + other_len;
        let most = usize::from(page_count + self.regions[other].page_count).min(MAX_PAGES);
        let pages = fewest_pages(&both[..len], depth - 1, most)?;
        self.resize(other, 0);
        self.regions[other].len = 0;
        self.free_regions.push(other as u32);
        let first = entry & !entries;
        self.directory[first..first + 2 * entries].fill(region as u32);
        self.resize(region, pages);
        self.regions[region].depth -= 1;
        self.regions[region].len = len as u16;
        *slots = both;
        Some(len)
    }

    /// Gives a region as many pages as these slots need, and puts them in.
    fn fill(&mut self, region: usize, slots: &[u64]) -> bool {
        self.regions[region].len = slots.len() as u16;
        let enough = ((slots.len() * 100).div_ceil(88) + TAIL).div_ceil(PAGE_SLOTS).max(1);
        for pages in enough..=MAX_PAGES {
            if !self.resize(region, pages) {
                return false;
            }
            if self.lay_out(region, slots) {
                return true;
            }
        }
        self.split(region, slots)
    }

    /// Copies a region's slots in use to the front of `to`.
    fn collect(&self, region: usize, to: &mut [u64; MAX_SLOTS]) -> usize {
        let mut len = 0;
        for page in self.regions[region].pages() {
            for bytes in self.page(page) {
                let slot = u64::from_le_bytes(*bytes);
                if slot != 0 {
                    to[len] = slot;
                    len += 1;
                }
            }
        }
        len
    }

    /// Puts slots in use into a region, whose pages may hold anything; false if they do not fit.
    fn lay_out(&mut self, region: usize, slots: &[u64]) -> bool {
        let shape = self.regions[region].clone();
        for page in shape.pages() {
            *self.page_mut(page) = [[0; 8]; PAGE_SLOTS];
        }
        let mut next = 0;
        for &slot in slots {
            let position = shape.home(slot).max(next);
            if position >= shape.capacity() {
                return false;
            }
            self.page_mut(shape.pages[position / PAGE_SLOTS])[position % PAGE_SLOTS] = slot.to_le_bytes();
            next = position + 1;
        }
        true
    }

    /// Gives a region this many pages; false if the system has no memory for them.
    fn resize(&mut self, region: usize, pages: usize) -> bool {
        while usize::from(self.regions[region].page_count) > pages {
            let region = &mut self.regions[region];
            region.page_count -= 1;
            self.free.give(region.pages[usize::from(region.page_count)]);
        }
        while usize::from(self.regions[region].page_count) < pages {
            if self.free.is_empty() && !self.add_block() {
                return false;
            }
            let Some(page) = self.free.take() else { return false };
            let region = &mut self.regions[region];
            region.pages[usize::from(region.page_count)] = page;
            region.page_count += 1;
        }
        true
    }

    fn add_block(&mut self) -> bool {
        if !self.free.reserve(self.pages_per_block()) {
            return false;
        }
        let Some(block) = self.pool.block() else { return false };
        self.blocks.push(block);
        self.free.add(self.pages_per_block());
        self.recharge();
        true
    }

    /// Tells the pool what is held beside the blocks.
    fn recharge(&mut self) {
        let bytes = self.regions.capacity() * size_of::<Region>()
            + (self.directory.capacity() + self.free_regions.capacity()) * 4
            + self.free.bytes();
        if bytes > self.charged {
            self.pool.charge(bytes - self.charged);
        } else {
            self.pool.discharge(self.charged - bytes);
        }
        self.charged = bytes;
    }
}

/// The fewest pages, up to `most`, that hold these slots of a region of this depth with a little room to spare.
fn fewest_pages(slots: &[u64], depth: u8, most: usize) -> Option<usize> {
    let fewest = (slots.len() * 100).div_ceil(85 * PAGE_SLOTS).max(1);
    (fewest..=most).find(|pages| {
        let capacity = pages * PAGE_SLOTS;
        slots.iter().fold(0, |next, &slot| home(slot, depth, capacity).max(next) + 1) <= capacity
    })
}
