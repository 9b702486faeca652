//! What stays when memory is short, what comes back by itself, and what it costs.

use memcarp::store::{
    Absent, Amend, Body, Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Stats, Store, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const LIMIT: usize = 16 << 20;

struct Cache {
    store: Store,
    millis: u64,
}

impl Cache {
    fn new(limit: usize, eviction: Eviction) -> Cache {
        let options = Options { limit, item_limit: 8 << 20, no_evictions: false, workers: 1, eviction };
        Cache { store: Store::new(&options), millis: Now::EARLIEST }
    }

    fn now(&self) -> Now {
        Now::new(self.millis, 1_700_000_000)
    }

    /// False if it was refused.
    fn put(&self, key: &str, len: usize, ttl: Option<u32>) -> bool {
        let now = self.now();
        let filler = vec![b'v'; len];
        let value = if len <= self.store.inline_limit() {
            NewValue::Bytes(&filler)
        } else {
            let mut incoming = self.store.incoming(len);
            while incoming.missing() > 0 {
                let Some(space) = incoming.space() else { return false };
                let count = space.len();
                incoming.filled(count);
            }
            NewValue::Received(incoming)
        };
        let expiry = ttl.map_or(Expiry::NEVER, |ttl| Expiry::after(ttl, now));
        let new = NewItem::plain(value, 0, expiry);
        !self.store.update(Key::new(key.as_bytes()).unwrap(), now, |_| (Change::Put(new), ())).refused
    }

    fn get(&self, key: &str) -> Result<usize, Absent> {
        let now = self.now();
        self.store.read(Key::new(key.as_bytes()).unwrap(), now, |item| {
            item.map(|item| {
                item.mark_used(now);
                item.value().len()
            })
        })
    }

    fn stats(&self) -> Stats {
        self.store.stats(self.now())
    }

    fn items(&self) -> u64 {
        self.stats().sum(|class| class.items)
    }

    /// Background work until there is none.
    fn maintain(&self) {
        while self.store.maintain(self.now()) {}
    }
}

/// Five times the memory in items nobody reads go by; four hundred that come among them are read now and then.
#[test]
fn what_is_read_now_and_then_outlives_a_flood_of_what_is_not() {
    for eviction in Eviction::ALL {
        let mut cache = Cache::new(LIMIT, eviction);
        for number in 0..400_000 {
            cache.put(&format!("flood-{number}"), 200, None);
            if number % 1000 == 0 {
                cache.put(&format!("used-{}", number / 1000), 200, None);
            }
            if number % 4000 == 3999 {
                cache.millis += 1000;
                for number in 0..=number / 1000 {
                    assert_eq!(cache.get(&format!("used-{number}")), Ok(200), "{eviction}: used-{number}");
                }
            }
        }
        assert!(cache.stats().sum(|class| class.evicted_unfetched) > 300_000, "{eviction}");
        cache.store.check();
    }
}

/// Each item is read once soon after it was stored, and then not before as many others came as there is room for.
#[test]
fn what_was_read_while_it_was_new_outlives_what_was_not() {
    for eviction in Eviction::ALL {
        let mut cache = Cache::new(LIMIT, eviction);
        for number in 0..90_000 {
            cache.put(&format!("before-{number}"), 200, None);
        }
        for number in 0..1000 {
            cache.put(&format!("used-{number}"), 200, None);
        }
        cache.millis += 1000;
        for number in 0..1000 {
            assert_eq!(cache.get(&format!("used-{number}")), Ok(200), "{eviction}");
        }
        cache.millis += 1000;
        for number in 0..75_000 {
            cache.put(&format!("flood-{number}"), 200, None);
        }
        let left = (0..1000).filter(|number| cache.get(&format!("used-{number}")).is_ok()).count();
        assert!(left >= 990, "{eviction}: {left} of 1000 left");
    }
}

/// A working set of half the memory that is read in turn, and one pass over as much as fits three times.
#[test]
fn a_scan_leaves_the_working_set_in_place() {
    for eviction in [Eviction::Queues, Eviction::Ranked] {
        let mut cache = Cache::new(LIMIT, eviction);
        let working_set = || (0..30_000).map(|number| format!("work-{number}"));
        let read_all = |cache: &Cache| {
            let mut misses = 0;
            for key in working_set() {
                if cache.get(&key).is_err() {
                    misses += 1;
                    cache.put(&key, 200, None);
                }
            }
            misses
        };
        for round in 0..6 {
            read_all(&cache);
            for number in 0..20_000 {
                cache.put(&format!("before-{round}-{number}"), 200, None);
            }
        }
        cache.millis += 10_000;
        for number in 0..200_000 {
            cache.put(&format!("scan-{number}"), 200, None);
        }
        let misses = read_all(&cache);
        assert!(misses < 3000, "{eviction}: {misses} of 30000 went");
    }
}

/// Half as many again as fit, read in turn again and again: who goes by last use alone misses nearly each time, as
/// the other policies do.
#[test]
fn of_a_loop_longer_than_memory_a_part_stays() {
    let mut cache = Cache::new(LIMIT, Eviction::Ranked);
    let (mut hits, rounds, items) = (0, 8, 105_000);
    for round in 0..rounds {
        for number in 0..items {
            let key = format!("loop-{number}");
            match cache.get(&key) {
                Ok(_) => hits += usize::from(round >= rounds / 2),
                Err(_) => assert!(cache.put(&key, 200, None)),
            }
            cache.millis += u64::from(number % 10 == 0);
        }
    }
    let share = hits as f64 / f64::from(items * rounds / 2);
    println!("{share:.3} of the reads hit");
    assert!(share > 0.1, "{share:.3}");
}

#[test]
fn a_large_value_finds_room_among_tiny_ones_and_tiny_ones_among_large() {
    for (eviction, tiny) in
        [(Eviction::Ranked, 900_000), (Eviction::Queues, 200_000), (Eviction::Clock, 200_000)]
    {
        // Full before the large one comes.
        let cache = Cache::new((64 << 20) / (900_000 / tiny), eviction);
        for number in 0..tiny {
            assert!(cache.put(&format!("tiny-{number}"), 30, None), "{eviction}");
        }
        assert!(cache.put("large", 1 << 20, None), "{eviction}");
        assert_eq!(cache.get("large"), Ok(1 << 20));
        assert!(cache.items() > tiny as u64 * 7 / 10, "{eviction}: it cost no more than its size");
        for number in 0..100 {
            assert!(cache.put(&format!("large-{number}"), 1 << 20, None), "{eviction}");
        }
        for number in 0..100_000 {
            assert!(cache.put(&format!("tiny-{number}"), 30, None), "{eviction}");
        }
        cache.store.check();
    }
}

#[test]
fn a_value_of_some_kibibytes_or_more_costs_its_size_and_one_percent() {
    let lens = [
        4000, 5000, 6001, 8192, 10_000, 12_288, 16_384, 16_385, 20_000, 32_768, 50_001, 100_000, 300_001,
        1_000_000, 3_000_000,
    ];
    for len in lens {
        let cache = Cache::new(256 << 20, Eviction::default());
        let count = (240 << 20) / len;
        for number in 0..count {
            cache.put(&format!("large-{number}"), len, None);
        }
        let stats = cache.stats();
        assert_eq!(cache.items(), count as u64, "{len}: nothing was evicted");
        // But for what is open and will hold more: a segment of each shard, a group of units.
        let open = 5 * stats.segment_bytes / stats.segments;
        let an_item = (stats.memory_bytes - open) as f64 / count as f64;
        println!("{len}: {an_item:.0} bytes");
        assert!(an_item <= len as f64 * 1.01, "{len}: {an_item} bytes");
    }
}

#[test]
fn a_burst_of_items_with_one_ttl_gives_its_memory_back_by_itself() {
    let mut cache = Cache::new(64 << 20, Eviction::default());
    for number in 0..1000 {
        cache.put(&format!("stays-{number}"), 100, None);
    }
    let before = cache.stats().memory_bytes;
    for number in 0..200_000 {
        cache.put(&format!("burst-{number}"), 100, Some(30));
    }
    assert!(cache.stats().memory_bytes > before + (20 << 20));
    cache.millis += 29_999;
    cache.maintain();
    assert_eq!(cache.items(), 201_000, "they live as long as they were stored for");
    cache.millis += 1001;
    cache.maintain();
    assert_eq!(cache.items(), 1000);
    let left = cache.stats().memory_bytes - before;
    assert!(left < 2 << 20, "{left} bytes more than before");
    assert_eq!(cache.get("burst-7"), Err(Absent::NotFound));
    assert_eq!(cache.stats().sum(|class| class.expired_unfetched), 200_000);
    cache.store.check();
}

/// Segments that are over leave the index first and memory after. In between old items are gone, new ones under their
/// keys are there, and what room is needed is had of the old.
#[test]
fn the_store_goes_on_while_a_burst_or_what_was_flushed_is_cleared_away() {
    for flushed in [false, true] {
        let mut cache = Cache::new(LIMIT, Eviction::default());
        for number in 0..80_000 {
            cache.put(&format!("burst-{number}"), 100, (!flushed).then_some(30));
        }
        cache.millis += 31_000;
        if flushed {
            cache.store.flush(cache.now(), cache.now());
        }
        let mut slices = 0;
        while cache.store.maintain(cache.now()) {
            for number in slices * 500..(slices + 1) * 500 {
                assert!(cache.put(&format!("burst-{number}"), 150, None));
            }
            assert!(cache.get(&format!("burst-{}", 79_999 - slices)).is_err());
            assert_eq!(cache.get(&format!("burst-{}", slices * 250)), Ok(150));
            slices += 1;
            cache.store.check();
        }
        assert!((10..150).contains(&slices), "{slices} slices");
        let stats = cache.stats();
        assert_eq!(cache.items(), slices * 500);
        assert_eq!(stats.sum(|class| class.evicted), 0, "there was room in what was over");
        assert!(stats.memory_bytes < 12 << 20, "{} bytes", stats.memory_bytes);
    }
}

/// Background work may have a later clock than a batch of commands, and have doomed what these find: what they store is
/// none of it.
#[test]
fn what_is_stored_by_an_earlier_clock_outlives_the_wiping() {
    let mut cache = Cache::new(LIMIT, Eviction::default());
    for _ in 0..2 {
        for number in 0..20_000 {
            cache.put(&format!("burst-{number}"), 100, Some(30));
        }
    }
    let deadline = cache.millis + 31_000;
    cache.millis = deadline;
    cache.store.maintain(cache.now());
    cache.millis = deadline - 2000;
    for number in 0..20_000 {
        assert!(cache.put(&format!("burst-{number}"), 100, Some(60)));
    }
    cache.millis = deadline;
    cache.maintain();
    let left = (0..20_000).filter(|number| cache.get(&format!("burst-{number}")).is_ok()).count();
    assert_eq!(left, 20_000);
    cache.store.check();
}

/// Of long values few are given back at once: the system takes long for each.
#[test]
fn long_values_that_have_expired_go_a_few_at_a_time() {
    let mut cache = Cache::new(64 << 20, Eviction::default());
    for number in 0..40 {
        cache.put(&format!("long-{number}"), 1_000_000, Some(30));
        cache.put(&format!("stays-{number}"), 100, Some(60));
    }
    cache.millis += 31_000;
    let mut items = cache.items();
    while items > 40 {
        cache.store.maintain(cache.now());
        // There are four shards.
        assert!(items - cache.items() <= 12, "{} of {items} at once", items - cache.items());
        items = cache.items();
    }
    cache.store.check();
}

#[test]
fn flushed_items_give_their_memory_back_by_themselves() {
    let cache = Cache::new(64 << 20, Eviction::default());
    for number in 0..100_000 {
        cache.put(&format!("key-{number}"), 100, None);
    }
    cache.store.flush(cache.now(), cache.now());
    cache.put("after", 100, None);
    assert_eq!(cache.get("key-5"), Err(Absent::Flushed));
    cache.maintain();
    assert_eq!(cache.items(), 1);
    assert!(cache.stats().memory_bytes < 2 << 20);
    assert_eq!(cache.get("after"), Ok(100));
    cache.store.check();
}

/// Items are replaced at random by longer and shorter ones, many times the memory: what is dead is little, and copying
/// is bounded.
#[test]
fn overwriting_keeps_memory_live_at_a_bounded_cost() {
    let mut cache = Cache::new(LIMIT, Eviction::default());
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for number in 0..600_000 {
        // Popular ones more often: the lesser of two.
        let key = next(100_000).min(next(100_000));
        cache.put(&format!("key-{key}"), 150 + next(100) as usize, None);
        cache.millis += u64::from(number % 10 == 0);
    }
    let stats = cache.stats();
    let (copied, live) = (
        stats.carried_bytes as f64 / stats.stored_bytes as f64,
        stats.live_bytes as f64 / stats.segment_bytes as f64,
    );
    println!("{copied:.2} bytes copied for one stored, {live:.3} live");
    assert!(copied < 4.1, "{copied} bytes copied for one stored");
    assert!(live > 0.9, "{live} live");
    cache.store.check();
}

/// A little more than fits, any of it replaced as often as any other: rather than copying more and more to make room,
/// items go.
#[test]
fn copying_stays_bounded_when_a_little_more_is_replaced_than_fits() {
    let mut cache = Cache::new(LIMIT, Eviction::default());
    let mut random = 1u64;
    for number in 0..1_000_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        cache.put(&format!("key-{}", (random >> 33) % 74_000), 140 + (random >> 50) as usize % 100, None);
        cache.millis += u64::from(number % 10 == 0);
    }
    let stats = cache.stats();
    let copied = stats.carried_bytes as f64 / stats.stored_bytes as f64;
    println!("{copied:.2} bytes copied for one stored, {} evicted", stats.sum(|class| class.evicted));
    assert!(copied < 3.7, "{copied} bytes copied for one stored");
}

