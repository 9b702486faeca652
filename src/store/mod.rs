//! The concurrent item store: read and update by key, one shard lock each, time as an argument. Knows no protocol.
//!
//! There are two ways to an item. [`Store::read`] shows it to a closure; [`Store::update`] shows it to a closure that
//! decides what becomes of it. Either way the closure runs under the one lock of the key's shard, so what it sees
//! cannot change before its decision is carried out. Closures must be short and must not call the store.

mod change;
mod class;
mod item;
mod shard;
mod stats;
mod time;
mod value;

use ahash::RandomState;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use change::{Amend, CasChange, Change, NewItem, NewValue, Short, Updated};
pub use class::{CLASS_COUNT, chunk_size, class_of, memcached_size};
pub use item::{Absent, Item, Key, Lookup, MAX_KEY_LEN};
pub use stats::{ClassStats, Stats};
pub use time::{Expiry, Now};
pub use value::{Incoming, LargeValue, Value};

use shard::Shard;

/// What the store is told when it is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of memory for items, everything included (`-m`).
    pub limit: usize,
    /// Largest item in bytes, by memcached's way of counting (`-I`).
    pub item_limit: usize,
    /// Refuse a store when memory is full, rather than evict (`-M`).
    pub no_evictions: bool,
    /// How many workers will call at once; more shards are made for more workers.
    pub workers: usize,
}

/// An item thrown out while it was still good, told to the eviction hook.
#[derive(Debug)]
pub struct Evicted<'a> {
    /// The item's key.
    pub key: &'a [u8],
    /// Whether anybody read it since it was stored.
    pub fetched: bool,
    /// Seconds it still had to live; `None` if it had no expiry.
    pub remaining: Option<u32>,
    /// Seconds since it was last read or stored.
    pub idle: u32,
    /// Its size as memcached counts it, in bytes.
    pub size: usize,
    /// Length of its value in bytes.
    pub value_len: usize,
    /// When it was thrown out.
    pub now: Now,
}

/// Called under a shard's lock for each evicted item; must be quick and must not call the store.
pub type EvictionHook = Box<dyn Fn(&Evicted<'_>) + Send + Sync>;

/// A store of items, shared by all workers.
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    limit: AtomicUsize,
    item_limit: usize,
}

/// Where a [`Store::scan`] goes on.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    shard: usize,
    position: u64,
}

impl Store {
    /// An empty store.
    pub fn new(options: &Options) -> Store {
        let count = (options.workers * 4).next_power_of_two().clamp(1, 256);
        let shards =
            (0..count).map(|_| Mutex::new(Shard::new(options.limit / count, options.no_evictions))).collect();
        Store {
            shards,
            hasher: RandomState::new(),
            limit: AtomicUsize::new(options.limit),
            item_limit: options.item_limit,
        }
    }

    /// Shows the item of this key, or why there is none, to `look`. The item counts as read only if `look` says so
    /// with [`Item::mark_used`].
    pub fn read<R>(&self, key: Key<'_>, now: Now, look: impl FnOnce(Lookup<'_, '_>) -> R) -> R {
        let hash = self.hash(key);
        self.shard(hash).lock().read(hash, key, now, look)
    }

    /// Shows the item of this key, or why there is none, to `decide`, and carries out the change it returns.
    pub fn update<'v, R>(
        &self,
        key: Key<'_>,
        now: Now,
        decide: impl FnOnce(Lookup<'_, '_>) -> (Change<'v>, R),
    ) -> Updated<R> {
        let hash = self.hash(key);
        self.shard(hash).lock().update(hash, key, now, decide)
    }

    /// The longest value that callers hand over as one slice ([`NewValue::Bytes`]); a longer one is received
    /// through [`Store::incoming`], straight into the memory it will live in.
    pub fn inline_limit(&self) -> usize {
        16 << 10
    }

    /// Memory for a value of `len` bytes that is about to arrive. Takes memory as bytes arrive, not before.
    pub fn incoming(&self, len: usize) -> Incoming {
        Incoming::new(len)
    }

    /// Largest item in bytes, by memcached's way of counting.
    pub fn item_limit(&self) -> usize {
        self.item_limit
    }

    /// Bytes of memory for items.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the memory for items; memory above a lower limit is given back by [`Store::maintain`] and by stores.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
        for shard in &self.shards {
            shard.lock().set_limit(bytes / self.shards.len());
        }
    }

    /// Makes everything stored before the moment `at` unreachable from then on. `at` may lie ahead; a later call
    /// replaces a pending one. An item stored after the call returns survives an `at` that is not ahead of `now`.
    pub fn flush(&self, at: Now, now: Now) {
        for shard in &self.shards {
            shard.lock().flush(at, now);
        }
    }

    /// Shows up to `limit` live items to `visit` and moves the cursor on; false when all have been shown. An item
    /// that is in the store from the first call to the last is shown at least once.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        now: Now,
        mut visit: impl FnMut(&mut Item<'_>),
    ) -> bool {
        let Some(shard) = self.shards.get(cursor.shard) else { return false };
        if !shard.lock().scan(&mut cursor.position, limit, now, &mut visit) {
            cursor.shard += 1;
            cursor.position = 0;
        }
        cursor.shard < self.shards.len()
    }

    /// Does a bounded slice of the work nobody asks for: gives back the memory of expired and flushed items, and
    /// memory above the limit. True if more is waiting.
    pub fn maintain(&self, now: Now) -> bool {
        let mut more = false;
        for shard in &self.shards {
            more |= shard.lock().maintain(now);
        }
        more
    }

    /// The counts of all shards, added up.
    pub fn stats(&self, now: Now) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            shard.lock().add_stats(&mut sum, now);
        }
        sum
    }

    /// Installs or removes the hook that is told of each eviction.
    pub fn on_eviction(&self, hook: Option<std::sync::Arc<EvictionHook>>) {
        for shard in &self.shards {
            shard.lock().on_eviction(hook.clone());
        }
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one(key.as_bytes())
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }
}
