//! Servers and networks that mean harm, and settings at their limits: every caller gets its own answer or an error that
//! names the member, no old value comes back, and nothing waits or grows without end.

mod support;

use memcarp_client::op::{Delete, Get, Store};
use memcarp_client::{
    Address, Client, Discovery, ErrorKind, HealthPolicy, NearCachePolicy, Outcome, Tls, Ttl,
};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Does, Fake, Papers, Script, Wild, builder, eventually, hit, members, opaque};

fn client(address: &Address) -> Client {
    builder(address).build().unwrap()
}

/// Polls a call once, so that it is on its way, and drops it: whether it arrived, nobody knows.
fn forsake(call: impl Future) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Box::pin(call).as_mut().poll(&mut context).is_pending());
}

/// The server is gone again before TLS has been agreed upon.
#[tokio::test]
async fn a_tls_connection_that_is_reset_while_it_comes_back_loses_no_change() {
    let papers = Papers::new();
    let since_lost: Arc<Mutex<Vec<String>>> = Arc::default();
    let server = Wild::start({
        let (acceptor, since_lost) = (papers.acceptor(), since_lost.clone());
        move |peer, number| {
            let (acceptor, since_lost) = (acceptor.clone(), since_lost.clone());
            async move {
                if number == 1 {
                    return peer.reset_after(b"\x16\x03\x03").await; // A record begins.
                }
                let mut peer = peer.secured(&acceptor).await;
                peer.greet().await;
                while let Some(line) = peer.line().await {
                    if number > 1 {
                        since_lost.lock().unwrap().push(line.clone());
                    }
                    match &line[..2] {
                        "ms" if number == 0 => return,
                        "mg" => peer.say(&hit(&line)).await,
                        _ => peer.say(&format!("HD{}\r\n", opaque(&line))).await,
                    }
                }
            }
        }
    })
    .await;
    let policy = HealthPolicy { first_probe: Duration::from_millis(20), ..HealthPolicy::default() };
    let client = builder(&server.address)
        .tls(Tls::new(papers.authority.as_bytes()).unwrap())
        .connect_timeout(support::GENEROUS)
        .health(policy)
        .build()
        .unwrap();
    assert_eq!(client.get("k").strict().await.unwrap().unwrap().text(), Some("k"));
    let lost = client.set("k", "v").await.unwrap_err();
    assert!(*lost.kind() == ErrorKind::ConnectionLost && lost.may_have_happened(), "{lost}");
    let reset = client.get("k").strict().await.unwrap_err();
    assert!(reset.is_retryable() && !reset.may_have_happened(), "{reset}");
    assert_eq!(reset.member(), Some("only"));
    eventually("the member is back", || async { client.get("k").strict().await.is_ok() }).await;
    let lines = since_lost.lock().unwrap();
    let first = lines.iter().find(|line| line.split(' ').nth(1) == Some("k")).unwrap();
    assert!(first.starts_with("md "), "read before the change was made good: {lines:?}");
}

#[tokio::test]
async fn a_key_always_takes_the_same_connection() {
    let seen: Arc<Mutex<BTreeMap<String, BTreeSet<usize>>>> = Arc::default();
    let server = Wild::start({
        let seen = seen.clone();
        move |mut peer, number| {
            let seen = seen.clone();
            async move {
                while let Some(line) = peer.line().await {
                    if line == "mn" {
                        peer.say("MN\r\n").await;
                        continue;
                    }
                    let key = line.split(' ').nth(1).unwrap().to_owned();
                    seen.lock().unwrap().entry(key).or_default().insert(number);
                    let code =
                        if line.starts_with("mg") { hit(&line) } else { format!("HD{}\r\n", opaque(&line)) };
                    peer.say(&code).await;
                }
            }
        }
    })
    .await;
    let client = builder(&server.address).connections_per_member(4).build().unwrap();
    let keys: Vec<String> = (0..30).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        assert!(client.set(key, "v").await.unwrap().is_stored());
        assert_eq!(client.get(key).strict().await.unwrap().unwrap().text(), Some(key.as_str()));
    }
    assert!(client.get_many(&keys).await.is_complete());
    let results = client.batch().extend(keys.iter().map(Delete::new)).send().await;
    assert!(results.iter().all(Result::is_ok));
    // What nobody waited for is made good on the same connection as well.
    keys.iter().for_each(|key| forsake(client.set(key, "w").send()));
    assert!(client.get_many(&keys).await.is_complete());
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|connections| connections.len() == 1), "{seen:?}");
    assert!(seen.values().flatten().collect::<BTreeSet<_>>().len() > 1);
}

