//! Where each item is: 8-byte slots in the order of their keys' hashes. Knows hashes and locations, no items.
//!
//! ```text
//!  63          37 36                    0
//! ┌──────────────┬───────────────────────┐
//! │ tag: top 27  │ location: segment     │   slot; 0 is an empty one
//! │ bits of hash │ and offset in it      │
//! └──────────────┴───────────────────────┘
//! ```
//! The slots are one list sorted by tag, with gaps. It is cut into regions by the leading bits of the tag, and a
//! region is a small table of at most 1,024 slots: an item's home is its tag's share of the way through the table,
//! and it lies there or, pushed on by others, a few slots after. A region grows by a page of 32 slots when it is
//! 92 % full, and is split in two when it has 32 pages. So the whole is about 88 % full at any size, growing costs a
//! few microseconds at a time, and neither growing nor looking at a region reads any item.

mod pages;
mod shape;

use super::pool::{Block, Pool};
use pages::FreePages;
use std::sync::Arc;

/// Bits of a location; the rest of a slot is the tag.
pub(super) const LOCATION_BITS: u32 = 37;
const TAG_BITS: u32 = 64 - LOCATION_BITS;

/// A place of an item, not 0, below 2 to the power of [`LOCATION_BITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location(pub u64);

/// A slot in use. Any change of the index but [`Index::replace`] makes it void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    region: u32,
    position: u32,
}

const PAGE_SLOTS: usize = 32;
const PAGE_BYTES: usize = PAGE_SLOTS * 8;
const MAX_PAGES: usize = 32;
const MAX_SLOTS: usize = MAX_PAGES * PAGE_SLOTS;
/// The last slots of a region are nobody's home: they take what is pushed on.
const TAIL: usize = 12;

/// Most slots of one tag. A shard with as many items as there are tags has no tag with more than about fifteen.
const MOST_OF_ONE_TAG: usize = 32;

#[derive(Clone, Debug)]
struct Region {
    pages: [u32; MAX_PAGES],
    page_count: u8,
    /// How many leading bits of the tag all its items have in common.
    depth: u8,
    len: u16,
}

/// The slots of one shard.
#[derive(Debug)]
pub(super) struct Index {
    pool: Arc<Pool>,
    blocks: Vec<Block>,
    /// Pages of `blocks` in no region.
    free: FreePages,
    regions: Vec<Region>,
    free_regions: Vec<u32>,
    /// By the leading bits of the tag, the region.
    directory: Vec<u32>,
    directory_bits: u32,
    len: usize,
    charged: usize,
    compaction: Option<Compaction>,
}

/// Moving pages to the front, region by region, and then giving the blocks at the end back.
#[derive(Clone, Copy, Debug)]
struct Compaction {
    next_region: usize,
    keep_blocks: usize,
}

