//! Resident memory stays within the limit plus 8 % while item sizes change, and follows a lower limit down. One test
//! only in this file: it measures its process.

use memcarp::store::{Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Store};

const LIMIT: usize = 64 << 20;

/// Stores this many items with values of about this length under keys nobody has used.
fn fill(store: &Store, next: &mut u64, count: usize, value_len: usize) {
    let now = Now::new(Now::EARLIEST, 1_700_000_000);
    let value = vec![b'v'; value_len * 5 / 4];
    for _ in 0..count {
        let key = format!("key:{next:018}");
        // A quarter more or less than asked for.
        let len = value_len * 3 / 4 + (next.wrapping_mul(0x9e37_79b9) >> 7) as usize % (value_len / 2);
        let new = NewItem::plain(NewValue::Bytes(&value[..len]), 0, Expiry::NEVER);
        let updated = store.update(Key::new(key.as_bytes()).unwrap(), now, |_| (Change::Put(new), ()));
        assert!(!updated.refused);
        *next += 1;
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn resident_memory_stays_near_the_limit_whatever_the_sizes() {
    let options = Options {
        limit: LIMIT,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 4,
        eviction: Eviction::default(),
    };
    let before = resident();
    let store = Store::new(&options);
    assert!(resident() - before < LIMIT / 20, "memory is taken as it is used");

    let mut next = 0;
    for (value_len, count) in [(60, 1_000_000), (4000, 50_000), (250, 400_000), (60, 700_000)] {
        fill(&store, &mut next, count, value_len);
        let (now, used) =
            (resident() - before, store.stats(Now::new(Now::EARLIEST, 0)).memory_bytes as usize);
        println!("{value_len}-byte values: {now} bytes resident, {used} counted");
        assert!(now <= LIMIT + LIMIT * 8 / 100, "{now} bytes resident");
        assert!(now >= LIMIT * 9 / 10, "the memory is used: {now} bytes resident");
        assert!(used <= LIMIT + LIMIT / 50, "{used} bytes counted");
    }
    store.check();

    store.set_limit(LIMIT / 4);
    while store.maintain(Now::new(Now::EARLIEST, 0)) {}
    let now = resident() - before;
    println!("limit lowered: {now} bytes resident");
    assert!(now <= LIMIT / 4 + LIMIT * 8 / 100, "{now} bytes resident");
    store.check();
}
