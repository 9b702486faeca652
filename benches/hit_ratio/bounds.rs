//! What no cache can do without, item by item, with a little more than the key and the value to pay for each.

use super::replay::Outcome;
use super::trace::{Op, Request};
use std::collections::HashMap;

/// Bytes of memory an item takes beside its key and value.
const OVERHEAD: u32 = 15;
/// Items among which the one to go is sought.
const SAMPLE: usize = 64;
const NEVER: u32 = u32::MAX;

struct Item {
    key: u32,
    len: u32,
    ends: u32,
    /// Number of the request that will want it next, unless it is replaced or deleted before.
    next: u32,
}

/// Misses of a cache that forgets nothing before its time.
pub fn first(requests: &[Request]) -> Outcome {
    run(requests, usize::MAX, &[])
}

/// Misses of a cache of `limit` bytes that knows what comes next, and lets the item go whose next use costs most
/// memory until then. Not quite the least possible, which is too hard to find where lengths differ.
pub fn foresight(requests: &[Request], limit: usize) -> Outcome {
    let mut wanted: HashMap<u32, u32> = HashMap::new();
    let mut next = vec![NEVER; requests.len()];
    for (at, request) in requests.iter().enumerate().rev() {
        next[at] = wanted.get(&request.key).copied().unwrap_or(NEVER);
        wanted.insert(request.key, if request.op == Op::Get { at as u32 } else { NEVER });
    }
    run(requests, limit, &next)
}

fn run(requests: &[Request], limit: usize, next: &[u32]) -> Outcome {
    let mut items: Vec<Item> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    let (mut outcome, mut used, mut random) = (Outcome::default(), 0, 1u64);
    for (at, &request) in requests.iter().enumerate() {
        let place = places.get(&request.key).copied();
        let wanted = next.get(at).copied().unwrap_or(NEVER);
        let place = place.filter(|&place| {
            items[place].ends > request.time || {
                used -= remove(&mut items, &mut places, place);
                false
            }
        });
        if request.op == Op::Get && at >= requests.len() / 5 {
            outcome.gets += 1;
            outcome.misses += u64::from(place.is_none());
        }
        match (request.op, place) {
            (Op::Get, Some(place)) => {
                items[place].next = wanted;
                continue;
            }
            (_, Some(place)) => used -= remove(&mut items, &mut places, place),
            (_, None) => {}
        }
        if request.op == Op::Delete {
            continue;
        }
        let ends = if request.ttl == 0 { NEVER } else { request.time.saturating_add(request.ttl) };
        let len = request.value_len + u32::from(request.key_len) + OVERHEAD;
        places.insert(request.key, items.len());
        items.push(Item { key: request.key, len, ends, next: wanted });
        used += len as usize;
        while used > limit {
            let cost = |place: &usize| {
                let item = &items[*place];
                let wait =
                    if item.ends <= request.time { NEVER } else { item.next.saturating_sub(at as u32) };
                if item.next == NEVER { u64::MAX } else { u64::from(wait) * u64::from(item.len) }
            };
            let mut draw = || {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize % items.len()
            };
            let sample: Vec<usize> = (0..SAMPLE).map(|_| draw()).collect();
            let place = sample.into_iter().max_by_key(|place| cost(place)).expect("a sample is not empty");
            used -= remove(&mut items, &mut places, place);
        }
    }
    Outcome { resident: if limit == usize::MAX { 0 } else { limit }, ..outcome }
}

/// Takes an item out, and answers its length.
fn remove(items: &mut Vec<Item>, places: &mut HashMap<u32, usize>, place: usize) -> usize {
    let item = items.swap_remove(place);
    places.remove(&item.key);
    if let Some(moved) = items.get(place) {
        places.insert(moved.key, place);
    }
    item.len as usize
}
