//! Which pages of the index no region has: a bit for each.

/// The free pages. The lowest is taken first, so that blocks at the end become free as a whole.
#[derive(Debug, Default)]
pub(super) struct FreePages {
    /// Set where a page is free.
    bits: Vec<u64>,
    len: usize,
    /// No word before this one has a bit set.
    first: usize,
}

const WORD: usize = u64::BITS as usize;

impl FreePages {
    /// How many are free.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lowest.
    pub fn lowest(&self) -> Option<u32> {
        let skipped = self.bits[self.first..].iter().position(|&bits| bits != 0)?;
        let word = self.first + skipped;
        Some((word * WORD) as u32 + self.bits[word].trailing_zeros())
    }

    /// Takes the lowest.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.lowest()?;
        self.first = page as usize / WORD;
        self.bits[self.first] &= !(1 << (page as usize % WORD));
        self.len -= 1;
        Some(page)
    }

    pub fn give(&mut self, page: u32) {
        let word = page as usize / WORD;
        self.bits[word] |= 1 << (page as usize % WORD);
        self.first = self.first.min(word);
        self.len += 1;
    }

    /// Makes room for a block's pages; false if the system has no memory.
    pub fn reserve(&mut self, pages: usize) -> bool {
        self.bits.try_reserve(pages / WORD).is_ok()
    }

    /// Adds a block's pages at the end, all free.
    pub fn add(&mut self, pages: usize) {
        debug_assert!(pages.is_multiple_of(WORD), "a block has whole words of pages");
        self.bits.resize(self.bits.len() + pages / WORD, u64::MAX);
        self.len += pages;
    }

    /// Takes a block's pages from the end if all of them are free; false if not.
    pub fn remove(&mut self, pages: usize) -> bool {
        let Some(end) = self.bits.len().checked_sub(pages / WORD) else { return false };
        if self.bits[end..].iter().any(|&bits| bits != u64::MAX) {
            return false;
        }
        self.bits.truncate(end);
        self.first = self.first.min(end);
        self.len -= pages;
        true
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bits.capacity() * size_of::<u64>()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let is_free = |page: &usize| self.bits[page / WORD] >> (page % WORD) & 1 != 0;
        (0..self.bits.len() * WORD).filter(is_free).map(|page| page as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_goes_first_and_only_a_free_end_goes_away() {
        let mut free = FreePages::default();
        assert_eq!(free.take(), None);
        free.add(128);
        free.add(128);
        assert_eq!((0..130).map_while(|_| free.take()).collect::<Vec<_>>(), (0..130).collect::<Vec<_>>());
        assert!(!free.remove(128), "two pages of the end are in use");
        free.give(129);
        free.give(5);
        assert_eq!((free.len(), free.lowest()), (128, Some(5)));
        free.give(128);
        assert!(free.remove(128) && !free.remove(128));
        assert_eq!((free.take(), free.take(), free.len()), (Some(5), None, 0));
        free.add(128);
        assert_eq!((free.lowest(), free.iter().count()), (Some(128), 128));
    }
}
