//! Computed once: within a process, across processes, through cancellation and failure.

mod support;

use memcarp_client::op::Delete;
use memcarp_client::{Address, Client, ComputeError, Error, ErrorKind, Fresh, Origin};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Fake, Peer, eventually, members, peers_wanted};
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

fn client(address: &Address) -> Client {
    Client::builder().members(members(&[("only", address)])).timeout(support::GENEROUS).build().unwrap()
}

/// A hundred callers in each of ten clients, which share nothing but the server, as ten processes would.
async fn a_thousand_callers_compute_once(address: &Address) {
    let computed = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (go, gone) = tokio::sync::watch::channel(false);
    let mut callers = Vec::new();
    for _ in 0..10 {
        let client = client(address);
        for _ in 0..100 {
            let (client, computed, waiting) = (client.clone(), computed.clone(), waiting.clone());
            let mut gone = gone.clone();
            callers.push(tokio::spawn(async move {
                waiting.fetch_add(1, Ordering::SeqCst);
                client
                    .get_or_compute("hot", MINUTE, || async move {
                        computed.fetch_add(1, Ordering::SeqCst);
                        gone.wait_for(|go| *go).await.unwrap();
                        Ok::<_, Infallible>("the value")
                    })
                    .await
                    .unwrap()
            }));
        }
    }
    eventually("everybody asks and one computes", || async {
        waiting.load(Ordering::SeqCst) == 1000 && computed.load(Ordering::SeqCst) >= 1
    })
    .await;
    go.send_replace(true);
    let mut origins = [0; 3];
    for caller in callers {
        let got = caller.await.unwrap();
        assert_eq!(got.value, "the value");
        match got.origin {
            Origin::Computed => origins[0] += 1,
            Origin::Shared => origins[1] += 1,
            _ => origins[2] += 1,
        }
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1, "computed more than once");
    assert_eq!(origins[0], 1);
}

/// A value marked stale: one recomputes it, the others have the old one meanwhile and the new one after.
async fn stale_values_are_served_while_one_recomputes(address: &Address) {
    let (first, second) = (client(address), client(address));
    let value = |text: &'static str| move || async move { Ok::<_, Infallible>(text) };
    assert_eq!(first.get_or_compute("s", MINUTE, value("old")).await.unwrap().origin, Origin::Computed);
    assert_eq!(first.get_or_compute("s", MINUTE, value("x")).await.unwrap().origin, Origin::Hit);
    let _ = first.call(Delete::new("s").as_stale_for(MINUTE)).await.unwrap();
    let recomputed = first
        .get_or_compute("s", MINUTE, || async {
            let other = second.get_or_compute("s", MINUTE, value("never")).await.unwrap();
            assert_eq!((&other.value[..], other.origin), (&b"old"[..], Origin::Stale));
            Ok::<_, Infallible>("new")
        })
        .await
        .unwrap();
    assert_eq!((&recomputed.value[..], recomputed.origin), (&b"new"[..], Origin::Computed));
    let after = second.get_or_compute("s", MINUTE, value("never")).await.unwrap();
    assert_eq!((&after.value[..], after.origin), (&b"new"[..], Origin::Hit));
}

/// What is deleted while its value is computed is not brought back by the late store.
async fn a_late_store_does_not_undo_a_delete(address: &Address) {
    let client = client(address);
    let computed = client
        .get_or_compute("late", MINUTE, || async {
            let _ = client.delete("late").await.unwrap();
            Ok::<_, Infallible>("from before the delete")
        })
        .await
        .unwrap();
    assert_eq!(computed.value, "from before the delete");
    assert_eq!(client.get("late").await.unwrap(), None);
}

/// A computation that fails or is dropped lets the next caller try, at once.
async fn failures_give_the_lease_back(address: &Address) {
    let (first, second) = (client(address), client(address));
    let failed = first.get_or_compute("f", MINUTE, || async { Err::<&str, _>(std::fmt::Error) }).await;
    assert!(matches!(failed, Err(ComputeError::Compute(_))));
    let got = second.get_or_compute("f", MINUTE, || async { Ok::<_, Infallible>("second") }).await.unwrap();
    assert_eq!(got.origin, Origin::Computed);

    let begun = Arc::new(Notify::new());
    let dropped = tokio::spawn({
        let (first, begun) = (first.clone(), begun.clone());
        async move {
            first
                .get_or_compute("g", MINUTE, || async {
                    begun.notify_one();
                    std::future::pending::<Result<&str, Infallible>>().await
                })
                .await
        }
    });
    begun.notified().await;
    // One waits in the same process, one elsewhere; neither waits for the lease to run out.
    let beside = tokio::spawn({
        let first = first.clone();
        async move { first.get_or_compute("g", MINUTE, || async { Ok::<_, Infallible>("beside") }).await }
    });
    tokio::task::yield_now().await;
    dropped.abort();
    let elsewhere = second.get_or_compute("g", MINUTE, || async { Ok::<_, Infallible>("elsewhere") });
    let (beside, elsewhere) = (beside.await.unwrap().unwrap(), elsewhere.await.unwrap());
    assert_eq!(beside.value, elsewhere.value);
}

