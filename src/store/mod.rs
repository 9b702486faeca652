//! The concurrent item store: read and update by key, one shard lock each, time as an argument. Knows no protocol.
//!
//! There are two ways to an item. [`Store::read`] shows it to a closure; [`Store::update`] shows it to a closure that
//! decides what becomes of it. Either way the closure runs under the one lock of the key's shard, so what it sees
//! cannot change before its decision is carried out. Closures must be short and must not call the store.
//!
//! # Where things are
//!
//! ```text
//!            hash of the key: 64 bits
//!            ┌ tag: top 27 ─────────┬───────────────┬ shard ┐
//!            └──────┬───────────────┴───────────────┴───┬───┘
//!                   │                                   └─> which of the shards, each behind its lock
//!  index            ▼            slots in the order of their tags, about 88 % in use
//!  ┌────────────┬────────────┬───────┬────────────┬────────────┐      slot, 8 bytes:
//!  │ tag, place │ tag, place │ empty │ tag, place │ tag, place │      27 bits tag, 37 bits place
//!  └────────────┴─────┬──────┴───────┴────────────┴─────┬──────┘
//!                     └─────── segment and offset ────┐
//!  log                                                ▼
//!  ┌ segment ──────────────────────────────────────────────┐      ┌ body ──────────────────┐
//!  │ item │ item │ dead │ item │ item with a body │ free   │      │ block │ unit │ unit    │
//!  └──────────┬─────────────────────────┬──────────────────┘      └─▲──────────────────────┘
//!             ▼                         └── number and length ──────┘
//!  flags 1 · key length 1 · last use 2 · value length 1-3 · [extra flags 1 · version 1 · body 8 · deadline 4 ·
//!  client flags 4 · CAS 8 · sources] · key · value            in brackets: only if the item has it
//! ```
//! - An item is appended to an open **segment** of its shard and never moves until its segment is given up. Segments
//!   are all of one size, some hundreds to a shard, so nothing fragments. One that does not fit is cut: the rest of its
//!   value goes to the beginning of the next segment, so nothing is lost at their ends (`segment/rest.rs`). There are
//!   open segments for several spans of time to live, because items of a segment then end together.
//! - Its **CAS value** is its place: the segment's number and its offset, which is unique and rises. Only when a
//!   client may have seen it does an item keep it, stored, when it is moved. An item as long as the one it replaces is
//!   written over it from the second time on; its version is added to the offset.
//! - The **index** grows and shrinks a few slots at a time, without ever reading an item (`index.rs`). A dump walks it
//!   in the order of hashes, which nothing that happens in between changes.
//! - Of a **long value** (more than half of a segment, or 16 KiB) only the end is in the log. All before it, its
//!   body, is in memory of its own, shared with whoever sends it: whole blocks, as long as segments, and units, of
//!   which some make up such a block (`pool/units.rs`). So all memory for values comes in blocks of one length, and
//!   what one size of values gave back serves any other.
//! - All of it is charged to **one budget** (`pool.rs`), in memory straight from the system: given back, it is gone
//!   from the process whatever its allocator.
//!
//! # Who stays
//!
//! When memory is short, a segment is given up, a bit with each store, so that no store waits for all of it. What has
//! been deleted, replaced, flushed or expired is passed over; of the others the policy (`eviction/`) says which are
//! carried on, that is written again to an open segment. By default:
//!
//! - New items go through a small queue of segments. One that is read there is carried to the main queue; one that is
//!   not goes, unless it is so small that it promises more than what the main queue lets go, but two bytes of its
//!   hash are remembered for a while. If it is stored again while they are, it should
//!   have been kept: it goes to the main queue at once, and the small queue becomes a bit longer, up to a fifth of the
//!   memory.
//! - In the main queue an item that was read since it was last carried is carried on. Of those that were not, those
//!   are carried that promise most hits for their bytes: small ones, used lately and often. As much is
//!   carried as 1.5 bytes copied for each one stored allow, at most three quarters of the bytes; of what goes the hash
//!   is remembered as well (for the main queue to become longer).
//! - When more than a twelfth of the memory is dead, the segment with the least live in it is compacted instead:
//!   what lives is moved together with that of others, at its place in the queue. For that at most 4 bytes are copied
//!   for each one stored, all copies counted, which keeps nine tenths of the memory live where items are replaced at
//!   random by longer and shorter ones. Items replaced by others as long need none.
//!
//! So what is used stays through any flood or scan of what is not, memory is full of live items, and copying is
//! bounded: beyond about 1.5 bytes for one stored, only items that were read, or lie among dead ones, are copied.
//!
//! A shard that holds less than its share never evicts for others; the one that holds most does. Expired items are
//! cleared away in the background ([`Store::maintain`]; `expire.rs`), segments whose items have all ended first; and a
//! segment of those is given up before any other.

