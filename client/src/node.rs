//! One member at work: its connections, its health, and the changes it has missed. Knows nothing of routing
//! or of other members.

use crate::error::{Error, ErrorKind};
use crate::events::{Event, Events};
use crate::health::{Health, HealthPolicy, chance};
use crate::journal::Journal;
use crate::key::{Key, Ttl};
use crate::members::Member;
use crate::net::{Lane, OnFailure, SharedConfig, Work};
use crate::protocol::{Code, Delete, Get, Mode, Reply, Request, Store};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Missed keys deleted in one go when a member returns.
const REPLAY_BATCH: usize = 500;
/// Written and read back to see whether a member works.
const PROBE_KEY: &str = "memcarp-client:probe";
/// Says when a member was last emptied because a client had forgotten what it missed.
const EMPTIED_KEY: &str = "memcarp-client:emptied";
/// Clocks of clients are taken to agree this well.
const CLOCK_SLACK: Duration = Duration::from_secs(10);

pub(crate) struct Node {
    member: Member,
    name: Arc<str>,
    lanes: Vec<Lane>,
    next_lane: AtomicUsize,
    policy: Arc<HealthPolicy>,
    /// The time a request has unless its caller says otherwise.
    usual: Duration,
    /// The time a probe or a replay may take.
    patience: Duration,
    events: Events,
    state: Mutex<State>,
    /// Mirrors of `state`, so that requests to a healthy member take no lock.
    down: AtomicBool,
    doubtful: AtomicBool,
    /// Whether there are failures in a row that a success would end.
    failing: AtomicBool,
    replaying: AtomicBool,
}

struct State {
    health: Health,
    journal: Journal,
    /// The failure that brought it down.
    downfall: Option<Error>,
    /// When a change was last missed, in Unix time.
    last_missed: Duration,
    /// The task that is to notice its return. It ends early if its runtime does.
    prober: Option<JoinHandle<()>>,
}

