//! What can be asked of a server, and the queue of bytes it becomes. Knows neither dialect.

use crate::key::{Key, Ttl};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Values from this size on are sent from where they lie; smaller ones are cheaper to copy.
const COPY_BELOW: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Get(Get),
    /// Apart, or else every request would be as large, and requests are moved often.
    Store(Box<Store>),
    Delete(Delete),
    Count(Count),
    Touch {
        key: Key,
        ttl: Ttl,
    },
    Flush,
    Version,
    Stats(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Get {
    pub(crate) key: Key,
    /// Renews the time to live of what is found.
    pub(crate) touch: Option<Ttl>,
    /// On a miss, leaves an empty item for this long, whose creator is to fill it.
    pub(crate) vivify: Option<Ttl>,
    /// Offers the item for renewal once less than this many seconds remain.
    pub(crate) refresh_below: Option<u32>,
    /// Asks for remaining time, whether and when it was read before.
    pub(crate) details: bool,
    /// Asks for everything but the value.
    pub(crate) no_value: bool,
    /// Leaves no trace in the server's eviction order.
    pub(crate) no_bump: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) key: Key,
    pub(crate) mode: Mode,
    pub(crate) value: Bytes,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
    pub(crate) compare: Option<u64>,
    /// Stores over a newer item too, but as a stale one.
    pub(crate) even_if_stale: bool,
    /// For append and prepend: creates a missing item, with this time to live.
    pub(crate) vivify: Option<Ttl>,
    pub(crate) sources: Vec<Source>,
}

/// A key that an item is derived from, and the CAS value it was read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) key: Key,
    pub(crate) cas: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) key: Key,
    pub(crate) compare: Option<u64>,
    /// Keeps the item as a stale one, for this long at most if given.
    pub(crate) stale: Option<Option<Ttl>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Count {
    pub(crate) key: Key,
    pub(crate) decrement: bool,
    pub(crate) delta: u64,
    /// Creates a missing counter with this value and time to live.
    pub(crate) initial: Option<(u64, Ttl)>,
    pub(crate) touch: Option<Ttl>,
    pub(crate) compare: Option<u64>,
}

impl Get {
    /// A plain read.
    pub(crate) fn new(key: Key) -> Get {
        Get {
            key,
            touch: None,
            vivify: None,
            refresh_below: None,
            details: false,
            no_value: false,
            no_bump: false,
        }
    }
}

impl Store {
    /// Stores a value that lives for ever, on no further conditions.
    pub(crate) fn new(key: Key, mode: Mode, value: Bytes, flags: u32) -> Store {
        Store {
            key,
            mode,
            value,
            flags,
            ttl: Ttl::Never,
            compare: None,
            even_if_stale: false,
            vivify: None,
            sources: Vec::new(),
        }
    }
}

impl Request {
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Request::Get(Get { key, .. })
            | Request::Delete(Delete { key, .. })
            | Request::Count(Count { key, .. })
            | Request::Touch { key, .. } => Some(key),
            Request::Store(store) => Some(&store.key),
            Request::Flush | Request::Version | Request::Stats(_) => None,
        }
    }

    /// Whether it only reads: carrying it out twice does no harm, and not at all is a miss.
    pub(crate) fn is_read(&self) -> bool {
        match self {
            Request::Get(get) => get.vivify.is_none() && get.refresh_below.is_none(),
            Request::Version | Request::Stats(_) => true,
            _ => false,
        }
    }

    /// Whether it changes the data behind its key, or behind all keys, so that a member that missed it holds a stale
    /// value.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Request::Store(store) => store.mode != Mode::Add,
            Request::Delete(_) | Request::Count(_) | Request::Flush => true,
            _ => false,
        }
    }

    /// Whether it leaves nothing of what was stored before, whatever that was. Anything else answers from the item, or
    /// builds on it, and must not meet a stale one.
    pub(crate) fn is_overwrite(&self) -> bool {
        match self {
            Request::Store(store) => store.mode == Mode::Set && store.compare.is_none(),
            Request::Delete(delete) => delete.compare.is_none() && delete.stale.is_none(),
            _ => false,
        }
    }

    /// The key it would give an old item if it were carried out after a later change. What only goes over one version
    /// would not, nor would what only takes something away.
    pub(crate) fn brings_back(&self) -> Option<&Key> {
        match self {
            Request::Store(store) if store.compare.is_none() || store.even_if_stale => Some(&store.key),
            Request::Count(count) if count.compare.is_none() => Some(&count.key),
            _ => None,
        }
    }

    /// Whether a data block follows the request line: a refusal of the line then leaves the stream in doubt.
    pub(crate) fn has_block(&self) -> bool {
        matches!(self, Request::Store(_))
    }
}

/// Bytes to be written, in order. Large values are queued as they are, not copied.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    queued_bytes: usize,
}

impl Output {
    pub(crate) fn text(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20]; // As many as 2^64 - 1 has.
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text(&digits[first..]);
    }

    pub(crate) fn signed(&mut self, number: i64) {
        if number < 0 {
            self.text(b"-");
        }
        self.number(number.unsigned_abs());
    }

    pub(crate) fn value(&mut self, value: &Bytes) {
        if value.len() < COPY_BELOW {
            return self.text(value);
        }
        self.flush_tail();
        self.queued_bytes += value.len();
        self.queue.push_back(value.clone());
    }

    pub(crate) fn len(&self) -> usize {
        self.queued_bytes + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `slices` with what is to be written next and says how many it filled.
    pub(crate) fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.flush_tail();
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Forgets the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.queued_bytes -= written;
        while written > 0 {
            let Some(front) = self.queue.front_mut() else { return };
            if front.len() > written {
                bytes::Buf::advance(front, written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queued_bytes += self.tail.len();
            let full = self.tail.split().freeze();
            self.queue.push_back(full);
        }
    }

    #[cfg(test)]
    pub(crate) fn drained(&mut self) -> Vec<u8> {
        self.flush_tail();
        self.queue.iter().flat_map(|bytes| bytes.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_one_version_only_brings_nothing_back() {
        let store = |compare, even_if_stale| {
            let store = Store::new("k".into(), Mode::Set, Bytes::new(), 0);
            Request::Store(Box::new(Store { compare, even_if_stale, ..store }))
        };
        assert!(store(None, false).brings_back().is_some() && store(Some(7), true).brings_back().is_some());
        assert_eq!(store(Some(7), false).brings_back(), None);
        assert_eq!(Request::Get(Get::new("k".into())).brings_back(), None);
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 1_000_000, u64::MAX] {
            let mut out = Output::default();
            out.number(number);
            assert_eq!(out.drained(), number.to_string().as_bytes());
        }
        for number in [0, -1, i64::MIN, i64::MAX] {
            let mut out = Output::default();
            out.signed(number);
            assert_eq!(out.drained(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn output_keeps_order_and_counts_through_partial_writes() {
        let mut out = Output::default();
        let big = Bytes::from(vec![b'x'; COPY_BELOW]);
        out.text(b"ms a ");
        out.number(big.len() as u64);
        out.text(b"\r\n");
        out.value(&big);
        out.text(b"\r\n");
        let whole = out.drained();
        assert_eq!(out.len(), whole.len());
        let mut written = Vec::new();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = out.slices(&mut slices);
            let step: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).take(1000).collect();
            written.extend_from_slice(&step);
            out.advance(step.len());
        }
        assert_eq!(written, whole);
    }
}
