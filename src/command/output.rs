//! Replies on their way out: bytes in order, with the bodies of long values by reference. Knows no socket.

use super::long_replies::{Held, LongReplies};
use crate::store::{Body, Value};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Replies that wait to be written.
///
/// Invariant: `large` is ordered by position, and each position is within `bytes[sent..]` or at its end.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    sent: usize,
    /// Bodies of long values, each to be sent before the byte at its position in `bytes`.
    large: VecDeque<Large>,
    /// Bytes of `large` not sent yet.
    large_pending: usize,
    /// What a long reply among these holds of what all may hold.
    held: Option<Held>,
}

#[derive(Debug)]
struct Large {
    position: usize,
    sent: usize,
    value: Body,
}

impl Output {
    /// Pending bytes above which a session stops answering until they have been written. One reply may go over it
    /// by its own length.
    pub const FULL: usize = 128 << 10;

    /// Capacity kept for the next batch; more is given back when all has been written.
    const KEEP: usize = 2 * Output::FULL;

    /// The buffer that short replies are appended to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a number in decimal.
    pub fn put_number(&mut self, number: impl itoa::Integer) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a value: by copy, but the body of a long one by reference.
    pub fn put_value(&mut self, value: Value<'_>) {
        let (body, copied) = match value {
            Value::Small(bytes) => return self.put(bytes),
            Value::Cut(_) | Value::Large(..) => value.parts(),
        };
        if let Some(body) = body {
            self.large_pending += body.len();
            self.large.push_back(Large { position: self.bytes.len(), sent: 0, value: body.clone() });
        }
        copied.into_iter().for_each(|bytes| self.put(bytes));
    }

    /// How many bytes wait.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent + self.large_pending
    }

    /// The bodies of long values among what waits.
    pub fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.large.iter().map(|large| &large.value)
    }

    /// Bytes of memory it has for short replies.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pending() == 0
    }

    /// Whether so much waits that it should be written before anything else is answered.
    pub fn is_full(&self) -> bool {
        self.pending() >= Output::FULL
    }

    /// Where [`Output::truncate`] can take the output back to, as long as nothing has been written since.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), large: self.large.len() }
    }

    /// Takes back what was appended since `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        for large in self.large.drain(mark.large..) {
            self.large_pending -= large.value.len();
        }
    }

    /// What was appended since `mark`, without long values.
    pub fn since(&self, mark: Mark) -> &[u8] {
        self.bytes.get(mark.bytes..).unwrap_or_default()
    }

    /// Counts what was appended since `mark` among the long replies, if it is long; false, and it is taken back, if
    /// there are too many of them.
    pub fn hold_since(&mut self, mark: Mark, replies: &LongReplies) -> bool {
        if self.bytes.len() - mark.bytes <= LongReplies::SHORT {
            return true;
        }
        self.held = None;
        self.held = replies.hold(self.bytes.capacity());
        if self.held.is_none() {
            self.truncate(mark);
            self.bytes.shrink_to(Output::KEEP);
        }
        self.held.is_some()
    }

    /// Fills `slices` with what is to be written next, in order, and says how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut at = self.sent;
        let mut push = |slice: &'a [u8]| {
            if filled < slices.len() && !slice.is_empty() {
                slices[filled] = IoSlice::new(slice);
                filled += 1;
            }
            filled < slices.len()
        };
        for large in &self.large {
            if !push(&self.bytes[at..large.position]) {
                return filled;
            }
            at = large.position;
            let mut offset = large.sent;
            while offset < large.value.len() {
                let slice = large.value.slice_at(offset);
                if !push(slice) {
                    return filled;
                }
                offset += slice.len();
            }
        }
        push(&self.bytes[at..]);
        filled
    }

    /// Forgets the first `count` pending bytes: they have been written.
    pub fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.pending());
        while count > 0 {
            let before_large =
                self.large.front().map_or(self.bytes.len(), |large| large.position) - self.sent;
            let plain = before_large.min(count);
            self.sent += plain;
            count -= plain;
            if let Some(large) = self.large.front_mut()
                && self.sent == large.position
            {
                let part = (large.value.len() - large.sent).min(count);
                large.sent += part;
                self.large_pending -= part;
                count -= part;
                if large.sent == large.value.len() {
                    self.large.pop_front();
                }
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(Output::KEEP);
            self.sent = 0;
            self.held = None;
        } else if self.sent >= Output::FULL.max(self.bytes.len() - self.sent) {
            self.forget_sent();
        }
    }

    /// Moves what waits to the front. A client that reads slowly but steadily may never leave it empty.
    fn forget_sent(&mut self) {
        self.bytes.drain(..self.sent);
        for large in &mut self.large {
            large.position -= self.sent;
        }
        self.sent = 0;
    }
}

/// A place in an [`Output`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    large: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Expiry, Key, Lookup, NewItem, NewValue, Now, Options, Store};

    fn now() -> Now {
        Now::new(Now::EARLIEST, 1_700_000_000)
    }

    /// A store with one long value under the key `k`.
    fn store_with(value: &[u8]) -> Store {
        let store = Store::new(&Options {
            limit: 64 << 20,
            item_limit: 1 << 20,
            no_evictions: false,
            eviction: Default::default(),
            workers: 1,
        });
        let item = NewItem::plain(NewValue::Bytes(value), 0, Expiry::NEVER);
        store.update(Key::new(b"k").expect("a good key"), now(), |_: Lookup<'_, '_>| (Change::Put(item), ()));
        store
    }

    fn put_item(store: &Store, output: &mut Output) {
        store.read(Key::new(b"k").expect("a good key"), now(), |found| {
            output.put_value(found.expect("it was stored").value());
        });
    }

    /// Takes up to `count` bytes as a socket would.
    fn write(output: &mut Output, count: usize, written: &mut Vec<u8>) {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = output.slices(&mut slices);
        let mut left = count;
        let before = written.len();
        for slice in &slices[..filled] {
            let part = slice.len().min(left);
            written.extend_from_slice(&slice[..part]);
            left -= part;
        }
        output.advance(written.len() - before);
    }

    #[test]
    fn a_reader_that_never_catches_up_costs_no_more_than_what_waits() {
        let value = vec![b'v'; 100_000];
        let store = store_with(&value);
        let (mut output, mut expected, mut written) = (Output::default(), Vec::new(), Vec::new());
        for round in 0..500u32 {
            while !output.is_full() {
                let head = round.to_string().repeat(2000);
                output.put(head.as_bytes());
                expected.extend_from_slice(head.as_bytes());
                if round % 7 == 0 {
                    put_item(&store, &mut output);
                    expected.extend_from_slice(&value);
                }
            }
            write(&mut output, 9_999, &mut written);
            assert!(
                output.bytes.capacity() <= 8 * Output::FULL,
                "{} in round {round}",
                output.bytes.capacity()
            );
        }
        while !output.is_empty() {
            write(&mut output, 9_999, &mut written);
        }
        assert!(written.len() > 20 * Output::FULL && written == expected);
    }
}
