//! Expire-on-update against a naive model: random operations on the store, with items begun, named, stored and
//! abandoned in any order, must leave exactly the items that following every chain by hand leaves.

use memcarp::store::{
    Absent, Amend, CasChange, Change, Derivation, Eviction, Expiry, Item, Key, NewItem, NewValue, Now,
    Options, Origin, Store,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const UNIX: u64 = 1_700_000_000;
/// So few that chains, cycles and items derived from themselves are common.
const KEYS: u8 = 8;
/// Items being made at once.
const MAKING: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Begins an item, and abandons the one that was being made there.
    Begin {
        making: usize,
    },
    /// Names a source, with its CAS value as it is (`Some(true)`) or another one.
    Name {
        making: usize,
        source: u8,
        compare: Option<bool>,
    },
    /// Stores what was made, by a command that is an update or by one that is not.
    Store {
        making: usize,
        key: u8,
        len: usize,
        ttl: Option<u32>,
        updates: bool,
    },
    /// Adds to an item, with what was made naming the sources of the addition.
    Append {
        making: usize,
        key: u8,
        len: usize,
    },
    /// Stores an item without naming sources; it may keep those of the one it replaces.
    Put {
        key: u8,
        len: usize,
        kept: bool,
        updates: bool,
    },
    /// A touch, or a mark that the item is stale, which is an update.
    Amend {
        key: u8,
        ttl: Option<u32>,
        stale: bool,
    },
    Delete {
        key: u8,
    },
    Wait {
        seconds: u64,
    },
    Flush,
    Maintain,
    AbandonAll,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    let making = || 0..MAKING;
    let len = || prop_oneof![6 => 0usize..50, 1 => 3000usize..5000];
    let ttl = || prop_oneof![4 => Just(None), 1 => (1u32..4).prop_map(Some)];
    prop_oneof![
        6 => making().prop_map(|making| Step::Begin { making }),
        12 => (making(), key(), proptest::option::weighted(0.4, proptest::bool::weighted(0.8)))
            .prop_map(|(making, source, compare)| Step::Name { making, source, compare }),
        12 => (making(), key(), len(), ttl(), any::<bool>())
            .prop_map(|(making, key, len, ttl, updates)| Step::Store { making, key, len, ttl, updates }),
        3 => (making(), key(), len()).prop_map(|(making, key, len)| Step::Append { making, key, len }),
        3 => (key(), len(), any::<bool>(), any::<bool>())
            .prop_map(|(key, len, kept, updates)| Step::Put { key, len, kept, updates }),
        3 => (key(), ttl(), any::<bool>()).prop_map(|(key, ttl, stale)| Step::Amend { key, ttl, stale }),
        3 => key().prop_map(|key| Step::Delete { key }),
        1 => (0u64..3).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Flush),
        1 => Just(Step::Maintain),
        2 => Just(Step::AbandonAll),
    ]
}

/// How often a source had been updated.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When the item was begun: if there was no update since, the item is served.
    begun: u64,
    /// When it was last known to be what the item was derived from: if there was one since, the item is not served.
    named: u64,
}

/// What the model knows of an item.
#[derive(Clone, Debug)]
struct Model {
    len: usize,
    /// Second from which it is over.
    deadline: Option<u64>,
    /// All it was derived from.
    sources: BTreeMap<u8, Seen>,
}

/// An item in the making.
#[derive(Debug)]
struct Making {
    derivation: Derivation,
    /// How often each key had been updated when this was begun.
    begun: [u64; KEYS as usize],
    sources: BTreeMap<u8, Seen>,
    compared: bool,
}

impl Making {
    fn add(&mut self, sources: impl IntoIterator<Item = u8>, updates: &[u64]) {
        for source in sources {
            let (begun, named) = (self.begun[usize::from(source)], updates[usize::from(source)]);
            self.sources.entry(source).or_insert(Seen { begun, named });
        }
    }
}

struct Run {
    store: Store,
    seconds: u64,
    items: BTreeMap<u8, Model>,
    /// How often each key has been updated.
    updates: [u64; KEYS as usize],
    making: [Option<Making>; MAKING],
}

impl Run {
    fn new() -> Run {
        let options = Options {
            limit: 8 << 20,
            item_limit: 1 << 20,
            no_evictions: false,
            workers: 1,
            eviction: Eviction::default(),
        };
        Run {
            store: Store::new(&options),
            seconds: 10,
            items: BTreeMap::new(),
            updates: [0; KEYS as usize],
            making: Default::default(),
        }
    }

    fn now(&self) -> Now {
        Now::new(Now::EARLIEST + self.seconds * 1000, UNIX + self.seconds)
    }

