//! Members that die, stop answering, are cut off, and come back: with servers in this process that keep what they
//! held, as after a network cut, and with real processes that are killed and stopped.

mod support;

use memcarp_client::op::{Delete, Get, Store};
use memcarp_client::{Address, Builder, Client, ErrorKind, Event, HealthPolicy, Outcome, ProtocolChoice};
use std::time::Duration;
use support::{Fake, Peer, eventually, members, peers_wanted};
use tokio::sync::broadcast;

fn quick() -> HealthPolicy {
    HealthPolicy {
        first_probe: Duration::from_millis(20),
        longest_probe: Duration::from_millis(100),
        ..HealthPolicy::default()
    }
}

fn builder(list: &[(&str, &Address)]) -> Builder {
    Client::builder()
        .members(members(list))
        .health(quick())
        .timeout(Duration::from_millis(300))
        .unresponsive_after(Duration::from_secs(1))
}

/// A key that `name` owns.
fn key_on(client: &Client, name: &str) -> String {
    let routing = client.routing();
    (0..).map(|n| format!("key:{n}")).find(|key| routing.owner(key.as_bytes()).name() == name).unwrap()
}

async fn until_event(events: &mut broadcast::Receiver<Event>, what: &str, wanted: impl Fn(&Event) -> bool) {
    let wait = async { while !wanted(&events.recv().await.unwrap()) {} };
    tokio::time::timeout(support::GENEROUS, wait).await.unwrap_or_else(|_| panic!("no event: {what}"));
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::Up { .. })
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::Down { .. })
}

#[tokio::test]
async fn a_dead_owner_is_a_miss_for_reads_and_an_error_with_its_name_for_writes() {
    let (mut left, right) = (Fake::start().await, Fake::start().await);
    let client = builder(&[("left", &left.address), ("right", &right.address)]).build().unwrap();
    let (lost, kept) = (key_on(&client, "left"), key_on(&client, "right"));
    for key in [&lost, &kept] {
        assert!(client.set(key, "v").await.unwrap().is_stored());
    }
    let mut events = client.events();
    left.cut();
    assert_eq!(client.get(&lost).await.unwrap(), None);
    until_event(&mut events, "left is down", is_down).await;
    assert_eq!(client.down_members(), ["left"]);

    let refused = client.set(&lost, "w").await.unwrap_err();
    assert_eq!((refused.kind(), refused.member()), (&ErrorKind::MemberDown, Some("left")));
    assert!(refused.is_retryable() && !refused.may_have_happened());
    assert!(std::error::Error::source(&refused).is_some(), "the failure that brought it down is not kept");
    assert!(client.get(&lost).strict().await.is_err());
    assert_eq!(client.get(&kept).await.unwrap().unwrap().text(), Some("v"));

    // In a batch it takes its own keys along and no others, and says so.
    let found = client.get_many([&kept, &lost, &kept]).await;
    assert!(found.items[0].is_some() && found.items[1].is_none() && found.items[2].is_some());
    assert_eq!(found.failures.len(), 1);
    assert_eq!((found.failures[0].error.member(), &found.failures[0].places[..]), (Some("left"), &[1][..]));
}

#[tokio::test]
async fn changes_a_member_missed_are_made_good_before_it_is_read_again() {
    let (mut left, right) = (Fake::start().await, Fake::start().await);
    let client = builder(&[("left", &left.address), ("right", &right.address)]).build().unwrap();
    let mut keys = Vec::new();
    for number in 0.. {
        let key = format!("key:{number}");
        if client.routing().owner(key.as_bytes()).name() == "left" {
            assert!(client.set(&key, "before").await.unwrap().is_stored());
            keys.push(key);
        }
        if keys.len() == 5 {
            break;
        }
    }
    let mut events = client.events();
    left.cut();
    // Deleted, overwritten, counted, deleted in a batch; one is left alone.
    assert!(client.delete(&keys[0]).await.is_err());
    assert!(client.set(&keys[1], "after").await.is_err());
    assert!(client.increment(&keys[2], 1).await.is_err());
    assert!(client.batch().add(Delete::new(&keys[3])).send().await[0].is_err());
    until_event(&mut events, "left is down", is_down).await;

    left.restore().await;
    until_event(&mut events, "left is up", is_up).await;
    for key in &keys[..4] {
        assert_eq!(client.get(key).await.unwrap(), None, "{key} has a value from before it was changed");
        assert_eq!(left.peek(key), None);
    }
    assert_eq!(client.get(&keys[4]).await.unwrap().unwrap().text(), Some("before"));
    assert!(client.set(&keys[0], "new").await.unwrap().is_stored());
    assert_eq!(client.get(&keys[0]).await.unwrap().unwrap().text(), Some("new"));
}

