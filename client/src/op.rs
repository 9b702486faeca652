//! The operations as values: what [`Client`](crate::Client)'s methods build, and what a batch is made of.
//! Knows the outcome of each, not how it is sent.

use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Ttl};
use crate::protocol::{self, Attributes, Code, Mode, Reply, Request, Source};
use crate::value::{Details, Item, Value};
use bytes::Bytes;
use std::time::Duration;

/// The most sources an item may have.
pub const MAX_SOURCES: usize = 16;

/// Something a member can be asked, and what comes of it. The operations of this crate and no others.
pub trait Operation: sealed::Sealed + Sized + Send {
    /// What comes of it, apart from errors.
    type Outcome: Send;

    #[doc(hidden)]
    fn into_request(self) -> Result<AnyRequest, Error>;

    /// `None` is the usual answer, which a quiet batch leaves out.
    #[doc(hidden)]
    fn outcome(key: Key, reply: Option<AnyReply>) -> Result<Self::Outcome, Error>;

    /// What to say instead of an error if the member cannot be asked.
    #[doc(hidden)]
    fn when_unreachable() -> Option<Self::Outcome> {
        None
    }
}

/// Keeps the protocol's types out of the public interface.
pub(crate) mod sealed {
    use super::{Reply, Request};

    pub trait Sealed {}

    pub struct AnyRequest(pub(crate) Request);

    pub struct AnyReply(pub(crate) Reply);
}

use sealed::{AnyReply, AnyRequest};

/// Declares an operation's options once, for the operation and for the call that carries it.
macro_rules! options {
    ($op:ident { $( $(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) |$inner:ident| $body:expr; )* }) => {
        impl $op {
            $( $(#[$doc])* pub fn $name(mut self, $($arg: $ty),*) -> Self {
                let $inner = &mut self.0;
                $body;
                self
            } )*
        }

        impl Call<'_, $op> {
            $( $(#[$doc])* pub fn $name(self, $($arg: $ty),*) -> Self {
                self.map(|op| op.$name($($arg),*))
            } )*
        }
    };
}

/// Reads an item: `Some` if it is there.
///
/// If the owner cannot be reached the outcome is a miss too, unless the call is
/// [`strict`](crate::Call::strict): a cache that is away should cost hits, not requests.
#[derive(Clone, Debug)]
pub struct Get(pub(crate) protocol::Get);