    /// Whether something with these sources is to be held for current; `None` if it may be either way. What has a key
    /// of its own is not outdated by its own making.
    fn is_current(&self, own: Option<u8>, sources: &BTreeMap<u8, Seen>) -> Option<bool> {
        let updated_since = |seen: fn(&Seen) -> u64| {
            let mut others = sources.iter().filter(|(source, _)| Some(**source) != own);
            others.any(|(source, known)| self.updates[usize::from(*source)] != seen(known))
        };
        match (updated_since(|seen| seen.named), updated_since(|seen| seen.begun)) {
            (true, _) => Some(false),
            (false, false) => Some(true),
            (false, true) => None,
        }
    }

    /// Reads an item and compares it with what the model knows. What may be either way is from then on as it was
    /// found.
    fn item(&mut self, key: u8) -> Option<&mut Model> {
        let bytes = name(key);
        let found = self.store.read(key_of(&bytes), self.now(), |item| {
            item.map(|item| (item.value().len(), item.source_count())).ok()
        });
        if let Some(item) = self.items.get(&key) {
            let over = item.deadline.is_some_and(|deadline| deadline <= self.seconds);
            let expected = if over { Some(false) } else { self.is_current(Some(key), &item.sources) };
            assert!(expected.is_none_or(|expected| expected == found.is_some()), "{key}: {item:?} {found:?}");
            if let Some(found) = found {
                assert_eq!(found, (item.len, item.sources.len()), "{key}");
            } else {
                self.items.remove(&key);
            }
        } else {
            assert_eq!(found, None, "{key}");
        }
        self.items.get_mut(&key)
    }

    fn change(&self, key: u8, decide: impl FnOnce(Result<&mut Item<'_>, Absent>) -> Change<'static>) {
        let bytes = name(key);
        let updated = self.store.update(key_of(&bytes), self.now(), |item| (decide(item), ()));
        assert!(!updated.refused, "there is memory to spare");
    }

    fn put(&mut self, key: u8, len: usize, ttl: Option<u32>, origin: Origin, updates: bool) {
        let expiry = self.expiry(ttl);
        let value = self.value(len);
        let item = NewItem { origin, updates_source: updates, ..NewItem::plain(value, 7, expiry) };
        self.change(key, |_| Change::Put(item));
    }

    fn expiry(&self, ttl: Option<u32>) -> Expiry {
        ttl.map_or(Expiry::NEVER, |ttl| Expiry::after(ttl, self.now()))
    }

    fn deadline(&self, ttl: Option<u32>) -> Option<u64> {
        ttl.map(|ttl| self.seconds + u64::from(ttl))
    }

    fn value(&self, len: usize) -> NewValue<'static> {
        let mut incoming = self.store.incoming(len);
        while incoming.missing() > 0 {
            let space = incoming.space().expect("there is memory to spare");
            space.fill(b'v');
            let count = space.len();
            incoming.filled(count);
        }
        NewValue::Received(incoming)
    }

