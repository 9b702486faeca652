//! Values: short ones as one slice or two; of long ones all but the end as a body, shared memory that outlives its item
//! while somebody sends it.

use super::Inner;
use super::pool::{Piece, Pool};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A value as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// One slice, to be copied out under the lock.
    Small(&'a [u8]),
    /// The same in two slices: it lies in two segments.
    Cut([&'a [u8]; 2]),
    /// A body, to be cloned under the lock (a reference count) and sent after; then the end, to be copied out, in two
    /// slices, of which the second is empty unless it lies in two segments.
    Large(&'a Body, [&'a [u8]; 2]),
}

impl<'a> Value<'a> {
    /// How many bytes.
    pub fn len(&self) -> usize {
        let (body, copied) = self.parts();
        body.map_or(0, Body::len) + copied[0].len() + copied[1].len()
    }

    /// The body, if there is one, and what is to be copied out.
    pub fn parts(&self) -> (Option<&'a Body>, [&'a [u8]; 2]) {
        match *self {
            Value::Small(bytes) => (None, [bytes, &[]]),
            Value::Cut(slices) => (None, slices),
            Value::Large(body, end) => (Some(body), end),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, in order, in one slice or several.
    pub fn slices(self) -> impl Iterator<Item = &'a [u8]> {
        let (body, copied) = self.parts();
        body.into_iter().flat_map(Body::slices).chain(copied)
    }
}

/// All of a long value but its end; cloning it costs a reference count. Its memory counts in the store's budget until
/// the last clone is gone.
#[derive(Clone, Debug)]
pub struct Body(Arc<Pieces>);

/// Pieces of memory, in order, given back to the pool in the end.
struct Pieces {
    pool: Arc<Pool>,
    pieces: Vec<(Piece, usize)>,
    /// How many items have it: two while one takes the other's place. Changed only with their shard locked.
    items: AtomicU32,
    /// No item has it any more. Invariant: then its bytes are among those that the pool counts as detached.
    detached: AtomicBool,
}

/// What is charged for a body beside its pieces, and for the place of each: counts, pointers, and what the allocator
/// adds to them.
const BODY_COST: usize = 80;
const PIECE_COST: usize = size_of::<(Piece, usize)>();

impl Body {
    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `offset` to the end of the piece they are in; empty at the end of the body.
    pub fn slice_at(&self, offset: usize) -> &[u8] {
        let pieces = &self.0.pieces;
        let index = pieces.partition_point(|&(_, end)| end <= offset);
        match pieces.get(index) {
            Some((piece, end)) => {
                let bytes = piece.bytes();
                &bytes[bytes.len() - (end - offset)..]
            }
            None => &[],
        }
    }

    /// All bytes, piece by piece.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.0.pieces.iter().map(|(piece, _)| piece.bytes())
    }

    /// Whether the item it was read from is gone: replaced, deleted or evicted.
    pub fn is_detached(&self) -> bool {
        self.0.detached.load(Ordering::Relaxed)
    }

    /// It becomes an item's.
    pub(super) fn attach(&self) {
        self.0.items.fetch_add(1, Ordering::Relaxed);
        if self.0.detached.swap(false, Ordering::Relaxed) {
            self.0.pool.remove_detached(self.len());
        }
    }

    /// An item that had it is gone.
    pub(super) fn detach(&self) {
        if self.0.items.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.pool.add_detached(self.len());
            self.0.detached.store(true, Ordering::Relaxed);
        }
    }

    /// Bytes charged for it, but for what its units are cut from.
    pub(super) fn charged(&self) -> usize {
        self.0.charged() + self.0.pieces.iter().map(|(piece, _)| piece.charged()).sum::<usize>()
    }
}

impl Pieces {
    fn new(pool: Arc<Pool>) -> Pieces {
        Pieces { pool, pieces: Vec::new(), items: AtomicU32::new(0), detached: AtomicBool::new(false) }
    }

    fn len(&self) -> usize {
        self.pieces.last().map_or(0, |&(_, end)| end)
    }

    fn add(&mut self, piece: Piece) {
        let end = self.len() + piece.bytes().len();
        self.pool.charge(if self.pieces.is_empty() { BODY_COST + PIECE_COST } else { PIECE_COST });
        self.pieces.push((piece, end));
    }

    fn charged(&self) -> usize {
        if self.pieces.is_empty() { 0 } else { BODY_COST + self.pieces.len() * PIECE_COST }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if *self.detached.get_mut() {
            self.pool.remove_detached(self.len());
        }
        self.pool.discharge(self.charged());
        for (piece, _) in self.pieces.drain(..) {
            self.pool.give_back_piece(piece);
        }
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes)", self.len())
    }
}

