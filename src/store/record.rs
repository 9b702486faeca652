//! How one item lies in a segment: its header, key and value. Knows bytes only, neither index nor clock.
//!
//! ```text
//!  byte 0      1        2..4   4..     then, each only if its flag is set                           then
//! ┌─────────┬─────────┬──────┬───────┬───────┬─────────┬──────┬──────┬──────────┬────────┬─────┬─────────┐┌─────┬───────┐
//! │ flags   │ key len │ last │ value │ extra │ version │ body │ rest │ deadline │ client │ CAS │ sources ││ key │ value │
//! │         │         │ use  │ len   │ flags │ 1       │ 8    │ len 4│ 4 bytes  │ flags 4│ 8   │ 18..    ││     │       │
//! └─────────┴─────────┴──────┴───────┴───────┴─────────┴──────┴──────┴──────────┴────────┴─────┴─────────┘└─────┴───────┘
//! ```
//! Of a long value only the end is in the record; the body, number and length, is all that comes before it. Of a record
//! that is cut, the last of its segment, the rest of the value is in another segment. The length of what is in the
//! record takes 1 byte below 128, 2 below 16,384, else 3. A dead record keeps its flag byte, with [`DEAD`] in it, and
//! the length of the whole record in the three bytes after it; so begins the rest of a cut one.

mod draft;
mod recency;

use super::sources::Named;
use super::{Expiry, Now};
use std::num::NonZeroU32;

pub(super) use draft::Draft;

/// Read since it was stored.
pub(super) const FETCHED: u8 = 0x01;
const USES_SHIFT: u32 = 1;
const USES: u8 = 0x06;
const DEADLINE: u8 = 0x08;
/// What is known of the CAS value: not there and never shown (0), not there but shown, stored, or the item is dead.
const CAS: u8 = 0x30;
const CAS_SHOWN: u8 = 0x10;
const CAS_STORED: u8 = 0x20;
const DEAD: u8 = 0x30;
const LEASE: u8 = 0x40;
const EXTRA: u8 = 0x80;

const EXTRA_CLIENT_FLAGS: u8 = 0x01;
const EXTRA_BINARY_KEY: u8 = 0x02;
const EXTRA_STALE: u8 = 0x04;
const EXTRA_SOURCES: u8 = 0x08;
/// A byte follows that counts how often the item was replaced where it lies.
const EXTRA_VERSION: u8 = 0x10;

/// Number and length of a body follow.
const EXTRA_BODY: u8 = 0x20;
/// The length of what of the value is in another segment follows.
const EXTRA_REST: u8 = 0x40;

/// Highest count of uses an item remembers.
pub(super) const MOST_USES: u8 = 3;

const FIXED: usize = 4;

/// Longest possible header.
pub(super) const MAX_HEADER: usize =
    FIXED + 3 + 2 + 8 + 4 + 4 + 4 + 8 + 2 + 8 + 8 * super::sources::MAX_REMEMBERED;

// The places in a [`Header`] are of 16 bits.
const _: () = assert!(MAX_HEADER + super::MAX_KEY_LEN <= u16::MAX as usize);

/// Shortest possible record.
#[cfg(test)]
pub(super) const MIN_RECORD: usize = FIXED + 1 + 1;

/// What a record's header says, with the places of its key and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    flags: u8,
    extra: u8,
    recency: u16,
    deadline: u32,
    client_flags: u32,
    cas: u64,
    version: u8,
    body: BodyPlace,
    rest_len: u32,
    /// Where the sources begin; they end at `key_at`.
    sources_at: u16,
    key_at: u16,
    value_at: u16,
    end: u32,
}

/// Where all but the end of a long value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BodyPlace {
    /// Its number among those of the shard.
    pub number: u32,
    /// In bytes; 0 if there is none.
    pub len: u32,
}

/// What lies at a place in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Live(Header),
    /// Nothing but its length is left.
    Dead {
        len: usize,
    },
}

impl Found {
    /// Bytes of the whole record.
    pub fn len(&self) -> usize {
        match self {
            Found::Live(header) => header.len(),
            Found::Dead { len } => *len,
        }
    }
}

