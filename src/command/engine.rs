//! What all workers share: the store, the settings that commands change, the counts, the connections, the watchers.

use super::auth::attempts::{Asker, Attempts};
use super::auth::failed_logins::FailedLogins;
use super::auth::{Check, Done, Users, Verdict};
use super::connections::Connections;
use super::counts::{Counts, Totals};
use super::detail::Detail;
use super::hotkeys::{self, Hottest};
use super::log;
use super::long_replies::LongReplies;
use super::tuning::Tuning;
use super::watch::{Classes, WatchHub, Watcher};
use crate::config::{self, Config, Rules};
use crate::store::{Eviction, Now, Options, Stats, Store};
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The version clients are told: the memcached whose behaviour this server has.
pub const MEMCACHED_VERSION: &str = "1.6.45";

/// What all workers share.
pub struct Engine {
    /// The items.
    pub store: Store,
    /// What was asked for at start.
    pub config: Arc<Config>,
    /// The client connections.
    pub connections: Connections,
    /// The watchers.
    pub watch: Arc<WatchHub>,
    /// `verbosity`: 0 to 2.
    pub verbosity: AtomicU8,
    /// `stats detail`.
    pub detail: Detail,
    /// What long replies hold together.
    pub long_replies: LongReplies,
    /// What the commands of memcached's own engine have set.
    pub tuning: Mutex<Tuning>,
    /// Second since start of the last flush; 0 if there was none.
    pub oldest_live: AtomicU32,
    /// What TLS counts.
    pub tls: TlsCounts,
    /// Who may try again to say who it is.
    pub attempts: Arc<Attempts>,
    failed_logins: FailedLogins,
    /// How many workers wait with io_uring; the others with epoll.
    pub rings: AtomicUsize,
    /// Has a password checked; set by whoever has a thread for it.
    verify: OnceLock<VerifyHook>,
    /// Reads the certificates anew; set by whoever serves TLS.
    refresh_certificates: OnceLock<RefreshHook>,
    workers: Mutex<Workers>,
    /// Whether there are rules: `rules` is not empty.
    has_rules: AtomicBool,
    rules: RwLock<Arc<Rules>>,
    /// Whether clients have to say who they are: `users` is not `None`.
    requires_users: AtomicBool,
    users: RwLock<Option<Arc<Users>>>,
}

/// Reads the certificates anew, or says in one line why it could not.
pub type RefreshHook = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Has a password checked and `Done` told of it, or returns `None` at once.
pub type VerifyHook = Box<dyn Fn(Check, Asker, Done) -> Option<Arc<Check>> + Send + Sync>;

/// What TLS counts, whoever serves it.
#[derive(Debug, Default)]
pub struct TlsCounts {
    /// Handshakes that failed.
    pub handshake_errors: AtomicU64,
    /// Connections that broke the TLS protocol after the handshake.
    pub protocol_errors: AtomicU64,
    /// Sessions that were not resumed.
    pub new_sessions: AtomicU64,
    /// Second, on the store's clock, at which the certificates were last read.
    pub refreshed: AtomicU32,
}

#[derive(Default)]
struct Workers {
    counts: Vec<Arc<Counts>>,
    /// The sums at the last `stats reset`.
    baseline: Totals,
    /// The store's counts at the last `stats reset`.
    store_baseline: Stats,
}

impl Engine {
    /// A server without workers or connections yet.
    pub fn new(config: Arc<Config>) -> Engine {
        let store = Store::new(&Options {
            limit: config.memory_limit,
            item_limit: config.item_max,
            no_evictions: !config.evictions,
            workers: config.threads,
            eviction: eviction(&config),
        });
        Engine {
            store,
            connections: Connections::default(),
            watch: Arc::default(),
            verbosity: AtomicU8::new(config.verbosity.min(2)),
            detail: Detail::new(config.detail, config.prefix_delimiter),
            long_replies: LongReplies::default(),
            tuning: Mutex::new(Tuning::new(&config.inert)),
            oldest_live: AtomicU32::new(0),
            tls: TlsCounts::default(),
            attempts: Arc::default(),
            failed_logins: FailedLogins::default(),
            rings: AtomicUsize::new(0),
            verify: OnceLock::new(),
            refresh_certificates: OnceLock::new(),
            workers: Mutex::default(),
            has_rules: AtomicBool::new(false),
            rules: RwLock::default(),
            requires_users: AtomicBool::new(false),
            users: RwLock::default(),
            config,
        }
    }