#[tokio::test]
async fn a_change_that_timed_out_or_was_dropped_is_made_good_while_the_member_is_up() {
    let mut fake = Fake::start().await;
    let client = builder(&[("only", &fake.address)]).timeout(Duration::from_millis(50)).build().unwrap();
    assert!(client.set("timed out", "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    assert!(client.set("dropped", "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    fake.silence(true);
    let error = client.set("timed out", "after").await.unwrap_err();
    assert!(*error.kind() == ErrorKind::Timeout && error.may_have_happened(), "{error}");
    let dropped = tokio::time::timeout(Duration::from_millis(5), client.delete("dropped").send()).await;
    assert!(dropped.is_err());
    // What was sent is lost with the connection.
    fake.cut();
    fake.silence(false);
    fake.restore().await;
    for key in ["timed out", "dropped"] {
        eventually("the member answers again", || async {
            client.get(key).strict().timeout(support::GENEROUS).await.is_ok()
        })
        .await;
        let item = client.get(key).timeout(support::GENEROUS).await.unwrap();
        assert_ne!(item.as_ref().and_then(|item| item.text()), Some("before"), "{key}");
    }
}

#[tokio::test]
async fn a_member_that_missed_more_than_can_be_remembered_is_emptied() {
    let mut fake = Fake::start().await;
    let policy = HealthPolicy { missed_keys: 3, ..quick() };
    let client = builder(&[("only", &fake.address)]).health(policy).build().unwrap();
    let set = client.batch().extend((0..10).map(|n| Store::set(format!("k{n}"), "before")));
    assert!(set.send().await.iter().all(Result::is_ok));
    let mut events = client.events();
    fake.cut();
    for number in 0..9 {
        assert!(client.delete(format!("k{number}")).await.is_err());
    }
    fake.restore().await;
    until_event(&mut events, "the member is emptied", |e| matches!(e, Event::Emptied { .. })).await;
    until_event(&mut events, "the member is up", is_up).await;
    for number in 0..10 {
        assert_eq!(client.get(format!("k{number}")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn when_most_members_look_dead_requests_are_sent_all_the_same() {
    let mut fakes = [Fake::start().await, Fake::start().await, Fake::start().await];
    let list: Vec<(&str, &Address)> =
        ["a", "b", "c"].into_iter().zip(fakes.iter().map(|f| &f.address)).collect();
    // No probe is to interfere.
    let never = Duration::from_secs(3600);
    let policy = HealthPolicy { first_probe: never, longest_probe: never, ..quick() };
    let client = builder(&list).health(policy).build().unwrap();
    let keys = ["a", "b", "c"].map(|name| key_on(&client, name));
    let mut events = client.events();
    for (number, fake) in fakes.iter_mut().enumerate() {
        fake.cut();
        let _ = client.get(&keys[number]).await;
        until_event(&mut events, "one more is down", is_down).await;
        let refused = client.get(&keys[0]).strict().await.unwrap_err();
        let sent = *refused.kind() != ErrorKind::MemberDown;
        assert_eq!(sent, number >= 1, "with {} of 3 down: {refused}", number + 1);
    }
    fakes[0].restore().await;
    eventually("a request gets through without a probe", || async {
        client.set(&keys[0], "v").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_stand_in_answers_for_a_while_and_the_owner_returns_without_old_values() {
    let (mut left, right) = (Fake::start().await, Fake::start().await);
    let client = builder(&[("left", &left.address), ("right", &right.address)])
        .fallback(Duration::from_secs(7))
        .build()
        .unwrap();
    let key = key_on(&client, "left");
    assert!(client.set(&key, "before").ttl(Duration::from_secs(3600)).await.unwrap().is_stored());
    let mut events = client.events();
    left.cut();
    assert_eq!(client.get(&key).await.unwrap(), None, "the stand-in has nothing yet");
    until_event(&mut events, "left is down", is_down).await;
    assert!(client.set(&key, "meanwhile").ttl(Duration::from_secs(3600)).await.unwrap().is_stored());
    assert_eq!(client.get(&key).await.unwrap().unwrap().text(), Some("meanwhile"));
    let line = right.lines().into_iter().find(|line| line.starts_with(&format!("ms {key} "))).unwrap();
    assert!(line.ends_with(" T7"), "{line}");
    // In batches too; and its versions are not passed off as the owner's.
    assert_eq!(client.get(&key).await.unwrap().unwrap().cas, 0);
    let found = client.get_many([&key]).await;
    assert!(found.is_complete());
    let item = found.items[0].as_ref().unwrap();
    assert_eq!((item.text(), item.cas), (Some("meanwhile"), 0));
    let other =
        (0..).map(|n| format!("other:{n}")).find(|k| client.routing().owner(k.as_bytes()).name() == "left");
    let other = other.unwrap();
    let stored = client.batch().add(Store::set(&other, "v")).add(Get::new(&other)).send().await;
    assert!(matches!(&stored[1], Ok(Outcome::Get(Some(item))) if item.text() == Some("v")));
    assert!(
        right.lines().iter().any(|line| line.starts_with(&format!("ms {other} ")) && line.ends_with(" T7"))
    );
    left.restore().await;
    until_event(&mut events, "left is up", is_up).await;
    assert_eq!(client.get(&key).await.unwrap(), None, "the owner still had the value from before");
}

#[tokio::test]
async fn a_new_member_list_drops_nothing_under_way_and_keeps_what_stays() {
    let (left, right) = (Fake::start().await, Fake::start().await);
    let client = builder(&[("left", &left.address), ("right", &right.address)])
        .timeout(support::GENEROUS)
        .unresponsive_after(support::GENEROUS)
        .build()
        .unwrap();
    let (leaving, staying) = (key_on(&client, "left"), key_on(&client, "right"));
    assert!(client.set(&leaving, "leaving").await.unwrap().is_stored());
    assert!(client.set(&staying, "staying").await.unwrap().is_stored());
    left.silence(true);
    let under_way = [0, 1].map(|_| {
        let (client, leaving) = (client.clone(), leaving.clone());
        tokio::spawn(async move { client.get(&leaving).strict().await })
    });
    tokio::task::yield_now().await; // On this single thread both are on their way now.
    let mut events = client.events();
    assert_eq!(client.epoch(), 1);
    assert_eq!(client.update_members(members(&[("right", &right.address)])).unwrap(), 2);
    until_event(&mut events, "new members", |e| matches!(e, Event::Members { epoch: 2 })).await;
    assert_eq!(client.get(&staying).await.unwrap().unwrap().text(), Some("staying"));
    assert_eq!(client.get(&leaving).await.unwrap(), None, "right owns it now");
    left.silence(false);
    for request in under_way {
        assert_eq!(request.await.unwrap().unwrap().unwrap().text(), Some("leaving"));
    }
    assert_eq!(
        client.update_members(members(&[("right", &right.address)])).unwrap(),
        2,
        "nothing has changed"
    );
    assert!(client.update_members(members(&[])).is_err());
}

#[tokio::test]
async fn a_killed_process_comes_back_empty_and_is_used_again() {
    if !peers_wanted() {
        return;
    }
    let (mut left, right) = (Peer::memcached(&[]), Peer::memcached(&[]));
    let client = builder(&[("left", &left.address), ("right", &right.address)]).build().unwrap();
    let (lost, kept) = (key_on(&client, "left"), key_on(&client, "right"));
    for key in [&lost, &kept] {
        assert!(client.set(key, "v").await.unwrap().is_stored());
    }
    let mut events = client.events();
    left.kill();
    assert_eq!(client.get(&lost).await.unwrap(), None);
    until_event(&mut events, "left is down", is_down).await;
    assert_eq!(client.get(&kept).await.unwrap().unwrap().text(), Some("v"));
    left.restart();
    until_event(&mut events, "left is up", is_up).await;
    assert_eq!(client.get(&lost).strict().await.unwrap(), None);
    assert!(client.set(&lost, "again").await.unwrap().is_stored());
}

#[tokio::test]
async fn a_restart_between_two_requests_goes_unnoticed() {
    if !peers_wanted() {
        return;
    }
    let mut peer = Peer::memcached(&[]);
    let client = builder(&[("only", &peer.address)]).build().unwrap();
    assert!(client.set("k", "v").await.unwrap().is_stored());
    peer.restart();
    assert_eq!(client.get("k").strict().await.unwrap(), None);
    assert!(client.down_members().is_empty());
}

#[tokio::test]
async fn a_stopped_process_is_left_alone_and_loses_what_changed_meanwhile() {
    if !peers_wanted() {
        return;
    }
    let (left, right) = (Peer::memcached(&[]), Peer::memcached(&[]));
    let client = builder(&[("left", &left.address), ("right", &right.address)]).build().unwrap();
    let (stuck, kept) = (key_on(&client, "left"), key_on(&client, "right"));
    for key in [&stuck, &kept] {
        assert!(client.set(key, "before").await.unwrap().is_stored());
    }
    let mut events = client.events();
    left.freeze();
    let error = client.get(&stuck).strict().await.unwrap_err();
    assert_eq!((error.kind(), error.member()), (&ErrorKind::Timeout, Some("left")));
    eventually("the silent member is taken for down", || async {
        let _ = client.get(&stuck).await;
        client.down_members() == ["left"]
    })
    .await;
    until_event(&mut events, "left is down", is_down).await;
    let refused = client.set(&stuck, "after").await.unwrap_err();
    assert_eq!(*refused.kind(), ErrorKind::MemberDown);
    assert_eq!(client.get(&kept).await.unwrap().unwrap().text(), Some("before"));
    left.thaw();
    until_event(&mut events, "left is up", is_up).await;
    assert_eq!(client.get(&stuck).strict().await.unwrap(), None, "a value from before the missed change");
}

#[tokio::test]
async fn a_missed_change_that_cannot_be_named_does_not_keep_a_member_away() {
    if !peers_wanted() {
        return;
    }
    let mut peer = Peer::memcached(&[]);
    let client = builder(&[("only", &peer.address)]).protocol(ProtocolChoice::Classic).build().unwrap();
    peer.kill();
    eventually("the member is taken for down", || async {
        let _ = client.get("k").await;
        !client.down_members().is_empty()
    })
    .await;
    assert!(client.set("a key with blanks", "v").await.is_err());
    assert!(client.set("k", "v").await.is_err());
    peer.restart();
    eventually("the member is back", || async { client.down_members().is_empty() }).await;
    assert_eq!(client.get("k").strict().timeout(support::GENEROUS).await.unwrap(), None);
}

/// memcached can be told not to let itself be emptied.
#[tokio::test]
async fn a_member_that_missed_too_much_and_refuses_to_be_emptied_is_not_used() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcached(&["-F"]);
    let policy = HealthPolicy { missed_keys: 1, ..quick() };
    let client = builder(&[("only", &peer.address)])
        .health(policy)
        .unresponsive_after(support::GENEROUS)
        .build()
        .unwrap();
    assert!(client.set("k", "v").await.unwrap().is_stored());
    peer.freeze();
    for key in ["a", "b", "c"] {
        let soon = client.set(key, "v").timeout(Duration::from_millis(1));
        assert_eq!(*soon.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    peer.thaw();
    let error = client.get("k").strict().timeout(support::GENEROUS).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unsettled);
    assert!(error.to_string().contains("flush_all not allowed"), "{error}");
    assert_eq!(client.get("k").timeout(support::GENEROUS).await.unwrap(), None);
}

/// Nothing but the machine's own interface is used: a namespace of its own holds the server, and taking its link down
/// swallows every packet, unlike a process that is gone.
#[tokio::test]
async fn a_partitioned_host_returns_without_old_values() {
    if !peers_wanted() || !support::Namespace::available() {
        return;
    }
    let namespace = support::Namespace::new();
    let peer = namespace.memcached();
    let client = builder(&[("far", &peer.address)]).build().unwrap();
    for key in ["a", "b", "c"] {
        assert!(client.set(key, "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    }
    let mut events = client.events();
    namespace.link(false);
    assert_eq!(*client.delete("a").await.unwrap_err().kind(), ErrorKind::Timeout);
    eventually("the member is taken for down", || async {
        let _ = client.batch().add(Get::new("b")).send().await;
        !client.down_members().is_empty()
    })
    .await;
    until_event(&mut events, "far is down", is_down).await;
    assert_eq!(*client.delete("c").await.unwrap_err().kind(), ErrorKind::MemberDown);
    namespace.link(true);
    until_event(&mut events, "far is up", is_up).await;
    for key in ["a", "c"] {
        assert_eq!(client.get(key).strict().await.unwrap(), None, "{key} is from before the missed delete");
    }
    let results = client.batch().add(Get::new("b")).send().await;
    assert!(matches!(&results[0], Ok(Outcome::Get(Some(item))) if item.text() == Some("before")));
}

/// As long as it is down, each of their changes is missed, and there is more to be made good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_comes_back_however_much_is_changed_meanwhile() {
    let mut fake = Fake::start().await;
    let client = builder(&[("only", &fake.address)]).build().unwrap();
    assert!(client.set("key:0", "before").await.unwrap().is_stored());
    let mut events = client.events();
    fake.cut();
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let key = format!("key:{}", (caller + number) % 100);
                    let _ = client.set(&key, key.as_str()).await;
                    if let Ok(Some(item)) = client.get(&key).strict().await {
                        assert_eq!(item.text(), Some(key.as_str()), "a value from before");
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    until_event(&mut events, "it is down", is_down).await;
    fake.restore().await;
    until_event(&mut events, "it is up", is_up).await;
    eventually("a change arrives", || async { client.set("key:0", "key:0").await.is_ok() }).await;
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
}