#[tokio::test]
async fn a_change_in_a_batch_that_was_never_sent_is_made_good() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    for key in ["doubted", "other"] {
        assert!(client.set(key, "before").await.unwrap().is_stored());
    }
    fake.silence(true);
    forsake(client.set("doubted", "after").send());
    // The read waits for the doubted key to be deleted, in vain; the delete is not sent.
    let batch = client.batch().add(Get::new("doubted")).add(Delete::new("other"));
    let results = batch.timeout(Duration::from_millis(50)).send().await;
    assert!(results.iter().all(Result::is_err));
    fake.silence(false);
    assert_eq!(client.get("other").strict().await.unwrap(), None, "a delete was forgotten");
}

#[tokio::test]
async fn a_flush_that_a_member_missed_is_made_good() {
    let mut fake = Fake::start().await;
    let policy = HealthPolicy { first_probe: Duration::from_millis(20), ..HealthPolicy::default() };
    let client = builder(&fake.address).health(policy).build().unwrap();
    assert!(client.set("k", "before").await.unwrap().is_stored());
    fake.cut();
    let results = client.flush_all().await;
    assert!(results[0].1.is_err());
    fake.restore().await;
    eventually("the member is back", || async { client.get("k").strict().await.is_ok() }).await;
    assert_eq!(client.get("k").strict().await.unwrap(), None);
}

/// Another client emptied it, by a clock that is a century ahead.
#[tokio::test]
async fn no_clock_but_the_members_own_says_when_it_was_emptied() {
    let mut fake = Fake::start().await;
    let policy =
        HealthPolicy { first_probe: Duration::from_millis(20), missed_keys: 1, ..HealthPolicy::default() };
    let client = builder(&fake.address).health(policy).build().unwrap();
    let mark = client.set("memcarp-client:emptied", "4900000000").ttl(Duration::from_secs(80_000));
    assert!(mark.await.unwrap().is_stored());
    for key in ["a", "b"] {
        assert!(client.set(key, "before").await.unwrap().is_stored());
    }
    fake.cut();
    for key in ["a", "b"] {
        assert!(client.delete(key).await.is_err());
    }
    fake.restore().await;
    eventually("the member is back", || async { client.get("a").strict().await.is_ok() }).await;
    assert_eq!(client.get("b").strict().await.unwrap(), None);
}