/// A computation that panics takes its caller along and nobody else.
async fn a_panic_gives_the_lease_back(address: &Address) {
    let (first, second) = (client(address), client(address));
    let panicking = tokio::spawn({
        let first = first.clone();
        async move {
            let compute = || async {
                assert!(first.routing().members().is_empty(), "on purpose");
                Ok::<_, Infallible>("never")
            };
            first.get_or_compute("panic", MINUTE, compute).await
        }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    for client in [first, second] {
        let got = client.get_or_compute("panic", MINUTE, || async { Ok::<_, Infallible>("value") }).await;
        assert_eq!(got.unwrap().value, "value");
    }
}

/// A placeholder is nobody's value.
async fn placeholders_are_misses(address: &Address) {
    let (first, second) = (client(address), client(address));
    first
        .get_or_compute("p", MINUTE, || async {
            assert_eq!(second.get("p").await.unwrap(), None);
            assert_eq!(second.get_many(["p"]).await.items, [None]);
            Ok::<_, Infallible>("value")
        })
        .await
        .unwrap();
    assert_eq!(second.get("p").await.unwrap().unwrap().text(), Some("value"));
}

async fn everything(address: &Address) {
    a_thousand_callers_compute_once(address).await;
    stale_values_are_served_while_one_recomputes(address).await;
    a_late_store_does_not_undo_a_delete(address).await;
    failures_give_the_lease_back(address).await;
    a_panic_gives_the_lease_back(address).await;
    placeholders_are_misses(address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_server_in_this_process() {
    let fake = Fake::start().await;
    everything(&fake.address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_real_memcached() {
    if peers_wanted() {
        let peer = Peer::memcached(&[]);
        everything(&peer.address).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_memcarp() {
    if peers_wanted() {
        let peer = Peer::memcarp(&[]);
        everything(&peer.address).await;
        derived_items_end_with_their_source(&peer.address).await;
    }
}

/// Expire on update, from one process and from another.
async fn derived_items_end_with_their_source(address: &Address) {
    let (client, other) = (client(address), client(address));
    let derive = || {
        let client = client.clone();
        async move {
            let photo = client.get("photo:{42}").await?.unwrap();
            Ok::<_, Error>(Fresh::new(format!("small {}", photo.text().unwrap())).derived_from(&photo))
        }
    };
    assert!(client.set("photo:{42}", "one").await.unwrap().is_stored());
    let thumb = || client.get_or_compute("thumb:{42}", MINUTE, derive);
    assert_eq!(thumb().await.unwrap().origin, Origin::Computed);
    assert_eq!(thumb().await.unwrap().origin, Origin::Hit);
    assert!(other.set("photo:{42}", "two").await.unwrap().is_stored());
    assert_eq!(other.get("thumb:{42}").await.unwrap(), None);
    let again = thumb().await.unwrap();
    assert_eq!((&again.value[..], again.origin), (&b"small two"[..], Origin::Computed));

    // A source that changes while the value is computed: the value is used once, and not stored.
    assert!(other.set("photo:{42}", "three").await.unwrap().is_stored());
    let overtaken = client.get_or_compute("thumb:{42}", MINUTE, || async {
        let fresh = derive().await;
        assert!(other.set("photo:{42}", "four").await.unwrap().is_stored());
        fresh
    });
    assert_eq!(overtaken.await.unwrap().value, "small three");
    assert_eq!(other.get("thumb:{42}").await.unwrap(), None);

    // A tag that holds nothing.
    assert!(client.set("page", "html").derived_from("tag:home").await.unwrap().is_stored());
    assert!(other.get("page").await.unwrap().is_some());
    assert!(other.update_source_everywhere("tag:home").await[0].1.is_ok());
    assert_eq!(client.get("page").await.unwrap(), None);
}

#[tokio::test]
async fn a_value_near_its_end_is_recomputed_by_one() {
    let fake = Fake::start().await;
    let (first, second) = (client(&fake.address), client(&fake.address));
    assert!(first.set("e", "old").ttl(Duration::from_secs(30)).await.unwrap().is_stored());
    let renewed = first
        .get_or_compute("e", MINUTE, || async {
            let other = second.get_or_compute("e", MINUTE, || async { Ok::<_, Infallible>("never") });
            let other = other.refresh_before(Duration::from_secs(40)).await.unwrap();
            assert_eq!((&other.value[..], other.origin), (&b"old"[..], Origin::Hit));
            Ok::<_, Infallible>("new")
        })
        .refresh_before(Duration::from_secs(40))
        .await
        .unwrap();
    assert_eq!((&renewed.value[..], renewed.origin), (&b"new"[..], Origin::Computed));
    // One that fails to renew still has a value that is not over yet.
    assert!(first.set("e", "old").ttl(Duration::from_secs(30)).await.unwrap().is_stored());
    let kept = first.get_or_compute("e", MINUTE, || async { Err::<&str, _>(std::fmt::Error) });
    let kept = kept.refresh_before(Duration::from_secs(40)).await.unwrap();
    assert_eq!((&kept.value[..], kept.origin), (&b"old"[..], Origin::Hit));
}

#[tokio::test]
async fn a_cache_that_is_away_costs_a_computation_and_no_error() {
    let mut fake = Fake::start().await;
    let client = client(&fake.address);
    fake.cut();
    let got = client.get_or_compute("k", MINUTE, || async { Ok::<_, Infallible>("value") }).await.unwrap();
    assert_eq!((&got.value[..], got.origin), (&b"value"[..], Origin::Computed));
}

#[tokio::test]
async fn sources_are_named_on_the_wire_with_the_version_that_was_read() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    assert!(client.set("photo:{42}", "pixels").await.unwrap().is_stored());
    let photo = client.get("photo:{42}").await.unwrap().unwrap();
    client
        .get_or_compute("thumb:{42}", MINUTE, async || {
            let photo = client.get("photo:{42}").await?.unwrap();
            Ok::<_, Error>(Fresh::new("small").derived_from(&photo))
        })
        .derived_from("tag:home:{42}")
        .await
        .unwrap();
    let line = fake.lines().into_iter().find(|line| line.starts_with("ms thumb")).unwrap();
    assert!(line.ends_with(&format!(" Dtag:home:{{42}} Dphoto:{{42}} U{}", photo.cas)), "{line}");
}

#[tokio::test]
async fn a_source_on_another_member_is_an_error_that_names_both() {
    let fakes = [Fake::start().await, Fake::start().await];
    let client = Client::new(members(&[("left", &fakes[0].address), ("right", &fakes[1].address)])).unwrap();
    let routing = client.routing();
    let on = |name: &str| {
        (0..).map(|n| format!("k{n}")).find(|key| routing.owner(key.as_bytes()).name() == name).unwrap()
    };
    let (here, there) = (on("left"), on("right"));
    let error = client.set(&here, "v").derived_from(there.as_str()).await.unwrap_err();
    let ErrorKind::SourceElsewhere(nodes) = error.kind() else { panic!("{error}") };
    assert_eq!((nodes.member.as_str(), nodes.source_member.as_str()), ("left", "right"));
    let compute = client.get_or_compute(&here, MINUTE, || async { Ok::<_, Infallible>("v") });
    let error = compute.derived_from(there.as_str()).await.unwrap_err();
    assert!(matches!(error, ComputeError::Cache(e) if matches!(e.kind(), ErrorKind::SourceElsewhere(_))));

    let told = client.update_source_everywhere("tag:home").await;
    assert!(told.len() == 2 && told.iter().all(|(_, result)| result.is_ok()));
    assert!(fakes.iter().all(|fake| fake.lines().iter().any(|line| line == "md tag:home")));
}

#[tokio::test]
async fn who_asks_after_a_change_is_not_given_what_was_computed_before_it() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    let (began, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = tokio::spawn({
        let (client, began, finish) = (client.clone(), began.clone(), finish.clone());
        async move {
            let old = async || {
                began.notify_one();
                finish.notified().await;
                Ok::<_, Infallible>("old")
            };
            client.get_or_compute("k", MINUTE, old).await.unwrap()
        }
    });
    began.notified().await;
    let _ = client.delete("k").await.unwrap();
    let second = client.get_or_compute("k", MINUTE, async || Ok::<_, Infallible>("new")).await.unwrap();
    assert_eq!((&second.value[..], second.origin), (&b"new"[..], Origin::Computed));
    finish.notify_one();
    assert_eq!(first.await.unwrap().value, "old");
    assert_eq!(client.get("k").await.unwrap().unwrap().text(), Some("new"), "the older one was stored last");
}