    /// What goes first when memory is full, by its name.
    pub fn eviction(&self) -> &'static str {
        eviction(&self.config).name()
    }

    /// How workers wait for their clients: `epoll`, `io_uring`, or `mixed` where only some of them got a ring.
    pub fn transport(&self) -> &'static str {
        match self.rings.load(Ordering::Relaxed) {
            0 => "epoll",
            rings if rings < self.config.threads => "mixed",
            _ => "io_uring",
        }
    }

    /// Whether the log is to tell of what fails for single clients (`-v`).
    pub fn shows_debug(&self) -> bool {
        self.verbosity.load(Ordering::Relaxed) > 0
    }

    /// Somebody has shown a wrong password, or was not listened to for too many of them.
    pub fn note_failed_login(&self, who: impl fmt::Display, now: Now) {
        if self.shows_debug() {
            self.failed_logins.note(who, now);
        }
    }

    /// The rules that say what items are derived from; `None` if there are none, for one relaxed load.
    pub fn rules(&self) -> Option<Arc<Rules>> {
        self.has_rules.load(Ordering::Relaxed).then(|| self.rules.read().clone())
    }

    /// Changes the rules, for items stored from then on.
    pub fn set_rules(&self, rules: Rules) {
        let mut current = self.rules.write();
        self.has_rules.store(!rules.is_empty(), Ordering::Relaxed);
        *current = Arc::new(rules);
    }

    /// Whether clients have to say who they are. One relaxed load.
    pub fn requires_users(&self) -> bool {
        self.requires_users.load(Ordering::Relaxed)
    }

    /// Who may come in; `None` is everybody.
    pub fn users(&self) -> Option<Arc<Users>> {
        self.users.read().clone()
    }

    /// Changes who may come in, for clients that have not said who they are.
    pub fn set_users(&self, users: Option<Users>) {
        let mut current = self.users.write();
        self.requires_users.store(users.is_some(), Ordering::Relaxed);
        *current = users.map(Arc::new);
    }

    /// Sets what [`Engine::verify`] does; only the first call counts.
    pub fn on_verify(&self, hook: VerifyHook) {
        let _ = self.verify.set(hook);
    }

    /// Has a password checked for a client from this address, at once where there is no thread for it, and counts it
    /// against the address if it is wrong. `wake` is called when there is a verdict. `None` is that too many others
    /// wait.
    pub fn verify(
        &self,
        check: Check,
        from: Option<IpAddr>,
        now: Now,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Arc<Check>> {
        let attempts = self.attempts.clone();
        let asker = attempts.asker(from, now);
        let done: Done = Box::new(move |verdict| {
            if let (Verdict::Refused, Some(address)) = (verdict, from) {
                attempts.failed(address, now);
            }
            wake();
        });
        match self.verify.get() {
            Some(verify) => verify(check, asker, done),
            None => {
                let verdict = check.run();
                check.conclude(verdict);
                done(verdict);
                Some(Arc::new(check))
            }
        }
    }

    /// The counts of one more worker, which it alone writes.
    pub fn add_worker(&self) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        self.workers.lock().counts.push(counts.clone());
        counts
    }

    /// The counts of all workers since the last reset.
    pub fn totals(&self) -> Totals {
        let workers = self.workers.lock();
        let mut totals = workers.sum();
        totals.since(&workers.baseline);
        totals
    }

    /// The keys asked for most lately, by a sample.
    pub fn hottest(&self) -> Hottest {
        hotkeys::hottest(self.workers.lock().counts.iter().map(|counts| &counts.hot_keys))
    }

    /// The store's counts since the last reset, and its gauges as they are.
    pub fn store_stats(&self, now: Now) -> Stats {
        let mut stats = self.store.stats(now);
        stats.since(&self.workers.lock().store_baseline);
        stats
    }

    /// Starts counting from zero again; gauges stay. Workers and store go on counting: the sums so far are taken away
    /// from then on.
    pub fn reset(&self, now: Now) {
        let stats = self.store.stats(now);
        let mut workers = self.workers.lock();
        workers.baseline = workers.sum();
        workers.store_baseline = stats;
        drop(workers);
        let connections = &self.connections;
        for counter in [
            &connections.total,
            &connections.rejected,
            &connections.not_allowed,
            &connections.listen_disabled,
            &connections.listen_disabled_micros,
            &self.watch.written,
            &self.watch.sent,
            &self.watch.skipped,
            &self.tls.handshake_errors,
            &self.tls.protocol_errors,
            &self.tls.new_sessions,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        for counts in &self.workers.lock().counts {
            counts.hot_keys.clear();
        }
        self.tuning.lock().crawls = 0;
        self.detail.clear();
    }

    /// Adds a watcher, as [`WatchHub::add`] does, and has the store tell of evictions if it wants them.
    pub fn watch(&self, classes: Classes, wake: Box<dyn Fn() + Send + Sync>) -> Option<Arc<Watcher>> {
        let watcher = self.watch.add(classes, self.config.watcher_logbuf, wake)?;
        if classes.overlaps(Classes::EVICTIONS) {
            self.store.on_eviction(Some(log::eviction_hook(self.watch.clone())));
        }
        Some(watcher)
    }

    /// Removes a watcher whose connection is being closed.
    pub fn unwatch(&self, watcher: &Arc<Watcher>) {
        self.watch.remove(watcher);
        if !self.watch.wants(Classes::EVICTIONS) {
            self.store.on_eviction(None);
        }
    }

    /// Seconds since start.
    pub fn uptime(&self, now: Now) -> u32 {
        now.seconds().saturating_sub((Now::EARLIEST / 1000) as u32)
    }

    /// Sets what [`Engine::refresh_certificates`] does; only the first call counts.
    pub fn on_refresh_certificates(&self, hook: RefreshHook) {
        let _ = self.refresh_certificates.set(hook);
    }

    /// Reads the certificates anew. The error is the line to answer with.
    pub fn refresh_certificates(&self) -> Result<(), String> {
        match self.refresh_certificates.get() {
            Some(refresh) => refresh(),
            None => Err("Error TLS not enabled".to_owned()),
        }
    }
}

fn eviction(config: &Config) -> Eviction {
    match config.eviction {
        config::Eviction::Ranked => Eviction::Ranked,
        config::Eviction::Queues => Eviction::Queues,
        config::Eviction::Clock => Eviction::Clock,
    }
}

impl Workers {
    fn sum(&self) -> Totals {
        let mut totals = Totals::default();
        for counts in &self.counts {
            totals.add(counts);
        }
        totals
    }
}
