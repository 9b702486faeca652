//! Member lists that change by themselves: looked up again and again, applied to a client while it runs.
//! Knows nothing of routing or health.

use crate::client::{Client, LONGEST};
use crate::error::{Error, ErrorKind};
use crate::health::chance;
use crate::members::{Address, Member, Members};
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const LONGEST_LOOKUP: Duration = Duration::from_secs(30);

type Source = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Members, Error>> + Send>> + Send + Sync;

/// Where a member list is looked up.
///
/// ```no_run
/// # async fn run() -> Result<(), memcarp_client::Error> {
/// use memcarp_client::{Client, Discovery};
/// // A Kubernetes headless service.
/// let discovery = Discovery::hosts("cache.shop.svc.cluster.local", 11211);
/// let client = Client::new(discovery.resolve().await?)?;
/// let following = client.follow(discovery); // until it is dropped
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Discovery {
    source: Arc<Source>,
    refresh: Duration,
}

impl Discovery {
    /// Every address (A and AAAA) of a host name is a member, named by address and port.
    ///
    /// The address is all that is known of such a member, so one that comes back under another address is another
    /// member with other keys. Where members have names of their own, look up their SRV records instead.
    pub fn hosts(host: impl Into<String>, port: u16) -> Discovery {
        let host = host.into();
        Discovery::from_fn(move || {
            let host = host.clone();
            async move {
                let found = tokio::net::lookup_host((host.as_str(), port))
                    .await
                    .map_err(|error| Error::caused(ErrorKind::Members, error))?;
                let addresses: BTreeSet<_> = found.collect();
                let list = addresses.into_iter().map(|found| {
                    let address = Address::Tcp { host: found.ip().to_string(), port: found.port() };
                    Member::new(address.to_string()).at(address)
                });
                Ok(Members::new(list.collect())?)
            }
        })
    }

    /// Every target of the SRV records of a name, such as `_memcache._tcp.cache.shop.svc.cluster.local`, is a
    /// member: named by target and port, so that a pod of a stateful set keeps its keys wherever it runs, weighing
    /// what the record says. Only the records of the best priority count.
    ///
    /// Asks the name servers of the system's configuration.
    #[cfg(feature = "srv")]
    pub fn srv(name: impl Into<String>) -> Discovery {
        let name = name.into();
        Discovery::from_fn(move || {
            let name = name.clone();
            async move {
                let wrong = |error| Error::caused(ErrorKind::Members, error);
                let resolver = hickory_resolver::TokioResolver::builder_tokio().map_err(wrong)?;
                srv_members(&resolver.build().map_err(wrong)?, &name).await
            }
        })
    }

    /// Asks a resolver that is configured already.
    #[cfg(feature = "srv")]
    pub fn srv_from(resolver: hickory_resolver::TokioResolver, name: impl Into<String>) -> Discovery {
        let (resolver, name) = (Arc::new(resolver), name.into());
        Discovery::from_fn(move || {
            let (resolver, name) = (resolver.clone(), name.clone());
            async move { srv_members(&resolver, &name).await }
        })
    }

    /// Asks a function: for files, registries and tests.
    pub fn from_fn<F, Fut>(source: F) -> Discovery
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Members, Error>> + Send + 'static,
    {
        Discovery { source: Arc::new(move || Box::pin(source())), refresh: Duration::from_secs(30) }
    }

    /// How often to look again, give or take a quarter; 30 s unless given, 10 ms at least.
    pub fn refresh(mut self, interval: Duration) -> Discovery {
        self.refresh = interval.clamp(Duration::from_millis(10), LONGEST);
        self
    }

    /// Looks the list up once, for 30 s at most.
    pub async fn resolve(&self) -> Result<Members, Error> {
        match tokio::time::timeout(LONGEST_LOOKUP, (self.source)()).await {
            Ok(found) => found,
            Err(elapsed) => Err(Error::caused(ErrorKind::Members, elapsed)),
        }
    }
}

impl Client {
    /// Looks the member list up again and again and applies each change, until the returned value is dropped.
    ///
    /// A lookup that fails or finds nobody changes nothing: a name server that is away takes no cache down.
    pub fn follow(&self, discovery: Discovery) -> Following {
        let client = Arc::downgrade(&self.inner);
        Following(tokio::spawn(async move {
            loop {
                tokio::time::sleep(discovery.refresh.mul_f64(0.75 + chance() / 2.0)).await;
                let found = discovery.resolve().await;
                let Some(inner) = client.upgrade() else { return };
                let client = Client { inner };
                match found {
                    Ok(members) if members.is_empty() => {}
                    Ok(members) => {
                        if let Err(error) = client.update_members(members) {
                            crate::observe::error(&error);
                        }
                    }
                    Err(error) => crate::observe::error(&error),
                }
            }
        }))
    }
}

/// Keeps a client's member list up to date while it exists.
#[derive(Debug)]
#[must_use = "the member list is followed only while this exists"]
pub struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("refresh", &self.refresh).finish_non_exhaustive()
    }
}

#[cfg(feature = "srv")]
async fn srv_members(resolver: &hickory_resolver::TokioResolver, name: &str) -> Result<Members, Error> {
    use hickory_resolver::proto::rr::RData;
    let found = resolver.srv_lookup(name).await.map_err(|error| Error::caused(ErrorKind::Members, error))?;
    let records: Vec<_> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // The root for a target says that there is no such service (RFC 2782).
            RData::SRV(srv) if !srv.target.is_root() => {
                Some((srv.priority, srv.weight, srv.port, srv.target.to_utf8()))
            }
            _ => None,
        })
        .collect();
    let best = records.iter().map(|record| record.0).min();
    let mut named = std::collections::BTreeMap::new();
    for (_, weight, port, target) in records.into_iter().filter(|record| Some(record.0) == best) {
        let host = target.trim_end_matches('.').to_owned();
        let member = Member::new(format!("{host}:{port}")).with_weight(f64::from(weight.max(1)));
        named.insert((host.clone(), port), member.at(Address::Tcp { host, port }));
    }
    Ok(Members::new(named.into_values().collect())?)
}