/// A value being made: its body is filled first, then its end.
#[derive(Debug)]
pub(super) struct Unfinished {
    body: Pieces,
    body_len: usize,
    end: Vec<u8>,
    end_len: usize,
    filled: usize,
}

impl Unfinished {
    /// For a value of `len` bytes, of which up to `inline_limit` need no body.
    pub fn new(len: usize, inline_limit: usize, pool: Arc<Pool>) -> Unfinished {
        let end_len = if len <= inline_limit { len } else { len % pool.unit_len() };
        Unfinished { body: Pieces::new(pool), body_len: len - end_len, end: Vec::new(), end_len, filled: 0 }
    }

    pub fn missing(&self) -> usize {
        self.body_len + self.end_len - self.filled
    }

    /// Whether it takes another piece of memory to go on.
    fn needs_piece(&self) -> bool {
        self.filled == self.body.len() && self.filled < self.body_len
    }

    /// Gets that piece, of the pool or of what `make_room` evicts; false if neither has one.
    pub fn grow(&mut self, mut make_room: impl FnMut() -> bool) -> bool {
        while self.needs_piece() {
            match self.body.pool.try_piece(self.body_len - self.filled) {
                Some(piece) => self.body.add(piece),
                None if make_room() => {}
                None => return false,
            }
        }
        true
    }

    /// Where the next bytes go, as far as there is memory.
    fn space(&mut self) -> &mut [u8] {
        if self.filled >= self.body_len {
            self.end.resize(self.end_len, 0);
            return &mut self.end[self.filled - self.body_len..];
        }
        let Some((piece, end)) = self.body.pieces.last_mut() else { return &mut [] };
        let bytes = piece.bytes_mut();
        let at = bytes.len() - (*end - self.filled);
        &mut bytes[at..]
    }

    /// Appends bytes; false if there is no memory for all of them.
    pub fn put(&mut self, mut bytes: &[u8], mut make_room: impl FnMut() -> bool) -> bool {
        while !bytes.is_empty() {
            if !self.grow(&mut make_room) {
                return false;
            }
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
        true
    }

    /// The whole value: its body, if it has one, and its end.
    pub fn finish(mut self) -> (Option<Body>, Vec<u8>) {
        debug_assert_eq!(self.missing(), 0);
        self.body.pieces.shrink_to_fit();
        let body = (self.body_len > 0).then(|| Body(Arc::new(self.body)));
        (body, self.end)
    }
}

/// A value being received: memory is taken piece by piece as bytes arrive, and given back if it is dropped.
///
/// Nothing in such memory can be evicted, and a client may take its time: all of them together get half of the budget
/// at most, or as much as one of the largest items needs.
#[derive(Debug)]
pub struct Incoming {
    value: Unfinished,
    len: usize,
    reserved: Reserved,
}

/// Bytes of a value on its way in, counted among those of all.
struct Reserved {
    store: Arc<Inner>,
    bytes: usize,
}

impl Incoming {
    pub(super) fn new(store: Arc<Inner>, len: usize) -> Incoming {
        let value = Unfinished::new(len, store.inline_limit, store.pool().clone());
        Incoming { value, len, reserved: Reserved { store, bytes: 0 } }
    }

    /// How many bytes the value has when it is whole.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes have not arrived yet.
    pub fn missing(&self) -> usize {
        self.value.missing()
    }

    /// Where the next bytes go: at least one byte unless the value is whole; `None` if memory cannot be had, and
    /// then the value will never be whole.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        if self.value.needs_piece() {
            let store = &self.reserved.store;
            let most = store.pool().block_len().min(self.value.missing());
            if !store.reserve_incoming(most) {
                return None;
            }
            let before = self.value.body.len();
            let grown = self.value.grow(|| store.make_room());
            let taken = self.value.body.len() - before;
            store.release_incoming(most - taken);
            self.reserved.bytes += taken;
            if !grown {
                return None;
            }
        }
        Some(self.value.space())
    }

    /// Says that `count` bytes have been written to the front of [`Incoming::space`].
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.value.space().len(), "more bytes filled than there was space");
        self.value.filled += count;
    }

    /// The whole value: its body, if it has one, and its end.
    pub(super) fn finish(self) -> (Option<Body>, Vec<u8>) {
        self.value.finish()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.store.release_incoming(self.bytes);
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({} bytes)", self.bytes)
    }
}
