//! The one budget of the store: everything that holds memory takes it here and gives it back. Knows no items.

mod cut;
mod units;

use super::sync::{AtomicUsize, Mutex, Ordering};
use memmap2::MmapMut;

use units::Units;

pub(super) use cut::{block_len, inline_limit, page_len, shards};

/// A block of memory straight from the system. It is resident only where it has been written, and goes back to the
/// system when it is dropped, whatever allocator the process uses.
#[derive(Debug)]
pub(super) struct Block(MmapMut);

/// A block of a long value: one of [`Pool::block_len`] bytes, or a unit, one of the several that such a block's
/// memory is cut into.
#[derive(Debug)]
pub(super) struct Piece {
    memory: Block,
    /// Of a unit, the group it is from.
    group: Option<u32>,
}

impl Block {
    fn map(len: usize) -> Option<Block> {
        MmapMut::map_anon(len).ok().map(Block)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Piece {
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut()
    }

    /// Bytes charged for it; those of a unit are charged with its group.
    pub fn charged(&self) -> usize {
        if self.group.is_some() { 0 } else { self.memory.bytes().len() }
    }
}

/// Counts the bytes in use against the limit, and keeps blocks given back for the next who needs one.
#[derive(Debug)]
pub(super) struct Pool {
    block_len: usize,
    unit_len: usize,
    units: Mutex<Units>,
    limit: AtomicUsize,
    /// Bytes charged, kept blocks not included. Always changed with acquire and release: who gives a block back keeps it
    /// first and discharges it then, who charges does that first and looks for kept blocks then, so the later of two
    /// sees what the other did, and trims.
    used: AtomicUsize,
    /// Blocks given back and kept. Invariant: kept bytes + `used` <= `limit`, or there are none.
    kept: Mutex<Vec<Block>>,
    /// How many blocks are kept.
    kept_count: AtomicUsize,
    /// Bytes of bodies that are no item's any more and that readers still hold.
    detached: AtomicUsize,
    /// Bytes each shard holds, as it last reported, and their sum.
    shares: Box<[AtomicUsize]>,
    reported: AtomicUsize,
}

impl Pool {
    pub fn new(limit: usize, block_len: usize, shards: usize) -> Pool {
        Pool {
            block_len,
            unit_len: cut::unit_len(block_len),
            units: Mutex::new(Units::new(block_len)),
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            kept: Mutex::new(Vec::new()),
            kept_count: AtomicUsize::new(0),
            detached: AtomicUsize::new(0),
            shares: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            reported: AtomicUsize::new(0),
        }
    }

    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Bytes of a unit.
    pub fn unit_len(&self) -> usize {
        self.unit_len
    }

    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        // Nothing, in its order with those who keep blocks by the old limit.
        self.charge(0);
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more is in use than the limit allows.
    pub fn is_over(&self) -> bool {
        self.used() > self.limit()
    }

    /// Whether this many bytes could be charged now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.limit()
    }

