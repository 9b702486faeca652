//! Deleting, counting, touching.

use super::sealed::{self, AnyReply, AnyRequest};
use super::{Operation, check_version, unexpected};
use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Ttl};
use crate::protocol::{self, Code, Request};

/// What came of deleting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deleted {
    /// It was there and is gone, or stale if that was asked for.
    Deleted,
    /// It was not there.
    NotFound,
    /// `compare` met another version.
    Exists,
}

impl Deleted {
    /// Whether it was there and is gone or stale.
    pub fn is_deleted(self) -> bool {
        self == Deleted::Deleted
    }
}

/// Deletes an item, or marks it stale.
#[derive(Clone, Debug)]
pub struct Delete(pub(crate) protocol::Delete);

impl Delete {
    /// Deletes `key`.
    pub fn new(key: impl Into<Key>) -> Delete {
        Delete(protocol::Delete { key: key.into(), compare: None, stale: None })
    }
}

options!(Delete {
    /// Deletes only the version with this `cas`.
    compare(cas: u64) |delete| delete.compare = Some(cas);
    /// Keeps the item as a stale one: one reader is asked to recompute it, the others are served the old value
    /// meanwhile.
    as_stale() |delete| delete.stale = Some(None);
    /// The same, for this long at most.
    as_stale_for(ttl: impl Into<Ttl>) |delete| delete.stale = Some(Some(ttl.into()));
});

impl sealed::Sealed for Delete {}

impl Operation for Delete {
    type Outcome = Deleted;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.key.check()?;
        check_version(self.0.compare)?;
        Ok(AnyRequest(Request::Delete(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>, _: usize) -> Result<Deleted, Error> {
        match reply.map(|reply| reply.0.code) {
            None | Some(Code::Done) => Ok(Deleted::Deleted),
            Some(Code::NotFound | Code::Miss) => Ok(Deleted::NotFound),
            Some(Code::Exists) => Ok(Deleted::Exists),
            Some(code) => Err(unexpected(&code)),
        }
    }
}

/// What came of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counted {
    /// The counter's new value.
    Value(u64),
    /// There is no such counter.
    NotFound,
    /// `compare` met another version.
    Exists,
    /// It was created by somebody else at the same moment, or the server kept silent in a quiet batch.
    Unknown,
}

impl Counted {
    /// The new value, if there is one.
    pub fn value(self) -> Option<u64> {
        match self {
            Counted::Value(value) => Some(value),
            _ => None,
        }
    }
}

/// Adds to or subtracts from a counter: decimal digits in an item's value. Adding wraps at 2^64, subtracting
/// stops at 0.
///
/// A counter that loses a digit by subtracting keeps its length: 10 less 5 is read back as `"5 "`, with a blank behind it.
/// That is memcached's habit, which memcarp shares: trim what is read before it is parsed. [`Counted::Value`] is the
/// number itself.
#[derive(Clone, Debug)]
pub struct Count(pub(crate) protocol::Count);

impl Count {
    /// Adds `delta`.
    pub fn up(key: impl Into<Key>, delta: u64) -> Count {
        Count::new(key.into(), delta, false)
    }

    /// Subtracts `delta`.
    pub fn down(key: impl Into<Key>, delta: u64) -> Count {
        Count::new(key.into(), delta, true)
    }

    fn new(key: Key, delta: u64, decrement: bool) -> Count {
        Count(protocol::Count { key, decrement, delta, initial: None, touch: None, compare: None })
    }
}

options!(Count {
    /// Creates a missing counter with this value, to live this long. The delta is not applied to it.
    or_create(initial: u64, ttl: impl Into<Ttl>) |count| count.initial = Some((initial, ttl.into()));
    /// Gives the counter a new time to live.
    touch(ttl: impl Into<Ttl>) |count| count.touch = Some(ttl.into());
    /// Counts only on the version with this `cas`.
    compare(cas: u64) |count| count.compare = Some(cas);
});

impl sealed::Sealed for Count {}

impl Operation for Count {
    type Outcome = Counted;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.key.check()?;
        check_version(self.0.compare)?;
        Ok(AnyRequest(Request::Count(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>, _: usize) -> Result<Counted, Error> {
        let Some(AnyReply(reply)) = reply else { return Ok(Counted::Unknown) };
        match reply.code {
            Code::Done => {
                let digits = reply.value.unwrap_or_default();
                std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .map(Counted::Value)
                    .ok_or_else(|| Error::new(ErrorKind::Protocol("a counter that is no number".to_owned())))
            }
            Code::NotFound | Code::Miss => Ok(Counted::NotFound),
            Code::Exists => Ok(Counted::Exists),
            Code::NotStored => Ok(Counted::Unknown),
            code => Err(unexpected(&code)),
        }
    }
}

/// What came of touching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Touched {
    /// It has the new time to live.
    Touched,
    /// It was not there.
    NotFound,
}

impl Touched {
    /// Whether it was there and has the new time to live.
    pub fn is_touched(self) -> bool {
        self == Touched::Touched
    }
}

/// Gives an item a new time to live without reading it.
#[derive(Clone, Debug)]
pub struct Touch(pub(crate) Key, pub(crate) Ttl);

impl Touch {
    /// Lets `key` live for `ttl` from now.
    pub fn new(key: impl Into<Key>, ttl: impl Into<Ttl>) -> Touch {
        Touch(key.into(), ttl.into())
    }
}

impl sealed::Sealed for Touch {}

impl Operation for Touch {
    type Outcome = Touched;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.check()?;
        Ok(AnyRequest(Request::Touch { key: self.0, ttl: self.1 }))
    }

    fn outcome(_: Key, reply: Option<AnyReply>, _: usize) -> Result<Touched, Error> {
        match reply.map(|reply| reply.0.code) {
            Some(Code::Done) => Ok(Touched::Touched),
            None | Some(Code::Miss | Code::NotFound) => Ok(Touched::NotFound),
            Some(code) => Err(unexpected(&code)),
        }
    }
}
