//! Values: short ones as one slice, long ones as shared chunks that outlive their item while somebody sends them.

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

/// A value too long for one slice; cloning it costs a reference count.
#[derive(Clone, Debug)]
pub struct LargeValue {
    chunks: Arc<[Box<[u8]>]>,
    len: usize,
}

impl LargeValue {
    pub(super) fn new(chunks: Vec<Box<[u8]>>) -> LargeValue {
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        LargeValue { chunks: chunks.into(), len }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from `offset` to the end of the chunk they are in; empty at the end of the value.
    pub fn slice_at(&self, mut offset: usize) -> &[u8] {
        for chunk in self.chunks.iter() {
            if offset < chunk.len() {
                return &chunk[offset..];
            }
            offset -= chunk.len();
        }
        &[]
    }
}

/// A value being received: memory is taken chunk by chunk as bytes arrive.
#[derive(Debug)]
pub struct Incoming {
    len: usize,
    filled: usize,
    chunks: Vec<Box<[u8]>>,
}

const CHUNK: usize = 64 << 10;

impl Incoming {
    pub(super) fn new(len: usize) -> Incoming {
        Incoming { len, filled: 0, chunks: Vec::new() }
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
        if self.filled.is_multiple_of(CHUNK)
            && self.filled < self.len
            && self.chunks.len() * CHUNK <= self.filled
        {
            self.chunks.push(vec![0; CHUNK.min(self.len - self.filled)].into_boxed_slice());
        }
        let at = self.filled % CHUNK;
        match self.chunks.last_mut() {
            Some(chunk) if self.filled < self.len => Some(&mut chunk[at..]),
            _ => Some(&mut []),
        }
    }

    /// Says that `count` bytes have been written to the front of [`Incoming::space`].
    pub fn filled(&mut self, count: usize) {
        self.filled += count;
        debug_assert!(self.filled <= self.len);
    }

    pub(super) fn into_chunks(self) -> Vec<Box<[u8]>> {
        self.chunks
    }
}