impl Header {
    /// Reads the live record that begins here.
    pub fn read(record: &[u8]) -> Header {
        let flags = record[0];
        debug_assert!(flags & CAS != DEAD, "a dead record is in the index");
        let mut at = FIXED;
        let first = record[at];
        at += 1;
        let mut value_len = usize::from(first & 0x7f);
        if first & 0x80 != 0 {
            let second = record[at];
            at += 1;
            value_len |= usize::from(second & 0x7f) << 7;
            if second & 0x80 != 0 {
                value_len |= usize::from(record[at]) << 14;
                at += 1;
            }
        }
        let mut header = Header {
            flags,
            extra: 0,
            recency: u16::from_le_bytes([record[2], record[3]]),
            deadline: 0,
            client_flags: 0,
            cas: 0,
            version: 0,
            body: BodyPlace::default(),
            rest_len: 0,
            sources_at: 0,
            key_at: 0,
            value_at: 0,
            end: 0,
        };
        if flags & (EXTRA | DEADLINE | CAS_STORED) != 0 {
            if flags & EXTRA != 0 {
                header.extra = record[at];
                at += 1;
            }
            if header.extra & EXTRA_VERSION != 0 {
                header.version = record[at];
                at += 1;
            }
            if header.extra & EXTRA_BODY != 0 {
                header.body.number = u32::from_le_bytes(take(record, &mut at));
                header.body.len = u32::from_le_bytes(take(record, &mut at));
            }
            if header.extra & EXTRA_REST != 0 {
                header.rest_len = u32::from_le_bytes(take(record, &mut at));
            }
            if flags & DEADLINE != 0 {
                header.deadline = u32::from_le_bytes(take(record, &mut at));
            }
            if header.extra & EXTRA_CLIENT_FLAGS != 0 {
                header.client_flags = u32::from_le_bytes(take(record, &mut at));
            }
            if flags & CAS_STORED != 0 {
                header.cas = u64::from_le_bytes(take(record, &mut at));
            }
        }
        header.sources_at = at as u16;
        if header.extra & EXTRA_SOURCES != 0 {
            at += Named::at(&record[at..]).bytes().len();
        }
        header.key_at = at as u16;
        at += usize::from(record[1]);
        header.value_at = at as u16;
        header.end = (at + value_len) as u32;
        header
    }