    /// Charges bytes that cannot be done without; whoever evicts next makes up for them.
    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        self.trim();
    }

    pub fn discharge(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(before >= bytes, "more given back than taken");
    }

    /// A block, charged; `None` if the limit or the system says no.
    pub fn try_block(&self) -> Option<Block> {
        self.try_charge_block()?;
        self.block_or_refund()
    }

    fn try_charge_block(&self) -> Option<()> {
        let limit = self.limit();
        let fits = |used: usize| used.checked_add(self.block_len).filter(|&sum| sum <= limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).ok().map(|_| ())
    }

    /// A block, charged whatever the limit; `None` only if the system has none.
    pub fn block(&self) -> Option<Block> {
        self.used.fetch_add(self.block_len, Ordering::AcqRel);
        self.block_or_refund()
    }

    fn block_or_refund(&self) -> Option<Block> {
        let block = self.pop().or_else(|| Block::map(self.block_len));
        match block {
            Some(_) => self.trim(),
            None => self.discharge(self.block_len),
        }
        block
    }

    /// Memory of another length than a block's, charged whatever the limit; `None` if the system has none.
    pub fn try_map(&self, len: usize) -> Option<Block> {
        let memory = Block::map(len)?;
        self.charge(len);
        Some(memory)
    }

    /// Returns such memory to the system.
    pub fn unmap(&self, memory: Block) {
        let len = memory.bytes().len();
        drop(memory);
        self.discharge(len);
    }

    /// Takes a block back: a few are kept if the limit leaves room for them, others return to the system.
    pub fn give_back(&self, block: Block) {
        self.keep(block);
        self.discharge(self.block_len);
        self.trim();
    }

    /// Keeps a block that is still charged, or returns it to the system.
    fn keep(&self, block: Block) {
        let mut kept = self.kept.lock();
        let before = kept.len() * self.block_len;
        let most = (self.limit() / 128).max(4 * self.block_len);
        if self.has_room(before) && before + self.block_len <= most {
            kept.push(block);
            self.kept_count.store(kept.len(), Ordering::Relaxed);
        }
    }

    /// Memory for a long value of which `missing` bytes have none yet, at least one unit: a piece that is not longer
    /// than that; `None` if the limit or the system says no.
    pub fn try_piece(&self, missing: usize) -> Option<Piece> {
        if missing >= self.block_len
            && let Some(memory) = self.try_block()
        {
            return Some(Piece { memory, group: None });
        }
        let mut units = self.units.lock();
        if let Some(piece) = units.take() {
            return Some(piece);
        }
        self.try_charge_block()?;
        self.trim();
        let piece = units.add_group();
        if piece.is_none() {
            self.discharge(self.block_len);
        }
        piece
    }

    /// Takes a piece back.
    pub fn give_back_piece(&self, piece: Piece) {
        let Some(group) = piece.group else { return self.give_back(piece.memory) };
        let freed = self.units.lock().give_back(piece.memory, group, self.is_over());
        if let Some(freed) = freed {
            self.discharge(self.block_len);
            drop(freed);
        }
    }

    /// Bytes charged for groups of units, in use or not, after counting them; for tests.
    pub fn check_units(&self) -> usize {
        self.units.lock().check() * self.block_len
    }

    pub fn detached(&self) -> usize {
        self.detached.load(Ordering::Relaxed)
    }

    /// Counts a body that no item has any more.
    pub fn add_detached(&self, bytes: usize) {
        self.detached.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The body is gone, or an item's again.
    pub fn remove_detached(&self, bytes: usize) {
        self.detached.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A shard says how many bytes it holds.
    pub fn report(&self, shard: usize, bytes: usize) {
        let before = self.shares[shard].swap(bytes, Ordering::Relaxed);
        if bytes != before {
            // A sum of unsigned numbers wraps around and comes back.
            self.reported.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Whether a shard holds less than its share of what all hold. Such a one must not be the one to evict: shards
    /// that take room where they find it and make room where they stand would starve each other.
    pub fn is_poor(&self, shard: usize) -> bool {
        let share = self.reported.load(Ordering::Relaxed) / self.shares.len();
        self.shares[shard].load(Ordering::Relaxed) + 2 * self.block_len < share
    }

    /// The shard that holds most.
    pub fn richest(&self) -> usize {
        let shares = self.shares.iter().map(|share| share.load(Ordering::Relaxed));
        shares.enumerate().max_by_key(|&(_, share)| share).map_or(0, |(shard, _)| shard)
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept_count.load(Ordering::Relaxed) * self.block_len
    }

    fn pop(&self) -> Option<Block> {
        if self.kept_bytes() == 0 {
            return None;
        }
        let mut kept = self.kept.lock();
        let block = kept.pop();
        self.kept_count.store(kept.len(), Ordering::Relaxed);
        block
    }

    /// Returns kept blocks to the system until the rest fits the limit.
    fn trim(&self) {
        while self.kept_bytes() > 0 && !self.has_room(self.kept_bytes()) {
            drop(self.pop());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 4096;

    #[test]
    fn charges_up_to_the_limit_and_no_further() {
        let pool = Pool::new(10 * LEN, LEN, 1);
        pool.charge(9 * LEN);
        let block = pool.try_block().unwrap();
        assert!(pool.try_block().is_none());
        assert!(!pool.is_over());
        pool.charge(1);
        assert!(pool.is_over());
        pool.discharge(1);
        pool.give_back(block);
        assert_eq!(pool.used(), 9 * LEN);
    }

    #[test]
    fn blocks_given_back_are_kept_only_while_the_limit_leaves_room() {
        let pool = Pool::new(4 * LEN, LEN, 1);
        let blocks: Vec<_> = (0..4).map(|_| pool.try_block().unwrap()).collect();
        for block in blocks {
            pool.give_back(block);
        }
        assert_eq!((pool.used(), pool.kept_bytes()), (0, 4 * LEN));
        pool.charge(3 * LEN);
        assert_eq!(pool.kept_bytes(), LEN);
        pool.set_limit(3 * LEN);
        assert_eq!(pool.kept_bytes(), 0);
        assert!(pool.try_block().is_none());
    }

    #[test]
    fn a_shard_is_poor_by_what_all_hold_now() {
        let pool = Pool::new(100 * LEN, LEN, 4);
        pool.report(0, 80 * LEN);
        assert_eq!((pool.is_poor(0), pool.is_poor(1), pool.richest()), (false, true, 0));
        pool.report(1, 24 * LEN);
        assert!(!pool.is_poor(1) && pool.is_poor(2), "a share is 26 blocks, and two do not count");
        pool.report(0, 8 * LEN);
        assert!(!pool.is_poor(1) && pool.is_poor(2) && pool.richest() == 1);
        pool.report(1, 0);
        assert!(!pool.is_poor(2), "a share is two blocks");
    }

    #[test]
    fn units_of_a_group_go_back_together_and_serve_others_before_there_is_another() {
        let block = 64 << 10;
        let pool = Pool::new(4 * block, block, 1);
        let unit = pool.unit_len();
        let of_group = block / unit;
        let mut pieces: Vec<Piece> = (0..3 * of_group).map(|_| pool.try_piece(block - 1).unwrap()).collect();
        assert!(pieces.iter().all(|piece| piece.bytes().len() == unit));
        assert_eq!((pool.used(), pool.check_units()), (3 * block, 3 * block));
        // One of the first group stays, all of the second go, some of the third.
        let rest: Vec<Piece> = pieces.drain(1..).collect();
        let (gone, kept): (Vec<_>, Vec<_>) =
            rest.into_iter().enumerate().partition(|(at, _)| *at < 2 * of_group - 1 || at % 2 == 0);
        gone.into_iter().for_each(|(_, piece)| pool.give_back_piece(piece));
        assert_eq!(pool.used(), 3 * block, "a group that nobody uses is kept");
        let long = pool.try_piece(block).unwrap();
        assert_eq!(long.bytes().len(), block);
        let short = pool.try_piece(block).unwrap();
        assert_eq!(short.bytes().len(), unit, "no room for a block, but for a unit");
        pieces.extend([long, short]);
        pieces.extend(kept.into_iter().map(|(_, piece)| piece));
        pieces.into_iter().for_each(|piece| pool.give_back_piece(piece));
        assert_eq!((pool.used(), pool.check_units()), (block, block));
    }
}
