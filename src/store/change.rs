//! What may become of an item: the decision a closure hands to [`super::Store::update`].

use super::{Derivation, Expiry, Incoming};

/// What becomes of the item an update looked at.
#[derive(Debug)]
pub enum Change<'v> {
    /// Nothing changes.
    Keep,
    /// A new item takes its place.
    Put(NewItem<'v>),
    /// The value gets longer at its end; client flags and expiry stay, stale and lease marks go. Only for an item
    /// that is there. What the added part was derived from joins what the item was derived from.
    Append(NewValue<'v>, CasChange, Origin),
    /// The value gets longer at its front; client flags and expiry stay, stale and lease marks go. Only for an item
    /// that is there. What the added part was derived from joins what the item was derived from.
    Prepend(NewValue<'v>, CasChange, Origin),
    /// The value stays, what is said of it changes. Only for an item that is there.
    Amend(Amend),
    /// The item goes, if there is one; either way what was derived from it is outdated.
    Delete,
}

impl Change<'_> {
    /// Whether what was derived from the item is outdated by this. An item that names sources always counts: who
    /// named its key while it was away could not take them over.
    pub(super) fn updates_source(&self) -> bool {
        match self {
            Change::Keep => false,
            Change::Put(new) => new.updates_source || matches!(new.origin, Origin::Derived(_)),
            Change::Append(..) | Change::Prepend(..) | Change::Delete => true,
            Change::Amend(amend) => amend.updates_source,
        }
    }
}

/// An item to store.
#[derive(Debug)]
pub struct NewItem<'v> {
    /// Its value.
    pub value: NewValue<'v>,
    /// The client's own 32 bits.
    pub client_flags: u32,
    /// When it stops being served.
    pub expiry: Expiry,
    /// What it was derived from.
    pub origin: Origin,
    /// Its CAS value: the next one, or one the client chose. [`CasChange::Keep`] means the next one.
    pub cas: CasChange,
    /// The key was given in base64 and is shown so.
    pub binary_key: bool,
    /// Served as stale until stored again.
    pub stale: bool,
    /// One client has been told to renew it.
    pub lease_granted: bool,
    /// If there is no room for the new item the old one goes too, so that no reader gets a value its writer
    /// meant to replace.
    pub drop_old_if_refused: bool,
    /// Whether the data behind the key has changed, so that what was derived from it is outdated.
    pub updates_source: bool,
}

/// What an item was derived from.
#[derive(Debug)]
pub enum Origin {
    /// Nothing.
    Own,
    /// What the item it replaces was derived from.
    Kept,
    /// These sources.
    Derived(Derivation),
}

impl<'v> NewItem<'v> {
    /// An item with nothing special about it.
    pub fn plain(value: NewValue<'v>, client_flags: u32, expiry: Expiry) -> NewItem<'v> {
        NewItem {
            value,
            client_flags,
            expiry,
            origin: Origin::Own,
            cas: CasChange::Next,
            binary_key: false,
            stale: false,
            lease_granted: false,
            drop_old_if_refused: false,
            updates_source: true,
        }
    }
}

/// Bytes of a value, by where they are.
#[derive(Debug)]
pub enum NewValue<'v> {
    /// In the caller's buffer, at most [`super::Store::inline_limit`] bytes.
    Bytes(&'v [u8]),
    /// A few bytes the closure made itself.
    Short(Short),
    /// Received into the memory it will live in.
    Received(Incoming),
}

impl NewValue<'_> {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            NewValue::Bytes(bytes) => bytes.len(),
            NewValue::Short(short) => short.as_bytes().len(),
            NewValue::Received(incoming) => incoming.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// At most [`Short::CAPACITY`] bytes held in place.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; Short::CAPACITY],
    len: u8,
}

impl Short {
    /// Enough for any 64-bit number in decimal, and for the widest field memcached pads to.
    pub const CAPACITY: usize = 24;

    /// A copy of `bytes`, padded with blanks at the end up to `width`; `None` if that is too long.
    pub fn padded(bytes: &[u8], width: usize) -> Option<Short> {
        let len = bytes.len().max(width);
        if len > Short::CAPACITY {
            return None;
        }
        let mut short = Short { bytes: [b' '; Short::CAPACITY], len: len as u8 };
        short.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(short)
    }

    /// The bytes, padding included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What is said of an item apart from its value. `None` leaves things as they are.
#[derive(Clone, Copy, Debug)]
pub struct Amend {
    /// A new expiry.
    pub expiry: Option<Expiry>,
    /// Stale or not.
    pub stale: Option<bool>,
    /// Whether one client has been told to renew it.
    pub lease_granted: Option<bool>,
    /// The CAS value.
    pub cas: CasChange,
    /// Whether the data behind the key has changed, so that what was derived from it is outdated.
    pub updates_source: bool,
}

impl Amend {
    /// Only a new expiry: a touch, which keeps the CAS value.
    pub fn expiry(expiry: Expiry) -> Amend {
        Amend {
            expiry: Some(expiry),
            stale: None,
            lease_granted: None,
            cas: CasChange::Keep,
            updates_source: false,
        }
    }
}

/// What becomes of an item's CAS value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasChange {
    /// It stays.
    Keep,
    /// A new one, higher than every one this key has had from the store.
    Next,
    /// A new one that the caller will show to a client, as [`Updated::cas`].
    NextShown,
    /// The one the client gave.
    Set(u64),
}

/// What came of an update.
#[derive(Debug)]
pub struct Updated<R> {
    /// What the closure answered.
    pub answer: R,
    /// The item's CAS value after a change that was made, if it was asked for ([`CasChange::NextShown`]) or set;
    /// otherwise 0.
    pub cas: u64,
    /// The change needed memory that could not be had: nothing was stored.
    pub refused: bool,
}