    fn updated(&mut self, key: u8) {
        self.updates[usize::from(key)] += 1;
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Begin { making } => {
                self.making[making] = Some(Making {
                    derivation: self.store.derivation(),
                    begun: self.updates,
                    sources: BTreeMap::new(),
                    compared: false,
                });
            }
            Step::Name { making, source, compare } => self.name(making, source, compare),
            Step::Store { making, key, len, ttl, updates } => {
                let Some(made) = self.making[making].take() else { return };
                let lost = made.derivation.has_lost();
                let current = self.is_current(None, &made.sources).unwrap_or(!lost);
                assert_eq!(lost, made.compared && !current);
                if lost {
                    return;
                }
                self.put(key, len, ttl, Origin::Derived(made.derivation), updates);
                // Whatever the command, storing what names sources is an update.
                self.updated(key);
                let deadline = self.deadline(ttl);
                self.items.insert(key, Model { len, deadline, sources: made.sources });
            }
            Step::Append { making, key, len } => {
                if self.item(key).is_none() {
                    return;
                }
                let Some(mut made) = self.making[making].take() else { return };
                let value = self.value(len);
                let origin = Origin::Derived(made.derivation);
                self.change(key, |_| Change::Append(value, CasChange::Next, origin));
                let item = self.items.get_mut(&key).expect("it has been read");
                item.len += len;
                for &source in item.sources.keys() {
                    let (begun, named) = (made.begun[usize::from(source)], self.updates[usize::from(source)]);
                    made.sources.entry(source).or_insert(Seen { begun, named });
                }
                item.sources = made.sources;
                self.updated(key);
            }
            Step::Put { key, len, kept, updates } => {
                let sources = self.item(key).filter(|_| kept).map(|item| item.sources.clone());
                self.put(key, len, None, if kept { Origin::Kept } else { Origin::Own }, updates);
                if updates {
                    self.updated(key);
                }
                self.items.insert(key, Model { len, deadline: None, sources: sources.unwrap_or_default() });
            }
            Step::Amend { key, ttl, stale } => {
                let deadline = self.deadline(ttl);
                let Some(item) = self.item(key) else { return };
                item.deadline = deadline;
                let amend = Amend {
                    stale: stale.then_some(true),
                    updates_source: stale,
                    cas: if stale { CasChange::Next } else { CasChange::Keep },
                    ..Amend::expiry(self.expiry(ttl))
                };
                self.change(key, |_| Change::Amend(amend));
                if stale {
                    self.updated(key);
                }
            }
            Step::Delete { key } => {
                self.change(key, |_| Change::Delete);
                self.updated(key);
                self.items.remove(&key);
            }
            Step::Wait { seconds } => self.seconds += seconds,
            Step::Flush => {
                self.store.flush(self.now(), self.now());
                self.items.clear();
            }
            Step::AbandonAll => self.making = Default::default(),
            Step::Maintain => drop(self.store.maintain(self.now())),
        }
    }

    fn name(&mut self, making: usize, source: u8, compare: Option<bool>) {
        let inherited: Option<Vec<u8>> = self.item(source).map(|item| item.sources.keys().copied().collect());
        let Some(mut made) = self.making[making].take() else { return };
        let bytes = name(source);
        let cas = self.store.read(key_of(&bytes), self.now(), |item| item.ok().map(|item| item.cas()));
        let wanted = compare.map(|right| cas.map_or(1, |cas| if right { cas } else { cas + 1 }));
        let named = self.store.name_source(&mut made.derivation, key_of(&bytes), wanted, self.now());
        assert_eq!(named, compare.is_none_or(|right| right && inherited.is_some()));
        if named {
            made.compared |= compare.is_some();
            made.add(inherited.into_iter().flatten().chain([source]), &self.updates);
        }
        self.making[making] = Some(made);
    }
}

fn name(key: u8) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

fn key_of(bytes: &[u8]) -> Key<'_> {
    Key::new(bytes).expect("a short name")
}

proptest! {
    #[test]
    fn what_every_chain_by_hand_leaves_is_what_is_there(steps in proptest::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in &steps {
            run.carry_out(step);
            if run.making.iter().all(Option::is_none) {
                run.store.check();
            }
        }
        for key in 0..KEYS {
            run.item(key);
        }
        run.making = Default::default();
        run.store.check();
        run.store.flush(run.now(), run.now());
        while run.store.maintain(run.now()) {}
        let stats = run.store.stats(run.now());
        prop_assert_eq!((stats.sources, stats.source_namings), (0, 0));
    }
}

/// Many at once store, replace and delete what names sources, some of it for seconds only, in less memory than all
/// of it takes. Whatever the order, the table names what the items do, and nothing when they are gone.
#[test]
fn the_table_adds_up_after_many_at_once() {
    let options = Options {
        limit: 2 << 20,
        item_limit: 1 << 19,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    };
    let store = Store::new(&options);
    let at = |seconds: u64| Now::new(Now::EARLIEST + seconds * 1000, UNIX + seconds);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..20_000u64 {
                    let now = at(1 + number / 2000);
                    let key = format!("item{}", (number * 7 + thread) % 5000).into_bytes();
                    let mut derivation = store.derivation();
                    for source in [number % 3, number % 50 + 10, number + 100] {
                        let source = format!("item{source}").into_bytes();
                        store.name_source(&mut derivation, key_of(&source), None, now);
                    }
                    let expiry = if number % 3 == 0 { Expiry::after(2, now) } else { Expiry::NEVER };
                    let item = NewItem {
                        origin: Origin::Derived(derivation),
                        ..NewItem::plain(NewValue::Bytes(&[0; 300]), 0, expiry)
                    };
                    store.update(key_of(&key), now, |_| match number % 11 {
                        0 => (Change::Delete, ()),
                        1 => (Change::Keep, ()),
                        _ => (Change::Put(item), ()),
                    });
                    if number % 1000 == 0 {
                        store.maintain(now);
                    }
                }
            });
        }
    });
    store.check();
    assert!(store.stats(at(11)).source_namings > 0);
    store.flush(at(11), at(11));
    while store.maintain(at(11)) {}
    store.check();
    let stats = store.stats(at(11));
    assert_eq!((stats.sources, stats.source_namings), (0, 0));
}