    pub fn key<'r>(&self, record: &'r [u8]) -> &'r [u8] {
        &record[self.key_at.into()..self.value_at.into()]
    }

    /// The value; of a long one the end, and of one that is cut what comes before the rest.
    pub fn value<'r>(&self, record: &'r [u8]) -> &'r [u8] {
        &record[self.value_at.into()..self.len()]
    }

    pub fn key_len(&self) -> usize {
        (self.value_at - self.key_at).into()
    }

    /// Bytes of the whole value.
    pub fn value_len(&self) -> usize {
        self.weight() - usize::from(self.value_at)
    }

    pub fn body(&self) -> BodyPlace {
        self.body
    }

    /// Bytes of the value that are in another segment: 0 unless the record is cut.
    pub fn rest_len(&self) -> usize {
        self.rest_len as usize
    }

    /// Bytes of the whole record, without the rest.
    pub fn len(&self) -> usize {
        self.end as usize
    }

    /// Bytes of the record, of its rest and of the body.
    pub fn weight(&self) -> usize {
        self.len() + self.rest_len() + self.body.len as usize
    }

    pub fn expiry(&self) -> Expiry {
        Expiry::from_deadline(NonZeroU32::new(self.deadline))
    }

    pub fn client_flags(&self) -> u32 {
        self.client_flags
    }

    /// The stored CAS value, if one is stored.
    pub fn cas(&self) -> Option<u64> {
        (self.flags & CAS == CAS_STORED).then_some(self.cas)
    }

    /// A client may know the CAS value.
    pub fn cas_shown(&self) -> bool {
        self.flags & CAS != 0
    }

    /// Whether it was derived from anything.
    pub fn names_sources(&self) -> bool {
        self.extra & EXTRA_SOURCES != 0
    }

    /// What it was derived from, if anything.
    pub fn sources<'r>(&self, record: &'r [u8]) -> Option<Named<'r>> {
        self.names_sources().then(|| Named::at(&record[self.sources_at.into()..self.key_at.into()]))
    }

    /// How often it was replaced where it lies; `None` if that is not counted, and so cannot be.
    pub fn version(&self) -> Option<u8> {
        (self.extra & EXTRA_VERSION != 0).then_some(self.version)
    }

    pub fn fetched(&self) -> bool {
        self.flags & FETCHED != 0
    }

    pub fn uses(&self) -> u8 {
        (self.flags & USES) >> USES_SHIFT
    }

    pub fn binary_key(&self) -> bool {
        self.extra & EXTRA_BINARY_KEY != 0
    }

    pub fn stale(&self) -> bool {
        self.extra & EXTRA_STALE != 0
    }

    pub fn lease_granted(&self) -> bool {
        self.flags & LEASE != 0
    }

    /// When it was last read or stored, given when its segment was opened; both in eighths of a second.
    pub fn last_used(&self, opened: u32) -> u32 {
        recency::decode(self.recency, opened)
    }

    /// Remembers a read at `now` in the record's bytes.
    pub fn mark_used(&mut self, record: &mut [u8], opened: u32, now: Now) {
        let uses = (self.uses() + 1).min(MOST_USES);
        let flags = self.flags & !USES | uses << USES_SHIFT | FETCHED;
        let recency = recency::encode(now.eighths(), opened);
        if flags != self.flags {
            self.flags = flags;
            record[0] = flags;
        }
        if recency != self.recency {
            self.recency = recency;
            record[2..4].copy_from_slice(&recency.to_le_bytes());
        }
    }

    /// Remembers in the record's bytes that a client has been shown the CAS value.
    pub fn mark_cas_shown(&mut self, record: &mut [u8]) {
        if self.flags & CAS == 0 {
            self.flags |= CAS_SHOWN;
            record[0] = self.flags;
        }
    }

    /// Changes the deadline in the record's bytes; false if it has no place for one, or one too many.
    pub fn set_expiry(&mut self, record: &mut [u8], expiry: Expiry) -> bool {
        let Some(deadline) = expiry.deadline() else { return self.deadline == 0 };
        if self.deadline == 0 {
            return false;
        }
        let at = usize::from(self.sources_at)
            - if self.flags & CAS == CAS_STORED { 8 } else { 0 }
            - if self.extra & EXTRA_CLIENT_FLAGS != 0 { 4 } else { 0 }
            - 4;
        self.deadline = deadline.get();
        record[at..at + 4].copy_from_slice(&deadline.get().to_le_bytes());
        true
    }

    /// Says in the record's bytes whether a client has been told to renew it.
    pub fn set_lease_granted(&mut self, record: &mut [u8], granted: bool) {
        self.flags = self.flags & !LEASE | (u8::from(granted) * LEASE);
        record[0] = self.flags;
    }

    /// The same item, to be written elsewhere, whole: its record, and the rest of its value.
    pub fn draft<'r>(&self, record: &'r [u8], rest: &'r [u8], opened: u32) -> Draft<'r> {
        Draft {
            key: self.key(record),
            body: self.body,
            value: [self.value(record), rest],
            rest_len: 0,
            client_flags: self.client_flags,
            expiry: self.expiry(),
            binary_key: self.binary_key(),
            stale: self.stale(),
            lease_granted: self.lease_granted(),
            fetched: self.fetched(),
            uses: self.uses(),
            last_used: self.last_used(opened),
            cas_shown: self.cas_shown(),
            cas: self.cas(),
            version: self.version().map(|_| 0),
            sources: self.sources(record).map_or(&[], Named::bytes),
        }
    }
}

/// What begins here: an item or the remains of one.
pub(super) fn find(record: &[u8]) -> Found {
    if record[0] & CAS == DEAD {
        Found::Dead {
            len: usize::from(record[1]) | usize::from(record[2]) << 8 | usize::from(record[3]) << 16,
        }
    } else {
        Found::Live(Header::read(record))
    }
}

