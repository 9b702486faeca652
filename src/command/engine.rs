//! What all workers share: the store, the settings that commands change, the counts, the connections, the watchers.

use super::auth::Users;
use super::connections::Connections;
use super::counts::{Counts, Totals};
use super::watch::WatchHub;
use crate::config::Config;
use crate::store::{Options, Store};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

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
    workers: Mutex<Workers>,
    users: RwLock<Option<Arc<Users>>>,
}

#[derive(Default)]
struct Workers {
    counts: Vec<Arc<Counts>>,
    /// The sums at the last `stats reset`.
    baseline: Totals,
}

impl Engine {
    /// A server without workers or connections yet.
    pub fn new(config: Arc<Config>) -> Engine {
        let store = Store::new(&Options {
            limit: config.memory_limit,
            item_limit: config.item_max,
            no_evictions: !config.evictions,
            workers: config.threads,
        });
        Engine {
            store,
            connections: Connections::default(),
            watch: Arc::default(),
            verbosity: AtomicU8::new(config.verbosity.min(2)),
            workers: Mutex::default(),
            users: RwLock::default(),
            config,
        }
    }

    /// Who may come in; `None` is everybody.
    pub fn users(&self) -> Option<Arc<Users>> {
        self.users.read().clone()
    }

    /// Changes who may come in, for clients that have not said who they are.
    pub fn set_users(&self, users: Option<Users>) {
        *self.users.write() = users.map(Arc::new);
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

    /// Starts counting from zero again. Workers go on counting; the sums so far are taken away from then on.
    pub fn reset_totals(&self) {
        let mut workers = self.workers.lock();
        workers.baseline = workers.sum();
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
