//! The table of sources on its own: its rules, and that threads cannot slip between them.

use super::*;

const PAGE: u64 = 1;
const THUMB: u64 = 2;
const PHOTO: u64 = 3;

fn empty() -> Arc<Sources> {
    Arc::new(Sources::new(Arc::new(Pool::new(1 << 20, 32 << 10, 1)), false, MAX_REMEMBERED))
}

/// Bytes charged when what nobody needs has been given back.
fn left(sources: &Sources) -> usize {
    sources.give_back();
    sources.table.charged()
}

fn finished(derivation: Derivation) -> Vec<u8> {
    let encoded = derivation.encode();
    derivation.hand_over();
    assert_eq!(Named::at(&encoded).0.len(), encoded.len());
    encoded
}

fn derived(sources: &Arc<Sources>, from: &[(u64, Option<Named<'_>>)]) -> Vec<u8> {
    let mut derivation = sources.derivation();
    for &(hash, inherited) in from {
        derivation.name(hash, inherited);
    }
    finished(derivation)
}

#[test]
fn an_update_outdates_what_was_made_before_it_and_nothing_made_after() {
    let sources = empty();
    let before = derived(&sources, &[(PHOTO, None)]);
    assert!(sources.is_current(THUMB, Named::at(&before)));
    sources.update(PHOTO);
    assert!(!sources.is_current(THUMB, Named::at(&before)));
    let after = derived(&sources, &[(PHOTO, None)]);
    assert!(sources.is_current(THUMB, Named::at(&after)));
}

#[test]
fn an_item_begun_before_an_update_is_outdated_by_it() {
    let sources = empty();
    let mut slow = sources.derivation();
    slow.name(PHOTO, None);
    sources.update(PHOTO);
    assert!(!sources.is_current(THUMB, Named::at(&finished(slow))));
}

#[test]
fn sources_of_sources_are_taken_over() {
    let sources = empty();
    let thumb = derived(&sources, &[(PHOTO, None)]);
    sources.update(THUMB);
    let page = derived(&sources, &[(THUMB, Some(Named::at(&thumb)))]);
    sources.update(PHOTO);
    assert!(!sources.is_current(PAGE, Named::at(&page)));
}

#[test]
fn an_item_and_a_cycle_outlive_their_own_making() {
    let sources = empty();
    let own = derived(&sources, &[(PAGE, None)]);
    sources.update(PAGE);
    assert!(sources.is_current(PAGE, Named::at(&own)));
    let thumb = derived(&sources, &[(PHOTO, None)]);
    sources.update(THUMB);
    let photo = derived(&sources, &[(THUMB, Some(Named::at(&thumb)))]);
    sources.update(PHOTO);
    assert!(sources.is_current(PHOTO, Named::at(&photo)));
    assert!(!sources.is_current(THUMB, Named::at(&thumb)));
}

#[test]
fn the_table_is_empty_when_nothing_names_a_source() {
    let sources = empty();
    let one = derived(&sources, &[(PHOTO, None), (THUMB, None)]);
    let two = derived(&sources, &[(PHOTO, None)]);
    drop(sources.derivation());
    let mut unfinished = sources.derivation();
    unfinished.name(PAGE, Some(Named::at(&one)));
    drop(unfinished);
    assert_eq!((sources.len(), sources.named()), (2, 3));
    sources.release(Named::at(&one));
    assert_eq!((sources.len(), sources.named()), (1, 1));
    sources.release(Named::at(&two));
    assert_eq!((sources.len(), sources.named()), (0, 0));
    assert_eq!(left(&sources), 0);
}

#[test]
fn more_sources_than_are_remembered_mean_all_of_them() {
    let sources = empty();
    let many: Vec<_> = (100..1200).map(|hash| (hash, None)).collect();
    let named = derived(&sources, &many);
    assert!(sources.is_current(PAGE, Named::at(&named)));
    sources.update(PAGE);
    assert!(sources.is_current(PAGE, Named::at(&named)));
    sources.update(7);
    assert!(!sources.is_current(PAGE, Named::at(&named)));
    sources.release(Named::at(&named));
    assert_eq!(sources.len(), 0);
    assert_eq!(sources.catch_all.load(Ordering::SeqCst), 0);
}

#[test]
fn a_store_that_compared_is_lost_once_a_source_is_updated() {
    let sources = empty();
    for compared in [false, true] {
        let mut derivation = sources.derivation();
        if compared {
            derivation.set_compared();
        }
        derivation.name(PHOTO, None);
        assert!(!derivation.has_lost());
        sources.update(PHOTO);
        assert_eq!(derivation.has_lost(), compared);
    }
}

/// One thread updates a photo; the other makes a thumbnail of it, and a page of the thumbnail if that is
/// current. No page of an older photo may be current once the update has returned.
fn race(photo: u64, others: &[(u64, Option<Named<'_>>)], sources: &Arc<Sources>) {
    let locked = Mutex::new(0);
    let updated = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..=ROUNDS {
                let mut current = locked.lock();
                *current = version;
                sources.update(photo);
                drop(current);
                updated.store(version, Ordering::SeqCst);
            }
        });
        while updated.load(Ordering::SeqCst) < ROUNDS {
            let mut derivation = sources.derivation();
            for &(hash, inherited) in others {
                derivation.name(hash, inherited);
            }
            let current = locked.lock();
            let version = *current;
            derivation.name(photo, None);
            drop(current);
            let thumb = finished(derivation);
            let mut derivation = sources.derivation();
            derivation.name(7, None);
            if sources.is_current(THUMB, Named::at(&thumb)) {
                derivation.name(THUMB, Some(Named::at(&thumb)));
                let page = finished(derivation);
                let seen = updated.load(Ordering::SeqCst);
                let current = sources.is_current(PAGE, Named::at(&page));
                assert!(!current || version >= seen, "a page of {version} is current after {seen}");
                sources.release(Named::at(&page));
            }
            sources.release(Named::at(&thumb));
        }
    });
    assert_eq!((sources.len(), sources.named(), left(sources)), (0, 0, 0));
}