impl Node {
    pub(crate) fn new(
        member: &Member,
        net: &SharedConfig,
        lanes: usize,
        policy: &Arc<HealthPolicy>,
        usual: Duration,
        patience: Duration,
        events: &Events,
    ) -> Result<Arc<Node>, Error> {
        let address = member.address()?;
        Ok(Arc::new_cyclic(|node: &Weak<Node>| Node {
            member: member.clone(),
            name: member.name().into(),
            lanes: (0..lanes.max(1))
                .map(|_| Lane::new(address.clone(), net.clone(), on_failure(node)))
                .collect(),
            next_lane: AtomicUsize::new(0),
            policy: policy.clone(),
            usual,
            patience,
            events: events.clone(),
            state: Mutex::new(State {
                health: Health::default(),
                journal: Journal::new(policy.missed_keys),
                downfall: None,
                last_missed: Duration::ZERO,
                prober: None,
            }),
            down: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            replaying: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Sends one request and waits for its reply, at most until `deadline`.
    pub(crate) async fn call(self: &Arc<Self>, request: Request, deadline: Instant) -> Result<Reply, Error> {
        if let Some(key) = request.key().filter(|_| !request.is_overwrite()) {
            self.settle_first(std::slice::from_ref(key), deadline).await?;
        }
        let change = self.changing([&request]);
        let again = request.is_read().then(|| request.clone());
        let mut result = self.exchange(request, deadline).await;
        // A connection that broke while idle is noticed by its next user, who need not suffer for it.
        if let (Err(error), Some(request)) = (&result, again)
            && *error.kind() == ErrorKind::ConnectionLost
            && !self.is_down()
        {
            result = self.exchange(request, deadline).await;
        }
        change.settle(|_| Fate::of(result.as_ref().map(Some)));
        result
    }

    /// Sends requests in one go. The outcome is by request and in their order.
    pub(crate) async fn call_many(
        self: &Arc<Self>,
        requests: Vec<Request>,
        quiet: bool,
        deadline: Instant,
    ) -> Vec<Result<Option<Reply>, Error>> {
        if self.doubtful.load(Ordering::Acquire) {
            let used: Vec<Key> =
                requests.iter().filter(|r| !r.is_overwrite()).filter_map(Request::key).cloned().collect();
            if let Err(error) = self.settle_first(&used, deadline).await {
                return requests.iter().map(|_| Err(error.clone())).collect();
            }
        }
        let began = Instant::now();
        let change = self.changing(&requests);
        let count = requests.len();
        let (reply, receiver) = oneshot::channel();
        let sent = self.send(Work::Many { requests, quiet, reply }, deadline).await;
        let replies = match sent {
            Ok(()) => match timeout_at(deadline, receiver).await {
                Ok(Ok(replies)) => replies,
                Ok(Err(_)) => vec![Err(Error::new(ErrorKind::ConnectionLost)); count],
                Err(_) => vec![Err(Error::new(ErrorKind::Timeout)); count],
            },
            Err(error) => vec![Err(error); count],
        };
        let outcome: Vec<_> = replies
            .into_iter()
            .map(|result| match result {
                Ok(Some(reply)) => self.judge(reply).map(Some),
                other => other.map_err(|error| error.at(&self.name)),
            })
            .collect();
        match outcome.iter().filter_map(|r| r.as_ref().err()).find(|e| e.is_member_fault()) {
            Some(error) => self.request_failed(error, began),
            None => self.succeeded(),
        }
        change.settle(|number| Fate::of(outcome[number].as_ref().map(Option::as_ref)));
        outcome
    }

    /// What to tell those whose requests are not sent.
    pub(crate) fn down_error(self: &Arc<Self>) -> Error {
        let mut state = self.state();
        if state.health.is_down() && state.prober.as_ref().is_none_or(JoinHandle::is_finished) {
            state.prober = self.start_probing();
        }
        let error = match state.downfall.clone() {
            Some(cause) => Error::caused(ErrorKind::MemberDown, cause),
            None => Error::new(ErrorKind::MemberDown),
        };
        error.at(&self.name)
    }

    fn start_probing(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(probe(Arc::downgrade(self))))
    }

    /// Notes that the member will not see a change of `key`.
    pub(crate) fn missed(self: &Arc<Self>, key: &Key) {
        let up = {
            let mut state = self.state();
            state.journal.missed(key);
            state.last_missed = unix_now();
            self.doubtful.store(true, Ordering::Release);
            !state.health.is_down()
        };
        if up {
            self.replay_soon();
        }
    }

    async fn exchange(self: &Arc<Self>, request: Request, deadline: Instant) -> Result<Reply, Error> {
        let began = Instant::now();
        let (reply, receiver) = oneshot::channel();
        let result = match self.send(Work::One { request, reply }, deadline).await {
            Ok(()) => match timeout_at(deadline, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
                Err(_) => Err(Error::new(ErrorKind::Timeout)),
            },
            Err(error) => Err(error),
        };
        match result {
            Ok(reply) => {
                self.succeeded();
                self.judge(reply)
            }
            Err(error) => {
                self.request_failed(&error, began);
                Err(error.at(&self.name))
            }
        }
    }

    async fn send(&self, work: Work, deadline: Instant) -> Result<(), Error> {
        let lane = match self.lanes.len() {
            1 => 0,
            count => self.next_lane.fetch_add(1, Ordering::Relaxed) % count,
        };
        let sender = self.lanes[lane].sender();
        match timeout_at(deadline, sender.send(work)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
            Err(_) => Err(Error::new(ErrorKind::Overloaded)),
        }
    }

    fn judge(&self, reply: Reply) -> Result<Reply, Error> {
        match reply.code {
            Code::ServerError(text) => Err(Error::new(ErrorKind::Server(text)).at(&self.name)),
            Code::Refused(text) => Err(Error::new(ErrorKind::Refused(text)).at(&self.name)),
            _ => Ok(reply),
        }
    }

    fn succeeded(&self) {
        if self.failing.load(Ordering::Relaxed) && !self.is_down() {
            self.failing.store(false, Ordering::Relaxed);
            self.state().health.succeeded();
        }
    }

    /// Counts what the connection cannot: a broken one has been counted once, however many requests it took along.
    /// That a caller who hardly waited got no answer says nothing about the member.
    fn request_failed(self: &Arc<Self>, error: &Error, began: Instant) {
        let waited = began.elapsed() >= self.usual.mul_f64(0.8);
        if waited && matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Overloaded) {
            self.failed(error);
        }
    }

    fn failed(self: &Arc<Self>, error: &Error) {
        let hard = matches!(error.kind(), ErrorKind::Connect | ErrorKind::Authentication(_));
        let fell = {
            let mut state = self.state();
            self.failing.store(true, Ordering::Relaxed);
            let fell = state.health.failed(hard, Instant::now().into_std(), &self.policy);
            self.down.store(state.health.is_down(), Ordering::Relaxed);
            if fell {
                state.downfall = Some(error.clone());
                state.prober = self.start_probing();
            }
            fell
        };
        if fell {
            self.events.send(Event::Down { member: self.name.clone(), error: error.clone() });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Watches over changes that are about to be sent: those not seen to be carried out are missed.
    fn changing<'r>(self: &Arc<Self>, requests: impl IntoIterator<Item = &'r Request>) -> Changing {
        let keys: Vec<Change> = requests
            .into_iter()
            .enumerate()
            .filter(|(_, request)| request.is_change())
            .filter_map(|(number, request)| {
                Some(Change { number, key: request.key()?.clone(), overwrites: request.is_overwrite() })
            })
            .collect();
        let sent = if keys.is_empty() { 0 } else { self.state().journal.now() };
        Changing { node: self.clone(), keys, sent }
    }

    /// Makes sure that none of the keys is used while the member may hold a value it should have lost.
    async fn settle_first(self: &Arc<Self>, keys: &[Key], deadline: Instant) -> Result<(), Error> {
        if !self.doubtful.load(Ordering::Acquire) {
            return Ok(());
        }
        let (doubted, overflowed) = {
            let state = self.state();
            let doubted: Vec<Key> = keys.iter().filter(|key| state.journal.doubts(key)).cloned().collect();
            (doubted, state.journal.has_overflowed())
        };
        if doubted.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let settled = match overflowed {
            true => self.empty_member(deadline).await,
            false => self.delete_missed(doubted, deadline).await,
        };
        settled.inspect_err(|error| self.request_failed(error, began))
    }

    async fn delete_missed(self: &Arc<Self>, keys: Vec<Key>, deadline: Instant) -> Result<(), Error> {
        let sent = self.state().journal.now();
        let deletes = keys
            .iter()
            .map(|key| Request::Delete(Delete { key: key.clone(), compare: None, stale: None }))
            .collect();
        let (reply, receiver) = oneshot::channel();
        self.send(Work::Many { requests: deletes, quiet: false, reply }, deadline).await?;
        let replies = match timeout_at(deadline, receiver).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(_)) => return Err(Error::new(ErrorKind::ConnectionLost).at(&self.name)),
            Err(_) => return Err(Error::new(ErrorKind::Timeout).at(&self.name)),
        };
        for (key, reply) in keys.iter().zip(replies) {
            match reply {
                Ok(Some(reply)) => drop(self.judge(reply)?),
                Ok(None) => {}
                Err(error) => return Err(error.at(&self.name)),
            }
            self.settled(key, sent);
        }
        Ok(())
    }

    fn settled(&self, key: &Key, sent: u64) {
        let mut state = self.state();
        state.journal.settled(key, sent);
        self.doubtful.store(!state.journal.is_empty(), Ordering::Release);
    }

    /// Drops everything the member holds, unless another client has done so since our last missed change.
    async fn empty_member(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        let (sent, last_missed) = {
            let state = self.state();
            (state.journal.now(), state.last_missed)
        };
        let marker = self.exchange(read(EMPTIED_KEY), deadline).await?;
        let emptied = marker.value.as_deref().and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        if emptied.is_none_or(|at| Duration::from_secs(at) < last_missed + CLOCK_SLACK) {
            self.exchange(Request::Flush { delay_seconds: 0 }, deadline).await?;
            let now = unix_now().as_secs().to_string();
            self.exchange(write(EMPTIED_KEY, now.into(), Duration::from_secs(86_400)), deadline).await?;
            self.events.send(Event::Emptied { member: self.name.clone() });
        }
        let mut state = self.state();
        state.journal.all_settled(sent);
        self.doubtful.store(!state.journal.is_empty(), Ordering::Release);
        Ok(())
    }

    /// Brings the member up to date with everything it missed.
    async fn replay(self: &Arc<Self>) -> Result<(), Error> {
        loop {
            let deadline = Instant::now() + self.patience;
            let (keys, overflowed) = {
                let state = self.state();
                (state.journal.some(REPLAY_BATCH), state.journal.has_overflowed())
            };
            match keys.is_empty() {
                _ if overflowed => self.empty_member(deadline).await?,
                true => return Ok(()),
                false => self.delete_missed(keys, deadline).await?,
            }
        }
    }

    /// For a member that is up but has missed something, such as a change that timed out.
    fn replay_soon(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.replaying.swap(true, Ordering::AcqRel) {
            return;
        }
        let (mark, pause) = (Replaying(Arc::downgrade(self)), self.policy.first_probe);
        runtime.spawn(async move {
            while let Some(node) = mark.0.upgrade() {
                let began = Instant::now();
                let result = node.replay().await;
                if let Err(error) = &result {
                    node.request_failed(error, began);
                }
                // If it is down, its return replays.
                if result.is_ok() || node.is_down() {
                    drop(mark);
                    // Something may have been missed after the last look.
                    if result.is_ok() && node.doubtful.load(Ordering::Acquire) {
                        node.replay_soon();
                    }
                    return;
                }
                drop(node);
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// A real write and a real read under the usual deadline: a server may accept connections and answer to its name
    /// while no real request gets through.
    async fn works(self: &Arc<Self>) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        let token = Bytes::from(format!("{:016x}", chance().to_bits()));
        self.exchange(write(PROBE_KEY, token, Duration::from_secs(60)), deadline).await?;
        self.exchange(read(PROBE_KEY), deadline).await?;
        Ok(())
    }
}

fn on_failure(node: &Weak<Node>) -> OnFailure {
    let node = node.clone();
    Arc::new(move |error| {
        if let Some(node) = node.upgrade() {
            node.failed(error);
        }
    })
}

/// Tries a member that is down until it works and is up to date, or nobody has it in a list any longer.
async fn probe(node: Weak<Node>) {
    loop {
        let wait = match node.upgrade() {
            Some(node) => node.state().health.probe_wait(chance(), &node.policy),
            None => return,
        };
        tokio::time::sleep(wait).await;
        let Some(node) = node.upgrade() else { return };
        if node.works().await.is_err() || node.replay().await.is_err() {
            continue;
        }
        {
            let mut state = node.state();
            if !state.journal.is_empty() {
                continue; // Missed something more while it was brought up to date.
            }
            state.health.came_back(Instant::now().into_std());
            node.down.store(false, Ordering::Relaxed);
        }
        node.events.send(Event::Up { member: node.name.clone() });
        return;
    }
}

/// Says that a task replays, until it ends in whatever way.
struct Replaying(Weak<Node>);

impl Drop for Replaying {
    fn drop(&mut self) {
        if let Some(node) = self.0.upgrade() {
            node.replaying.store(false, Ordering::Release);
        }
    }
}

/// Changes on their way. Those whose fate is unknown when this is dropped, because the member failed or because
/// the caller went away, count as missed.
struct Changing {
    node: Arc<Node>,
    keys: Vec<Change>,
    sent: u64,
}

struct Change {
    number: usize,
    key: Key,
    overwrites: bool,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    /// It was answered, but the item is still what it was.
    Refused,
    Done,
}

impl Fate {
    /// No reply is the silence of a quiet request that went as usual.
    fn of(result: Result<Option<&Reply>, &Error>) -> Fate {
        match result {
            Err(error) if error.is_member_fault() => Fate::Unknown,
            Ok(None) => Fate::Done,
            Ok(Some(reply)) if matches!(reply.code, Code::Done | Code::NotFound | Code::Miss) => Fate::Done,
            Ok(Some(_)) | Err(_) => Fate::Refused,
        }
    }
}

impl Changing {
    /// `fate` says by number what became of a request.
    fn settle(mut self, fate: impl Fn(usize) -> Fate) {
        if self.keys.is_empty() {
            return;
        }
        let doubtful = self.node.doubtful.load(Ordering::Acquire);
        self.keys.retain(|change| {
            let fate = fate(change.number);
            if doubtful && change.overwrites && fate == Fate::Done {
                self.node.settled(&change.key, self.sent);
            }
            fate == Fate::Unknown
        });
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        for change in &self.keys {
            self.node.missed(&change.key);
        }
    }
}

fn read(key: &'static str) -> Request {
    Request::Get(Get {
        key: key.into(),
        touch: None,
        vivify: None,
        refresh_below: None,
        details: false,
        no_value: false,
        no_bump: false,
    })
}

fn write(key: &'static str, value: Bytes, ttl: Duration) -> Request {
    Request::Store(Store {
        key: key.into(),
        mode: Mode::Set,
        value,
        flags: 0,
        ttl: Ttl::After(ttl),
        compare: None,
        even_if_stale: false,
        vivify: None,
        sources: Vec::new(),
    })
}

fn unix_now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