mod bodies;
mod change;
mod check;
mod class;
mod deadlines;
mod eviction;
mod expire;
mod index;
mod item;
mod pool;
mod record;
mod segment;
mod shard;
mod sources;
mod stats;
mod sweep;
mod sync;
mod time;
mod value;
mod write;

use ahash::RandomState;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use change::{Amend, CasChange, Change, NewItem, NewValue, Origin, Short, Updated};
pub use class::{CLASS_COUNT, chunk_size, class_of, memcached_size};
pub use eviction::Eviction;
pub use item::{Absent, Item, Key, Lookup, MAX_KEY_LEN};
pub use sources::Derivation;
pub use stats::{ClassStats, Stats};
pub use time::{Expiry, Now};
pub use value::{Body, Incoming, Value};

use pool::Pool;
use segment::CasSpace;
use shard::{Shard, TOUCH};
use sources::Sources;

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
    /// How to choose what is evicted.
    pub eviction: Eviction,
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
    inner: Arc<Inner>,
}

/// What a store and the values it is receiving share.
struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    pool: Arc<Pool>,
    sources: Arc<Sources>,
    item_limit: usize,
    inline_limit: usize,
    /// Bytes of values that are on their way in.
    incoming: AtomicUsize,
}

/// The hash of a key in one store. With the hash of another key, or of another store, a key is not found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hash(u64);

/// Where a [`Store::scan`] goes on.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    shard: usize,
    position: u64,
}

impl Store {
    /// An empty store.
    pub fn new(options: &Options) -> Store {
        let count = pool::shards(options.limit, options.workers);
        let block_len = pool::block_len(options.limit, count);
        let pool = Arc::new(Pool::new(options.limit.min(count << SHARD_LIMIT_BITS), block_len, count));
        let inline_limit = pool::inline_limit(block_len);
        let sources = Arc::new(Sources::new(pool.clone(), options.no_evictions, sources::MAX_REMEMBERED));
        let hasher = RandomState::new();
        let shard = |shard: usize| {
            let cas_space = CasSpace::new(shard, count, block_len);
            let (pool, sources, hasher) = (pool.clone(), sources.clone(), hasher.clone());
            Mutex::new(Shard::new(pool, sources, hasher, cas_space, inline_limit, options))
        };
        let shards = (0..count).map(shard).collect();
        Store {
            inner: Arc::new(Inner {
                shards,
                hasher,
                pool,
                sources,
                item_limit: options.item_limit,
                inline_limit,
                incoming: AtomicUsize::new(0),
            }),
        }
    }

    /// Shows the item of this key, or why there is none, to `look`. The item counts as read only if `look` says so
    /// with [`Item::mark_used`].
    pub fn read<R>(&self, key: Key<'_>, now: Now, look: impl FnOnce(Lookup<'_, '_>) -> R) -> R {
        self.read_hashed(key, self.hash(key), now, look)
    }

    /// [`Store::read`] for a key whose hash is known.
    pub fn read_hashed<R>(
        &self,
        key: Key<'_>,
        hash: Hash,
        now: Now,
        look: impl FnOnce(Lookup<'_, '_>) -> R,
    ) -> R {
        self.inner.shards[self.inner.shard(hash.0)].lock().read(hash.0, key, now, look)
    }

    /// What this store finds a key by.
    pub fn hash(&self, key: Key<'_>) -> Hash {
        Hash(self.inner.hash(key))
    }

    /// Whether it holds so much that reads wait for memory, and [`Store::prefetch`] is worth its cost.
    pub fn is_larger_than_cache(&self) -> bool {
        self.inner.pool.used() > CACHE_BYTES
    }

    /// Brings what reads of these keys will need into the processor's cache: worth it before reading several keys one
    /// after the other from a store larger than that cache, because the waits for memory then overlap. Changes
    /// nothing.
    pub fn prefetch(&self, hashes: &[Hash]) {
        for some in hashes.chunks(TOUCH) {
            let mut sorted = [Hash::default(); TOUCH];
            let sorted = &mut sorted[..some.len()];
            sorted.copy_from_slice(some);
            sorted.sort_unstable_by_key(|hash| self.inner.shard(hash.0));
            for of_shard in sorted.chunk_by(|a, b| self.inner.shard(a.0) == self.inner.shard(b.0)) {
                self.inner.shards[self.inner.shard(of_shard[0].0)].lock().touch(of_shard);
            }
        }
    }

