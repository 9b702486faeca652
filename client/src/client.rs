//! The client: which member is asked, when another one is, and what the caller is told.

use crate::batch::Batch;
use crate::builder::{Builder, Config};
use crate::call::{Call, CallOptions};
use crate::error::{Error, ErrorKind, SourceElsewhere};
use crate::events::{Event, Events};
use crate::fleet::Fleet;
use crate::flight::{Changed, Flights};
use crate::key::{Key, Ttl};
use crate::members::Members;
use crate::node::Node;
use crate::observe::{self, Tally};
use crate::op::sealed::AnyReply;
use crate::op::{Count, Delete, Get, Operation, Store, Touch};
use crate::protocol::{Code, Mode, Reply, Request};
use crate::route::Carp;
use crate::value::Value;
use std::fmt;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Longer times than a year are taken for a year: the end of a time must be a moment the system can name.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// A client of an array of cache nodes. Cheap to clone; all clones share connections and health.
///
/// Connections are made when first needed, one per member unless configured otherwise, and shared by all
/// requests. The client must be used within a tokio runtime with time and IO enabled.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) events: Events,
    fleet: RwLock<Arc<Fleet>>,
    /// Held while a new fleet is made, so that two updates do not lose one another's nodes.
    updating: Mutex<()>,
    pub(crate) flights: Flights,
    #[cfg(feature = "near-cache")]
    pub(crate) near: Option<crate::near::NearCache>,
}

impl Client {
    /// A client with the usual settings, of [`Members`] or of a text that lists them. Nothing is connected yet.
    ///
    /// Fails for a list that cannot be used ([`ErrorKind::Members`]): an empty one, a name twice, no address.
    ///
    /// ```no_run
    /// # use memcarp_client::Client;
    /// let client = Client::new("10.0.0.1, 10.0.0.2, big=10.0.0.3:11212*2")?;
    /// # Ok::<(), memcarp_client::Error>(())
    /// ```
    pub fn new<M>(members: M) -> Result<Client, Error>
    where
        M: TryInto<Members>,
        Error: From<M::Error>,
    {
        Client::builder().members(members.try_into()?).build()
    }

