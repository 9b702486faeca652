//! Changes that are carried out late, by a server that stood still or after a network that did: nothing old is read again.

mod support;

use memcarp_client::op::{Count, Op, Store};
use memcarp_client::{Address, Client, Error, ErrorKind, HealthPolicy, ProtocolChoice};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Fake, Peer, Wild, builder, eventually, members, opaque};
use tokio::sync::{Notify, watch};

fn client(address: &Address) -> Client {
    builder(address).build().unwrap()
}

/// A server may take its time over what it has read on a connection that the client has given up.
#[tokio::test]
async fn what_was_sent_on_a_lost_connection_is_not_carried_out_after_what_is_sent_on_the_next() {
    let value = Arc::new(Mutex::new(None));
    let (stored, applied) = (watch::channel(false).0, Arc::new(Notify::new()));
    let server = Wild::start({
        let (value, stored, applied) = (value.clone(), stored.clone(), applied.clone());
        move |mut peer, number| {
            let (value, stored, applied) = (value.clone(), stored.clone(), applied.clone());
            async move {
                peer.greet().await;
                let mut old = false;
                while let Some(line) = peer.line().await {
                    match (&line[..2], number) {
                        ("mg", _) => peer.say("HELLO\r\n").await,
                        ("ms", 0) => old = true,
                        (verb, _) => {
                            *value.lock().unwrap() = (verb == "ms").then_some("new");
                            peer.say(&format!("HD{}\r\n", opaque(&line))).await;
                            stored.send_if_modified(|seen| verb == "ms" && !std::mem::replace(seen, true));
                        }
                    }
                }
                if old {
                    // If the next connection is served meanwhile, this one comes after it.
                    let wait = async { stored.subscribe().wait_for(|&stored| stored).await.map(drop) };
                    let _ = tokio::time::timeout(Duration::from_millis(300), wait).await;
                    *value.lock().unwrap() = Some("old");
                    applied.notify_one();
                }
            }
        }
    })
    .await;
    let client = client(&server.address);
    let (read, old) = tokio::join!(client.get("k").strict().send(), client.set("k", "old").send());
    assert!(matches!(read.unwrap_err().kind(), ErrorKind::Protocol(_)));
    assert!(old.is_err());
    assert!(client.set("k", "new").await.unwrap().is_stored());
    applied.notified().await;
    assert_ne!(*value.lock().unwrap(), Some("old"), "an old value came over a new one");
}

/// A thread of the server has read the change and stands still before it carries it out; others go on.
#[tokio::test]
async fn what_a_stalled_thread_carries_out_late_brings_nothing_old_back() {
    let old: [fn(&str) -> Op; 4] = [
        |key| Store::set(key, "old").into(),
        |key| Store::add(key, "old").into(),
        |key| Store::append(key, "old").into(),
        |key| Count::up(key, 7).into(),
    ];
    for (number, old) in old.into_iter().enumerate() {
        for batched in [false, true] {
            let fake = Fake::start().await;
            let client = builder(&fake.address)
                .timeout(Duration::from_millis(600))
                .unresponsive_after(Duration::from_millis(300))
                .build()
                .unwrap();
            let key = format!("k{number}");
            let before = if number == 1 { "another" } else { &key };
            assert!(client.set(before, "1").timeout(support::GENEROUS).await.unwrap().is_stored());
            fake.stall();
            let batch = client.batch().extend([old(&key)]);
            let lost = match batched {
                true => batch.quiet().send().await.remove(0),
                false => batch.send().await.remove(0),
            };
            assert!(lost.is_err_and(|error| error.may_have_happened()));
            let carried_out = fake.requests();
            eventually("the member is served again", || async { client.set(&key, "2").await.is_ok() }).await;
            assert_eq!(fake.peek(&key).as_deref(), Some(&b"2"[..]), "others see what was stored last");
            let reads = [client.get(&key).await.unwrap(), client.get_many([&key]).await.items.remove(0)];
            for read in reads {
                assert!(read.is_none_or(|item| item.text() == Some("2")));
            }
            let error = client.get(&key).strict().await.unwrap_err();
            assert_eq!((error.kind(), error.member()), (&ErrorKind::Unsettled, Some("only")));
            fake.go_on();
            eventually("the change is carried out", || async { fake.requests() > carried_out + 1 }).await;
            eventually("the key can be used again", || async { client.get(&key).strict().await.is_ok() })
                .await;
            assert_eq!(fake.peek(&key), None, "what is left may be old");
            assert!(client.set(&key, "3").await.unwrap().is_stored());
            assert_eq!(client.get(&key).strict().await.unwrap().unwrap().text(), Some("3"));
        }
    }
}

