//! A value from the cache or from where it comes from, computed once however many want it.

use crate::client::{Answer, Client, LONGEST, capped};
use crate::error::Error;
use crate::flight::{Landed, Part};
use crate::health::chance;
use crate::key::{Key, Ttl};
use crate::node::Node;
use crate::observe::{self, Tally};
use crate::op::{DerivedFrom, Operation, Store, check_sources, is_placeholder};
use crate::protocol::{Code, Delete, Get, Request};
use crate::value::Value;
use bytes::Bytes;
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first and the longest pause between looks at a value that another process computes.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// How long a computation may take before another process is asked to do it.
const LEASE: Duration = Duration::from_secs(10);

impl Client {
    /// The value of `key`, computed by `compute` and stored for `ttl` if the cache has none.
    ///
    /// However many callers in however many processes want it at once, one computes: the server hands out a lease to
    /// one client, and within a process callers wait for one another, though not for one that began before this process
    /// last changed the key. While a value that has been marked
    /// stale is recomputed, or one whose time is nearly up, the others are served the old one.
    ///
    /// `compute` is a closure, called once at most, whose future gives a `Result`: a value ([`Fresh`], or whatever
    /// converts into it, as text and bytes do), or an error of its own type, which [`ComputeError::Compute`] passes on. If
    /// nothing can fail, that type is [`Infallible`](std::convert::Infallible).
    ///
    /// A cache that fails costs a computation, never an error: [`ComputeError::Cache`] means a mistake in the call, such
    /// as a key that is too long.
    ///
    /// ```no_run
    /// # async fn load_user(id: u64) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # async fn run(client: memcarp_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let user = client.get_or_compute("user:42", Duration::from_secs(300), || load_user(42)).await?;
    /// println!("{} bytes", user.value.len());
    /// # Ok(()) }
    /// ```
    ///
    /// A value derived from others says so, and expires when they change (on a memcarp server):
    ///
    /// ```no_run
    /// # use memcarp_client::{Client, Fresh, Error};
    /// # fn shrink(photo: &[u8]) -> Vec<u8> { photo.to_vec() }
    /// # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// let thumbnail = client
    ///     .get_or_compute("thumb:{42}:small", Duration::from_secs(3600), async || {
    ///         let photo = client.get("photo:{42}").await?.expect("stored before");
    ///         Ok::<_, Error>(Fresh::new(shrink(&photo.value)).derived_from(&photo))
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn get_or_compute<'c, F, Fut, V, E>(
        &'c self,
        key: impl Into<Key>,
        ttl: impl Into<Ttl>,
        compute: F,
    ) -> Compute<'c, F>
    where
        // Those of the future: here a mistake is named at the closure it is in.
        F: FnOnce() -> Fut + Send + 'c,
        Fut: Future<Output = Result<V, E>> + Send + 'c,
        V: Into<Fresh> + Send + 'c,
        E: Send + Sync + 'static,
    {
        let ttl = ttl.into();
        let refresh_before = match ttl {
            Ttl::After(ttl) => ttl / 10,
            Ttl::Never => Duration::ZERO,
        };
        Compute {
            client: self,
            key: key.into(),
            compute,
            terms: Terms { ttl, lease: LEASE, refresh_before, sources: Vec::new() },
        }
    }
}

/// A closure that computes nothing usable is refused where it is given, awaited or not.
///
/// ```
/// # use memcarp_client::{Client, Error};
/// fn result(client: Client, ttl: std::time::Duration) {
///     let _ = client.get_or_compute("k", ttl, async || Ok::<_, Error>("v"));
/// }
/// ```
///
/// ```compile_fail
/// # use memcarp_client::{Client, Error};
/// fn no_result(client: Client, ttl: std::time::Duration) {
///     let _ = client.get_or_compute("k", ttl, async || "v");
/// }
/// ```
///
/// ```compile_fail
/// # use memcarp_client::{Client, Error};
/// fn no_future(client: Client, ttl: std::time::Duration) {
///     let _ = client.get_or_compute("k", ttl, || Ok::<_, Error>("v"));
/// }
/// ```
///
/// ```compile_fail
/// # use memcarp_client::{Client, Error};
/// fn no_bytes(client: Client, ttl: std::time::Duration) {
///     let _ = client.get_or_compute("k", ttl, async || Ok::<_, Error>(1.5));
/// }
/// ```
#[cfg(doctest)]
struct Refused;