#[tokio::test]
async fn a_fence_or_a_bare_refusal_answers_no_single_request() {
    let fence = Script::start(|line, number| match number {
        0 => Does::Says("MN\r\nEN\r\n".to_owned()),
        _ => Does::Says(hit(line)),
    })
    .await;
    let reader = client(&fence.address);
    let (one, two) = tokio::join!(reader.get("one").strict().send(), reader.get("two").strict().send());
    assert!(matches!(one.unwrap_err().kind(), ErrorKind::Protocol(_)));
    assert_ne!(two.ok(), Some(None), "somebody else's miss");
    for refusal in ["NS\r\n", "EX\r\n", "NF\r\n"] {
        let server = Script::start(move |_, _| Does::Says(refusal.to_owned())).await;
        let error = client(&server.address).set("k", "v").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{refusal}: {error}");
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_for_what_was_asked_name_the_member() {
    let server = Script::start(|line, _| {
        let opaque = opaque(line);
        Does::Says(match &line[..2] {
            "mg" => format!("VA 2 f2147483648 s2{opaque}\r\nxx\r\n"),
            "ma" => format!("VA 2{opaque}\r\nxx\r\n"),
            _ => format!("EN{opaque}\r\n"),
        })
    })
    .await;
    let client = client(&server.address);
    let errors = [
        client.get("k").await.unwrap_err(),
        client.set("k", "v").await.unwrap_err(),
        client.increment("k", 1).await.unwrap_err(),
        client.batch().add(Get::new("k")).send().await.remove(0).unwrap_err(),
        client.batch().add(Store::set("k", "v")).send().await.remove(0).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.member(), Some("only"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_forgets_the_meta_protocol_is_asked_again_what_it_speaks() {
    let server = Wild::start(|mut peer, number| async move {
        let mut asked = 0;
        while let Some(line) = peer.line().await {
            asked += 1;
            match (number, line.split_once(' ')) {
                (0, None) => peer.say("MN\r\n").await,
                (0, Some(_)) if asked < 3 => peer.say(&hit(&line)).await,
                (_, Some(("gets", key))) => {
                    peer.say(&format!("VALUE {key} 0 {} 1\r\n{key}\r\nEND\r\n", key.len())).await;
                }
                _ => peer.say("ERROR\r\n").await,
            }
        }
    })
    .await;
    let client = client(&server.address);
    assert_eq!(client.get("one").strict().await.unwrap().unwrap().text(), Some("one"));
    assert!(matches!(client.get("two").strict().await.unwrap_err().kind(), ErrorKind::Refused(_)));
    assert_eq!(client.get("three").strict().await.unwrap().unwrap().text(), Some("three"));
    assert!(client.down_members().is_empty());
    assert_eq!(client.get_many(["four", "five"]).await.hits().count(), 2);
}

#[tokio::test]
async fn a_server_that_never_finishes_an_answer_is_given_up() {
    let server = Wild::start(|mut peer, number| async move {
        peer.greet().await;
        while let Some(line) = peer.line().await {
            if number > 0 {
                peer.say(&hit(&line)).await;
                continue;
            }
            peer.say("VA 1000000 s1000000 O0\r\n").await;
            loop {
                peer.say("x").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await;
    let client = builder(&server.address).unresponsive_after(Duration::from_millis(50)).build().unwrap();
    let error = client.set("k", "v").await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert_eq!(client.get("other").strict().await.unwrap().unwrap().text(), Some("other"));
    // What becomes of the change may still be decided.
    assert_eq!(*client.get("k").strict().await.unwrap_err().kind(), ErrorKind::Unsettled);
}

/// Half a header, then nothing more.
#[tokio::test]
async fn ten_thousand_callers_of_a_member_that_stalls_or_is_gone_all_learn_its_name() {
    let stalls = Wild::start(|mut peer, _| async move {
        peer.greet().await;
        let _ = peer.line().await;
        peer.say("VA 10").await;
        std::future::pending().await
    })
    .await;
    let gone = Wild::start(|_, _| async {}).await;
    let addresses = [stalls.address.clone(), gone.address.clone()];
    drop(gone);
    for address in addresses {
        let client = builder(&address)
            .timeout(Duration::from_millis(300))
            .unresponsive_after(Duration::from_millis(500))
            .build()
            .unwrap();
        let callers: Vec<_> = (0..10_000)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move { client.set(format!("key:{number}"), "v").await.unwrap_err() })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().member(), Some("only"));
        }
    }
}

#[tokio::test]
async fn settings_at_their_limits_panic_nowhere() {
    let endless = Duration::MAX;
    let mut fake = Fake::start().await;
    let policy = HealthPolicy {
        first_probe: Duration::ZERO,
        longest_probe: Duration::ZERO,
        flap_window: endless,
        failures: u32::MAX,
        ..HealthPolicy::default()
    };
    let near = NearCachePolicy { hot_after: 0, ..NearCachePolicy::new(NonZeroUsize::MAX, endless) };
    let client = builder(&fake.address)
        .timeout(endless)
        .connect_timeout(endless)
        .unresponsive_after(endless)
        .fallback(endless)
        .queue(usize::MAX)
        .connections_per_member(usize::MAX)
        .near_cache(near)
        .health(policy)
        .build()
        .unwrap();
    assert!(client.set("k", "v").ttl(endless).timeout(endless).await.unwrap().is_stored());
    for _ in 0..3 {
        assert_eq!(client.get("k").timeout(endless).await.unwrap().unwrap().text(), Some("v"));
    }
    let computed = client.get_or_compute("c", endless, async || Ok::<_, std::io::Error>("v"));
    assert_eq!(computed.lease(endless).refresh_before(endless).await.unwrap().value, "v");
    let _following = client.follow(Discovery::from_fn(std::future::pending).refresh(endless));
    fake.cut();
    assert!(client.set("k", "w").await.is_err());
    fake.restore().await;
    eventually("the member is back", || async { client.get("k").strict().await.is_ok() }).await;
}

#[tokio::test]
async fn a_size_that_fits_no_memory_is_nonsense_whatever_is_allowed() {
    for (protocol, says) in [
        (memcarp_client::ProtocolChoice::Meta, "VA 18446744073709551615 O0\r\n"),
        (memcarp_client::ProtocolChoice::Classic, "VALUE k 0 18446744073709551615\r\n"),
    ] {
        let server = Script::start(move |_, _| Does::Says(says.to_owned())).await;
        let client = builder(&server.address).protocol(protocol).max_value_bytes(usize::MAX).build().unwrap();
        let error = client.get("k").strict().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_stand_ins_version_is_not_kept_in_the_near_cache() {
    let (mut left, right) = (Fake::start().await, Fake::start().await);
    let near = NearCachePolicy::new(10.try_into().unwrap(), support::GENEROUS);
    let client = Client::builder()
        .members(members(&[("left", &left.address), ("right", &right.address)]))
        .fallback(support::GENEROUS)
        .near_cache(near)
        .build()
        .unwrap();
    let routing = client.routing();
    let key = (0..).map(|n| format!("key:{n}")).find(|key| routing.owner(key.as_bytes()).name() == "left");
    let key = key.unwrap();
    left.cut();
    eventually("a stand-in has it", || async { client.set(&key, "v").await.is_ok() }).await;
    for _ in 0..5 {
        assert_eq!(client.get(&key).await.unwrap().unwrap().cas, 0);
    }
}

#[tokio::test]
async fn lists_change_while_batches_are_under_way_and_nobody_gets_anothers_answer() {
    let fakes = [Fake::start().await, Fake::start().await, Fake::start().await];
    let lists: Vec<_> = [&[0, 1, 2][..], &[0, 1], &[2], &[1, 2], &[0]]
        .iter()
        .map(|list| {
            let names = ["a", "b", "c"];
            members(&list.iter().map(|&i: &usize| (names[i], &fakes[i].address)).collect::<Vec<_>>())
        })
        .collect();
    let client = Client::builder()
        .members(lists[0].clone())
        .timeout(support::GENEROUS)
        .connect_timeout(support::GENEROUS)
        .unresponsive_after(support::GENEROUS)
        .build()
        .unwrap();
    let (stored, mut news) = tokio::sync::mpsc::unbounded_channel();
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (client, stores_done) = (client.clone(), stored.clone());
            tokio::spawn(async move {
                for round in 0..40 {
                    let keys: Vec<String> =
                        (0..20).map(|n| format!("key:{}", (caller + round * n) % 64)).collect();
                    let stores = keys.iter().map(|key| Store::set(key, key.as_str()).ttl(Ttl::Never));
                    let stored = client.batch().extend(stores).send().await;
                    assert!(stored.iter().all(|r| matches!(r, Ok(Outcome::Store(s)) if s.is_stored())));
                    stores_done.send(()).unwrap();
                    let found = client.get_many(&keys).await;
                    assert!(found.is_complete());
                    for (key, item) in keys.iter().zip(&found.items) {
                        assert!(item.as_ref().is_none_or(|item| item.text() == Some(key)), "{key}: {item:?}");
                    }
                }
            })
        })
        .collect();
    drop(stored);
    let mut next = 0;
    while news.recv().await.is_some() {
        next += 1;
        client.update_members(lists[next % lists.len()].clone()).unwrap();
    }
    for caller in callers {
        caller.await.unwrap();
    }
}