/// Bytes before the rest of a cut record.
pub(super) const REST_HEADER: usize = 4;

/// Begins the rest of a cut record, `len` bytes with its header, as one that those who look for items pass over.
pub(super) fn begin_rest(to: &mut [u8], len: usize) {
    to[0] = 0;
    kill(to, len);
}

/// Turns the live record of `len` bytes that begins here into a dead one.
pub(super) fn kill(record: &mut [u8], len: usize) {
    record[0] |= DEAD;
    record[1..4].copy_from_slice(&(len as u32).to_le_bytes()[..3]);
}

fn take<const N: usize>(record: &[u8], at: &mut usize) -> [u8; N] {
    let bytes = record[*at..*at + N].try_into().expect("the slice has N bytes");
    *at += N;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_small_item_has_a_header_of_five_bytes() {
        let draft = Draft { value: [&[0; 100], &[]], ..draft_of(b"key") };
        assert_eq!(draft.len(), 5 + 3 + 100);
    }

    #[test]
    fn a_dead_record_keeps_its_length_only() {
        let draft = Draft { value: [&[7; 300], &[]], cas: Some(5), ..draft_of(b"k") };
        let mut bytes = vec![0; draft.len()];
        draft.write(&mut bytes, 0);
        kill(&mut bytes, draft.len());
        assert!(matches!(find(&bytes), Found::Dead { len } if len == draft.len()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            key in proptest::collection::vec(any::<u8>(), 1..=250),
            value in proptest::collection::vec(any::<u8>(), 0..20_000),
            split in 0usize..20_000,
            client_flags in prop_oneof![Just(0), any::<u32>()],
            deadline in prop_oneof![Just(None), any::<u32>().prop_map(NonZeroU32::new)],
            bits in any::<u8>(),
            uses in 0u8..=3,
            cas in any::<Option<u64>>(),
            sources in 0u16..=1000,
            (number, len) in any::<(u32, u32)>(),
            rest_len in 0u32..20_000,
        ) {
            let mut encoded = sources.to_le_bytes().to_vec();
            encoded.resize(10 + usize::from(sources) * 8, 7);
            let sources = if sources == 0 { &[][..] } else { &encoded };
            let parts = value.split_at(split.min(value.len()));
            let draft = Draft {
                key: &key,
                body: if bits & 64 != 0 { BodyPlace { number, len } } else { BodyPlace::default() },
                value: [parts.0, parts.1],
                rest_len,
                client_flags,
                expiry: Expiry::from_deadline(deadline),
                binary_key: bits & 1 != 0,
                stale: bits & 2 != 0,
                lease_granted: bits & 4 != 0,
                fetched: bits & 8 != 0,
                uses,
                last_used: 1000,
                cas_shown: cas.is_some() || bits & 16 != 0,
                cas,
                sources,
                version: (bits & 32 != 0).then_some(0),
            };
            let mut bytes = vec![0xaa; draft.len()];
            draft.write(&mut bytes, 990);
            let Found::Live(header) = find(&bytes) else { panic!("dead") };
            prop_assert!(bytes.len() >= MIN_RECORD && usize::from(header.key_at) <= MAX_HEADER);
            prop_assert_eq!(header.len(), bytes.len());
            prop_assert_eq!(header.rest_len(), rest_len as usize);
            let back = header.draft(&bytes, &[1], 990);
            prop_assert_eq!(back.value, [&value[..], &[1]]);
            prop_assert_eq!(
                format!("{:?}", Draft { value: draft.value, rest_len, ..back }),
                format!("{draft:?}")
            );
        }
    }

    fn draft_of(key: &[u8]) -> Draft<'_> {
        Draft {
            key,
            body: BodyPlace::default(),
            value: [&[], &[]],
            rest_len: 0,
            client_flags: 0,
            expiry: Expiry::NEVER,
            binary_key: false,
            stale: false,
            lease_granted: false,
            fetched: false,
            uses: 0,
            last_used: 0,
            cas_shown: false,
            cas: None,
            sources: &[],
            version: None,
        }
    }
}
