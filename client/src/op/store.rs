//! Storing values. Knows what may be stored, not how it is sent.

use super::sealed::{self, AnyReply, AnyRequest};
use super::{Operation, check_version, unexpected};
use crate::call::Call;
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Ttl};
use crate::protocol::{self, Code, Mode, Request, Source};
use crate::value::{Item, Value};

/// The most sources an item may have.
pub const MAX_SOURCES: usize = 16;

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
pub struct Store(pub(crate) Box<protocol::Store>);

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
        Store(Box::new(protocol::Store::new(key, mode, value.bytes, value.flags)))
    }
}

options!(Store {
    /// How long it may live; for ever unless given.
    ttl(ttl: impl Into<Ttl>) |store| store.ttl = ttl.into();
    /// Stores only over the version with this `cas`: the one the item had when it was read. Versions are the
    /// server's own, so one read before the key moved to another member proves nothing there.
    compare(cas: u64) |store| store.compare = Some(cas);
    /// With `compare`: stores over a later version too, but as a stale item.
    even_if_stale() |store| store.even_if_stale = true;
    /// For append and prepend: creates a missing item, to live this long. With anything else it is an
    /// [`ErrorKind::Invalid`].
    ///
    /// Needs the meta protocol, and memcarp or a memcached that heeds it: 1.6.18 (Debian 12) creates nothing, and the
    /// outcome is [`Stored::NotStored`], as it is where the item would become too long.
    or_create(ttl: impl Into<Ttl>) |store| store.vivify = Some(ttl.into());
    /// Names data this value is derived from: when that changes, this item expires at once, and if it has changed
    /// since it was read, this item is not stored at all (the outcome is [`Stored::Exists`]).
    ///
    /// At most 16 sources, owned by the same member as the item: share a `{tag}`. Needs a memcarp server: elsewhere it is
    /// an [`ErrorKind::Unsupported`], and nothing is stored.
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

impl From<&Key> for DerivedFrom {
    fn from(key: &Key) -> DerivedFrom {
        key.clone().into()
    }
}

impl From<&String> for DerivedFrom {
    fn from(key: &String) -> DerivedFrom {
        Key::from(key).into()
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

pub(crate) fn check_sources(sources: &[Source]) -> Result<(), Error> {
    match sources.len() > MAX_SOURCES {
        true => Err(Error::new(ErrorKind::Invalid(format!("more than {MAX_SOURCES} sources")))),
        false => Ok(()),
    }
}

impl sealed::Sealed for Store {}

impl Operation for Store {
    type Outcome = Stored;

    fn into_request(self) -> Result<AnyRequest, Error> {
        self.0.key.check()?;
        check_version(self.0.compare)?;
        if self.0.vivify.is_some() && !matches!(self.0.mode, Mode::Append | Mode::Prepend) {
            return Err(Error::new(ErrorKind::Invalid(
                "or_create with anything but append and prepend; give a time to live with ttl".to_owned(),
            )));
        }
        check_sources(&self.0.sources)?;
        for source in &self.0.sources {
            source.key.check_as(self.0.key.is_binary())?;
            if source.key.is_binary() && !self.0.key.is_binary() {
                return Err(Error::new(ErrorKind::Invalid(format!(
                    "the source {} holds blanks and the item's key does not",
                    source.key
                ))));
            }
        }
        Ok(AnyRequest(Request::Store(self.0)))
    }

    fn outcome(_: Key, reply: Option<AnyReply>, _: usize) -> Result<Stored, Error> {
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
