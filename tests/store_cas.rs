//! CAS values: every change of an item gives it a higher one than any its key has shown, however it is made, and
//! nothing else changes one that has been shown.

use memcarp::store::{
    Amend, CasChange, Change, Eviction, Expiry, Key, NewItem, NewValue, Now, Options, Origin, Store,
};
use std::collections::HashMap;

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// So little memory that items are carried on and compacted all the time, few keys, and few lengths, so that items are
/// replaced where they lie as often as not.
#[test]
fn every_change_raises_the_cas_value_and_nothing_else_changes_it() {
    let mut random = Random(1);
    for eviction in Eviction::ALL {
        let options =
            Options { limit: 1 << 20, item_limit: 1 << 20, no_evictions: false, workers: 1, eviction };
        let store = Store::new(&options);
        let mut millis = Now::EARLIEST;
        // By key, the highest CAS value it has shown, and the one it has if that is known.
        let mut shown: HashMap<u64, (u64, Option<u64>)> = HashMap::new();
        for step in 0..60_000 {
            let number = random.below(40);
            let name = format!("key-{number}");
            let key = Key::new(name.as_bytes()).unwrap();
            millis += random.below(50);
            let now = Now::new(millis, 1_700_000_000);
            let (last, known) = shown.entry(number).or_default();
            // Seconds it has to live, or none.
            let expiry = match random.below(4) {
                0 => Expiry::after(1 + random.below(100) as u32, now),
                _ => Expiry::NEVER,
            };
            let cas = if random.below(2) == 0 { CasChange::Next } else { CasChange::NextShown };
            let bytes = vec![b'v'; [20, 20, 20, 300, 6000][random.below(5) as usize]];
            let value = || NewValue::Bytes(&bytes[..bytes.len().min(store.inline_limit())]);
            let change = match random.below(12) {
                0..6 => Change::Put(NewItem { cas, ..NewItem::plain(value(), 0, expiry) }),
                6 => Change::Append(NewValue::Bytes(b"more"), cas, Origin::Own),
                7 => Change::Amend(Amend { stale: Some(true), cas, ..Amend::expiry(expiry) }),
                8 => Change::Amend(Amend::expiry(expiry)),
                9 => Change::Delete,
                _ => Change::Keep,
            };
            let makes_one = !matches!(change, Change::Keep | Change::Delete)
                && !matches!(&change, Change::Amend(amend) if amend.cas == CasChange::Keep);
            let is_put = matches!(change, Change::Put(_));
            let updated = store.update(key, now, |item| {
                let there = item.is_ok();
                (if there || is_put { change } else { Change::Keep }, there)
            });
            assert!(!updated.refused);
            if makes_one && (updated.answer || is_put) {
                *known = None;
                if cas == CasChange::NextShown {
                    assert!(updated.cas > *last, "{eviction}, step {step}: {} after {last}", updated.cas);
                    (*last, *known) = (updated.cas, Some(updated.cas));
                }
            }
            // Something to make memory short.
            let filler = format!("filler-{step}");
            let new = NewItem::plain(NewValue::Bytes(&[b'f'; 100]), 0, Expiry::NEVER);
            store.update(Key::new(filler.as_bytes()).unwrap(), now, |_| (Change::Put(new), ()));
            if random.below(3) > 0 {
                continue;
            }
            let found = store.read(key, now, |item| {
                item.ok().map(|item| {
                    item.mark_used(now);
                    item.cas()
                })
            });
            match (found, *known) {
                (Some(cas), Some(known)) => assert_eq!(cas, known, "{eviction}, step {step}: it stays"),
                (Some(cas), None) => {
                    assert!(cas > *last, "{eviction}, step {step}: {cas} after {last}");
                    (*last, *known) = (cas, Some(cas));
                }
                (None, _) => *known = None,
            }
        }
        let stats = store.stats(Now::new(millis, 1_700_000_000));
        assert!(stats.carried_bytes > 1 << 20, "items were carried on");
        store.check();
    }
}

/// Items that end together leave the index before they leave memory, in slices between which others come.
#[test]
fn a_key_that_comes_back_while_its_like_are_cleared_away_has_a_higher_value_than_it_showed() {
    for slices in 0..8 {
        let store = Store::new(&Options {
            limit: 1 << 20,
            item_limit: 1 << 20,
            no_evictions: false,
            workers: 1,
            eviction: Eviction::default(),
        });
        let put = |name: &str, expiry, now| {
            let new =
                NewItem { cas: CasChange::NextShown, ..NewItem::plain(NewValue::Bytes(b"value"), 0, expiry) };
            store.update(Key::new(name.as_bytes()).unwrap(), now, |_| (Change::Put(new), ())).cas
        };
        let begin = Now::new(Now::EARLIEST, 1_700_000_000);
        // A segment for what stays, then one for what ends.
        put("stays", Expiry::NEVER, begin);
        let shown = put("ends", Expiry::after(2, begin), begin);
        let end = Now::new(Now::EARLIEST + 4000, 1_700_000_004);
        (0..slices).for_each(|_| _ = store.maintain(end));
        let cas = put("ends", Expiry::NEVER, end);
        assert!(cas > shown, "after {slices} slices: {cas} after {shown}");
    }
}
