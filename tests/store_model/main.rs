//! Random operations on the store and on a plain map with the same clock must agree, and all counts must add up.

mod steps;

use memcarp::store::{
    Absent, Amend, Body, CasChange, Change, Cursor, Eviction, Expiry, Item, Key, NewItem, NewValue, Now,
    Options, Origin, Short, Store, Value,
};
use proptest::prelude::*;
use std::collections::HashMap;
use steps::{KEYS, Payload, Step, step};

const UNIX: u64 = 1_700_000_000;

/// What the model knows of an item.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    value: Vec<u8>,
    client_flags: u32,
    expiry: Expiry,
    binary_key: bool,
    stale: bool,
    lease_granted: bool,
    fetched: bool,
    last_used: u64,
    flushed: bool,
    /// The CAS value, if the model has looked at it since it last changed.
    cas: Option<u64>,
}

/// The store, the map it is compared with, and the clock of both.
struct Run {
    store: Store,
    map: HashMap<u8, Model>,
    millis: u64,
    flush_at: Option<u64>,
    /// Bodies held by a reader, and the values they must go on holding the beginning of.
    held: Vec<(Body, Vec<u8>)>,
    /// The highest CAS value from the store each key has shown.
    shown: HashMap<u8, u64>,
    /// Memory is short: items may be missing, but never wrong.
    may_evict: bool,
}

/// Keys of very different lengths.
fn name(key: u8) -> Vec<u8> {
    let mut name = format!("key-{key}").into_bytes();
    name.resize(name.len() + usize::from(key) * 6 % 240, b'x');
    name
}

impl Run {
    fn new(limit: usize, may_evict: bool, eviction: Eviction) -> Run {
        let options = Options { limit, item_limit: 1 << 20, no_evictions: false, workers: 1, eviction };
        Run {
            store: Store::new(&options),
            map: HashMap::new(),
            millis: Now::EARLIEST + 1234,
            flush_at: None,
            held: Vec::new(),
            shown: HashMap::new(),
            may_evict,
        }
    }

    fn now(&self) -> Now {
        Now::new(self.millis, UNIX + self.millis / 1000)
    }

    /// What the model says a lookup finds. Items that are over are forgotten, as the store forgets them.
    fn expected(&mut self, key: u8) -> Result<Model, Option<Absent>> {
        let state = self.state(key);
        if state.is_err() {
            self.map.remove(&key);
        }
        state
    }

    /// What the model knows of a key.
    fn state(&mut self, key: u8) -> Result<Model, Option<Absent>> {
        if self.flush_at.is_some_and(|at| at <= self.millis) {
            self.flush_at = None;
            for model in self.map.values_mut() {
                model.flushed = true;
            }
        }
        match self.map.get(&key) {
            None => Err(None),
            Some(model) if model.flushed => Err(Some(Absent::Flushed)),
            Some(model) if model.expiry.is_over(self.now()) => Err(Some(Absent::Expired)),
            Some(model) => Ok(model.clone()),
        }
    }

    /// Compares what a lookup found with the model; the store may have cleared away what was over.
    fn compare(
        &mut self,
        key: u8,
        expected: &Result<Model, Option<Absent>>,
        found: Result<&mut Item<'_>, Absent>,
    ) {
        let now = self.now();
        match (expected, found) {
            (Ok(model), Ok(item)) => {
                assert_eq!(item.key(), name(key));
                assert!(contents(item.value()) == model.value, "the value of {key} differs");
                assert_eq!(item.value().len(), model.value.len());
                assert_eq!(item.client_flags(), model.client_flags);
                assert_eq!(item.expiry(), model.expiry);
                assert_eq!(item.binary_key(), model.binary_key);
                assert_eq!(item.stale(), model.stale);
                assert_eq!(item.lease_granted(), model.lease_granted);
                assert_eq!(item.fetched(), model.fetched);
                assert_eq!(u64::from(item.idle(now)), self.millis / 1000 - model.last_used / 1000);
                if let Some(cas) = model.cas {
                    assert_eq!(item.cas(), cas, "a CAS value that was shown stays");
                }
            }
            // What is over may have been cleared away already.
            (Err(_), Err(Absent::NotFound)) => {}
            (Ok(_), Err(Absent::NotFound)) if self.may_evict => {
                self.map.remove(&key);
            }
            (Err(Some(expected)), Err(found)) => assert_eq!(*expected, found),
            (expected, found) => panic!("{key}: expected {expected:?}, found {:?}", found.map(|_| ())),
        }
    }

    /// A CAS value the store has made for a key must be above all it has shown for it.
    fn check_rise(&mut self, key: u8, cas: u64) {
        assert_ne!(cas, 0);
        let last = self.shown.insert(key, cas).unwrap_or(0);
        assert!(cas > last, "the CAS value of {key} went from {last} to {cas}");
    }

