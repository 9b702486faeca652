//! One item in the file that keeps items over a restart. Knows the bytes, not the file.
//!
//! All numbers are little-endian. A record: CAS value (8), Unix time of expiry (8, 0 for never), length of the value
//! (4), client flags (4), length of the key (1), marks (1), key, value, and the XXH3 of all that (8).

use crate::store::{CasChange, Change, Expiry, Item, Key, NewItem, NewValue, Now, Store};
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU32;
use xxhash_rust::xxh3::Xxh3;

/// How the file begins.
pub(super) const MAGIC: &[u8; 16] = b"memcarp items 1\n";

const HEADER: usize = 8 + 8 + 4 + 4 + 1 + 1;

/// Marks, as bits.
const BINARY_KEY: u8 = 1;
const STALE: u8 = 2;
const LEASE_GRANTED: u8 = 4;
/// A client may know the CAS value: it has to stay the same.
const CAS_KNOWN: u8 = 8;

/// Longest value a record may claim: `-I` allows no longer one.
const MAX_VALUE: usize = 1 << 30;

/// Writes an item.
pub(super) fn save(file: &mut impl Write, item: &mut Item<'_>, now: Now) -> io::Result<()> {
    let (cas, cas_known) = item.cas_known();
    let expires = item.expiry().deadline().map_or(0, |deadline| now.unix_at(deadline.get()).max(1));
    let marks = [
        (item.binary_key(), BINARY_KEY),
        (item.stale(), STALE),
        (item.lease_granted(), LEASE_GRANTED),
        (cas_known, CAS_KNOWN),
    ];
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&cas.to_le_bytes());
    header.extend_from_slice(&expires.to_le_bytes());
    header.extend_from_slice(&(item.value().len() as u32).to_le_bytes());
    header.extend_from_slice(&item.client_flags().to_le_bytes());
    header.push(item.key().len() as u8);
    header.push(marks.iter().map(|(set, mark)| u8::from(*set) * mark).sum());

    let mut sum = Xxh3::new();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        file.write_all(bytes)
    };
    put(&header)?;
    put(item.key())?;
    item.value().slices().try_for_each(put)?;
    file.write_all(&sum.digest().to_le_bytes())
}

/// Reads an item and stores it, unless its time is over. One that finds no memory is left out.
pub(super) fn load(file: &mut impl Read, store: &Store, now: Now) -> io::Result<()> {
    let mut sum = Xxh3::new();
    let mut header = [0; HEADER];
    take(file, &mut sum, &mut header)?;
    let number = |at: usize, len: usize| {
        header[at..at + len].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let (cas, expires, len) = (number(0, 8), number(8, 8), number(16, 4) as usize);
    let (client_flags, key_len, marks) = (number(20, 4) as u32, number(24, 1) as usize, number(25, 1) as u8);
    if len > MAX_VALUE {
        return Err(damaged());
    }
    let mut key = [0; u8::MAX as usize];
    take(file, &mut sum, &mut key[..key_len])?;
    let key = Key::new(&key[..key_len]).ok_or_else(damaged)?;

    let mut short = Vec::new();
    let value = if len <= store.inline_limit() {
        short.resize(len, 0);
        take(file, &mut sum, &mut short)?;
        Some(NewValue::Bytes(&short))
    } else {
        take_long(file, &mut sum, store, len)?
    };
    let mut written = [0; 8];
    file.read_exact(&mut written)?;
    if u64::from_le_bytes(written) != sum.digest() {
        return Err(damaged());
    }

    let expiry = expiry_at(expires, now);
    if let (Some(value), false) = (value, expiry.is_over(now)) {
        let item = NewItem {
            cas: if marks & CAS_KNOWN != 0 { CasChange::Set(cas) } else { CasChange::Next },
            binary_key: marks & BINARY_KEY != 0,
            stale: marks & STALE != 0,
            lease_granted: marks & LEASE_GRANTED != 0,
            ..NewItem::plain(value, client_flags, expiry)
        };
        store.update(key, now, |_| (Change::Put(item), ()));
    }
    Ok(())
}

/// At the very second the deadline was, so that restarts do not make lives longer.
fn expiry_at(unix: u64, now: Now) -> Expiry {
    let second = unix
        .saturating_add(u64::from(now.seconds()))
        .saturating_sub(now.unix())
        .clamp(1, u64::from(u32::MAX));
    if unix == 0 { Expiry::NEVER } else { Expiry::from_deadline(NonZeroU32::new(second as u32)) }
}

/// A long value straight into the memory it will live in; `None` if that cannot be had.
fn take_long(
    file: &mut impl Read,
    sum: &mut Xxh3,
    store: &Store,
    len: usize,
) -> io::Result<Option<NewValue<'static>>> {
    let mut incoming = store.incoming(len);
    while incoming.missing() > 0 {
        let missing = incoming.missing();
        let Some(space) = incoming.space() else {
            skip(file, sum, missing)?;
            return Ok(None);
        };
        take(file, sum, space)?;
        let count = space.len();
        incoming.filled(count);
    }
    Ok(Some(NewValue::Received(incoming)))
}

fn skip(file: &mut impl Read, sum: &mut Xxh3, mut len: usize) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while len > 0 {
        let count = len.min(bytes.len());
        take(file, sum, &mut bytes[..count])?;
        len -= count;
    }
    Ok(())
}

fn take(file: &mut impl Read, sum: &mut Xxh3, bytes: &mut [u8]) -> io::Result<()> {
    file.read_exact(bytes)?;
    sum.update(bytes);
    Ok(())
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the file is damaged")
}
