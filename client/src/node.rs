//! One member at work: its connections, its health, and the changes it has missed. Knows nothing of routing
//! or of other members.

mod changing;
mod held;
mod recovery;
mod unusual;

use changing::Fate;
use recovery::probe;
use unusual::Unusual;

use crate::error::{Error, ErrorKind};
use crate::events::{Event, Events};
use crate::health::{Health, HealthPolicy};
use crate::journal::Journal;
use crate::key::Key;
use crate::members::Member;
use crate::net::{Hold, Lane, Owner, SharedConfig, Work};
use crate::protocol::{Reply, Request};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) struct Node {
    member: Member,
    name: Arc<str>,
    /// One at least. A key always takes the same one, or else a change that is held up could overtake a later one.
    lanes: Vec<Lane>,
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
    /// The failure that brought it down, or the last one to keep a connection from being made since.
    downfall: Option<Error>,
    /// When it last said that it does not know what an item is derived from.
    knows_no_sources: Option<Instant>,
    /// When a change was last missed.
    last_missed: Instant,
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
                .map(|_| Lane::new(address.clone(), net.clone(), Arc::new(Way(node.clone()))))
                .collect(),
            policy: policy.clone(),
            usual,
            patience,
            events: events.clone(),
            state: Mutex::new(State {
                health: Health::default(),
                journal: Journal::new(policy.missed_keys),
                downfall: None,
                knows_no_sources: None,
                last_missed: Instant::now(),
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

    /// Which of its lanes a key takes.
    pub(crate) fn lane(&self, key: &Key) -> usize {
        match self.lanes.len() {
            1 => 0,
            lanes => (xxh3_64(key.as_bytes()) % lanes as u64) as usize,
        }
    }

    /// Sends one request and waits for its reply, at most until `deadline`.
    pub(crate) async fn call(self: &Arc<Self>, request: Request, deadline: Instant) -> Result<Reply, Error> {
        self.check(&request)?;
        let change = self.changing([&request]);
        if let Some(key) = request.key().filter(|_| !request.is_overwrite()) {
            self.settle_first(std::slice::from_ref(key), deadline).await?;
        }
        let lane = request.key().map_or(0, |key| self.lane(key));
        let again = request.is_read().then(|| request.clone());
        let mut result = self.exchange(lane, request, deadline).await;
        // A connection that broke while idle is noticed by its next user, who need not suffer for it.
        if let (Err(error), Some(request)) = (&result, again)
            && *error.kind() == ErrorKind::ConnectionLost
            && !self.is_down()
        {
            result = self.exchange(lane, request, deadline).await;
        }
        if let Some(change) = change {
            change.settle(|_| Fate::of(result.as_ref().map(Some)));
        }
        result
    }

    /// Sends requests whose keys all take `lane` in one go. The outcome is by request and in their order.
    pub(crate) async fn call_many(
        self: &Arc<Self>,
        lane: usize,
        requests: Vec<Request>,
        quiet: bool,
        deadline: Instant,
    ) -> Vec<Result<Option<Reply>, Error>> {
        // Before anything else: what is not sent has been missed as well as what is lost.
        let change = self.changing(&requests);
        let outcome = if self.doubtful.load(Ordering::Acquire) {
            let (requests, held) = self.set_aside(requests);
            let used: Vec<Key> =
                requests.iter().filter(|r| !r.is_overwrite()).filter_map(Request::key).cloned().collect();
            if let Err(error) = self.settle_first(&used, deadline).await {
                return held.into_iter().map(|held| Err(held.unwrap_or_else(|| error.clone()))).collect();
            }
            let mut sent = self.send_many(lane, requests, quiet, deadline).await.into_iter();
            let outcome = |held: Option<Error>| held.map_or_else(|| sent.next(), |error| Some(Err(error)));
            held.into_iter().filter_map(outcome).collect()
        } else {
            self.send_many(lane, requests, quiet, deadline).await
        };
        if let Some(change) = change {
            change.settle(|number| Fate::of(outcome[number].as_ref().map(Option::as_ref)));
        }
        outcome
    }

    async fn send_many(
        self: &Arc<Self>,
        lane: usize,
        requests: Vec<Request>,
        quiet: bool,
        deadline: Instant,
    ) -> Vec<Result<Option<Reply>, Error>> {
        if requests.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let count = requests.len();
        let asked: Vec<Option<Unusual>> = requests.iter().map(Unusual::of).collect();
        // Quietly, a refusal could be anybody's.
        let quiet = quiet && asked.iter().all(Option::is_none);
        let work = |reply| Work::Many { requests, quiet, reply };
        let replies = match self.lanes[lane].ask(work, deadline).await {
            Ok(replies) => replies,
            Err(error) => vec![Err(error); count],
        };
        let outcome: Vec<_> = replies
            .into_iter()
            .zip(&asked)
            .map(|(result, asked)| match result {
                Ok(Some(reply)) => self.judge(reply, asked.as_ref()).map(Some),
                other => other.map_err(|error| error.at(&self.name)),
            })
            .collect();
        match outcome.iter().filter_map(|r| r.as_ref().err()).find(|e| e.is_member_fault()) {
            Some(error) => self.request_failed(error, began),
            None => self.succeeded(),
        }
        outcome
    }

    /// What to tell those whose requests are not sent.
    pub(crate) fn down_error(self: &Arc<Self>) -> Error {
        let mut state = self.state();
        if state.health.is_down() && state.prober.as_ref().is_none_or(JoinHandle::is_finished) {
            state.prober = self.start_probing();
        }
        let error = match state.downfall.clone() {
            // Trying again is no help, and the caller should not be told that it is.
            Some(cause) if cause.is_about_login() => cause,
            Some(cause) => Error::caused(ErrorKind::MemberDown, cause),
            None => Error::new(ErrorKind::MemberDown),
        };
        error.at(&self.name)
    }

    fn start_probing(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(probe(Arc::downgrade(self))))
    }

    /// Notes that the member will not see a change of `key`, or of everything it holds.
    pub(crate) fn missed(self: &Arc<Self>, key: Option<&Key>) {
        let up = {
            let mut state = self.state();
            match key {
                Some(key) => state.journal.missed(key),
                None => state.journal.missed_all(),
            }
            state.last_missed = Instant::now();
            self.doubtful.store(true, Ordering::Release);
            !state.health.is_down()
        };
        if up {
            self.replay_soon();
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        lane: usize,
        request: Request,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let began = Instant::now();
        let asked = Unusual::of(&request);
        let result = self.lanes[lane].ask(|reply| Work::One { request, reply }, deadline).await;
        match result.and_then(|reply| reply) {
            Ok(reply) => {
                self.succeeded();
                self.judge(reply, asked.as_ref())
            }
            Err(error) => {
                self.request_failed(&error, began);
                Err(error.at(&self.name))
            }
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
        let hard = *error.kind() == ErrorKind::Connect || error.is_about_login();
        let fell = {
            let mut state = self.state();
            self.failing.store(true, Ordering::Relaxed);
            let fell = state.health.failed(hard, Instant::now().into_std(), &self.policy);
            self.down.store(state.health.is_down(), Ordering::Relaxed);
            // What it fails with now says more than what it fell by.
            if fell || hard {
                state.downfall = Some(error.clone());
            }
            if fell {
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
}

/// What the member's connections know it by.
struct Way(Weak<Node>);

impl Owner for Way {
    fn failed(&self, error: &Error) {
        if let Some(node) = self.0.upgrade() {
            node.failed(error);
        }
    }

    fn hold(&self, keys: Vec<Key>) -> Hold {
        Box::new(self.0.upgrade().map(|node| node.hold(keys)))
    }
}