    /// Looks an item up, compares it, and makes a change, or none if the item must be there and is not. Answers the
    /// CAS value shown, and whether a change was made.
    fn change(&mut self, key: u8, needs_item: bool, change: Change<'_>) -> (u64, bool) {
        let expected = self.expected(key);
        let now = self.now();
        let bytes = name(key);
        let store = self.store_handle();
        let updated = store.update(Key::new(&bytes).unwrap(), now, |lookup| {
            let made = lookup.is_ok() || !needs_item;
            self.compare(key, &expected, lookup);
            (if made { change } else { Change::Keep }, made)
        });
        assert!(!updated.refused || !self.held.is_empty(), "there is memory, or something to evict");
        self.store = store;
        if updated.refused {
            // What has to be longer and cannot be stays as it is, if it was not evicted for it.
            return (0, false);
        }
        (updated.cas, updated.answer)
    }

    /// Takes the store out, so that closures may use the rest; it must be put back.
    fn store_handle(&mut self) -> Store {
        let options = Options {
            limit: 1 << 20,
            item_limit: 1,
            no_evictions: false,
            workers: 1,
            eviction: Eviction::default(),
        };
        std::mem::replace(&mut self.store, Store::new(&options))
    }

    fn run(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Read { key, used, look_at_cas, lease } => {
                let expected = self.expected(key);
                let bytes = name(key);
                let store = self.store_handle();
                let mut cas = None;
                store.read(Key::new(&bytes).unwrap(), now, |mut lookup| {
                    if let Ok(item) = &mut lookup
                        && look_at_cas
                    {
                        cas = Some(item.cas());
                    }
                    self.compare(key, &expected, lookup);
                });
                store.read(Key::new(&bytes).unwrap(), now, |lookup| {
                    if let Ok(item) = lookup {
                        if used {
                            item.mark_used(now);
                        }
                        if lease {
                            item.grant_lease();
                        }
                    }
                });
                self.store = store;
                if let (Ok(old), true) = (expected, self.map.contains_key(&key)) {
                    if let (Some(cas), None) = (cas, old.cas) {
                        self.check_rise(key, cas);
                    }
                    let model = self.map.get_mut(&key).unwrap();
                    model.fetched |= used;
                    model.lease_granted |= lease;
                    model.last_used = if used { self.millis } else { model.last_used };
                    model.cas = cas.or(model.cas);
                }
            }
            Step::Put { key, value, client_flags, ttl, bits, cas } => {
                let expiry = ttl.map_or(Expiry::NEVER, |ttl| Expiry::after(ttl, now));
                let bytes = value.bytes().to_vec();
                let (binary_key, stale, lease_granted) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let Some(value) = self.new_value(&value) else { return };
                let new = NewItem {
                    cas,
                    binary_key,
                    stale,
                    lease_granted,
                    ..NewItem::plain(value, client_flags, expiry)
                };
                let (shown, made) = self.change(key, false, Change::Put(new));
                if !made {
                    return;
                }
                let cas = self.changed_cas(key, cas, shown, None);
                self.map.insert(
                    key,
                    Model {
                        value: bytes,
                        client_flags,
                        expiry,
                        binary_key,
                        stale,
                        lease_granted,
                        fetched: false,
                        last_used: self.millis,
                        flushed: false,
                        cas,
                    },
                );
            }
            Step::Overwrite { key, times } => {
                for time in 0..times {
                    let value = Payload::Bytes(vec![time; 33]);
                    let cas = CasChange::Next;
                    self.run(Step::Put { key, value, client_flags: 0, ttl: None, bits: 0, cas });
                    self.run(Step::Read { key, used: false, look_at_cas: true, lease: false });
                }
            }
            Step::Join { key, value, front, cas } => {
                let bytes = value.bytes().to_vec();
                let Some(value) = self.new_value(&value) else { return };
                let change = match front {
                    true => Change::Prepend(value, cas, Origin::Own),
                    false => Change::Append(value, cas, Origin::Own),
                };
                let (shown, made) = self.change(key, true, change);
                if made {
                    let cas = self.changed_cas(key, cas, shown, None);
                    let model = self.map.get_mut(&key).unwrap();
                    let old = std::mem::take(&mut model.value);
                    model.value = if front { [bytes, old].concat() } else { [old, bytes].concat() };
                    (model.cas, model.fetched) = (cas, false);
                    (model.stale, model.lease_granted) = (false, false);
                    model.last_used = self.millis;
                }
            }
            Step::Amend { key, ttl, stale, lease, cas } => {
                let expiry = ttl.map(|ttl| ttl.map_or(Expiry::NEVER, |ttl| Expiry::after(ttl, now)));
                let amend = Amend { expiry, stale, lease_granted: lease, cas, updates_source: false };
                let (shown, made) = self.change(key, true, Change::Amend(amend));
                if made {
                    let old = self.map[&key].cas;
                    let cas = self.changed_cas(key, cas, shown, old);
                    let model = self.map.get_mut(&key).unwrap();
                    model.expiry = expiry.unwrap_or(model.expiry);
                    model.stale = stale.unwrap_or(model.stale);
                    model.lease_granted = lease.unwrap_or(model.lease_granted);
                    model.cas = cas;
                }
            }
            Step::Delete { key } => {
                self.change(key, false, Change::Delete);
                self.map.remove(&key);
            }
            Step::Wait { millis } => self.millis += millis,
            Step::Flush { delay } => {
                // One that is due takes place before another is asked for.
                let _ = self.state(0);
                self.store.flush(now.plus_seconds(delay), now);
                self.flush_at = Some(self.millis + u64::from(delay) * 1000);
                let _ = self.state(0);
            }
            Step::Maintain => {
                self.store.maintain(now);
            }
            Step::Scan { at_once } => self.scan(at_once),
            Step::HoldBack { key } => {
                let expected = self.expected(key);
                let held = self.store.read(Key::new(&name(key)).unwrap(), now, |lookup| {
                    match lookup.map(|item| item.value()) {
                        Ok(Value::Large(body, _)) => Some(body.clone()),
                        _ => None,
                    }
                });
                self.held.extend(held.map(|body| (body, expected.unwrap().value)));
            }
            Step::Abandon { len, received } => {
                let mut incoming = self.store.incoming(len);
                let mut left = received.min(len);
                while left > 0 {
                    let Some(space) = incoming.space() else {
                        assert!(!self.held.is_empty(), "there is memory, or something to evict");
                        break;
                    };
                    let count = space.len().min(left);
                    space[..count].fill(1);
                    incoming.filled(count);
                    left -= count;
                }
            }
        }
    }

    /// The model's CAS value after a change, from what the store showed of it.
    fn changed_cas(&mut self, key: u8, change: CasChange, shown: u64, old: Option<u64>) -> Option<u64> {
        match change {
            CasChange::Keep => old,
            CasChange::Next => None,
            CasChange::NextShown => {
                self.check_rise(key, shown);
                Some(shown)
            }
            CasChange::Set(cas) => {
                assert_eq!(shown, cas);
                Some(cas)
            }
        }
    }

    fn new_value<'v>(&self, payload: &'v Payload) -> Option<NewValue<'v>> {
        Some(match payload {
            Payload::Bytes(bytes) if bytes.len() <= self.store.inline_limit() => NewValue::Bytes(bytes),
            Payload::Short(bytes) => NewValue::Short(Short::padded(bytes, 0).unwrap()),
            Payload::Bytes(bytes) | Payload::Received(bytes) => {
                let mut incoming = self.store.incoming(bytes.len());
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let Some(space) = incoming.space() else {
                        assert!(!self.held.is_empty(), "there is memory, or something to evict");
                        return None;
                    };
                    // Not all at once, as from a network.
                    let count = space.len().min(rest.len()).min(9999);
                    space[..count].copy_from_slice(&rest[..count]);
                    incoming.filled(count);
                    rest = &rest[count..];
                }
                NewValue::Received(incoming)
            }
        })
    }

    fn scan(&mut self, at_once: usize) {
        let now = self.now();
        let mut seen = HashMap::new();
        let mut cursor = Cursor::default();
        while self.store.scan(&mut cursor, at_once, now, |item| {
            seen.insert(item.key().to_vec(), item.value().len());
        }) {}
        let live: Vec<u8> = (0..KEYS).filter(|&key| self.state(key).is_ok()).collect();
        let expected: HashMap<_, _> =
            live.iter().map(|key| (name(*key), self.map[key].value.len())).collect();
        if self.may_evict {
            assert!(seen.iter().all(|(key, len)| expected.get(key) == Some(len)));
        } else {
            assert_eq!(seen, expected);
        }
    }

    fn check_held(&self) {
        for (body, bytes) in &self.held {
            assert!(
                contents(Value::Large(body, [&bytes[body.len()..], &[]])) == *bytes,
                "a held value has changed"
            );
        }
    }
}

