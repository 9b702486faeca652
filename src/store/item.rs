//! One item as a closure sees it under its shard's lock.

use super::shard::Entry;
use super::{Expiry, Now, Value};

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
}

/// What a lookup finds.
pub type Lookup<'a, 'i> = Result<&'a mut Item<'i>, Absent>;

/// An item that is there, as seen under its shard's lock.
#[derive(Debug)]
pub struct Item<'i> {
    pub(super) key: &'i [u8],
    pub(super) entry: &'i mut Entry,
}

impl Item<'_> {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// Its value.
    pub fn value(&self) -> Value<'_> {
        self.entry.value.view()
    }

    /// The client's own 32 bits.
    pub fn client_flags(&self) -> u32 {
        self.entry.client_flags
    }

    /// When it stops being served.
    pub fn expiry(&self) -> Expiry {
        self.entry.expiry
    }

    /// Its CAS value, which from now on it keeps until it is changed: call it only to show or compare it.
    pub fn cas(&mut self) -> u64 {
        self.entry.cas
    }

    /// Whether it has been read since it was stored.
    pub fn fetched(&self) -> bool {
        self.entry.fetched
    }

    /// Seconds since it was last read or stored.
    pub fn idle(&self, now: Now) -> u32 {
        now.seconds().saturating_sub(self.entry.last_access)
    }

    /// Whether its key was given in base64 and is shown so.
    pub fn binary_key(&self) -> bool {
        self.entry.binary_key
    }

    /// Whether it is served as stale.
    pub fn stale(&self) -> bool {
        self.entry.stale
    }

    /// Whether one client has been told to renew it.
    pub fn lease_granted(&self) -> bool {
        self.entry.lease_granted
    }

    /// Remembers that one client has been told to renew it.
    pub fn grant_lease(&mut self) {
        self.entry.lease_granted = true;
    }

    /// Counts as a read: keeps the item from being evicted soon, and sets its idle time to nothing.
    pub fn mark_used(&mut self, now: Now) {
        self.entry.fetched = true;
        self.entry.last_access = now.seconds();
    }

    /// Its size in bytes as memcached would count it, for `size=`, `bytes` and size classes.
    pub fn size(&self) -> usize {
        super::memcached_size(self.key.len(), self.value().len(), self.entry.client_flags != 0)
    }
}
