//! One item as a closure sees it under its shard's lock.

use super::record::Header;
use super::sources::Named;
use super::{Body, Expiry, Now, Value};

/// Longest key in bytes, memcached's own limit.
pub const MAX_KEY_LEN: usize = 250;

/// A key: 1 to [`MAX_KEY_LEN`] bytes of any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// `None` if the length is not that of a key.
    pub fn new(bytes: &'a [u8]) -> Option<Key<'a>> {
        (1..=MAX_KEY_LEN).contains(&bytes.len()).then_some(Key(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is none of this key.
    NotFound,
    /// Its time was over.
    Expired,
    /// A flush took it.
    Flushed,
    /// It was derived from data that has been replaced.
    Outdated,
}

/// What a lookup finds.
pub type Lookup<'a, 'i> = Result<&'a mut Item<'i>, Absent>;

/// An item that is there, as seen under its shard's lock.
#[derive(Debug)]
pub struct Item<'i> {
    pub(super) header: Header,
    pub(super) record: &'i mut [u8],
    /// All but the end of its value, if that is long.
    pub(super) body: Option<&'i Body>,
    /// What of its value is in another segment, if its record is cut.
    pub(super) rest: &'i [u8],
    /// When its segment was opened, in eighths of a second.
    pub(super) opened: u32,
    /// Its CAS value if none is stored with it.
    pub(super) implied_cas: u64,
}

impl Item<'_> {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        self.header.key(self.record)
    }

    /// Its value.
    pub fn value(&self) -> Value<'_> {
        let bytes = self.header.value(self.record);
        match self.body {
            Some(body) => Value::Large(body, [bytes, self.rest]),
            None if self.rest.is_empty() => Value::Small(bytes),
            None => Value::Cut([bytes, self.rest]),
        }
    }

    /// The client's own 32 bits.
    pub fn client_flags(&self) -> u32 {
        self.header.client_flags()
    }

    /// When it stops being served.
    pub fn expiry(&self) -> Expiry {
        self.header.expiry()
    }

    /// Its CAS value, which from now on it keeps until it is changed: call it only to show or compare it.
    pub fn cas(&mut self) -> u64 {
        self.header.mark_cas_shown(self.record);
        self.cas_known().0
    }

    /// Its CAS value, and whether a client may know it.
    pub fn cas_known(&self) -> (u64, bool) {
        (self.header.cas().unwrap_or(self.implied_cas), self.header.cas_shown())
    }

    /// How many sources it remembers being derived from, those of its sources included.
    pub fn source_count(&self) -> usize {
        self.named().map_or(0, Named::count)
    }

    pub(super) fn named(&self) -> Option<Named<'_>> {
        self.header.sources(self.record)
    }

    /// Whether it has been read since it was stored.
    pub fn fetched(&self) -> bool {
        self.header.fetched()
    }

    /// Seconds since it was last read or stored; exact for the first hour.
    pub fn idle(&self, now: Now) -> u32 {
        now.seconds().saturating_sub(self.last_used() / 8)
    }

    /// When it was last read or stored, in eighths of a second of the store's clock.
    pub(super) fn last_used(&self) -> u32 {
        self.header.last_used(self.opened)
    }

    /// Whether its key was given in base64 and is shown so.
    pub fn binary_key(&self) -> bool {
        self.header.binary_key()
    }

    /// Whether it is served as stale.
    pub fn stale(&self) -> bool {
        self.header.stale()
    }

    /// Whether one client has been told to renew it.
    pub fn lease_granted(&self) -> bool {
        self.header.lease_granted()
    }

    /// Remembers that one client has been told to renew it.
    pub fn grant_lease(&mut self) {
        self.header.set_lease_granted(self.record, true);
    }

    /// Counts as a read: keeps the item from being evicted soon, and sets its idle time to nothing.
    pub fn mark_used(&mut self, now: Now) {
        self.header.mark_used(self.record, self.opened, now);
    }

    /// Its size in bytes as memcached would count it, for `size=`, `bytes` and size classes.
    pub fn size(&self) -> usize {
        super::memcached_size(self.key().len(), self.value().len(), self.client_flags() != 0)
    }
}
