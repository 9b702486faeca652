//! Values going in and items coming out. Knows no requests.

use crate::key::Key;
use bytes::Bytes;
use std::time::Duration;

/// What is stored: bytes and 32 bits of client flags. Bytes, text and vectors convert into it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Value {
    pub(crate) bytes: Bytes,
    pub(crate) flags: u32,
}

impl Value {
    /// Bytes, with flags 0.
    pub fn new(bytes: impl Into<Bytes>) -> Value {
        Value { bytes: bytes.into(), flags: 0 }
    }

    /// Sets the client flags, which come back with the item. With the feature `compression` the
    /// highest bit is the client's own, and values that have it set are refused.
    pub fn with_flags(mut self, flags: u32) -> Value {
        self.flags = flags;
        self
    }

    /// A serialised value, as JSON. Fails with [`ErrorKind::Codec`](crate::ErrorKind::Codec).
    #[cfg(feature = "serde")]
    pub fn json(value: &impl serde::Serialize) -> Result<Value, crate::Error> {
        let bytes = serde_json::to_vec(value);
        Ok(Value::new(bytes.map_err(|error| crate::Error::caused(crate::ErrorKind::Codec, error))?))
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Value {
        Value::new(bytes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::new(bytes)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::new(text)
    }
}

/// Copies.
impl From<&String> for Value {
    fn from(text: &String) -> Value {
        text.as_str().into()
    }
}

/// Copies.
impl From<&Vec<u8>> for Value {
    fn from(bytes: &Vec<u8>) -> Value {
        bytes.as_slice().into()
    }
}

/// Shares them.
impl From<&Bytes> for Value {
    fn from(bytes: &Bytes) -> Value {
        Value::new(bytes.clone())
    }
}

/// An empty value is a value too.
impl From<()> for Value {
    fn from((): ()) -> Value {
        Value::new(Bytes::new())
    }
}

/// Copies.
impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Copies.
impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::new(Bytes::copy_from_slice(bytes))
    }
}

/// Copies.
impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Value {
        bytes.as_slice().into()
    }
}

/// An item that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// Its value; empty if the read was asked to leave it out.
    pub value: Bytes,
    /// Its client flags.
    pub flags: u32,
    /// Its version: give it to `compare` to change the item only if nobody else has. 0, which nothing can be compared
    /// with, if the server keeps none or a stand-in answered.
    pub cas: u64,
    /// Whether it has been marked stale and not been replaced yet.
    pub stale: bool,
    /// The value's size. If the value was left out, as the server holds it: compressed values have the smaller size.
    pub size: u64,
    /// More about it, if asked for.
    pub details: Option<Details>,
}

/// What a server knows of an item besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The time it has left, in whole seconds; none if it does not expire.
    pub ttl: Option<Duration>,
    /// Whether it had been read before.
    pub hit_before: bool,
    /// The time since it was last read or written, in whole seconds.
    pub idle: Duration,
}

impl Item {
    /// The value read as JSON. Fails with [`ErrorKind::Codec`](crate::ErrorKind::Codec).
    #[cfg(feature = "serde")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, crate::Error> {
        serde_json::from_slice(&self.value)
            .map_err(|error| crate::Error::caused(crate::ErrorKind::Codec, error))
    }

    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}
