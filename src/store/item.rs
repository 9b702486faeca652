//! One item as a closure sees it under its shard's lock.

use super::large::LargeItem;
use super::record::Header;
use super::sources::Named;
use super::{Expiry, Now, Value};

/// Longest key in bytes, memcached's own limit.
pub const MAX_KEY_LEN: usize = 250;

/// A key: 1 to [`MAX_KEY_LEN`] bytes of any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// Some key, where one is needed and none is meant.
    pub const PLACEHOLDER: Key<'static> = Key(b"-");

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
pub struct Item<'i>(pub(super) Body<'i>);

#[derive(Debug)]
pub(super) enum Body<'i> {
    Small(SmallItem<'i>),
    Large(&'i mut LargeItem),
}

/// An item in the log.
#[derive(Debug)]
pub(super) struct SmallItem<'i> {
    pub header: Header,
    pub record: &'i mut [u8],
    /// When its segment was opened.
    pub opened: u32,
    /// Its CAS value if none is stored with it.
    pub implied_cas: u64,
}

impl Item<'_> {
    /// Its key.
    pub fn key(&self) -> &[u8] {
        match &self.0 {
            Body::Small(small) => small.header.key(small.record),
            Body::Large(large) => &large.key,
        }
    }

    /// Its value.
    pub fn value(&self) -> Value<'_> {
        match &self.0 {
            Body::Small(small) => Value::Small(small.header.value(small.record)),
            Body::Large(large) => Value::Large(&large.value),
        }
    }

    /// The client's own 32 bits.
    pub fn client_flags(&self) -> u32 {
        match &self.0 {
            Body::Small(small) => small.header.client_flags(),
            Body::Large(large) => large.client_flags,
        }
    }

    /// When it stops being served.
    pub fn expiry(&self) -> Expiry {
        match &self.0 {
            Body::Small(small) => small.header.expiry(),
            Body::Large(large) => large.expiry,
        }
    }

    /// Its CAS value, which from now on it keeps until it is changed: call it only to show or compare it.
    pub fn cas(&mut self) -> u64 {
        match &mut self.0 {
            Body::Small(small) => {
                small.header.mark_cas_shown(small.record);
                small.header.cas().unwrap_or(small.implied_cas)
            }
            Body::Large(large) => {
                large.cas_shown = true;
                large.cas
            }
        }
    }

    /// Its CAS value, and whether a client may know it.
    pub fn cas_known(&self) -> (u64, bool) {
        match &self.0 {
            Body::Small(small) => (small.header.cas().unwrap_or(small.implied_cas), small.header.cas_shown()),
            Body::Large(large) => (large.cas, large.cas_shown),
        }
    }

    /// How many sources it remembers being derived from, those of its sources included.
    pub fn source_count(&self) -> usize {
        self.named().map_or(0, Named::count)
    }

    pub(super) fn named(&self) -> Option<Named<'_>> {
        match &self.0 {
            Body::Small(small) => small.header.sources(small.record),
            Body::Large(large) => large.named(),
        }
    }

    /// Whether it has been read since it was stored.
    pub fn fetched(&self) -> bool {
        match &self.0 {
            Body::Small(small) => small.header.fetched(),
            Body::Large(large) => large.fetched,
        }
    }

    /// Seconds since it was last read or stored; exact for the first hour.
    pub fn idle(&self, now: Now) -> u32 {
        let last_used = match &self.0 {
            Body::Small(small) => small.header.last_used(small.opened),
            Body::Large(large) => large.last_used,
        };
        now.seconds().saturating_sub(last_used)
    }

    /// Whether its key was given in base64 and is shown so.
    pub fn binary_key(&self) -> bool {
        match &self.0 {
            Body::Small(small) => small.header.binary_key(),
            Body::Large(large) => large.binary_key,
        }
    }

    /// Whether it is served as stale.
    pub fn stale(&self) -> bool {
        match &self.0 {
            Body::Small(small) => small.header.stale(),
            Body::Large(large) => large.stale,
        }
    }

    /// Whether one client has been told to renew it.
    pub fn lease_granted(&self) -> bool {
        match &self.0 {
            Body::Small(small) => small.header.lease_granted(),
            Body::Large(large) => large.lease_granted,
        }
    }

    /// Remembers that one client has been told to renew it.
    pub fn grant_lease(&mut self) {
        match &mut self.0 {
            Body::Small(small) => small.header.set_lease_granted(small.record, true),
            Body::Large(large) => large.lease_granted = true,
        }
    }

    /// Counts as a read: keeps the item from being evicted soon, and sets its idle time to nothing.
    pub fn mark_used(&mut self, now: Now) {
        match &mut self.0 {
            Body::Small(small) => small.header.mark_used(small.record, small.opened, now),
            Body::Large(large) => large.mark_used(now),
        }
    }

    /// Its size in bytes as memcached would count it, for `size=`, `bytes` and size classes.
    pub fn size(&self) -> usize {
        super::memcached_size(self.key().len(), self.value().len(), self.client_flags() != 0)
    }
}