impl Index {
    pub fn new(pool: Arc<Pool>) -> Index {
        let region = Region { pages: [0; MAX_PAGES], page_count: 0, depth: 0, len: 0 };
        Index {
            pool,
            blocks: Vec::new(),
            free: FreePages::default(),
            regions: vec![region],
            free_regions: Vec::new(),
            directory: vec![0],
            directory_bits: 0,
            len: 0,
            charged: 0,
            compaction: None,
        }
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Slots, in use or not.
    pub fn capacity(&self) -> usize {
        (self.blocks.len() * self.pages_per_block() - self.free.len()) * PAGE_SLOTS
    }

    /// Bytes charged to the pool.
    pub fn bytes(&self) -> usize {
        self.charged + self.blocks.len() * self.pool.block_len()
    }

    /// The slot of this hash whose location satisfies `matches`.
    #[inline]
    pub fn find(&self, hash: u64, mut matches: impl FnMut(Location) -> bool) -> Option<(Slot, Location)> {
        // Slots of this tag lie above it by their locations; none of them is 0, nor is any other slot but an empty one.
        let tag = hash & !LOCATION_MASK;
        let region_id = self.region_of(hash);
        let region = &self.regions[region_id as usize];
        let capacity = region.capacity();
        let mut position = region.home(hash);
        while position < capacity {
            let page = self.page(region.pages[position / PAGE_SLOTS]);
            for bytes in &page[position % PAGE_SLOTS..] {
                let slot = u64::from_le_bytes(*bytes);
                if slot == 0 || slot > tag | LOCATION_MASK {
                    return None;
                }
                if slot > tag {
                    let location = Location(slot - tag);
                    if matches(location) {
                        return Some((Slot { region: region_id, position: position as u32 }, location));
                    }
                }
                position += 1;
            }
        }
        None
    }

    /// Where the item of this hash is, if it is there at all and has its tag for itself.
    #[inline]
    pub fn probable(&self, hash: u64) -> Option<Location> {
        self.find(hash, |_| true).map(|(_, location)| location)
    }

    /// Brings the slots near this hash's home into the processor's cache, without waiting for them: so several can be
    /// on their way at once. The answer says nothing.
    #[inline]
    pub fn fetch(&self, hash: u64) -> u64 {
        let region = &self.regions[self.region_of(hash) as usize];
        let home = region.home(hash);
        if home < region.capacity() { self.slot(region, home) } else { 0 }
    }

    /// Changes the location in a slot.
    #[inline]
    pub fn replace(&mut self, slot: Slot, location: Location) {
        let region = &self.regions[slot.region as usize];
        let position = slot.position as usize;
        let page = region.pages[position / PAGE_SLOTS];
        let bytes = &mut self.page_mut(page)[position % PAGE_SLOTS];
        let tag = u64::from_le_bytes(*bytes) & !LOCATION_MASK;
        *bytes = (tag | location.0).to_le_bytes();
    }

    /// Adds a slot; false if the system has no memory for it, or if there are too many like it.
    pub fn insert(&mut self, hash: u64, location: Location) -> bool {
        debug_assert!(location.0 != 0 && location.0 <= LOCATION_MASK);
        let new = hash & !LOCATION_MASK | location.0;
        loop {
            let region_id = self.region_of(hash) as usize;
            let region = &self.regions[region_id];
            let capacity = region.capacity();
            if (usize::from(region.len) + 1) * 100 > capacity * 92 {
                if !self.grow(region_id) {
                    return false;
                }
                continue;
            }
            let mut position = region.home(hash);
            let tag = hash >> LOCATION_BITS;
            let mut same = 0;
            while position < capacity {
                let slot = self.slot(region, position);
                if slot == 0 || slot >> LOCATION_BITS > tag {
                    break;
                }
                same += usize::from(slot >> LOCATION_BITS == tag);
                position += 1;
            }
            if same >= MOST_OF_ONE_TAG {
                return false;
            }
            let mut gap = position;
            while gap < capacity && self.slot(region, gap) != 0 {
                gap += 1;
            }
            if gap == capacity {
                if !self.grow(region_id) {
                    return false;
                }
                continue;
            }
            self.push_on(region_id, position, gap, new);
            self.regions[region_id].len += 1;
            self.len += 1;
            return true;
        }
    }

    /// Empties a slot, and moves the ones pushed on by it back.
    pub fn remove(&mut self, slot: Slot) {
        let region_id = slot.region as usize;
        let region = &self.regions[region_id];
        let capacity = region.capacity();
        let hash = self.slot(region, slot.position as usize);
        let mut end = slot.position as usize + 1;
        'run: while end < capacity {
            for bytes in &self.page(region.pages[end / PAGE_SLOTS])[end % PAGE_SLOTS..] {
                let next = u64::from_le_bytes(*bytes);
                if next == 0 || region.home(next) == end {
                    break 'run;
                }
                end += 1;
            }
        }
        self.pull_back(region_id, slot.position as usize, end - 1);
        let region = &mut self.regions[region_id];
        region.len -= 1;
        self.len -= 1;
        let (len, pages) = (usize::from(region.len), usize::from(region.page_count));
        if pages > 1 && len * 100 < (pages - 1) * PAGE_SLOTS * 70 {
            self.shrink(region_id, hash);
        }
    }

