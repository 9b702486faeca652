//! Tests of keys that would all go to one place: nobody can choose them, and a store that had them would still be
//! right, and no larger than it may be.

use super::*;
use crate::store::index::{Index, Location};

fn store() -> Store {
    Store::new(&Options {
        limit: 64 << 20,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 1,
        eviction: Eviction::default(),
    })
}

/// The leading bits of a key's hash decide its region of the index, the last ones its shard.
fn place(store: &Store, number: u64) -> (u64, usize) {
    let name = format!("key{number}");
    let hash = store.inner.hash(Key::new(name.as_bytes()).expect("a good key"));
    (hash >> 56, store.inner.shard(hash))
}

/// Whoever knows one server's hashes, a copy of this program for one, knows nothing of another's.
#[test]
fn keys_that_collide_in_one_server_do_not_in_another() {
    let (one, other) = (store(), store());
    let chosen: Vec<u64> = (0..300_000).filter(|&number| place(&one, number) == (0, 0)).collect();
    assert!(chosen.len() > 200, "{} keys", chosen.len());
    let mut counts = std::collections::HashMap::<_, usize>::new();
    for &number in &chosen {
        *counts.entry(place(&other, number)).or_default() += 1;
    }
    let most = counts.into_values().max().unwrap_or(0);
    assert!(most < 20, "{most} of {} keys in one place", chosen.len());
}

#[test]
fn a_key_with_the_hash_of_another_is_not_taken_for_it() {
    let store = store();
    let now = Now::new(Now::EARLIEST, 1_700_000_000);
    let [one, other] = [b"one key", b"another"].map(|name| Key::new(name).expect("a good key"));
    let new = NewItem::plain(NewValue::Bytes(b"of one"), 0, Expiry::NEVER);
    store.update(one, now, |_| (Change::Put(new), ()));
    let hash = store.hash(one);
    assert!(store.read_hashed(one, hash, now, |item| item.is_ok()));
    assert_eq!(store.read_hashed(other, hash, now, |item| item.err()), Some(Absent::NotFound));
}

/// Slots of one tag are looked through one by one, so there are not many; and those of tags near each other do not make
/// the directory grow without end. Other keys go on as if they were not there.
#[test]
fn keys_of_one_place_are_found_and_cost_no_more_than_others() {
    let pool = Arc::new(Pool::new(1 << 30, 16 << 10, 1));
    let mut index = Index::new(pool.clone());
    // Number by number: the same tag a hundred times, then tags next to it.
    let hash =
        |number: u64| 0x5a5a_5a5a_5a5a_5a5a & !0x0fff_ffff_ffff | number.saturating_sub(100) << 37 | number;
    let chosen: Vec<u64> = (1..5000).filter(|&number| index.insert(hash(number), Location(number))).collect();
    assert_eq!(chosen.iter().filter(|&&number| number <= 100).count(), 32);
    assert!((300..1100).contains(&chosen.len()), "{}", chosen.len());
    assert!(pool.used() < 256 << 10, "{} bytes", pool.used());
    index.check();
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let others: Vec<u64> = (10_000..60_000u64)
        .filter(|&number| index.insert(hasher.hash_one(number), Location(number)))
        .collect();
    assert!(others.len() > 49_500, "{}", others.len());
    index.check();
    for number in others {
        assert!(index.find(hasher.hash_one(number), |location| location.0 == number).is_some());
    }
    for number in chosen {
        let found = index.find(hash(number), |location| location.0 == number);
        index.remove(found.expect("still there").0);
    }
    index.check();
}