/// What may be held is the longest item, 8 MiB here.
#[test]
fn values_that_go_while_they_are_read_count_until_readers_let_them_go() {
    let cache = Cache::new(LIMIT, Eviction::default());
    let now = cache.now();
    let held: Vec<Body> = (0..10)
        .map(|number| {
            let name = format!("long-{number}");
            cache.put(&name, 1 << 20, None);
            let key = Key::new(name.as_bytes()).unwrap();
            // Moved in the log, its body is still the item's.
            let amend = Amend::expiry(Expiry::after(100, now));
            cache.store.update(key, now, |_| (Change::Amend(amend), ()));
            cache.store.read(key, now, |item| match item.unwrap().value() {
                Value::Large(body, _) => body.clone(),
                Value::Small(_) | Value::Cut(_) => panic!("it is long"),
            })
        })
        .collect();
    assert!(!held.iter().any(Body::is_detached));
    for (number, body) in held.iter().enumerate() {
        assert_eq!(cache.store.detached_excess(), (number << 20).saturating_sub(8 << 20));
        let name = format!("long-{number}");
        cache.store.update(Key::new(name.as_bytes()).unwrap(), now, |_| (Change::Delete, ()));
        assert!(body.is_detached());
    }
    assert_eq!(cache.store.detached_excess(), 2 << 20);
    drop(held);
    cache.store.check();
}