    /// Empties the slots whose locations `keep` does not want, in some regions from the one of the tag `from` on, and
    /// answers where to go on; `None` at the end. It looks at all slots of these regions, one after the other, which
    /// takes far less time for each than to find and to empty them one by one.
    pub fn retain(&mut self, from: u64, regions: usize, keep: impl Fn(Location) -> bool) -> Option<u64> {
        let mut tag = from;
        for _ in 0..regions {
            let hash = tag << LOCATION_BITS;
            let region = self.region_of(hash) as usize;
            let step = TAG_BITS - u32::from(self.regions[region].depth);
            self.retain_in_region(region, hash, &keep);
            tag = ((tag >> step) + 1) << step;
            if tag >> TAG_BITS != 0 {
                return None;
            }
        }
        Some(tag)
    }

    /// Visits the locations of all slots whose tag is not below `from`, in order, until at least `limit` have been
    /// visited, and answers where to go on; `None` at the end. Slots of one tag are visited together.
    pub fn scan(&self, from: u64, limit: usize, mut visit: impl FnMut(Location)) -> Option<u64> {
        let mut visited = 0;
        let mut tag = from;
        while tag < 1 << TAG_BITS {
            let region = &self.regions[self.region_of(tag << LOCATION_BITS) as usize];
            let mut position = region.home(tag << LOCATION_BITS);
            while position < region.capacity() {
                let slot = self.slot(region, position);
                position += 1;
                let this = slot >> LOCATION_BITS;
                if slot == 0 || this < tag {
                    continue;
                }
                if visited >= limit && this > tag {
                    return Some(this);
                }
                tag = this;
                visited += 1;
                visit(Location(slot & LOCATION_MASK));
            }
            let step = TAG_BITS - u32::from(region.depth);
            tag = ((tag >> step) + 1) << step;
            if visited >= limit && tag < 1 << TAG_BITS {
                return Some(tag);
            }
        }
        None
    }

    fn pages_per_block(&self) -> usize {
        self.pool.block_len() / PAGE_BYTES
    }

    #[inline]
    fn region_of(&self, hash: u64) -> u32 {
        // Two shifts: a shift by 64, when there are no bits, is not one.
        self.directory[(hash >> 1 >> (63 - self.directory_bits)) as usize]
    }

    #[inline]
    fn page(&self, page: u32) -> &[[u8; 8]; PAGE_SLOTS] {
        let (block, at) = self.split_page(page);
        let bytes = &self.blocks[block].bytes()[at..at + PAGE_BYTES];
        bytes.as_chunks().0.try_into().expect("a page has its slots")
    }

    #[inline]
    fn page_mut(&mut self, page: u32) -> &mut [[u8; 8]; PAGE_SLOTS] {
        let (block, at) = self.split_page(page);
        let bytes = &mut self.blocks[block].bytes_mut()[at..at + PAGE_BYTES];
        bytes.as_chunks_mut().0.try_into().expect("a page has its slots")
    }

    /// The block of a page, and the offset in it.
    #[inline]
    fn split_page(&self, page: u32) -> (usize, usize) {
        let shift = self.pool.block_len().trailing_zeros() - PAGE_BYTES.trailing_zeros();
        (page as usize >> shift, (page as usize & ((1 << shift) - 1)) * PAGE_BYTES)
    }

    #[inline]
    fn slot(&self, region: &Region, position: usize) -> u64 {
        u64::from_le_bytes(self.page(region.pages[position / PAGE_SLOTS])[position % PAGE_SLOTS])
    }

    /// Puts `new` at `position` and moves the slots from there up to the empty one at `gap` on by one.
    fn push_on(&mut self, region: usize, position: usize, gap: usize, new: u64) {
        let pages = self.regions[region].pages;
        let mut carried = new.to_le_bytes();
        let mut from = position;
        while from <= gap {
            let start = from % PAGE_SLOTS;
            let last = (gap - from + start).min(PAGE_SLOTS - 1);
            let page = self.page_mut(pages[from / PAGE_SLOTS]);
            let out = page[last];
            page.copy_within(start..last, start + 1);
            page[start] = carried;
            carried = out;
            from += last - start + 1;
        }
    }

