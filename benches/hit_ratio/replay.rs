//! Replays a trace over the store in this process, with the trace's own clock.

use super::trace::{Op, Request};
use memcarp::store::{Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub gets: u64,
    pub misses: u64,
    /// Resident bytes of the process at the end, or what the store counts.
    pub resident: usize,
}

impl Outcome {
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.gets.max(1) as f64
    }
}

/// Replays `count` requests; the first fifth is not counted.
pub fn replay(
    requests: impl Iterator<Item = Request>,
    count: u32,
    limit: usize,
    eviction: Eviction,
) -> Outcome {
    let options = Options { limit, item_limit: 1 << 20, no_evictions: false, workers: 4, eviction };
    let store = Store::new(&options);
    let filler = vec![b'v'; 1 << 20];
    let mut outcome = Outcome::default();
    let mut key = [0; 250];
    let mut last_maintained = 0;
    for (number, request) in requests.take(count as usize).enumerate() {
        let now = Now::new(Now::EARLIEST + u64::from(request.time) * 1000, 1_700_000_000);
        if request.time != last_maintained {
            last_maintained = request.time;
            while store.maintain(now) {}
        }
        let key = Key::new(request.write_key(&mut key)).expect("keys of traces are short");
        let mut store_it = request.op == Op::Set;
        match request.op {
            Op::Get => {
                let hit = store.read(key, now, |item| item.map(|item| item.mark_used(now)).is_ok());
                if number >= count as usize / 5 {
                    outcome.gets += 1;
                    outcome.misses += u64::from(!hit);
                }
                store_it = !hit;
            }
            Op::Delete => drop(store.update(key, now, |_| (Change::Delete, ()))),
            Op::Set => {}
        }
        if store_it {
            put(&store, key, request, &filler, now);
        }
    }
    let now = Now::new(Now::EARLIEST + (1 << 32), 1_700_000_000);
    outcome.resident = store.stats(now).memory_bytes as usize;
    outcome
}

fn put(store: &Store, key: Key<'_>, request: Request, filler: &[u8], now: Now) {
    let expiry = if request.ttl == 0 { Expiry::NEVER } else { Expiry::after(request.ttl, now) };
    let len = (request.value_len as usize).min(filler.len() - 1000);
    let value = if len <= store.inline_limit() {
        NewValue::Bytes(&filler[..len])
    } else {
        let mut incoming = store.incoming(len);
        while incoming.missing() > 0 {
            let Some(space) = incoming.space() else { return };
            let count = space.len();
            incoming.filled(count);
        }
        NewValue::Received(incoming)
    };
    store.update(key, now, |_| (Change::Put(NewItem::plain(value, 0, expiry)), ()));
}