/// A [`Client::get_or_compute`] that has not begun: add options, then `.await` it.
#[must_use = "nothing happens until it is awaited"]
pub struct Compute<'c, F> {
    client: &'c Client,
    key: Key,
    compute: F,
    terms: Terms,
}

struct Terms {
    ttl: Ttl,
    lease: Duration,
    refresh_before: Duration,
    sources: Vec<DerivedFrom>,
}

impl Terms {
    /// In seconds, as servers count: a moment before the end is the last second.
    fn refresh_below(&self) -> Option<u32> {
        let seconds = self.refresh_before.as_millis().div_ceil(1000);
        u32::try_from(seconds).ok().filter(|&seconds| seconds > 0)
    }
}

impl<F> Compute<'_, F> {
    /// How long a computation may take before another client is asked to do it too; 10 s unless given.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.terms.lease = lease.min(LONGEST);
        self
    }

    /// How long before its end a value is recomputed by one caller while the others still use it; a tenth of its
    /// time to live unless given, never if zero.
    pub fn refresh_before(mut self, remaining: Duration) -> Self {
        self.terms.refresh_before = remaining;
        self
    }

    /// Names data the value is derived from, if it is known beforehand; see [`Store::derived_from`]. memcached refuses
    /// to store such a value, which is then computed each time.
    pub fn derived_from(mut self, source: impl Into<DerivedFrom>) -> Self {
        self.terms.sources.push(source.into());
        self
    }
}

/// What `compute` may return: a value, with more to say about it. Values convert into it.
#[derive(Clone, Debug)]
pub struct Fresh {
    value: Value,
    ttl: Option<Ttl>,
    sources: Vec<DerivedFrom>,
}

impl Fresh {
    /// A value.
    pub fn new(value: impl Into<Value>) -> Fresh {
        Fresh { value: value.into(), ttl: None, sources: Vec::new() }
    }

    /// Its own time to live.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Fresh {
        self.ttl = Some(ttl.into());
        self
    }

    /// Names an item it was computed from: if that changes before the value is stored the value is not stored, if
    /// later the value expires. See [`Store::derived_from`].
    pub fn derived_from(mut self, source: impl Into<DerivedFrom>) -> Fresh {
        self.sources.push(source.into());
        self
    }
}

macro_rules! fresh_from {
    ($($type:ty),*) => { $( impl From<$type> for Fresh {
        fn from(value: $type) -> Fresh {
            Fresh::new(value)
        }
    } )* };
}

fresh_from!(Value, Bytes, Vec<u8>, String, &str, &[u8], &Bytes, &Vec<u8>, &String, ());

/// What [`Client::get_or_compute`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Computed {
    /// The value.
    pub value: Bytes,
    /// Its client flags.
    pub flags: u32,
    /// Where it is from.
    pub origin: Origin,
}

impl Computed {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// The value read as JSON. Fails with [`ErrorKind::Codec`](crate::ErrorKind::Codec).
    #[cfg(feature = "serde")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(&self.value).map_err(|error| Error::caused(crate::ErrorKind::Codec, error))
    }
}

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The cache had it.
    Hit,
    /// The cache had it, marked as stale, and somebody else is recomputing it.
    Stale,
    /// This caller computed it.
    Computed,
    /// Another caller in this process got it at the same time.
    Shared,
}

/// Why there is no value.
pub enum ComputeError<E> {
    /// `compute` failed. All callers in this process that waited for it share the error.
    Compute(Arc<E>),
    /// The call is wrong in itself: its key, a source that another member owns, too many sources.
    Cache(Error),
}

