//! Reading an item. Knows how an answer becomes an item, not how it is sent.

use super::sealed::{self, AnyReply, AnyRequest};
use super::{Operation, unexpected};
use crate::call::Call;
use crate::error::Error;
use crate::key::{Key, Ttl};
use crate::protocol::{self, Attributes, Code, Reply, Request};
use crate::value::{Details, Item};
use std::time::Duration;

/// Reads an item: `Some` if it is there.
///
/// If the owner cannot be reached the outcome is a miss too, unless the call is
/// [`strict`](crate::Call::strict): a cache that is away should cost hits, not requests.
#[derive(Clone, Debug)]
pub struct Get(pub(crate) protocol::Get);

impl Get {
    /// Reads `key`.
    pub fn new(key: impl Into<Key>) -> Get {
        Get(protocol::Get::new(key.into()))
    }
}

options!(Get {
    /// Gives what is found a new time to live.
    touch(ttl: impl Into<Ttl>) |get| get.touch = Some(ttl.into());
    /// Asks for the remaining time and whether and when it was read before.
    details() |get| get.details = true;
    /// Leaves the value out.
    without_value() |get| get.no_value = true;
    /// Does not count as a use: the item's place in the eviction order stays.
    peek() |get| get.no_bump = true;
});

impl sealed::Sealed for Get {}

impl Operation for Get {
    type Outcome = Option<Item>;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.key.check()?;
        Ok(AnyRequest(Request::Get(self.0)))
    }

    fn outcome(key: Key, reply: Option<AnyReply>, max_value_bytes: usize) -> Result<Option<Item>, Error> {
        let Some(AnyReply(reply)) = reply else { return Ok(None) };
        match reply.code {
            Code::Miss => Ok(None),
            Code::Done if is_placeholder(&reply.attributes) => Ok(None),
            Code::Done => item(key, reply, max_value_bytes).map(Some),
            code => Err(unexpected(&code)),
        }
    }

    fn when_unreachable() -> Option<Option<Item>> {
        Some(None)
    }
}

/// An empty item that stands for "somebody is computing this": claimed, not stale, without a byte.
pub(crate) fn is_placeholder(attributes: &Attributes) -> bool {
    (attributes.claimed || attributes.won) && !attributes.stale && attributes.size == Some(0)
}

fn item(key: Key, reply: Reply, max_value_bytes: usize) -> Result<Item, Error> {
    let seen = reply.attributes;
    let left_out = reply.value.is_none();
    let value = reply.value.unwrap_or_default();
    let (value, flags) = crate::codec::decode(value, seen.flags, max_value_bytes)?;
    Ok(Item {
        key,
        size: if left_out { seen.size.unwrap_or_default() } else { value.len() as u64 },
        value,
        flags,
        cas: seen.cas,
        stale: seen.stale,
        details: seen.ttl.map(|ttl| Details {
            ttl: u64::try_from(ttl).ok().map(Duration::from_secs),
            hit_before: seen.hit_before.unwrap_or_default(),
            idle: Duration::from_secs(seen.idle_seconds.unwrap_or_default()),
        }),
    })
}