    /// Shows the item of this key, or why there is none, to `decide`, and carries out the change it returns.
    pub fn update<'v, R>(
        &self,
        key: Key<'_>,
        now: Now,
        decide: impl FnOnce(Lookup<'_, '_>) -> (Change<'v>, R),
    ) -> Updated<R> {
        let hash = self.inner.hash(key);
        let number = self.inner.shard(hash);
        let others = || self.inner.evict_one(Some(number));
        self.inner.shards[number].lock().update(hash, key, now, &others, decide)
    }

    /// The beginning of an item that is derived from others. Begin it before looking at what it is derived from.
    pub fn derivation(&self) -> Derivation {
        self.inner.sources.derivation()
    }

    /// Names a source of an item: from now on an update of `source` outdates it. False, and nothing is named, if
    /// `cas` is given and `source` is not there with that CAS value.
    pub fn name_source(
        &self,
        derivation: &mut Derivation,
        source: Key<'_>,
        cas: Option<u64>,
        now: Now,
    ) -> bool {
        let hash = self.inner.hash(source);
        let mut shard = self.inner.shards[self.inner.shard(hash)].lock();
        let found = shard.find(hash, source, now).ok();
        if let Some(cas) = cas
            && found.is_none_or(|found| shard.item(found.location).cas_known().0 != cas)
        {
            return false;
        }
        if cas.is_some() {
            derivation.set_compared();
        }
        derivation.name(hash, found.and_then(|found| shard.named(found.location)));
        true
    }

    /// The longest value that callers hand over as one slice ([`NewValue::Bytes`]); a longer one is received
    /// through [`Store::incoming`], straight into the memory it will live in.
    pub fn inline_limit(&self) -> usize {
        self.inner.inline_limit
    }

    /// Memory for a value of `len` bytes that is about to arrive. Takes memory as bytes arrive, not before.
    pub fn incoming(&self, len: usize) -> Incoming {
        Incoming::new(self.inner.clone(), len)
    }

    /// Bytes by which long values that are in the store no longer, and that readers still hold, are more than they may
    /// be: an eighth of the memory, or one of the largest items. The store can do nothing about them.
    pub fn detached_excess(&self) -> usize {
        let most = (self.inner.pool.limit() / DETACHED_PART).max(self.inner.item_limit);
        self.inner.pool.detached().saturating_sub(most)
    }

    /// Largest item in bytes, by memcached's way of counting.
    pub fn item_limit(&self) -> usize {
        self.inner.item_limit
    }

    /// Bytes of memory for items.
    pub fn limit(&self) -> usize {
        self.inner.pool.limit()
    }

    /// Changes the memory for items; memory above a lower limit is given back by [`Store::maintain`] and by stores.
    pub fn set_limit(&self, bytes: usize) {
        self.inner.pool.set_limit(bytes.min(self.inner.shards.len() << SHARD_LIMIT_BITS));
    }

    /// Makes everything stored before the moment `at` unreachable from then on. `at` may lie ahead; a later call
    /// replaces a pending one. An item stored after the call returns survives an `at` that is not ahead of `now`.
    pub fn flush(&self, at: Now, now: Now) {
        for shard in &self.inner.shards {
            shard.lock().flush(at, now);
        }
    }

    /// Shows up to about `limit` live items to `visit` and moves the cursor on; false when all have been shown. An
    /// item that is in the store from the first call to the last is shown at least once.
    pub fn scan(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        now: Now,
        mut visit: impl FnMut(&mut Item<'_>),
    ) -> bool {
        let Some(shard) = self.inner.shards.get(cursor.shard) else { return false };
        let mut shard = shard.lock();
        let more = shard.scan(&mut cursor.position, limit, now, &mut visit);
        unlock_after_background_work(shard);
        if !more {
            cursor.shard += 1;
            cursor.position = 0;
        }
        cursor.shard < self.inner.shards.len()
    }

    /// A CAS value above all there have been.
    pub fn cas_ceiling(&self) -> u64 {
        self.inner.shards.iter().map(|shard| shard.lock().log.cas_ceiling()).max().unwrap_or(0)
    }

    /// Makes every CAS value from now on one above `floor`, so that none is given out a second time by a server that
    /// goes on where another stopped. Only before anything is stored.
    pub fn raise_cas(&self, floor: u64) {
        for shard in &self.inner.shards {
            shard.lock().log.raise_cas(floor);
        }
    }

    /// Does a bounded slice of the work nobody asks for: gives back the memory of expired and flushed items, and
    /// memory above the limit. True if more is waiting.
    pub fn maintain(&self, now: Now) -> bool {
        self.maintain_each(now, || ())
    }

    /// The same, and calls `between` after each shard, while none is locked.
    pub fn maintain_each(&self, now: Now, mut between: impl FnMut()) -> bool {
        let mut more = false;
        self.inner.sources.give_back();
        for shard in &self.inner.shards {
            let mut shard = shard.lock();
            more |= shard.maintain(now);
            unlock_after_background_work(shard);
            between();
        }
        more
    }

    /// The counts of all shards, added up.
    pub fn stats(&self, now: Now) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.inner.shards {
            shard.lock().add_stats(&mut sum, now);
        }
        sum.memory_bytes = self.inner.pool.used() as u64;
        sum.sources = self.inner.sources.len() as u64;
        sum.source_namings = self.inner.sources.named() as u64;
        sum.source_updates = self.inner.sources.updates();
        sum
    }