impl<E> Clone for ComputeError<E> {
    fn clone(&self) -> Self {
        match self {
            ComputeError::Compute(error) => ComputeError::Compute(error.clone()),
            ComputeError::Cache(error) => ComputeError::Cache(error.clone()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComputeError::Compute(error) => write!(f, "the value could not be computed: {error}"),
            ComputeError::Cache(error) => error.fmt(f),
        }
    }
}

/// A sentence too, as far as `E` makes one: it is what a `main` that returns the error prints.
impl<E: fmt::Debug> fmt::Debug for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComputeError::Compute(error) => write!(f, "the value could not be computed: {error:?}"),
            ComputeError::Cache(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: StdError + 'static> StdError for ComputeError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            ComputeError::Compute(error) => Some(&**error),
            ComputeError::Cache(error) => Some(error),
        }
    }
}

type Outcome<E> = Result<Computed, ComputeError<E>>;

impl<'c, F, Fut, V, E> IntoFuture for Compute<'c, F>
where
    F: FnOnce() -> Fut + Send + 'c,
    Fut: Future<Output = Result<V, E>> + Send + 'c,
    V: Into<Fresh> + Send + 'c,
    E: Send + Sync + 'static,
{
    type Output = Outcome<E>;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome<E>> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        let Compute { client, key, compute, terms } = self;
        Box::pin(async move {
            key.check().map_err(ComputeError::Cache)?;
            #[cfg(feature = "near-cache")]
            if let Some(computed) = near_copy(client, &key) {
                return Ok(computed);
            }
            loop {
                match client.inner.flights.join(&key) {
                    Part::Leader(leader) => {
                        let outcome = lead(client, &key, &terms, compute).await;
                        leader.land(Arc::new(outcome.clone()) as Landed);
                        return outcome;
                    }
                    Part::Follower(follower) => {
                        // A leader that went away, or whose errors are of another type, is no help.
                        let landed = follower.wait().await;
                        if let Some(outcome) = landed.as_ref().and_then(|l| l.downcast_ref::<Outcome<E>>()) {
                            observe::request(Tally::Shared);
                            return outcome
                                .clone()
                                .map(|computed| Computed { origin: Origin::Shared, ..computed });
                        }
                    }
                }
            }
        })
    }
}

#[cfg(feature = "near-cache")]
fn near_copy(client: &Client, key: &Key) -> Option<Computed> {
    let reply = client.inner.near.as_ref()?.copy(key, std::time::Instant::now())?;
    let (value, flags) = crate::codec::decode(reply.value?, reply.attributes.flags, usize::MAX).ok()?;
    observe::request(Tally::NearHit);
    Some(Computed { value, flags, origin: Origin::Hit })
}

async fn lead<F, Fut, V, E>(client: &Client, key: &Key, terms: &Terms, compute: F) -> Outcome<E>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V, E>>,
    V: Into<Fresh>,
{
    let patience = Instant::now() + terms.lease + Duration::from_secs(1);
    let mut pause = LOOKS.0;
    let lease = loop {
        let request = Request::Get(Get {
            vivify: Some(Ttl::After(terms.lease.max(Duration::from_secs(1)))),
            refresh_below: terms.refresh_below(),
            ..Get::new(key.clone())
        });
        let Answer { reply, node, .. } = match client.execute(request, None).await {
            Ok(answer) => answer,
            Err(_) => break Lease::none(key), // The cache cannot help; the value still can be had.
        };
        let seen = &reply.attributes;
        if reply.code != Code::Done {
            // A plain miss: a server that grants no leases.
            break Lease { key: key.clone(), held: Some((node, None)), old: None };
        }
        let is_placeholder = is_placeholder(seen);
        let old = if is_placeholder {
            None
        } else {
            let origin = if seen.stale { Origin::Stale } else { Origin::Hit };
            let limit = client.inner.config.max_value_bytes;
            let decoded = crate::codec::decode(reply.value.unwrap_or_default(), seen.flags, limit);
            decoded.ok().map(|(value, flags)| Computed { value, flags, origin })
        };
        if seen.won {
            let version = Some(seen.cas).filter(|&cas| cas != 0);
            break Lease { key: key.clone(), held: Some((node, version)), old };
        }
        if let Some(old) = old {
            return Ok(old);
        }
        if !is_placeholder || Instant::now() >= patience {
            break Lease::none(key); // What is there cannot be read, or never comes.
        }
        tokio::time::sleep(pause.mul_f64(0.5 + chance())).await;
        pause = pause.mul_f64(1.6).min(LOOKS.1);
    };
    observe::request(Tally::Computed);
    match compute().await {
        Ok(fresh) => {
            let fresh = fresh.into();
            let computed = Computed {
                value: fresh.value.bytes.clone(),
                flags: fresh.value.flags,
                origin: Origin::Computed,
            };
            keep(client, lease, terms, fresh).await.map_err(ComputeError::Cache)?;
            Ok(computed)
        }
        Err(error) => match lease.give_up() {
            // It is not stale yet, only about to end.
            Some(old) if old.origin == Origin::Hit => Ok(old),
            _ => Err(ComputeError::Compute(Arc::new(error))),
        },
    }
}