#[test]
fn without_eviction_stores_are_refused_and_deletes_make_room() {
    let options = Options {
        limit: 2 << 20,
        item_limit: 1 << 20,
        no_evictions: true,
        workers: 1,
        eviction: Eviction::default(),
    };
    let cache = Cache { store: Store::new(&options), millis: Now::EARLIEST };
    let full = (0..).find(|number| !cache.put(&format!("key-{number}"), 100, None)).unwrap();
    assert!(full > 14_000, "{full} items of 113 bytes");
    assert!(!cache.put("large", 500_000, None));
    for number in 0..full {
        assert_eq!(cache.get(&format!("key-{number}")), Ok(100), "nothing was evicted");
    }
    for number in (0..full).step_by(2) {
        cache.store.update(Key::new(format!("key-{number}").as_bytes()).unwrap(), cache.now(), |_| {
            (Change::Delete, ())
        });
    }
    let again = (0..).find(|number| !cache.put(&format!("new-{number}"), 100, None)).unwrap();
    assert!(again > full / 3, "{again} of {} found room", full / 2);
    for number in (1..full).step_by(2) {
        assert_eq!(cache.get(&format!("key-{number}")), Ok(100), "nothing was evicted");
    }
    cache.store.check();
}

#[test]
fn the_hook_is_told_of_each_eviction() {
    let cache = Cache::new(2 << 20, Eviction::default());
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    cache.store.on_eviction(Some(Arc::new(Box::new(move |evicted| {
        assert!(evicted.key.starts_with(b"key-") && !evicted.fetched);
        assert_eq!((evicted.remaining, evicted.value_len), (None, 100));
        count.fetch_add(1, Ordering::Relaxed);
    }))));
    for number in 0..50_000 {
        cache.put(&format!("key-{number}"), 100, None);
    }
    let evicted = cache.stats().sum(|class| class.evicted);
    assert!(evicted > 20_000);
    assert_eq!(told.load(Ordering::Relaxed), evicted);
    assert_eq!(cache.items() + evicted, 50_000);
}