    /// Starts from the usual settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_config(carp: Carp, config: Config) -> Result<Client, Error> {
        let events = Events::new();
        let fleet = Fleet::new(carp, None, |member| config.node(member, &events))?;
        Ok(Client {
            inner: Arc::new(Inner {
                #[cfg(feature = "near-cache")]
                near: config.near_cache.as_ref().map(crate::near::NearCache::new),
                config,
                events,
                fleet: RwLock::new(Arc::new(fleet)),
                updating: Mutex::new(()),
                flights: Flights::default(),
            }),
        })
    }

    /// Reads an item: `Some` if it is there.
    ///
    /// If the owner cannot be reached this is a miss, unless the call is [`strict`](Call::strict).
    pub fn get(&self, key: impl Into<Key>) -> Call<'_, Get> {
        Call::new(self, Get::new(key))
    }

    /// Stores a value, whether or not the key exists.
    pub fn set(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<'_, Store> {
        Call::new(self, Store::set(key, value))
    }

    /// Stores a value only if the key does not exist.
    pub fn add(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<'_, Store> {
        Call::new(self, Store::add(key, value))
    }

    /// Stores a value only if the key exists.
    pub fn replace(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<'_, Store> {
        Call::new(self, Store::replace(key, value))
    }

    /// Adds to the end of a value, if there is one. Time to live and flags stay.
    pub fn append(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<'_, Store> {
        Call::new(self, Store::append(key, value))
    }

    /// Adds before a value, if there is one. Time to live and flags stay.
    pub fn prepend(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<'_, Store> {
        Call::new(self, Store::prepend(key, value))
    }

    /// Deletes an item, or marks it stale.
    pub fn delete(&self, key: impl Into<Key>) -> Call<'_, Delete> {
        Call::new(self, Delete::new(key))
    }

    /// Gives an item a new time to live.
    pub fn touch(&self, key: impl Into<Key>, ttl: impl Into<Ttl>) -> Call<'_, Touch> {
        Call::new(self, Touch::new(key, ttl))
    }

    /// Adds to a counter, if there is one; see [`Count::or_create`]. Wraps at 2^64.
    pub fn increment(&self, key: impl Into<Key>, delta: u64) -> Call<'_, Count> {
        Call::new(self, Count::up(key, delta))
    }

    /// Subtracts from a counter, if there is one; see [`Count::or_create`]. Stops at 0. What is read
    /// back may have blanks behind it; see [`Count`].
    pub fn decrement(&self, key: impl Into<Key>, delta: u64) -> Call<'_, Count> {
        Call::new(self, Count::down(key, delta))
    }

    /// Sends an operation that was made apart from the client.
    pub fn call<O: Operation>(&self, op: O) -> Call<'_, O> {
        Call::new(self, op)
    }

    /// Starts a batch: operations that are sent together and answered together.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Which members there are and which keys they own, at this moment.
    pub fn routing(&self) -> Carp {
        self.fleet().carp.clone()
    }

    /// The number of the member list in use: 1 at first, one more with each change.
    pub fn epoch(&self) -> u64 {
        self.fleet().epoch
    }

    /// Replaces the member list. Requests under way are finished where they were sent; members in both lists keep
    /// their connections and their health. A list equal to the one in use changes nothing. Says the number of the list
    /// in use then, as [`Client::epoch`] does. Fails, and changes nothing, for a list that cannot be used
    /// ([`ErrorKind::Members`]).
    ///
    /// A key that moves to another member leaves its value behind, and finds it again if it moves back: a member that
    /// left the list for a while, without losing its memory, has to be emptied before it returns, unless times to live
    /// are short.
    pub fn update_members(&self, members: Members) -> Result<u64, Error> {
        let _guard = self.inner.updating.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = self.fleet();
        if *before.carp.members() == members {
            return Ok(before.epoch);
        }
        let carp = before.carp.with_members(members)?;
        let config = &self.inner.config;
        let fleet = Fleet::new(carp, Some(&before), |member| config.node(member, &self.inner.events))?;
        let epoch = fleet.epoch;
        *self.inner.fleet.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(fleet);
        self.inner.events.send(Event::Members { epoch });
        Ok(epoch)
    }

    /// The names of the members taken for down.
    pub fn down_members(&self) -> Vec<String> {
        let fleet = self.fleet();
        fleet.nodes.iter().filter(|node| node.is_down()).map(|node| node.name().to_string()).collect()
    }

    /// Listens to members going down, coming back and being replaced.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Tells every member that the data behind `source` has changed, so that everything derived from it expires
    /// on all of them: for sources that items on many members share, such as a tag.
    ///
    /// By member: its name, and whether it was told. A member that was not told is told as soon as it can be; one that
    /// was down is not read before. One that does not know expire-on-update has refused whatever would have been derived
    /// there, and loses the item behind `source` only.
    pub async fn update_source_everywhere(&self, source: impl Into<Key>) -> Vec<(String, Result<(), Error>)> {
        let key = source.into();
        let delete =
            || Request::Delete(crate::protocol::Delete { key: key.clone(), compare: None, stale: None });
        let _change = self.inner.flights.changing(Changed::Key(&key));
        #[cfg(feature = "near-cache")]
        let _watch = self.inner.near.as_ref().map(|near| near.watch(&delete()));
        let results = self.everywhere(delete).await;
        results.into_iter().map(|(name, result)| (name, result.map(drop))).collect()
    }

    /// Drops everything on every member.
    ///
    /// By member: its name, and whether it was told. A member that was not told is emptied before it is read again.
    pub async fn flush_all(&self) -> Vec<(String, Result<(), Error>)> {
        let _change = self.inner.flights.changing(Changed::Everything);
        #[cfg(feature = "near-cache")]
        let _watch = self.inner.near.as_ref().map(|near| near.watch(&Request::Flush));
        let results = self.everywhere(|| Request::Flush).await;
        results.into_iter().map(|(name, result)| (name, result.map(drop))).collect()
    }

    /// Every member's version string, such as `1.6.18`.
    ///
    /// By member: its name, and the string. Takes the client's usual time at most.
    pub async fn versions(&self) -> Vec<(String, Result<String, Error>)> {
        let text = |reply: Reply| match reply.code {
            Code::Text(text) => text.strip_prefix("VERSION ").unwrap_or(&text).to_owned(),
            _ => String::new(),
        };
        let results = self.everywhere(|| Request::Version).await;
        results.into_iter().map(|(name, result)| (name, result.map(text))).collect()
    }

    /// Every member's statistics: `""` for the general ones, `"items"`, `"settings"` and so on for others.
    ///
    /// By member: its name, and the names and values of its statistics. A set that a server does not have is
    /// [`ErrorKind::Unsupported`].
    pub async fn stats(&self, which: &str) -> Vec<(String, Result<Vec<(String, String)>, Error>)> {
        if which.chars().any(char::is_control) {
            let refused = |node: &Arc<Node>| {
                let what = "statistics with control characters in their name".to_owned();
                (node.name().to_string(), Err(Error::new(ErrorKind::Invalid(what))))
            };
            return self.fleet().nodes.iter().map(refused).collect();
        }
        let entries = |reply: Reply| match reply.code {
            Code::Stats(entries) => entries,
            _ => Vec::new(),
        };
        let results = self.everywhere(|| Request::Stats(which.to_owned())).await;
        results.into_iter().map(|(name, result)| (name, result.map(entries))).collect()
    }

    async fn everywhere(&self, request: impl Fn() -> Request) -> Vec<(String, Result<Reply, Error>)> {
        let fleet = self.fleet();
        let deadline = self.deadline(None);
        let calls = fleet.nodes.iter().map(|node| {
            let request = request();
            let fleet = &fleet;
            Box::pin(async move {
                let result = self.ask(fleet, node, request, deadline).await;
                (node.name().to_string(), result)
            })
        });
        crate::join::join_all(calls.collect()).await
    }

    pub(crate) fn fleet(&self) -> Arc<Fleet> {
        self.inner.fleet.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.inner.config.timeout).min(LONGEST)
    }

    pub(crate) async fn run<O: Operation>(&self, op: O, options: CallOptions) -> Result<O::Outcome, Error> {
        let request = op.into_request()?.0;
        let key = request.key().cloned().unwrap_or_else(|| Key::from(""));
        #[cfg(feature = "near-cache")]
        if let Some(reply) = self.inner.near.as_ref().and_then(|near| near.answer(&request)) {
            observe::request(Tally::NearHit);
            return O::outcome(key, Some(AnyReply(reply)), self.inner.config.max_value_bytes);
        }
        match self.execute(request, options.timeout).await {
            Ok(answer) => {
                let name = answer.node.name().clone();
                let limit = self.inner.config.max_value_bytes;
                O::outcome(key, Some(AnyReply(answer.for_caller())), limit).map_err(|error| error.at(&name))
            }
            Err(error) if error.is_member_fault() && !options.strict => O::when_unreachable().ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Sends one request to the owner of its key, or to the stand-in if that is allowed.
    pub(crate) async fn execute(&self, request: Request, timeout: Option<Duration>) -> Result<Answer, Error> {
        let fleet = self.fleet();
        let deadline = self.deadline(timeout);
        let request = self.prepare(&fleet, request)?;
        let key = request.key().cloned().unwrap_or_else(|| Key::from(""));
        let owner = fleet.owner(key.as_bytes());
        let changed = if request.is_change() { Changed::Key(&key) } else { Changed::Nothing };
        let _change = self.inner.flights.changing(changed);
        #[cfg(feature = "near-cache")]
        let near = self.inner.near.as_ref().map(|near| near.watch(&request));
        let fallback = self.inner.config.fallback.map(|cap| capped(request.clone(), cap));
        let mut result = self.ask(&fleet, owner, request, deadline).await;
        let mut node = owner;
        if let (Err(error), Some(request)) = (&result, fallback) {
            // Or else the owner may have carried it out. One that is up gets what is set and deleted, so that nothing
            // may be stored or read elsewhere.
            if *error.kind() != ErrorKind::Unsettled
                && (error.was_not_sent() || (request.is_read() && error.is_member_fault()))
                && let Some(stand_in) = fleet.stand_in(key.as_bytes())
            {
                let stand_in = &fleet.nodes[stand_in];
                observe::request(Tally::Fallback);
                result = stand_in.call(request, deadline).await;
                node = stand_in;
            }
        }
        let by_stand_in = !Arc::ptr_eq(node, owner);
        match &result {
            Ok(reply) => {
                #[cfg(feature = "near-cache")]
                if let (Some(near), false) = (&near, by_stand_in) {
                    near.learn(reply);
                }
                observe::request(match reply.code {
                    Code::Miss => Tally::Miss,
                    Code::Done if reply.value.is_some() => Tally::Hit,
                    _ => Tally::Done,
                });
            }
            Err(error) => observe::error(error),
        }
        result.map(|reply| Answer { reply, node: node.clone(), by_stand_in })
    }

    async fn ask(
        &self,
        fleet: &Fleet,
        node: &Arc<Node>,
        request: Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        if fleet.admits(node, &self.inner.config.health) {
            return node.call(request, deadline).await;
        }
        if request.is_change() {
            node.missed(request.key());
        }
        Err(node.down_error())
    }

    /// Checks what only the client can, and compresses.
    pub(crate) fn prepare(&self, fleet: &Fleet, mut request: Request) -> Result<Request, Error> {
        if let Request::Store(store) = &mut request {
            let owner = fleet.carp.owner_index(store.key.as_bytes());
            for source in &store.sources {
                let source_owner = fleet.carp.owner_index(source.key.as_bytes());
                if source_owner != owner {
                    return Err(Error::new(ErrorKind::SourceElsewhere(Box::new(SourceElsewhere {
                        key: store.key.to_string(),
                        member: fleet.nodes[owner].name().to_string(),
                        source: source.key.to_string(),
                        source_member: fleet.nodes[source_owner].name().to_string(),
                    }))));
                }
            }
            let bytes = store.value.len();
            if bytes > self.inner.config.max_value_bytes {
                return Err(Error::new(ErrorKind::ValueTooLarge { bytes }));
            }
            // A piece cannot be compressed by itself: it joins what is there.
            if matches!(store.mode, Mode::Set | Mode::Add | Mode::Replace) {
                let value = std::mem::take(&mut store.value);
                (store.value, store.flags) =
                    crate::codec::encode(value, store.flags, self.inner.config.compress_above)?;
            }
        }
        Ok(request)
    }
}

/// A reply, and who gave it.
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) node: Arc<Node>,
    by_stand_in: bool,
}