/// Stores what was computed, under the lease. That it could not be stored is no error, unless the caller is to blame.
async fn keep(client: &Client, mut lease: Lease, terms: &Terms, fresh: Fresh) -> Result<(), Error> {
    let mut store = Store::set(&lease.key, fresh.value).ttl(fresh.ttl.unwrap_or(terms.ttl));
    for source in terms.sources.iter().cloned().chain(fresh.sources) {
        store = store.derived_from(source);
    }
    check_sources(&store.0.sources)?;
    let fleet = client.fleet();
    let Some((node, cas)) = lease.held.clone() else {
        // Without a lease nothing is stored, but a mistake should not show only when all is well.
        return client.prepare(&fleet, store.into_request()?.0).map(drop);
    };
    store.0.compare = cas;
    let mut request = client.prepare(&fleet, store.into_request()?.0)?;
    let is_owner = Arc::ptr_eq(&node, fleet.owner(lease.key.as_bytes()));
    if let (false, Some(cap)) = (is_owner, client.inner.config.fallback) {
        request = capped(request, cap);
    }
    // A lease counts only where it was granted, so this goes to that member and no other.
    match node.call(request, client.deadline(None)).await {
        Ok(_) => {
            lease.held = None;
            #[cfg(feature = "near-cache")]
            if let Some(near) = &client.inner.near {
                near.changed(&lease.key);
            }
        }
        Err(error) => observe::error(&error),
    }
    Ok(())
}

/// The right to compute, and the duty to store or to let others. If it is dropped the placeholder is deleted, or
/// the stale item offered to the next reader.
struct Lease {
    key: Key,
    /// Where it was granted, and for which version; no version if the server grants no leases or keeps no versions.
    held: Option<(Arc<Node>, Option<u64>)>,
    /// What is still there while it is recomputed.
    old: Option<Computed>,
}

impl Lease {
    fn none(key: &Key) -> Lease {
        Lease { key: key.clone(), held: None, old: None }
    }

    fn give_up(mut self) -> Option<Computed> {
        self.old.take().inspect(|old| self.return_it(Some(old.origin)))
    }

    fn return_it(&mut self, old: Option<Origin>) {
        let Some((node, Some(cas))) = self.held.take() else { return };
        let stale = match old {
            Some(Origin::Hit) => return, // Others use it until it ends.
            Some(_) => Some(None),
            None => None,
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let request = Request::Delete(Delete { key: self.key.clone(), compare: Some(cas), stale });
        runtime.spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(1);
            let _ = node.call(request, deadline).await; // The lease ends by itself too, only later.
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let old = self.old.as_ref().map(|old| old.origin);
        self.return_it(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_before_the_end_is_rounded_up_to_what_servers_count() {
        let below = |refresh_before| {
            let terms = Terms { ttl: Ttl::Never, lease: LEASE, refresh_before, sources: Vec::new() };
            terms.refresh_below()
        };
        assert_eq!(below(Duration::ZERO), None);
        assert_eq!(below(Duration::from_secs(5) / 10), Some(1));
        assert_eq!(below(Duration::from_millis(4001)), Some(5));
        assert_eq!(below(Duration::MAX), None, "no such time to live");
    }
}
