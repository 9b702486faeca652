//! The client's settings.

use crate::client::{Client, LONGEST};
use crate::error::{Error, ErrorKind};
use crate::events::Events;
use crate::health::HealthPolicy;
use crate::members::{Member, Members};
use crate::net::{Credentials, NetConfig, ProtocolChoice, SharedConfig};
use crate::node::Node;
use crate::route::{Carp, Scheme};
use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`Client`] to be.
#[derive(Clone, Debug)]
#[must_use = "settings make no client until build"]
pub struct Builder {
    members: Members,
    scheme: Scheme,
    hash_tags: Option<bool>,
    timeout: Duration,
    connections: usize,
    health: HealthPolicy,
    fallback: Option<Duration>,
    compress_above: Option<usize>,
    #[cfg(feature = "near-cache")]
    near_cache: Option<crate::near::NearCachePolicy>,
    net: NetConfig,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            members: Members::default(),
            scheme: Scheme::default(),
            hash_tags: None,
            timeout: Duration::from_secs(1),
            connections: 1,
            health: HealthPolicy::default(),
            fallback: None,
            compress_above: None,
            #[cfg(feature = "near-cache")]
            near_cache: None,
            net: NetConfig {
                connect_timeout: Duration::from_secs(1),
                unresponsive_after: Duration::from_secs(2),
                queue: 1024,
                max_value_bytes: 128 << 20,
                protocol: ProtocolChoice::Auto,
                credentials: None,
                #[cfg(feature = "tls")]
                tls: None,
            },
        }
    }
}

impl Builder {
    /// The members to spread keys over.
    pub fn members(mut self, members: Members) -> Builder {
        self.members = members;
        self
    }

    /// Takes members, scheme and hash tags from a routing that exists already.
    pub fn routing(mut self, carp: &Carp) -> Builder {
        self.members = carp.members().clone();
        self.scheme = carp.scheme();
        self.hash_tags = Some(carp.has_hash_tags());
        self
    }

    /// The routing function; [`Scheme::CarpV2`] unless given. Every client of an array must use the same one.
    pub fn scheme(mut self, scheme: Scheme) -> Builder {
        self.scheme = scheme;
        self
    }

    /// Whether keys are routed by the inside of their `{...}`. Every client of an array must agree.
    pub fn hash_tags(mut self, on: bool) -> Builder {
        self.hash_tags = Some(on);
        self
    }

