//! Remembers, in two bytes each, the keys of items that went; the oldest are forgotten first.

use crate::store::pool::Pool;
use std::sync::Arc;

const WAYS: usize = 8;
/// Fewest sets of a table in use.
const MIN_SETS: usize = 64;

#[derive(Debug)]
pub(super) struct Ghosts {
    pool: Arc<Pool>,
    /// Sets of entries, the newest of a set first; 0 is none. An entry is a part of the hash, and the queue that the
    /// item was evicted from in the lowest bit.
    sets: Vec<[u16; WAYS]>,
    len: usize,
}

impl Ghosts {
    pub fn new(pool: Arc<Pool>) -> Ghosts {
        Ghosts { pool, sets: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<[u16; WAYS]>()
    }

    /// Makes room for about as many as there are `items`. What is remembered is forgotten if that is a big change.
    pub fn fit(&mut self, items: usize) {
        let wanted = (items / WAYS).max(MIN_SETS);
        if wanted > self.sets.len() * 2 || wanted < self.sets.len() / 4 {
            self.pool.discharge(self.bytes());
            self.sets = Vec::new();
            self.sets = vec![[0; WAYS]; wanted];
            self.len = 0;
            self.pool.charge(self.bytes());
        }
    }

    /// Remembers an item evicted from this queue.
    pub fn add(&mut self, hash: u64, queue: u8) {
        if let Some((set, entry)) = self.place(hash) {
            let set = &mut self.sets[set];
            self.len += usize::from(set[WAYS - 1] == 0);
            set.copy_within(..WAYS - 1, 1);
            set[0] = entry | u16::from(queue & 1);
        }
    }

    /// Forgets an item, and answers the queue it was evicted from, if it was remembered.
    pub fn take(&mut self, hash: u64) -> Option<u8> {
        let (set, entry) = self.place(hash)?;
        let set = &mut self.sets[set];
        let at = set.iter().position(|&other| other & !1 == entry)?;
        let queue = (set[at] & 1) as u8;
        set.copy_within(at + 1.., at);
        set[WAYS - 1] = 0;
        self.len -= 1;
        Some(queue)
    }

    /// The set of a hash and its entry there, by bits that neither shard nor index look at first.
    fn place(&self, hash: u64) -> Option<(usize, u16)> {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let set = ((u128::from(mixed) * self.sets.len() as u128) >> 64) as usize;
        (!self.sets.is_empty()).then_some((set, ((hash >> 12) as u16 | 2) & !1))
    }
}

impl Drop for Ghosts {
    fn drop(&mut self) {
        self.pool.discharge(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ahash::RandomState;

    #[test]
    fn remembers_about_as_many_as_asked_and_forgets_the_oldest() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let pool = Arc::new(Pool::new(1 << 20, 4096, 1));
        let mut ghosts = Ghosts::new(pool.clone());
        ghosts.add(1, 0);
        assert_eq!(ghosts.take(1), None, "nothing is remembered before there is room");
        ghosts.fit(10_000);
        assert_eq!(pool.used(), ghosts.bytes());
        for item in 0..20_000u64 {
            ghosts.add(hasher.hash_one(item), (item % 2) as u8);
        }
        assert!(ghosts.len() > 9_000);
        let mut known = |items: std::ops::Range<u64>| {
            items.filter(|item| ghosts.take(hasher.hash_one(item)) == Some((item % 2) as u8)).count()
        };
        assert!(known(15_000..20_000) > 4_900);
        assert!(known(0..5_000) < 500);
        let unknown = (50_000..60_000u64).filter(|item| ghosts.take(hasher.hash_one(item)).is_some()).count();
        assert!(unknown < 10, "{unknown} mistaken for others");
        drop(ghosts);
        assert_eq!(pool.used(), 0);
    }
}