const ROUNDS: u64 = 300_000;

#[test]
fn an_update_at_the_same_time_does_not_slip_past_a_chain() {
    race(PHOTO, &[], &empty());
}

/// The page remembers one source too many, so that it depends on everything; the thumbnail does not.
#[test]
fn an_update_at_the_same_time_does_not_slip_past_who_depends_on_everything() {
    let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let others: Vec<_> = (100..100 + MAX_REMEMBERED as u64 - 1).map(|number| (hash(number), None)).collect();
    race(PHOTO, &others, &empty());
}

/// Whether the system has a thread of this number sleep.
fn sleeps(thread: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|state| state.starts_with(" S"))
}

/// Otherwise an item begun between the stamp and its being written would look newer than the update.
#[test]
fn no_stamp_is_taken_before_the_entry_is_held() {
    let sources = empty();
    let mut derivation = sources.derivation();
    derivation.name(PHOTO, None);
    let before = sources.clock.load(Ordering::SeqCst);
    let updating = std::sync::atomic::AtomicI32::new(0);
    std::thread::scope(|scope| {
        let held = sources.table.hold(PHOTO);
        scope.spawn(|| {
            updating.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
            sources.update(PHOTO);
        });
        // It sleeps once it waits for the entry.
        while !sleeps(updating.load(Ordering::SeqCst)) {
            std::thread::yield_now();
        }
        assert_eq!(sources.clock.load(Ordering::SeqCst), before);
        drop(held);
    });
    assert_eq!(sources.clock.load(Ordering::SeqCst), before + 1);
}

#[test]
fn naming_and_forgetting_at_the_same_time_leave_nothing() {
    let sources = empty();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100_000 {
                    sources.derivation().name(PHOTO, None);
                }
            });
        }
    });
    assert_eq!((sources.len(), sources.named(), left(&sources)), (0, 0, 0));
}
