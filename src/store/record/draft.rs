//! An item about to be written, and its writing.

use super::{
    BodyPlace, CAS_SHOWN, CAS_STORED, DEADLINE, EXTRA, EXTRA_BINARY_KEY, EXTRA_BODY, EXTRA_CLIENT_FLAGS,
    EXTRA_REST, EXTRA_SOURCES, EXTRA_STALE, EXTRA_VERSION, FETCHED, FIXED, LEASE, MOST_USES, USES_SHIFT,
    recency,
};
use crate::store::Expiry;

/// An item about to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Draft<'a> {
    pub key: &'a [u8],
    /// What comes before the value, if that is long.
    pub body: BodyPlace,
    /// The value, or its end, in two pieces.
    pub value: [&'a [u8]; 2],
    /// Bytes of the value after these that go to another segment.
    pub rest_len: u32,
    pub client_flags: u32,
    pub expiry: Expiry,
    pub binary_key: bool,
    pub stale: bool,
    pub lease_granted: bool,
    pub fetched: bool,
    pub uses: u8,
    /// Eighths of a second of the store's clock.
    pub last_used: u32,
    /// The CAS value has been shown to a client.
    pub cas_shown: bool,
    /// The CAS value, if it is not the one its place gives it.
    pub cas: Option<u64>,
    /// What it was derived from, encoded; empty if nothing.
    pub sources: &'a [u8],
    /// How often it was replaced where it lies, if it may be: it is likely to be replaced by one as long.
    pub version: Option<u8>,
}

/// A draft is cut so that this much of the value, at least, comes before and after, or not at all: less is not worth
/// a second place in memory to read from.
const MIN_PART: usize = 64;

impl<'a> Draft<'a> {
    /// Cuts off what does not fit in `room` bytes, and answers it; `None` if that is not worth it.
    pub fn cut(&mut self, room: usize) -> Option<[&'a [u8]; 2]> {
        // Whether or not a CAS value is stored, the answer is the same.
        let longest = Draft { rest_len: 1, cas: Some(0), ..*self };
        let fits = room.checked_sub(longest.len() - self.inline_len())?;
        let first = fits.min(self.inline_len().checked_sub(MIN_PART)?);
        if first < MIN_PART {
            return None;
        }
        let rest_len = self.inline_len() - first;
        let [a, b] = self.value;
        let (a, a_rest) = a.split_at(first.min(a.len()));
        let (b, b_rest) = b.split_at(first - a.len());
        (self.value, self.rest_len) = ([a, b], rest_len as u32);
        Some([a_rest, b_rest])
    }

    /// Bytes of the whole value.
    pub fn value_len(&self) -> usize {
        self.inline_len() + self.rest_len as usize + self.body.len as usize
    }

    /// Bytes of the value that are in the record.
    fn inline_len(&self) -> usize {
        self.value[0].len() + self.value[1].len()
    }

    /// Bytes of the whole record.
    pub fn len(&self) -> usize {
        let inline_len = self.inline_len();
        FIXED
            + match inline_len {
                0..0x80 => 1,
                0x80..0x4000 => 2,
                _ => 3,
            }
            + usize::from(self.extra() != 0)
            + if self.body.len != 0 { 8 } else { 0 }
            + if self.rest_len != 0 { 4 } else { 0 }
            + if self.expiry.deadline().is_some() { 4 } else { 0 }
            + if self.client_flags != 0 { 4 } else { 0 }
            + if self.cas.is_some() { 8 } else { 0 }
            + self.sources.len()
            + usize::from(self.version.is_some())
            + self.key.len()
            + inline_len
    }

    fn extra(&self) -> u8 {
        (u8::from(self.client_flags != 0) * EXTRA_CLIENT_FLAGS)
            | (u8::from(self.binary_key) * EXTRA_BINARY_KEY)
            | (u8::from(self.stale) * EXTRA_STALE)
            | (u8::from(!self.sources.is_empty()) * EXTRA_SOURCES)
            | (u8::from(self.version.is_some()) * EXTRA_VERSION)
            | (u8::from(self.body.len != 0) * EXTRA_BODY)
            | (u8::from(self.rest_len != 0) * EXTRA_REST)
    }

    /// Writes the record to the front of `to`, in a segment opened at `opened`.
    pub fn write(&self, to: &mut [u8], opened: u32) {
        let extra = self.extra();
        let mut flags = (u8::from(self.fetched) * FETCHED)
            | (self.uses.min(MOST_USES) << USES_SHIFT)
            | (u8::from(self.lease_granted) * LEASE)
            | (u8::from(extra != 0) * EXTRA);
        if self.cas.is_some() {
            flags |= CAS_STORED;
        } else if self.cas_shown {
            flags |= CAS_SHOWN;
        }
        let deadline = self.expiry.deadline();
        if deadline.is_some() {
            flags |= DEADLINE;
        }
        to[0] = flags;
        to[1] = self.key.len() as u8;
        to[2..4].copy_from_slice(&recency::encode(self.last_used, opened).to_le_bytes());
        let mut at = FIXED;
        let mut put = |bytes: &[u8]| {
            to[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let len = self.inline_len();
        match len {
            0..0x80 => put(&[len as u8]),
            0x80..0x4000 => put(&[len as u8 | 0x80, (len >> 7) as u8]),
            _ => put(&[len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]),
        }
        if extra != 0 {
            put(&[extra]);
        }
        if let Some(version) = self.version {
            put(&[version]);
        }
        if self.body.len != 0 {
            put(&self.body.number.to_le_bytes());
            put(&self.body.len.to_le_bytes());
        }
        if self.rest_len != 0 {
            put(&self.rest_len.to_le_bytes());
        }
        if let Some(deadline) = deadline {
            put(&deadline.get().to_le_bytes());
        }
        if self.client_flags != 0 {
            put(&self.client_flags.to_le_bytes());
        }
        if let Some(cas) = self.cas {
            put(&cas.to_le_bytes());
        }
        put(self.sources);
        put(self.key);
        put(self.value[0]);
        put(self.value[1]);
    }
}