    /// Moves the slots after `position` up to `last` back by one, and empties the one at `last`.
    fn pull_back(&mut self, region: usize, position: usize, last: usize) {
        let pages = self.regions[region].pages;
        let mut carried = [0; 8];
        let mut to = last;
        loop {
            let end = to % PAGE_SLOTS;
            let start = end.saturating_sub(to - position);
            let page = self.page_mut(pages[to / PAGE_SLOTS]);
            let out = page[start];
            page.copy_within(start + 1..end + 1, start);
            page[end] = carried;
            carried = out;
            if to - end + start == position {
                break;
            }
            to -= end + 1;
        }
    }
}

const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;

impl Region {
    fn capacity(&self) -> usize {
        usize::from(self.page_count) * PAGE_SLOTS
    }

    fn pages(&self) -> impl Iterator<Item = u32> + use<> {
        self.pages.into_iter().take(usize::from(self.page_count))
    }

    /// Where the slot of this hash, or this very slot, would like to be.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        home(hash, self.depth, self.capacity())
    }
}

/// Where the slot of this hash would like to be in a region of this depth with so many slots.
#[inline]
fn home(hash: u64, depth: u8, capacity: usize) -> usize {
    let share = (hash & !LOCATION_MASK) << depth >> 32;
    ((share * capacity.saturating_sub(TAIL) as u64) >> 32) as usize
}

impl Drop for Index {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            self.pool.give_back(block);
        }
        self.pool.discharge(self.charged);
    }
}

