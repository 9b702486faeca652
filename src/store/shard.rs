//! One shard: single-threaded. A map of items in the order they were stored; the oldest go first.

use super::value::{Incoming, LargeValue};
use super::{
    Absent, Amend, CasChange, Change, Evicted, EvictionHook, Expiry, Item, Key, Lookup, NewItem, NewValue,
    Now, Stats, Updated, Value, class_of, memcached_size,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) enum Stored {
    Small(Box<[u8]>),
    Large(LargeValue),
}

impl Stored {
    pub(super) fn view(&self) -> Value<'_> {
        match self {
            Stored::Small(bytes) => Value::Small(bytes),
            Stored::Large(large) => Value::Large(large),
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub value: Stored,
    pub client_flags: u32,
    pub expiry: Expiry,
    pub cas: u64,
    pub last_access: u32,
    pub fetched: bool,
    pub binary_key: bool,
    pub stale: bool,
    pub lease_granted: bool,
    number: u64,
}

static CAS: AtomicU64 = AtomicU64::new(0);

pub(super) struct Shard {
    items: HashMap<Box<[u8]>, Entry>,
    order: VecDeque<(u64, Box<[u8]>)>,
    next: u64,
    flushed_below: u64,
    flush_at: Option<u64>,
    limit: usize,
    no_evictions: bool,
    stats: Stats,
    hook: Option<Arc<EvictionHook>>,
}

impl Shard {
    pub fn new(limit: usize, no_evictions: bool) -> Shard {
        Shard {
            items: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            flushed_below: 0,
            flush_at: None,
            limit,
            no_evictions,
            stats: Stats::default(),
            hook: None,
        }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub fn on_eviction(&mut self, hook: Option<Arc<EvictionHook>>) {
        self.hook = hook;
    }

    pub fn read<R>(
        &mut self,
        _hash: u64,
        key: Key<'_>,
        now: Now,
        look: impl FnOnce(Lookup<'_, '_>) -> R,
    ) -> R {
        if let Some(absent) = self.absent(key, now) {
            return look(Err(absent));
        }
        let entry = self.items.get_mut(key.as_bytes()).expect("absent() has just found it");
        look(Ok(&mut Item { key: key.as_bytes(), entry }))
    }

    pub fn update<'v, R>(
        &mut self,
        hash: u64,
        key: Key<'_>,
        now: Now,
        decide: impl FnOnce(Lookup<'_, '_>) -> (Change<'v>, R),
    ) -> Updated<R> {
        let (change, answer) = self.read(hash, key, now, decide);
        let mut cas = 0;
        let mut refused = false;
        match change {
            Change::Keep => {}
            Change::Delete => self.take(key.as_bytes()),
            Change::Amend(Amend { expiry, stale, lease_granted, cas: new_cas }) => {
                if let Some(entry) = self.items.get_mut(key.as_bytes()) {
                    entry.expiry = expiry.unwrap_or(entry.expiry);
                    entry.stale = stale.unwrap_or(entry.stale);
                    entry.lease_granted = lease_granted.unwrap_or(entry.lease_granted);
                    entry.cas = next_cas(new_cas, entry.cas);
                    cas = entry.cas;
                }
            }
            Change::Put(new) => match self.put(key, now, new) {
                Some(new_cas) => cas = new_cas,
                None => refused = true,
            },
            Change::Append(value, new_cas) => match self.join(key, now, value, new_cas, false) {
                Some(new_cas) => cas = new_cas,
                None => refused = true,
            },
            Change::Prepend(value, new_cas) => match self.join(key, now, value, new_cas, true) {
                Some(new_cas) => cas = new_cas,
                None => refused = true,
            },
        }
        Updated { answer, cas, refused }
    }

    pub fn flush(&mut self, at: Now, now: Now) {
        self.flush_at = None;
        if at.millis() <= now.millis() {
            self.flushed_below = self.next;
        } else {
            self.flush_at = Some(at.millis());
        }
    }

    pub fn scan(
        &mut self,
        position: &mut u64,
        limit: usize,
        now: Now,
        visit: &mut impl FnMut(&mut Item<'_>),
    ) -> bool {
        let flushed = self.flushed_below;
        let mut keys: Vec<_> = self.items.iter().map(|(key, entry)| (entry.number, key.clone())).collect();
        keys.sort();
        let mut seen = 0;
        for (number, key) in keys {
            if number < *position || number < flushed {
                continue;
            }
            if seen == limit {
                return true;
            }
            let entry = self.items.get_mut(&key).expect("the key was listed above");
            *position = number + 1;
            seen += 1;
            if !entry.expiry.is_over(now) {
                visit(&mut Item { key: &key, entry });
            }
        }
        false
    }

    pub fn maintain(&mut self, now: Now) -> bool {
        let flushed = self.flushed_below;
        let over: Vec<_> = self
            .items
            .iter()
            .filter(|(_, entry)| entry.expiry.is_over(now) || entry.number < flushed)
            .map(|(key, _)| key.clone())
            .take(1000)
            .collect();
        for key in &over {
            self.take(key);
        }
        over.len() == 1000
    }

    pub fn add_stats(&self, sum: &mut Stats, _now: Now) {
        for (total, mine) in sum.classes.iter_mut().zip(&self.stats.classes) {
            total.items += mine.items;
            total.bytes += mine.bytes;
            total.evicted += mine.evicted;
            total.evicted_unfetched += mine.evicted_unfetched;
            total.reclaimed += mine.reclaimed;
            total.out_of_memory += mine.out_of_memory;
        }
        sum.total_items += self.stats.total_items;
        sum.memory_bytes += self.stats.memory_bytes;
    }

    fn absent(&mut self, key: Key<'_>, now: Now) -> Option<Absent> {
        if self.flush_at.is_some_and(|at| at <= now.millis()) {
            self.flush_at = None;
            self.flushed_below = self.next;
        }
        let reason = match self.items.get(key.as_bytes()) {
            None => return Some(Absent::NotFound),
            Some(entry) if entry.number < self.flushed_below => Absent::Flushed,
            Some(entry) if entry.expiry.is_over(now) => Absent::Expired,
            Some(_) => return None,
        };
        self.take(key.as_bytes());
        Some(reason)
    }

    fn put(&mut self, key: Key<'_>, now: Now, new: NewItem<'_>) -> Option<u64> {
        let size = memcached_size(key.as_bytes().len(), new.value.len(), new.client_flags != 0);
        if !self.make_room(size, now) {
            self.stats.classes[class_of(size)].out_of_memory += 1;
            if new.drop_old_if_refused {
                self.take(key.as_bytes());
            }
            return None;
        }
        self.take(key.as_bytes());
        let cas = next_cas(if new.cas == CasChange::Keep { CasChange::Next } else { new.cas }, 0);
        let value = match new.value {
            NewValue::Bytes(bytes) => Stored::Small(bytes.into()),
            NewValue::Short(short) => Stored::Small(short.as_bytes().into()),
            NewValue::Received(incoming) => Stored::Large(LargeValue::new(Incoming::into_chunks(incoming))),
        };
        let number = self.next;
        self.next += 1;
        self.order.push_back((number, key.as_bytes().into()));
        self.items.insert(
            key.as_bytes().into(),
            Entry {
                value,
                client_flags: new.client_flags,
                expiry: new.expiry,
                cas,
                last_access: now.seconds(),
                fetched: false,
                binary_key: new.binary_key,
                stale: new.stale,
                lease_granted: new.lease_granted,
                number,
            },
        );
        let class = &mut self.stats.classes[class_of(size)];
        class.items += 1;
        class.bytes += size as u64;
        self.stats.memory_bytes += size as u64;
        self.stats.total_items += 1;
        Some(cas)
    }

    fn join(
        &mut self,
        key: Key<'_>,
        now: Now,
        more: NewValue<'_>,
        cas: CasChange,
        front: bool,
    ) -> Option<u64> {
        let entry = self.items.get(key.as_bytes())?;
        let mut old = Vec::with_capacity(entry.value.view().len());
        copy_value(entry.value.view(), &mut old);
        let mut added = Vec::new();
        match more {
            NewValue::Bytes(bytes) => added.extend_from_slice(bytes),
            NewValue::Short(short) => added.extend_from_slice(short.as_bytes()),
            NewValue::Received(incoming) => added = incoming.into_chunks().concat(),
        }
        let joined = if front { [added, old].concat() } else { [old, added].concat() };
        let new = NewItem {
            cas,
            binary_key: entry.binary_key,
            ..NewItem::plain(NewValue::Bytes(&joined), entry.client_flags, entry.expiry)
        };
        self.put(key, now, new)
    }

    fn make_room(&mut self, size: usize, now: Now) -> bool {
        while self.stats.memory_bytes as usize + size > self.limit {
            if self.no_evictions || size > self.limit {
                return false;
            }
            let Some((number, key)) = self.order.pop_front() else { return false };
            let Some(entry) = self.items.get(&key) else { continue };
            if entry.number != number {
                continue;
            }
            if let Some(hook) = &self.hook {
                hook(&Evicted {
                    key: &key,
                    fetched: entry.fetched,
                    remaining: entry.expiry.remaining(now),
                    idle: now.seconds().saturating_sub(entry.last_access),
                    size: memcached_size(key.len(), entry.value.view().len(), entry.client_flags != 0),
                    value_len: entry.value.view().len(),
                    now,
                });
            }
            let fetched = entry.fetched;
            let class =
                class_of(memcached_size(key.len(), entry.value.view().len(), entry.client_flags != 0));
            self.stats.classes[class].evicted += 1;
            self.stats.classes[class].evicted_unfetched += u64::from(!fetched);
            self.take(&key);
        }
        true
    }

    fn take(&mut self, key: &[u8]) {
        if let Some(entry) = self.items.remove(key) {
            let size = memcached_size(key.len(), entry.value.view().len(), entry.client_flags != 0);
            let class = &mut self.stats.classes[class_of(size)];
            class.items -= 1;
            class.bytes -= size as u64;
            self.stats.memory_bytes -= size as u64;
        }
    }
}

fn next_cas(change: CasChange, current: u64) -> u64 {
    match change {
        CasChange::Keep => current,
        CasChange::Next | CasChange::NextShown => CAS.fetch_add(1, Ordering::Relaxed) + 1,
        CasChange::Set(cas) => cas,
    }
}

fn copy_value(value: Value<'_>, into: &mut Vec<u8>) {
    match value {
        Value::Small(bytes) => into.extend_from_slice(bytes),
        Value::Large(large) => {
            while into.len() < large.len() {
                let at = into.len();
                into.extend_from_slice(large.slice_at(at));
            }
        }
    }
}
