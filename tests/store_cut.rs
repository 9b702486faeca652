//! Items cut between two segments.

use memcarp::store::{Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store, Value};

struct Cache {
    store: Store,
    millis: u64,
}

impl Cache {
    fn new(eviction: Eviction) -> Cache {
        let options =
            Options { limit: 16 << 20, item_limit: 1 << 20, no_evictions: false, workers: 1, eviction };
        Cache { store: Store::new(&options), millis: Now::EARLIEST }
    }

    fn now(&self) -> Now {
        Now::new(self.millis, 1_700_000_000)
    }

    fn put(&self, number: usize, ttl: Option<u32>) {
        let (key, value, now) = (format!("cut-{number}"), contents(number), self.now());
        let expiry = ttl.map_or(Expiry::NEVER, |ttl| Expiry::after(ttl, now));
        let new = NewItem::plain(NewValue::Bytes(&value), 0, expiry);
        self.store.update(Key::new(key.as_bytes()).unwrap(), now, |_| (Change::Put(new), ()));
    }

    /// How many items there are, and how many of them are cut. One in three counts as read.
    fn look_at_all(&self) -> (usize, usize) {
        let (mut found, mut cut) = (0, 0);
        for number in 0..KEYS {
            let key = format!("cut-{number}");
            self.store.read(Key::new(key.as_bytes()).unwrap(), self.now(), |item| {
                let Ok(item) = item else { return };
                found += 1;
                cut += usize::from(matches!(item.value(), Value::Cut(_)));
                let value: Vec<u8> = item.value().slices().flatten().copied().collect();
                assert!(value == contents(number), "{number} is another");
                if number.is_multiple_of(3) {
                    item.mark_used(self.now());
                }
            });
        }
        self.store.check();
        (found, cut)
    }

    /// Background work until there is none.
    fn maintain(&self) {
        let slices = (0..1_000_000).take_while(|_| self.store.maintain(self.now())).count();
        assert!(slices < 1_000_000, "it comes to an end");
    }
}

const KEYS: usize = 6000;

fn contents(number: usize) -> Vec<u8> {
    (0..3000 + number % 7000).map(|at| (number * 7 + at / 3 + at % 251) as u8).collect()
}

#[test]
fn an_item_cut_between_segments_is_whole_or_gone() {
    for eviction in Eviction::ALL {
        let mut cache = Cache::new(eviction);
        // Evicted, carried on, replaced and compacted.
        for round in 0..3 {
            for step in 0..3000 {
                cache.put((step * 17 + round * 1000) % KEYS, None);
            }
            let (found, cut) = cache.look_at_all();
            assert!(found > 1500 && cut > 300, "{eviction}: {found} items, {cut} of them cut");
        }
        // Over one by one, and together.
        for ttls in [[1, 60], [1, 1]] {
            for step in 0..2500 {
                cache.put((step * 17) % KEYS, Some(ttls[step % 2]));
            }
            cache.millis += 2000;
            cache.maintain();
            cache.look_at_all();
        }
        cache.store.flush(cache.now(), cache.now());
        cache.maintain();
        assert_eq!(cache.look_at_all(), (0, 0));
        assert_eq!(cache.store.stats(cache.now()).live_bytes, 0);
    }
}
