//! Values: short ones as one slice, long ones as shared chunks that outlive their item while somebody sends them.

use super::Inner;
use super::pool::{Block, Pool};
use std::fmt;
use std::sync::Arc;

/// A value as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// One slice, to be copied out under the lock.
    Small(&'a [u8]),
    /// Shared chunks: clone it under the lock (a reference count), send it after.
    Large(&'a LargeValue),
}

impl Value<'_> {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Value::Small(bytes) => bytes.len(),
            Value::Large(large) => large.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value too long for one slice; cloning it costs a reference count. Its memory counts in the store's budget until
/// the last clone is gone.
#[derive(Clone, Debug)]
pub struct LargeValue {
    parts: Arc<[Part]>,
}

/// A chunk at its place in a value.
#[derive(Clone, Debug)]
struct Part {
    /// Where in the value the chunk ends.
    end: usize,
    chunk: Arc<Chunk>,
}

/// Bytes that no longer change, and the memory they are charged for.
struct Chunk {
    memory: Memory,
    pool: Arc<Pool>,
}

enum Memory {
    /// As long as any block of the pool.
    Block(Block),
    /// Shorter, exactly as long as what it holds.
    Heap(Box<[u8]>),
    Gone,
}

/// What the allocator adds to each allocation, roughly; and the reference counts.
const HEAP_COST: usize = 32;

/// Two neighbouring chunks that are both at most this long are joined when a value gets longer.
const JOIN_BELOW: usize = 4 << 10;

impl LargeValue {
    fn new(chunks: impl IntoIterator<Item = Arc<Chunk>>) -> LargeValue {
        let mut end = 0;
        let parts = chunks.into_iter().map(|chunk| {
            end += chunk.bytes().len();
            Part { end, chunk }
        });
        LargeValue { parts: parts.collect() }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `offset` to the end of the chunk they are in; empty at the end of the value.
    pub fn slice_at(&self, offset: usize) -> &[u8] {
        let index = self.parts.partition_point(|part| part.end <= offset);
        match self.parts.get(index) {
            Some(part) => {
                let bytes = part.chunk.bytes();
                &bytes[bytes.len() - (part.end - offset)..]
            }
            None => &[],
        }
    }

    /// Bytes of bookkeeping beside the chunks.
    pub(super) fn overhead(&self) -> usize {
        HEAP_COST + self.parts.len() * size_of::<Part>()
    }

    /// Bytes its chunks are charged with.
    pub(super) fn charged(&self) -> usize {
        self.parts.iter().map(|part| part.chunk.charged()).sum()
    }

    /// A copy of these bytes as a value, its memory not yet charged: charge [`LargeValue::cost_of`] first.
    pub(super) fn copy_of(bytes: &[u8], pool: &Arc<Pool>) -> LargeValue {
        LargeValue::new([Arc::new(Chunk { memory: Memory::Heap(bytes.into()), pool: pool.clone() })])
    }

    /// Bytes to charge for a value made with [`LargeValue::copy_of`].
    pub(super) fn cost_of(len: usize) -> usize {
        len + HEAP_COST
    }

    /// This value and, after it, another. Chunks are shared, not copied, except small ones where the two meet: a
    /// copy of both takes their place, and is charged.
    pub(super) fn joined(&self, after: &LargeValue) -> LargeValue {
        let mut chunks: Vec<Arc<Chunk>> = self.parts.iter().map(|part| part.chunk.clone()).collect();
        let mut rest = after.parts.iter().map(|part| &part.chunk);
        if let (Some(last), Some(first)) = (chunks.last(), after.parts.first().map(|part| &part.chunk))
            && last.bytes().len().max(first.bytes().len()) <= JOIN_BELOW
        {
            let both = [last.bytes(), first.bytes()].concat();
            let pool = last.pool.clone();
            pool.charge(LargeValue::cost_of(both.len()));
            chunks.pop();
            chunks.push(Arc::new(Chunk { memory: Memory::Heap(both.into()), pool }));
            rest.next();
        }
        chunks.extend(rest.cloned());
        LargeValue::new(chunks)
    }

    /// Appends all bytes to `to`.
    pub(super) fn copy_to(&self, to: &mut Vec<u8>) {
        for part in self.parts.iter() {
            to.extend_from_slice(part.chunk.bytes());
        }
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Block(block) => block.bytes(),
            Memory::Heap(bytes) => bytes,
            Memory::Gone => &[],
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Block(block) => block.bytes_mut(),
            Memory::Heap(bytes) => bytes,
            Memory::Gone => &mut [],
        }
    }
}

impl Chunk {
    fn charged(&self) -> usize {
        match &self.memory {
            Memory::Block(block) => block.bytes().len(),
            Memory::Heap(bytes) => LargeValue::cost_of(bytes.len()),
            Memory::Gone => 0,
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.memory, Memory::Gone) {
            Memory::Block(block) => self.pool.give_back(block),
            Memory::Heap(bytes) => self.pool.discharge(LargeValue::cost_of(bytes.len())),
            Memory::Gone => {}
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.bytes().len())
    }
}

/// A value being received: memory is taken chunk by chunk as bytes arrive, and given back if it is dropped.
///
/// Nothing in such memory can be evicted, and a client may take its time: all of them together get half of the budget
/// at most, or as much as one of the largest items needs.
pub struct Incoming {
    store: Arc<Inner>,
    len: usize,
    filled: usize,
    chunks: Vec<Arc<Chunk>>,
    /// Bytes all chunks hold when they are full.
    capacity: usize,
}

impl Incoming {
    pub(super) fn new(store: Arc<Inner>, len: usize) -> Incoming {
        Incoming { store, len, filled: 0, chunks: Vec::new(), capacity: 0 }
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
        self.len - self.filled
    }

    /// Where the next bytes go: at least one byte unless the value is whole; `None` if memory cannot be had, and
    /// then the value will never be whole.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        if self.filled == self.capacity && self.filled < self.len {
            let len = self.next_len();
            if !self.store.reserve_incoming(len) {
                return None;
            }
            self.capacity += len;
            let Some(chunk) = self.chunk(len) else {
                self.capacity -= len;
                self.store.release_incoming(len);
                return None;
            };
            self.chunks.push(Arc::new(chunk));
        }
        let left = self.capacity - self.filled;
        let Some(chunk) = self.chunks.last_mut() else { return Some(&mut []) };
        let bytes = Arc::get_mut(chunk).expect("nobody shares a chunk before it is full").bytes_mut();
        let at = bytes.len() - left;
        Some(&mut bytes[at..])
    }

    /// Says that `count` bytes have been written to the front of [`Incoming::space`].
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
        assert!(self.filled <= self.capacity, "more bytes filled than there was space");
    }

    pub(super) fn into_value(mut self) -> LargeValue {
        debug_assert_eq!(self.missing(), 0);
        LargeValue::new(std::mem::take(&mut self.chunks))
    }

    /// How long the next chunk is. What is less than a block is cut into powers of two and a remainder, so that the
    /// allocator finds room for it in what others left.
    fn next_len(&self) -> usize {
        let (missing, block_len) = (self.missing(), self.store.pool().block_len());
        match 1 << missing.ilog2() {
            _ if missing >= block_len => block_len,
            power if power >= 4 << 10 => power,
            _ => missing,
        }
    }

    /// Memory for the next bytes, a block if that is how long it is.
    fn chunk(&self, len: usize) -> Option<Chunk> {
        let pool = self.store.pool();
        let memory = if len == pool.block_len() {
            Memory::Block(loop {
                if let Some(block) = pool.try_block() {
                    break block;
                }
                if !self.store.make_room() {
                    return None;
                }
            })
        } else {
            while !pool.try_charge(LargeValue::cost_of(len)) {
                if !self.store.make_room() {
                    return None;
                }
            }
            Memory::Heap(vec![0; len].into())
        };
        Some(Chunk { memory, pool: pool.clone() })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.store.release_incoming(self.capacity);
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("len", &self.len).field("filled", &self.filled).finish()
    }
}
