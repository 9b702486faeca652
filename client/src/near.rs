//! Short-lived copies of hot items in the process. Bounded; knows no connections.

use crate::client::LONGEST;
use crate::key::Key;
use crate::protocol::{Code, Get, Reply, Request};
use bytes::Bytes;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Which items are kept in the process, and for how long.
///
/// A copy is used until `ttl` after it was asked for: other processes' changes, expiry and expiry on update are
/// seen only when it ends. This process's own changes end it at once. Plain reads and `get_or_compute` use copies;
/// batches and reads with options (a touch, details, a peek) do not.
#[derive(Clone, Debug)]
pub struct NearCachePolicy {
    /// Keys known at most, the least recently used going first.
    pub keys: NonZeroUsize,
    /// How long a copy is used. Think of a second or less.
    pub ttl: Duration,
    /// Values larger than this are not kept. Times `keys`, it bounds the memory that copies take.
    pub max_value_bytes: usize,
    /// The read, within `ttl` of the one before, from which on a key counts as hot and is kept.
    pub hot_after: u32,
}

impl NearCachePolicy {
    /// Up to `keys` keys, each for `ttl`, from their second read on, if their value is no larger than 64 KiB.
    pub fn new(keys: NonZeroUsize, ttl: Duration) -> NearCachePolicy {
        NearCachePolicy { keys, ttl, max_value_bytes: 64 << 10, hot_after: 2 }
    }
}

pub(crate) struct NearCache {
    policy: NearCachePolicy,
    state: Mutex<State>,
}

struct State {
    slots: LruCache<Key, Slot>,
    /// Counts changes, so that a read knows whether one came in between.
    changes: u64,
    /// The last change of any key that is no longer known.
    forgotten: u64,
}

struct Slot {
    copy: Option<(Reply, Instant)>,
    /// Reads that found no copy, each within `ttl` of the one before.
    reads: u32,
    last_read: Instant,
    /// The last change of the key from this process.
    changed: u64,
}

impl NearCache {
    pub(crate) fn new(policy: &NearCachePolicy) -> NearCache {
        // Bounded by `State::slot`: a bound of its own would be allocated for at once.
        let slots = LruCache::unbounded();
        let policy = NearCachePolicy { ttl: policy.ttl.min(LONGEST), ..policy.clone() };
        NearCache { policy, state: Mutex::new(State { slots, changes: 0, forgotten: 0 }) }
    }

    /// The copy to answer a plain read with.
    pub(crate) fn answer(&self, request: &Request) -> Option<Reply> {
        self.copy(plain_read(request)?, Instant::now())
    }

    pub(crate) fn copy(&self, key: &Key, now: Instant) -> Option<Reply> {
        let mut state = self.state();
        let (reply, ends) = state.slots.get(key)?.copy.as_ref()?;
        (now < *ends).then(|| reply.clone())
    }

    /// Watches a request: a read's reply may become a copy, a change ends one, now and again when it is done.
    pub(crate) fn watch(&self, request: &Request) -> Watch<'_> {
        let key = request.key().cloned();
        let task = match (key, request) {
            (Some(key), request) if request.is_change() => {
                self.changed(&key);
                Task::Change(key)
            }
            (None, request) if request.is_change() => {
                self.clear();
                Task::Flush
            }
            (Some(key), Request::Get(get)) if !get.no_value && get.touch.is_none() => {
                Task::Read(key, self.state().changes, Instant::now())
            }
            _ => Task::Nothing,
        };
        Watch { cache: self, task }
    }

    pub(crate) fn changed(&self, key: &Key) {
        let mut state = self.state();
        state.changes += 1;
        let changes = state.changes;
        let slot = state.slot(key, Instant::now(), self.policy.keys);
        (slot.copy, slot.changed) = (None, changes);
    }

    fn clear(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.forgotten = state.changes;
        state.slots.clear();
    }

    /// A reply to a read that was sent at `asked`, after `began` changes.
    fn learn(&self, key: &Key, began: u64, reply: &Reply, asked: Instant) {
        let seen = &reply.attributes;
        let is_whole = reply.code == Code::Done && !seen.stale && !seen.won && !seen.claimed;
        let size = reply.value.as_ref().map_or(0, |value| value.len());
        let mut state = self.state();
        let slot = state.slot(key, asked, self.policy.keys);
        let in_time = asked.saturating_duration_since(slot.last_read) <= self.policy.ttl;
        slot.reads = if in_time { slot.reads.saturating_add(1) } else { 1 };
        slot.last_read = asked;
        let hot = slot.reads >= self.policy.hot_after;
        slot.copy = (is_whole && hot && size <= self.policy.max_value_bytes && slot.changed <= began)
            .then(|| (detached(reply), asked + self.policy.ttl));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    /// The key's slot. A new one may take the place of the least recently used, of whose changes the last is
    /// remembered: who knows whether the new one's key was not among those forgotten before.
    fn slot(&mut self, key: &Key, now: Instant, limit: NonZeroUsize) -> &mut Slot {
        if !self.slots.contains(key) {
            let slot = Slot { copy: None, reads: 0, last_read: now, changed: self.forgotten };
            // A copy: the caller's may be a piece of something large.
            self.slots.push(key.as_bytes().into(), slot);
            if self.slots.len() > limit.get()
                && let Some((_, gone)) = self.slots.pop_lru()
            {
                self.forgotten = self.forgotten.max(gone.changed);
            }
        }
        self.slots.get_mut(key).expect("it was there or has been put there")
    }
}