    /// The time a request may take in all, waiting for a connection included; 1 s unless given.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.timeout = timeout.min(LONGEST);
        self
    }

    /// The time making a connection may take, TLS and authentication included; 1 s unless given.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.net.connect_timeout = timeout.min(LONGEST);
        self
    }

    /// A connection that owes an answer and has been silent for this long is given up; 2 s unless given. An answer that
    /// comes in pieces may take ten times as long.
    pub fn unresponsive_after(mut self, silence: Duration) -> Builder {
        self.net.unresponsive_after = silence.min(LONGEST);
        self
    }

    /// Connections per member, 1 to 16, 1 unless given. More than one helps when large values hold up small ones. A key
    /// always takes the same one, so requests for one key keep their order. Fewer are taken for 1, more for 16.
    pub fn connections_per_member(mut self, connections: usize) -> Builder {
        self.connections = connections.clamp(1, 16);
        self
    }

    /// Requests that may wait to be sent to a member before further ones wait in their callers; 1024 unless given, 1 to
    /// 1048576. Fewer are taken for 1, more for 1048576.
    pub fn queue(mut self, requests: usize) -> Builder {
        self.net.queue = requests.clamp(1, 1 << 20);
        self
    }

    /// Bytes of the longest value that is sent or taken, before it is compressed; 128 MiB unless given, 1 GiB at most.
    /// What is longer is an [`ErrorKind::ValueTooLarge`]: it is not sent, and what a server sends is dropped as it comes.
    /// A connection may take that much memory, if a server sends that much.
    ///
    /// Servers have a limit of their own, memcached's and memcarp's `-I`, 1 MiB unless changed.
    pub fn max_value_bytes(mut self, bytes: usize) -> Builder {
        self.net.max_value_bytes = bytes.min(1 << 30);
        self
    }

    /// Which protocol to speak; found out per connection unless given.
    pub fn protocol(mut self, protocol: ProtocolChoice) -> Builder {
        self.net.protocol = protocol;
        self
    }

    /// Authenticates every connection, the way memcached's `-Y` wants it. Without this, a member that wants a login is an
    /// [`ErrorKind::LoginRequired`]. The password crosses the network as it is: use TLS.
    pub fn credentials(self, user: impl Into<String>, password: impl Into<String>) -> Builder {
        let pair = (user.into(), password.into());
        self.credentials_from(move || pair.clone())
    }

    /// The same with credentials that change: asked for each time a connection is made.
    pub fn credentials_from(
        mut self,
        source: impl Fn() -> (String, String) + Send + Sync + 'static,
    ) -> Builder {
        self.net.credentials = Some(Credentials(Arc::new(source)));
        self
    }

    /// Speaks TLS to every TCP member; not to Unix sockets.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::tls::Tls) -> Builder {
        self.net.tls = Some(tls);
        self
    }

    /// When a member counts as down and how it comes back.
    pub fn health(mut self, policy: HealthPolicy) -> Builder {
        self.health = policy.within_reason();
        self
    }

    /// While an owner is down, reads and writes go to the next member of the key's ranking, and what is written there
    /// lives for `ttl_cap` at most. Without this, reads of a dead owner's keys are misses and writes are errors.
    ///
    /// The hash does not change: it is a stand-in's short-lived copy. When the owner returns, what it still held of those
    /// keys is deleted before it is read; copies on the stand-in end with `ttl_cap`, which bounds how old a value can be
    /// if the owner goes down a second time.
    pub fn fallback(mut self, ttl_cap: Duration) -> Builder {
        self.fallback = Some(ttl_cap);
        self
    }

    /// Compresses values of more bytes than this (LZ4), marking them with the highest client flag; none unless given.
    /// Those that get no shorter stay as they are, as does what is appended or prepended.
    #[cfg(feature = "compression")]
    pub fn compress_above(mut self, bytes: usize) -> Builder {
        self.compress_above = Some(bytes);
        self
    }

    /// Keeps short-lived copies of items read in this process; see [`NearCachePolicy`](crate::NearCachePolicy).
    #[cfg(feature = "near-cache")]
    pub fn near_cache(mut self, policy: crate::near::NearCachePolicy) -> Builder {
        self.near_cache = Some(policy);
        self
    }

    /// Makes the client. Nothing is connected yet.
    ///
    /// Fails for members that cannot be used ([`ErrorKind::Members`]), among them none at all, and for a timeout of zero
    /// ([`ErrorKind::Settings`]).
    pub fn build(self) -> Result<Client, Error> {
        let mut carp = Carp::with_scheme(self.members, self.scheme)?;
        if let Some(on) = self.hash_tags {
            carp = carp.hash_tags(on);
        }
        if self.timeout.is_zero() {
            return Err(Error::caused(ErrorKind::Settings, "a timeout of zero answers nothing"));
        }
        let config = Config {
            timeout: self.timeout,
            connections: self.connections,
            health: Arc::new(self.health),
            fallback: self.fallback,
            compress_above: self.compress_above,
            max_value_bytes: self.net.max_value_bytes,
            #[cfg(feature = "near-cache")]
            near_cache: self.near_cache,
            net: Arc::new(self.net),
        };
        Client::from_config(carp, config)
    }
}

/// The settings of a client that exists. They do not change.
pub(crate) struct Config {
    pub(crate) timeout: Duration,
    connections: usize,
    pub(crate) health: Arc<HealthPolicy>,
    pub(crate) fallback: Option<Duration>,
    pub(crate) compress_above: Option<usize>,
    pub(crate) max_value_bytes: usize,
    #[cfg(feature = "near-cache")]
    pub(crate) near_cache: Option<crate::near::NearCachePolicy>,
    net: SharedConfig,
}

impl Config {
    pub(crate) fn node(&self, member: &Member, events: &Events) -> Result<Arc<Node>, Error> {
        // A probe may have to connect first.
        let patience = self.timeout + self.net.connect_timeout;
        Node::new(member, &self.net, self.connections, &self.health, self.timeout, patience, events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_taken_for_the_nearest() {
        let connections = |asked| Builder::default().connections_per_member(asked).connections;
        assert_eq!([0, 1, 16, 17, usize::MAX].map(connections), [1, 1, 16, 16, 16]);
        let queue = |asked| Builder::default().queue(asked).net.queue;
        assert_eq!([0, 1, 1 << 20, usize::MAX].map(queue), [1, 1, 1 << 20, 1 << 20]);
    }
}