fn contents(value: Value<'_>) -> Vec<u8> {
    if let Value::Large(body, _) = value {
        let slice_at = |offset| {
            let slice = body.slice_at(offset);
            (!slice.is_empty()).then_some((slice, offset + slice.len()))
        };
        let mut next = slice_at(0);
        let by_offset = std::iter::from_fn(|| {
            let (slice, end) = next?;
            next = slice_at(end);
            Some(slice)
        });
        assert!(by_offset.eq(body.slices()));
    }
    value.slices().flatten().copied().collect()
}

fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("MEMCARP_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(usual), failure_persistence: None, ..ProptestConfig::default() }
}

fn run_all(mut run: Run, steps: Vec<Step>) {
    for step in steps {
        run.run(step);
        run.check_held();
        if run.held.is_empty() {
            run.store.check();
        }
        if run.held.len() > 3 {
            run.held.clear();
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_store_does_what_a_plain_map_does(steps in proptest::collection::vec(step(), 1..300)) {
        run_all(Run::new(64 << 20, false, Eviction::default()), steps);
    }

    #[test]
    fn with_little_memory_items_go_but_none_is_wrong(
        steps in proptest::collection::vec(step(), 1..500),
        eviction in proptest::sample::select(&Eviction::ALL),
    ) {
        run_all(Run::new(512 << 10, true, eviction), steps);
    }
}