    /// Installs or removes the hook that is told of each eviction.
    pub fn on_eviction(&self, hook: Option<Arc<EvictionHook>>) {
        for shard in &self.inner.shards {
            shard.lock().on_eviction(hook.clone());
        }
    }

    /// Recounts everything and panics where a count is wrong; for tests. No value may be on its way in, and none
    /// held by a reader after it was replaced. There may be no items in the making.
    #[doc(hidden)]
    pub fn check(&self) {
        let shards: Vec<_> = self.inner.shards.iter().map(|shard| shard.lock()).collect();
        let charged: usize = shards.iter().map(|shard| shard.check()).sum();
        self.inner.sources.check(|show| shards.iter().for_each(|shard| shard.each_named(show)));
        let charged = charged + self.inner.sources.charged() + self.inner.pool.check_units();
        assert_eq!(self.inner.pool.used(), charged, "the pool's count is that of its users");
        assert_eq!(self.inner.pool.detached(), 0, "no reader holds what has been replaced");
    }
}

impl Inner {
    fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one(key.as_bytes())
    }

    /// The number of the shard of a hash, by bits the index does not use first.
    fn shard(&self, hash: u64) -> usize {
        hash as usize & (self.shards.len() - 1)
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Counts memory for values that are on their way in; false if they would have more than they may.
    fn reserve_incoming(&self, bytes: usize) -> bool {
        let most = (self.pool.limit() / 2).max(self.item_limit);
        let fits = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= most);
        self.incoming.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn release_incoming(&self, bytes: usize) {
        self.incoming.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Makes some memory free for a value that is on its way in; false if that is not possible.
    fn make_room(&self) -> bool {
        self.evict_one(None)
    }

    /// Evicts something, from the shard that holds most if possible; from any but `locked`, which the caller has
    /// locked. False if there is nothing.
    fn evict_one(&self, locked: Option<usize>) -> bool {
        let richest = self.pool.richest();
        for turn in 0..self.shards.len() {
            let number = (richest + turn) % self.shards.len();
            if Some(number) == locked {
                continue;
            }
            let shard = match locked {
                // Who has a shard locked must not wait for another.
                Some(_) => self.shards[number].try_lock(),
                None => Some(self.shards[number].lock()),
            };
            let Some(mut shard) = shard else {
                // Somebody is at work there; there may be something when he is done.
                std::thread::yield_now();
                return true;
            };
            let now = shard.now;
            let evicted = shard.evict_one(now);
            shard.report();
            if evicted {
                return true;
            }
        }
        false
    }
}

/// Lets a client that waits for a shard have it next: who works on in the background would lock it again before that
/// client has woken up.
fn unlock_after_background_work(shard: MutexGuard<'_, Shard>) {
    MutexGuard::unlock_fair(shard);
}

/// Where fetching ahead begins to pay, measured with 2 MiB of cache a core and 300 MiB for all: a key looked up once more
/// costs some 70 ns, whatever the size. Fetched ahead, a key of a hundred takes a fourth more time in a store of 16 MiB,
/// as much in one of 24, a fifth less at 40, two fifths less at 265.
const CACHE_BYTES: usize = 24 << 20;
/// Part of the memory that readers may keep of values which are no longer in the store.
const DETACHED_PART: usize = 8;
/// More than this much memory of a shard has no locations in the index.
const SHARD_LIMIT_BITS: u32 = index::LOCATION_BITS - 2;

#[cfg(test)]
mod collisions;