/// All who asked for the changes have gone by the time the connection is given up.
#[tokio::test]
async fn a_key_that_changes_more_than_once_on_a_stalled_connection_is_held_all_the_same() {
    let mut fake = Fake::start().await;
    let client = builder(&fake.address)
        .timeout(Duration::from_millis(100))
        .unresponsive_after(Duration::from_millis(400))
        .build()
        .unwrap();
    assert!(client.set("k", "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    fake.stall();
    let changes =
        tokio::join!(client.set("k", "1").send(), client.set("k", "2").send(), client.delete("k").send());
    assert!(changes.0.is_err() && changes.1.is_err() && changes.2.is_err());
    eventually("the key is held", || async {
        let error = client.get("k").strict().await.expect_err("it may be anything");
        *error.kind() == ErrorKind::Unsettled
    })
    .await;
    fake.cut(); // Nothing of it is carried out.
    fake.restore().await;
    eventually("the key can be used", || async { client.get("k").strict().await.is_ok() }).await;
    assert_eq!(fake.peek("k"), None, "it was missed");
}

/// The owner is up, and gets what is set and deleted.
#[tokio::test]
async fn a_stand_in_has_no_say_in_what_the_owner_may_still_change() {
    let (left, right) = (Fake::start().await, Fake::start().await);
    let client = Client::builder()
        .members(members(&[("left", &left.address), ("right", &right.address)]))
        .timeout(Duration::from_millis(600))
        .unresponsive_after(Duration::from_millis(300))
        .fallback(Duration::from_secs(60))
        .build()
        .unwrap();
    let routing = client.routing();
    let key =
        (0..).map(|n| n.to_string()).find(|key| routing.owner(key.as_bytes()).name() == "left").unwrap();
    assert!(client.set(&key, "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    left.stall();
    assert!(client.set(&key, "old").await.is_err());
    eventually("the member is served again", || async { client.set(&key, "new").await.is_ok() }).await;
    let computed = client.get_or_compute(&key, Duration::from_secs(9), async || Ok::<_, Error>("mine"));
    assert_eq!(computed.await.unwrap().value, "mine");
    assert_eq!(
        client.increment(&key, 1).or_create(5, Duration::from_secs(9)).await.unwrap_err().kind(),
        &ErrorKind::Unsettled
    );
    assert_eq!(client.get(&key).await.unwrap(), None);
    assert_eq!(right.requests(), 0, "{:?}", right.lines());
}

/// Each connection that is given up with a change on it is kept until the server has come to its end.
#[tokio::test]
async fn a_server_that_comes_to_no_end_is_not_connected_to_for_ever() {
    let (go_on, made) = (watch::channel(false).0, watch::channel(0).0);
    let server = Wild::start({
        let (go_on, made) = (go_on.clone(), made.clone());
        move |mut peer, number| {
            let (mut go_on, made) = (go_on.subscribe(), made.clone());
            async move {
                made.send_replace(number + 1);
                peer.greet().await;
                go_on.wait_for(|&go_on| go_on).await.unwrap();
                while let Some(line) = peer.line().await {
                    peer.say(&format!("HD{}\r\n", opaque(&line))).await;
                }
            }
        }
    })
    .await;
    let policy = HealthPolicy {
        failures: 1000,
        first_probe: Duration::from_millis(1),
        longest_probe: Duration::from_millis(1),
        ..HealthPolicy::default()
    };
    let client = builder(&server.address)
        .unresponsive_after(Duration::from_millis(10))
        .health(policy)
        .build()
        .unwrap();
    eventually("no connection is made any longer", || async {
        let error = client.set("k", "v").await.unwrap_err();
        error.to_string().contains("come to the end of none")
    })
    .await;
    assert!(client.set("k", "v").await.is_err());
    assert_eq!(*made.borrow(), 16);
    go_on.send_replace(true);
    eventually("the member is back", || async { client.set("k", "v").await.is_ok() }).await;
}

/// What it had received of the connections that were given up is read by other threads than what comes next.
#[tokio::test]
async fn a_process_that_goes_on_carries_out_nothing_late_that_anybody_reads() {
    if !support::peers_wanted() {
        return;
    }
    for peer in [Peer::memcached(&["-t", "4"]), Peer::memcarp(&["-t", "4"]), Peer::memcached_unix(&[])] {
        // Without a word on what is spoken, requests lie there before it goes on.
        let client = builder(&peer.address)
            .protocol(ProtocolChoice::Meta)
            .unresponsive_after(Duration::from_millis(200))
            .timeout(support::GENEROUS)
            .build()
            .unwrap();
        let keys: Vec<String> = (0..2000).map(|number| format!("key:{number}")).collect();
        for round in 0..5 {
            let value = |name: &str| format!("{name} {round}");
            let set = |name: &str| client.batch().extend(keys.iter().map(|key| Store::set(key, value(name))));
            eventually("everything is stored", || async {
                set("first").send().await.iter().all(|stored| stored.as_ref().is_ok())
            })
            .await;
            peer.freeze();
            assert!(set("old").send().await.iter().all(Result::is_err));
            let goes_on = async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                peer.thaw();
            };
            // The last ones first, so that two threads would have time to do it in the wrong order.
            let new = client.batch().extend(keys.iter().rev().map(|key| Store::set(key, value("new"))));
            drop(tokio::join!(new.send(), goes_on));
            eventually("everything is new", || async {
                let found = client.get_many(&keys).await;
                found.hits().for_each(|item| assert_eq!(item.text(), Some(&*value("new"))));
                let _ = set("new").send().await;
                found.is_complete() && found.hits().count() == keys.len()
            })
            .await;
        }
    }
}

/// The system would go on sending for minutes what the client has given up.
#[tokio::test]
async fn a_change_that_a_partition_swallowed_does_not_arrive_after_it() {
    if !support::peers_wanted() || !support::Namespace::available() {
        return;
    }
    let namespace = support::Namespace::new();
    let peer = namespace.memcached();
    let policy = HealthPolicy {
        first_probe: Duration::from_millis(50),
        longest_probe: Duration::from_millis(200),
        ..HealthPolicy::default()
    };
    let client = Client::builder()
        .members(members(&[("far", &peer.address)]))
        .health(policy)
        .timeout(Duration::from_millis(300))
        .unresponsive_after(Duration::from_millis(600))
        .build()
        .unwrap();
    assert!(client.set("k", "first").timeout(support::GENEROUS).await.unwrap().is_stored());
    namespace.link(false);
    assert_eq!(*client.set("k", "swallowed").await.unwrap_err().kind(), ErrorKind::Timeout);
    eventually("the member is taken for down", || async {
        let _ = client.get("k").await;
        !client.down_members().is_empty()
    })
    .await;
    let Address::Tcp { port, .. } = peer.address else { unreachable!() };
    let in_two_seconds = || async { unsent(port).is_none_or(|wait| wait > 200) };
    eventually("the system has nothing to send, or not soon", in_two_seconds).await;
    namespace.link(true);
    eventually("the member is back", || async { client.set("k", "last").await.is_ok() }).await;
    eventually("the system has nothing left to send", || async { unsent(port).is_none() }).await;
    let item = client.get("k").strict().await.unwrap();
    assert_eq!(item.as_ref().and_then(|item| item.text()), Some("last"), "something came late");
}

/// Hundredths of a second until the system sends again what a server at this port has not acknowledged.
fn unsent(port: u16) -> Option<u64> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).unwrap();
    std::fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (queued, timer) = (words[4].split_once(':').unwrap().0, words[5].split_once(':').unwrap().1);
        let owes = words[2].ends_with(&format!(":{port:04X}")) && hexadecimal(queued) > 0;
        owes.then(|| hexadecimal(timer))
    })
}