impl Answer {
    fn for_caller(self) -> Reply {
        without_foreign_version(self.reply, self.by_stand_in)
    }
}

/// A stand-in's versions mean nothing to the owner, which may be back when they are compared.
pub(crate) fn without_foreign_version(mut reply: Reply, by_stand_in: bool) -> Reply {
    if by_stand_in {
        reply.attributes.cas = 0;
    }
    reply
}

/// What a stand-in holds must not outlive the owner's return by much.
pub(crate) fn capped(mut request: Request, cap: Duration) -> Request {
    let shorten = |ttl: &mut Ttl| {
        *ttl = match *ttl {
            Ttl::After(given) => Ttl::After(given.min(cap)),
            Ttl::Never => Ttl::After(cap),
        }
    };
    match &mut request {
        Request::Store(store) => {
            shorten(&mut store.ttl);
            store.vivify.iter_mut().for_each(shorten);
        }
        Request::Get(get) => {
            get.touch.iter_mut().for_each(shorten);
            get.vivify.iter_mut().for_each(shorten);
        }
        Request::Count(count) => {
            count.touch.iter_mut().for_each(shorten);
            if let Some((_, ttl)) = &mut count.initial {
                shorten(ttl);
            }
        }
        Request::Delete(delete) => delete.stale.iter_mut().flatten().for_each(shorten),
        Request::Touch { ttl, .. } => shorten(ttl),
        Request::Flush | Request::Version | Request::Stats(_) => {}
    }
    request
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fleet = self.fleet();
        f.debug_struct("Client")
            .field("epoch", &fleet.epoch)
            .field("members", &fleet.carp.members().len())
            .finish()
    }
}