/// A reply whose value does not keep the read buffer it came in.
fn detached(reply: &Reply) -> Reply {
    Reply { value: reply.value.as_deref().map(Bytes::copy_from_slice), ..reply.clone() }
}

fn plain_read(request: &Request) -> Option<&Key> {
    match request {
        Request::Get(Get {
            key,
            touch: None,
            vivify: None,
            refresh_below: None,
            details: false,
            no_value: false,
            no_bump: false,
        }) => Some(key),
        _ => None,
    }
}

/// A request under way.
pub(crate) struct Watch<'a> {
    cache: &'a NearCache,
    task: Task,
}

enum Task {
    Read(Key, u64, Instant),
    Change(Key),
    /// A change of everything.
    Flush,
    Nothing,
}

impl Watch<'_> {
    pub(crate) fn learn(&self, reply: &Reply) {
        if let Task::Read(key, began, asked) = &self.task {
            self.cache.learn(key, *began, reply, *asked);
        }
    }
}

impl Drop for Watch<'_> {
    /// A read that overlapped the change may have seen either value.
    fn drop(&mut self) {
        match &self.task {
            Task::Change(key) => self.cache.changed(key),
            Task::Flush => self.cache.clear(),
            Task::Read(..) | Task::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &'static str) -> Reply {
        Reply { value: Some(Bytes::from_static(text.as_bytes())), ..Reply::bare(Code::Done) }
    }

    fn cache() -> NearCache {
        NearCache::new(&NearCachePolicy::new(NonZeroUsize::new(2).unwrap(), Duration::from_secs(1)))
    }

    #[test]
    fn the_second_read_in_time_makes_a_copy_that_ends() {
        let (cache, key, start) = (cache(), Key::from("k"), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        cache.learn(&key, 0, &reply("v"), at(0));
        assert!(cache.copy(&key, at(0)).is_none());
        cache.learn(&key, 0, &reply("v"), at(1500));
        assert!(cache.copy(&key, at(1500)).is_none(), "not hot: too long ago");
        cache.learn(&key, 0, &reply("v"), at(2000));
        assert_eq!(cache.copy(&key, at(2999)), Some(reply("v")));
        assert!(cache.copy(&key, at(3000)).is_none());
    }

    #[test]
    fn a_change_ends_the_copy_and_a_read_from_before_it_makes_none() {
        let (cache, key, now) = (cache(), Key::from("k"), Instant::now());
        for _ in 0..2 {
            cache.learn(&key, 0, &reply("old"), now);
        }
        let began = cache.state().changes;
        cache.changed(&key);
        assert!(cache.copy(&key, now).is_none());
        cache.learn(&key, began, &reply("old"), now);
        assert!(cache.copy(&key, now).is_none());
        cache.learn(&key, began + 1, &reply("new"), now);
        assert_eq!(cache.copy(&key, now), Some(reply("new")));
    }

    #[test]
    fn a_change_that_has_been_pushed_out_still_counts() {
        let (cache, key, now) = (cache(), Key::from("k"), Instant::now());
        let began = cache.state().changes;
        cache.changed(&key);
        for other in ["a", "b"] {
            cache.changed(&other.into());
        }
        assert!(!cache.state().slots.contains(&key));
        for _ in 0..3 {
            cache.learn(&key, began, &reply("old"), now);
        }
        assert!(cache.copy(&key, now).is_none());
        let began = cache.state().changes;
        for _ in 0..2 {
            cache.learn(&key, began, &reply("new"), now);
        }
        assert_eq!(cache.copy(&key, now), Some(reply("new")));
        cache.clear();
        for _ in 0..3 {
            cache.learn(&key, began, &reply("old"), now);
        }
        assert!(cache.copy(&key, now).is_none(), "a read from before everything was dropped");
    }

    #[test]
    fn it_is_bounded_and_keeps_no_placeholders_or_giants() {
        let (cache, now) = (cache(), Instant::now());
        for number in 0..10 {
            let key = Key::from(format!("k{number}"));
            for _ in 0..2 {
                cache.learn(&key, 0, &reply("v"), now);
            }
        }
        assert_eq!(cache.state().slots.len(), 2);
        let mut claimed = reply("");
        claimed.attributes.claimed = true;
        let giant = Reply { value: Some(vec![0; 65 << 10].into()), ..Reply::bare(Code::Done) };
        for bad in [claimed, giant, Reply::bare(Code::Miss)] {
            for _ in 0..3 {
                cache.learn(&Key::from("bad"), 0, &bad, now);
            }
            assert!(cache.copy(&Key::from("bad"), now).is_none());
        }
    }
}
