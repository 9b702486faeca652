//! Connections to one server. Knows no members, no routing and no health.

mod connection;
mod lane;
mod shared;
mod transport;
mod unended;
mod work;

pub(crate) use lane::{Lane, Owner};
pub(crate) use transport::Credentials;
pub(crate) use unended::Hold;
pub(crate) use work::Work;

use std::sync::Arc;
use std::time::Duration;

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub(crate) struct NetConfig {
    pub(crate) connect_timeout: Duration,
    /// A connection that owes an answer and stays silent for this long is given up.
    pub(crate) unresponsive_after: Duration,
    /// Requests that may wait to be written on one connection.
    pub(crate) queue: usize,
    pub(crate) max_value_bytes: usize,
    pub(crate) protocol: ProtocolChoice,
    pub(crate) credentials: Option<Credentials>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::Tls>,
}

/// Which protocol to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolChoice {
    /// Ask each server on connecting: the meta protocol where it is known, else the classic one.
    #[default]
    Auto,
    /// The meta protocol, without asking.
    Meta,
    /// The classic protocol, without asking.
    Classic,
}

pub(crate) type SharedConfig = Arc<NetConfig>;