impl Index {
    /// Recounts everything, and panics where a count is wrong.
    pub fn check(&self) {
        let mut len = 0;
        let mut pages = 0;
        let mut seen = std::collections::HashSet::new();
        let mut at = 0;
        while at < self.directory.len() {
            let id = self.directory[at];
            let region = &self.regions[id as usize];
            let entries = 1 << (self.directory_bits - u32::from(region.depth));
            assert!(at.is_multiple_of(entries));
            assert!(self.directory[at..at + entries].iter().all(|&other| other == id));
            let mut last = 0;
            let mut count = 0;
            let mut run = 0;
            for position in 0..region.capacity() {
                let slot = self.slot(region, position);
                if slot == 0 {
                    run = position + 1;
                    continue;
                }
                assert!(slot >> LOCATION_BITS >= last, "slots are in order");
                last = slot >> LOCATION_BITS;
                assert!((run..=position).contains(&region.home(slot)), "no gap between a slot and its home");
                assert_eq!(self.region_of(slot), id);
                count += 1;
            }
            assert_eq!(count, usize::from(region.len));
            pages += usize::from(region.page_count);
            assert!(region.pages().all(|page| seen.insert(page)), "a page is in one region");
            len += count;
            at += entries;
        }
        assert_eq!(len, self.len);
        assert!(self.free.iter().all(|page| seen.insert(page)), "a page is used or free");
        assert_eq!(pages + self.free.len(), self.blocks.len() * self.pages_per_block());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ahash::RandomState;

    fn hasher() -> RandomState {
        RandomState::with_seeds(1, 2, 3, 4)
    }

    fn index() -> Index {
        Index::new(Arc::new(Pool::new(1 << 30, 16 << 10, 1)))
    }

    #[test]
    fn finds_what_was_put_in_at_any_size_and_stays_dense() {
        let (hasher, mut index) = (hasher(), index());
        for item in 1..=100_000u64 {
            assert!(index.insert(hasher.hash_one(item), Location(item)));
            if item.is_power_of_two() {
                index.check();
            }
            if item > 10_000 && item.is_multiple_of(997) {
                let load = item as f64 / index.capacity() as f64;
                assert!((0.80..0.93).contains(&load), "load {load} at {item} items");
            }
        }
        index.check();
        for item in 1..=100_000u64 {
            let hash = hasher.hash_one(item);
            assert!(index.find(hash, |location| location.0 == item).is_some());
            assert!(index.find(hash, |_| false).is_none());
        }
    }

    #[test]
    fn tells_neighbouring_tags_apart_from_the_lowest_to_the_highest() {
        let mut index = index();
        let last = (1u64 << TAG_BITS) - 1;
        let hash = |tag: u64| tag << LOCATION_BITS | 0x1234;
        for tag in [0, 1, 2, last - 1, last] {
            let missing = index.find(hash(tag), |_| true);
            assert_eq!(missing, None, "tag {tag:x}");
            for location in [1, LOCATION_MASK] {
                assert!(index.insert(hash(tag), Location(location)));
                let (_, found) = index.find(hash(tag), |other| other.0 == location).unwrap();
                assert_eq!(found, Location(location));
            }
        }
    }

    #[test]
    fn shrinks_with_its_items_and_gives_memory_back() {
        let (hasher, mut index) = (hasher(), index());
        for item in 1..=50_000u64 {
            index.insert(hasher.hash_one(item), Location(item));
        }
        let full = index.bytes();
        for item in 1..=49_000u64 {
            let slot = index.find(hasher.hash_one(item), |location| location.0 == item).unwrap().0;
            index.remove(slot);
            if item.is_multiple_of(7_000) {
                index.check();
            }
        }
        while index.give_back() {}
        index.check();
        assert!(index.bytes() < full / 8, "{} of {full} bytes", index.bytes());
        for item in 49_001..=50_000u64 {
            assert!(index.find(hasher.hash_one(item), |location| location.0 == item).is_some());
        }
        let pool = index.pool.clone();
        drop(index);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn what_is_not_retained_goes_with_its_memory_and_the_rest_is_found() {
        let (hasher, mut index) = (hasher(), index());
        for item in 1..=50_000u64 {
            index.insert(hasher.hash_one(item), Location(item));
        }
        let full = index.bytes();
        for part in [3, 600, u64::MAX] {
            let mut from = Some(0);
            let mut calls = 0;
            while let Some(tag) = from {
                from = index.retain(tag, 5, |location| location.0.is_multiple_of(part));
                calls += 1;
            }
            assert!(calls > 1 || part == u64::MAX, "a little at a time");
            index.check();
            let left = (1..=50_000).filter(|item| item % part == 0);
            assert_eq!(index.len(), left.clone().count());
            for item in left {
                assert!(index.find(hasher.hash_one(item), |location| location.0 == item).is_some());
            }
        }
        while index.give_back() {}
        index.check();
        assert!(index.bytes() < full / 5, "{} of {full} bytes", index.bytes());
        assert_eq!(index.capacity(), PAGE_SLOTS, "all regions are one again");
    }

    /// So that what waits for the lock never waits for all of it to go back.
    #[test]
    fn blocks_go_back_a_few_at_a_time_from_the_end() {
        let mut index = index();
        assert!(index.has_pages(10 * index.pages_per_block()));
        let kept = index.free.take().unwrap();
        while index.blocks.len() > 1 {
            let before = index.blocks.len();
            index.drop_free_blocks();
            let dropped = before - index.blocks.len();
            assert!((1..=shape::BLOCKS_AT_ONCE).contains(&dropped), "{dropped} at once");
            assert_eq!(index.pool.used(), index.bytes());
        }
        assert!(!index.drop_free_blocks(), "the last one has a page in use");
        index.free.give(kept);
        index.drop_free_blocks();
        assert_eq!(index.blocks.len(), 0);
    }

    #[test]
    fn a_scan_sees_every_slot_that_stays_while_others_come_and_go() {
        let (hasher, mut index) = (hasher(), index());
        for item in 1..=20_000u64 {
            index.insert(hasher.hash_one(item), Location(item));
        }
        let mut seen = std::collections::HashSet::new();
        let mut from = Some(0);
        let mut next = 20_001u64;
        while let Some(tag) = from {
            from = index.scan(tag, 100, |location| {
                seen.insert(location.0);
            });
            for _ in 0..300 {
                index.insert(hasher.hash_one(next), Location(next));
                next += 1;
            }
            for item in next - 300..next - 150 {
                let slot = index.find(hasher.hash_one(item), |location| location.0 == item).unwrap().0;
                index.remove(slot);
            }
        }
        assert!((1..=20_000).all(|item| seen.contains(&item)));
    }
}
