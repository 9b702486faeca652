//! Keys and times to live as the wire wants them. Knows no verbs.

use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// The longest key the protocol carries.
pub const MAX_KEY_BYTES: usize = 250;

/// Longer times to live are sent as a point in time: the protocol reads anything above as one.
const RELATIVE_LIMIT: u64 = 30 * 24 * 3600;

/// A cache key: any bytes, at most 250 (186 if blanks or control characters are among them: such keys travel as base64).
///
/// Every method that takes a key takes whatever converts into one. Keys are checked when a request is sent.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it holds blanks or control characters and so travels as base64.
    pub(crate) fn is_binary(&self) -> bool {
        self.0.iter().any(|&byte| byte <= b' ' || byte == 0x7f)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_as(self.is_binary())
    }

    /// `is_binary` says whether it travels as base64, as all keys of a request do if one has to.
    pub(crate) fn check_as(&self, is_binary: bool) -> Result<(), Error> {
        let length = if is_binary { self.0.len().div_ceil(3) * 4 } else { self.0.len() };
        if self.0.is_empty() || length > MAX_KEY_BYTES {
            return Err(Error::new(ErrorKind::InvalidKey { bytes: self.0.len() }));
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(bytes: &[u8; N]) -> Key {
        Key(Bytes::copy_from_slice(bytes))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(text.into())
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Key {
        text.as_str().into()
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Key {
        Key(bytes.into())
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Key {
        Key(bytes)
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Key {
        key.clone()
    }
}

/// How long an item may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ttl {
    /// A time from now, rounded up to whole seconds: the protocol has no finer ones. Nothing ends later than in
    /// January 2038, where servers' clocks do; a time of zero has ended already.
    After(Duration),
    /// Until it is evicted.
    #[default]
    Never,
}

impl Ttl {
    /// The number the wire wants, `now` being Unix seconds.
    pub(crate) fn wire(self, now: u64) -> i64 {
        let Ttl::After(duration) = self else { return 0 };
        let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
        match seconds {
            0 => -1,
            1..=RELATIVE_LIMIT => seconds as i64,
            // Servers keep 32 bits.
            _ => now.saturating_add(seconds).min(i32::MAX as u64) as i64,
        }
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Ttl {
        Ttl::After(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_at_the_limits() {
        assert!(Key::from("a".repeat(250)).check().is_ok());
        assert!(Key::from("a".repeat(251)).check().is_err());
        assert!(Key::from("").check().is_err());
        assert!(Key::from("a b").is_binary() && Key::from("a\n").is_binary() && !Key::from("é").is_binary());
        assert!(Key::from(vec![b' '; 186]).check().is_ok());
        assert!(Key::from(vec![b' '; 187]).check().is_err());
    }

    #[test]
    fn times_to_live_round_up_and_turn_absolute_after_thirty_days() {
        let wire = |millis| Ttl::After(Duration::from_millis(millis)).wire(1_700_000_000);
        assert_eq!(wire(0), -1);
        assert_eq!(wire(1), 1);
        assert_eq!(wire(1001), 2);
        assert_eq!(wire(RELATIVE_LIMIT * 1000), 2_592_000);
        assert_eq!(wire(RELATIVE_LIMIT * 1000 + 1), 1_700_000_000 + 2_592_001);
        assert_eq!(Ttl::After(Duration::MAX).wire(1_700_000_000), i64::from(i32::MAX));
        assert_eq!(Ttl::Never.wire(5), 0);
    }
}