impl Get {
    /// Reads `key`.
    pub fn new(key: impl Into<Key>) -> Get {
        Get(protocol::Get {
            key: key.into(),
            touch: None,
            vivify: None,
            refresh_below: None,
            details: false,
            no_value: false,
            no_bump: false,
        })
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

    fn outcome(key: Key, reply: Option<AnyReply>) -> Result<Option<Item>, Error> {
        let Some(AnyReply(reply)) = reply else { return Ok(None) };
        match reply.code {
            Code::Miss => Ok(None),
            Code::Done if is_placeholder(&reply.attributes) => Ok(None),
            Code::Done => item(key, reply).map(Some),
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

pub(crate) fn item(key: Key, reply: Reply) -> Result<Item, Error> {
    let seen = reply.attributes;
    let value = reply.value.unwrap_or_default();
    let (value, flags) = crate::codec::decode(value, seen.flags)?;
    Ok(Item {
        key,
        size: seen.size.unwrap_or(value.len() as u64),
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

/// What came of storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a store may be refused"]
#[non_exhaustive]
pub enum Stored {
    /// It is stored.
    Stored {
        /// Its new version; 0 if the server does not say.
        cas: u64,
    },
    /// `add` found the key, or `replace`, `append`, `prepend` did not.
    NotStored,
    /// `compare` met another version, or a source has changed since it was read.
    Exists,
    /// `compare` found nothing.
    NotFound,
}

impl Stored {
    /// Whether it is stored.
    pub fn is_stored(self) -> bool {
        matches!(self, Stored::Stored { .. })
    }
}

/// Stores a value: set, add, replace, append or prepend.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) protocol::Store);

impl Store {
    /// Stores whether or not the key exists.
    pub fn set(key: impl Into<Key>, value: impl Into<Value>) -> Store {
        Store::new(key.into(), value.into(), Mode::Set)
    }

    /// Stores only if the key does not exist.
    pub fn add(key: impl Into<Key>, value: impl Into<Value>) -> Store {
        Store::new(key.into(), value.into(), Mode::Add)
    }

    /// Stores only if the key exists.
    pub fn replace(key: impl Into<Key>, value: impl Into<Value>) -> Store {
        Store::new(key.into(), value.into(), Mode::Replace)
    }

    /// Adds to the end of what is there. Time to live and flags stay.
    pub fn append(key: impl Into<Key>, value: impl Into<Value>) -> Store {
        Store::new(key.into(), value.into(), Mode::Append)
    }

    /// Adds before what is there. Time to live and flags stay.
    pub fn prepend(key: impl Into<Key>, value: impl Into<Value>) -> Store {
        Store::new(key.into(), value.into(), Mode::Prepend)
    }

    fn new(key: Key, value: Value, mode: Mode) -> Store {
        Store(protocol::Store {
            key,
            mode,
            value: value.bytes,
            flags: value.flags,
            ttl: Ttl::Never,
            compare: None,
            even_if_stale: false,
            vivify: None,
            sources: Vec::new(),
        })
    }
}

options!(Store {
    /// How long it may live; for ever unless given.
    ttl(ttl: impl Into<Ttl>) |store| store.ttl = ttl.into();
    /// Stores only over the version with this `cas`.
    compare(cas: u64) |store| store.compare = Some(cas);
    /// With `compare`: stores over a later version too, but as a stale item.
    even_if_stale() |store| store.even_if_stale = true;
    /// For append and prepend: creates a missing item, to live this long.
    or_create(ttl: impl Into<Ttl>) |store| store.vivify = Some(ttl.into());
    /// Names data this value is derived from: when that changes, this item expires at once, and if it has changed
    /// since it was read, this item is not stored at all (the outcome is [`Stored::Exists`]).
    ///
    /// At most 16 sources, owned by the same member as the item: share a `{tag}`. Needs a memcarp server.
    derived_from(source: impl Into<DerivedFrom>) |store| store.sources.push(source.into().0);
});

/// A source named by [`Store::derived_from`]: an [`Item`] that was read, or a key.
///
/// Naming the item refuses the store if the source has changed since; naming only a key (a tag, say, that never
/// holds a value) does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedFrom(pub(crate) Source);

impl From<&Item> for DerivedFrom {
    fn from(item: &Item) -> DerivedFrom {
        DerivedFrom(Source { key: item.key.clone(), cas: Some(item.cas).filter(|&cas| cas != 0) })
    }
}

impl From<Key> for DerivedFrom {
    fn from(key: Key) -> DerivedFrom {
        DerivedFrom(Source { key, cas: None })
    }
}

impl From<&str> for DerivedFrom {
    fn from(key: &str) -> DerivedFrom {
        Key::from(key).into()
    }
}

impl From<String> for DerivedFrom {
    fn from(key: String) -> DerivedFrom {
        Key::from(key).into()
    }
}

impl sealed::Sealed for Store {}

impl Operation for Store {
    type Outcome = Stored;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.key.check()?;
        if self.0.sources.len() > MAX_SOURCES {
            return Err(Error::new(ErrorKind::Unsupported(format!("more than {MAX_SOURCES} sources"))));
        }
        for source in &self.0.sources {
            source.key.check()?;
            if source.key.is_binary() && !self.0.key.is_binary() {
                return Err(Error::new(ErrorKind::Unsupported(format!(
                    "the source {} holds blanks and the item's key does not",
                    source.key
                ))));
            }
        }
        if self.0.value.len() > i32::MAX as usize - 2 {
            return Err(Error::new(ErrorKind::ValueTooLarge { bytes: self.0.value.len() }));
        }
        Ok(AnyRequest(Request::Store(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>) -> Result<Stored, Error> {
        let Some(AnyReply(reply)) = reply else { return Ok(Stored::Stored { cas: 0 }) };
        match reply.code {
            Code::Done => Ok(Stored::Stored { cas: reply.attributes.cas }),
            Code::NotStored => Ok(Stored::NotStored),
            Code::Exists => Ok(Stored::Exists),
            Code::NotFound => Ok(Stored::NotFound),
            code => Err(unexpected(&code)),
        }
    }
}

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
        Ok(AnyRequest(Request::Delete(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>) -> Result<Deleted, Error> {
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
        Ok(AnyRequest(Request::Count(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>) -> Result<Counted, Error> {
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

    fn outcome(_: Key, reply: Option<AnyReply>) -> Result<Touched, Error> {
        match reply.map(|reply| reply.0.code) {
            Some(Code::Done) => Ok(Touched::Touched),
            None | Some(Code::Miss | Code::NotFound) => Ok(Touched::NotFound),
            Some(code) => Err(unexpected(&code)),
        }
    }
}

pub(crate) fn unexpected(code: &Code) -> Error {
    Error::new(ErrorKind::Protocol(format!("{code:?} answers nothing that was asked")))
}

/// Any of the operations, as a batch holds them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// A [`Get`].
    Get(Get),
    /// A [`Store`].
    Store(Store),
    /// A [`Delete`].
    Delete(Delete),
    /// A [`Count`].
    Count(Count),
    /// A [`Touch`].
    Touch(Touch),
}

/// What came of an operation in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of a [`Get`].
    Get(Option<Item>),
    /// Of a [`Store`].
    Store(Stored),
    /// Of a [`Delete`].
    Delete(Deleted),
    /// Of a [`Count`].
    Count(Counted),
    /// Of a [`Touch`].
    Touch(Touched),
}

macro_rules! any_op {
    ($($name:ident),*) => {
        $( impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        } )*

        impl Op {
            pub(crate) fn into_request(self) -> Result<Request, Error> {
                match self {
                    $( Op::$name(op) => Operation::into_request(op).map(|request| request.0), )*
                }
            }

            pub(crate) fn kind(&self) -> OpKind {
                match self {
                    $( Op::$name(_) => OpKind::$name, )*
                }
            }
        }

        /// Which operation a reply belongs to, after the operation itself has been sent.
        #[derive(Clone, Copy)]
        pub(crate) enum OpKind { $( $name ),* }

        impl OpKind {
            pub(crate) fn outcome(self, key: Key, reply: Option<Reply>) -> Result<Outcome, Error> {
                match self {
                    $( OpKind::$name => {
                        <$name as Operation>::outcome(key, reply.map(AnyReply)).map(Outcome::$name)
                    } )*
                }
            }
        }
    };
}

any_op!(Get, Store, Delete, Count, Touch);

/// An empty value is a value too.
impl From<()> for Value {
    fn from((): ()) -> Value {
        Value::new(Bytes::new())
    }
}
