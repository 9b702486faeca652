//! Servers that answer too much, too little, late or nonsense: callers get their own answer or an error.

mod support;

use memcarp_client::op::{Get, Store};
use memcarp_client::{Address, Client, ErrorKind, Outcome, ProtocolChoice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Does, Fake, Script, Wild, builder, hit, members};
use tokio::sync::Notify;

fn client(address: &Address) -> Client {
    Client::builder()
        .members(members(&[("only", address)]))
        .timeout(support::GENEROUS)
        .unresponsive_after(support::GENEROUS)
        .build()
        .unwrap()
}

/// Asks for two keys at once and sees that neither gets the other's value; then for a third.
async fn keeps_apart(address: &Address) {
    let client = client(address);
    let (one, two) = (client.get("one").strict().send(), client.get("two").strict().send());
    let (one, two) = tokio::join!(one, two);
    for (key, got) in [("one", one), ("two", two), ("three", client.get("three").strict().await)] {
        match got {
            Ok(item) => assert_eq!(item.unwrap().text(), Some(key), "somebody else's answer"),
            Err(error) => assert_eq!(error.member(), Some("only")),
        }
    }
}

#[tokio::test]
async fn an_answer_too_many_or_too_few_is_nobodys() {
    let twice = Script::start(|line, number| match number {
        0 => Does::Says(hit(line).repeat(2)),
        _ => Does::Says(hit(line)),
    });
    keeps_apart(&twice.await.address).await;
    let left_out = Script::start(|line, number| match number {
        0 => Does::Says(String::new()),
        _ => Does::Says(hit(line)),
    });
    keeps_apart(&left_out.await.address).await;
    let swapped = Script::start(|line, number| match number {
        0 => Does::Says(String::new()),
        1 => Does::Says(hit(line) + &hit("mg one O0")),
        _ => Does::Says(hit(line)),
    });
    keeps_apart(&swapped.await.address).await;
}

#[tokio::test]
async fn an_answer_that_comes_before_its_question_is_nobodys() {
    let early = Script::start(|line, number| match number {
        0 => Does::Says(hit(line) + &hit("mg two")),
        _ => Does::Says(hit(line)),
    })
    .await;
    let client = client(&early.address);
    assert_eq!(client.get("one").strict().await.unwrap().unwrap().text(), Some("one"));
    let second = client.get("three").strict().await;
    assert!(second.is_err() || second.unwrap().unwrap().text() == Some("three"));
}

#[tokio::test]
async fn a_classic_value_must_name_the_key_that_was_asked_for() {
    let server = Script::start(|_, _| Does::Says("VALUE other 0 5 1\r\nother\r\nEND\r\n".to_owned())).await;
    let list = members(&[("only", &server.address)]);
    let client = Client::builder().members(list).protocol(ProtocolChoice::Classic).build().unwrap();
    let error = client.get("asked").strict().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_quiet_batch_takes_no_answers_of_another() {
    let server = Script::start(|line, number| match (line, number) {
        ("mn", _) => unreachable!(),
        // The first batch of two is answered as it should be, then again within the second.
        (line, 0..2) => Does::Says(hit(line)),
        (line, 2) => Does::Says(hit("mg key:0 O0") + &hit(line)),
        (line, _) => Does::Says(hit(line)),
    })
    .await;
    let client = client(&server.address);
    let found = client.get_many(["key:0", "key:1"]).await;
    assert_eq!(found.items[1].as_ref().unwrap().text(), Some("key:1"));
    let found = client.get_many(["key:2", "key:3"]).await;
    assert_eq!(found.failures[0].places, [0, 1]);
    assert!(found.items.iter().all(Option::is_none));
}

#[tokio::test]
async fn an_answer_cut_off_anywhere_is_no_answer() {
    let whole = "VA 5 f0 c1 s5 O0\r\nvalue\r\n";
    for end in 0..whole.len() {
        let server = Script::start(move |_, _| Does::Closes(whole[..end].to_owned())).await;
        let error = client(&server.address).get("k").strict().await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::ConnectionLost, "cut at {end}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn nonsense_and_giants_are_errors_and_the_next_request_has_a_new_connection() {
    for nonsense in [
        "VA 99999999999 s1\r\n".to_owned(),
        "VA 18446744073709551615\r\n".to_owned(),
        "VA 3 O0\r\nabcdef\r\n".to_owned(),
        "HELLO\r\n".to_owned(),
        "\0\0\0\0\r\n".to_owned(),
        "VALUE k 0 1\r\nx\r\nEND\r\n".to_owned(),
        "x".repeat(20_000),
    ] {
        let server = Script::start(move |line, number| match number {
            0 => Does::Says(nonsense.clone()),
            _ => Does::Says(hit(line)),
        })
        .await;
        let client = client(&server.address);
        let error = client.get("k").strict().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Protocol(_)), "{error}");
        assert_eq!(client.get("k").strict().await.unwrap().unwrap().text(), Some("k"));
    }
}

/// It is the caller's mistake, not the member's, and costs the others nothing but a second try.
#[tokio::test]
async fn refused_stores_do_not_bring_a_member_down() {
    let server = Script::start(|line, _| match &line[..2] {
        "ms" => Does::Says("CLIENT_ERROR invalid flag\r\n".to_owned()),
        _ => Does::Says(hit(line)),
    })
    .await;
    let policy = memcarp_client::HealthPolicy { failures: 1, ..memcarp_client::HealthPolicy::default() };
    let list = members(&[("only", &server.address)]);
    let client = Client::builder().members(list).health(policy).timeout(support::GENEROUS).build().unwrap();
    for _ in 0..5 {
        let (stored, read) =
            tokio::join!(client.set("k", "v").send(), client.get("neighbour").strict().send());
        assert!(matches!(stored.unwrap_err().kind(), ErrorKind::Refused(_)));
        assert_eq!(read.unwrap().unwrap().text(), Some("neighbour"));
    }
    assert!(client.down_members().is_empty());
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_bring_a_member_down() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    assert!(client.set("k", "v").await.unwrap().is_stored());
    fake.silence(true);
    for _ in 0..10 {
        let error = client.get("k").strict().timeout(Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Timeout);
    }
    fake.silence(false);
    assert!(client.down_members().is_empty());
    assert_eq!(client.get("k").strict().await.unwrap().unwrap().text(), Some("v"));
}

/// Nothing is to be built on a value that should be gone.
#[tokio::test]
async fn what_depends_on_the_item_waits_until_a_missed_change_is_made_good() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    let begin = || async {
        for key in ["n", "batch", "add", "cas"] {
            assert!(client.set(key, "5").await.unwrap().is_stored());
        }
    };
    // Polled once, then dropped: whether it arrived, nobody knows.
    let dropped = |key: &'static str| {
        let mut set = Box::pin(client.set(key, "100").send());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(set.as_mut().poll(&mut context).is_pending());
    };
    begin().await;
    dropped("n");
    assert_eq!(client.increment("n", 1).await.unwrap().value(), None, "counted on from a stale value");
    dropped("batch");
    let results = client.batch().add(memcarp_client::op::Count::up("batch", 1)).send().await;
    assert!(matches!(results[0], Ok(Outcome::Count(counted)) if counted.value().is_none()));
    dropped("add");
    assert!(client.add("add", "new").await.unwrap().is_stored(), "a stale value was in the way");
    let item = client.get("cas").await.unwrap().unwrap();
    dropped("cas");
    assert!(!client.set("cas", "next").compare(item.cas).await.unwrap().is_stored());
}

/// A change that is not sent, because another key of its batch cannot be made good, has been missed as well.
#[tokio::test]
async fn what_is_held_up_by_another_key_is_missed() {
    let server = Script::start(|line, _| match line.split_at(3) {
        ("ms ", rest) if rest.starts_with("lost ") => Does::Closes(String::new()),
        ("md ", _) => Does::Says("SERVER_ERROR busy\r\n".to_owned()),
        ("mg ", _) => Does::Says(hit(line)),
        _ => panic!("{line}"),
    })
    .await;
    let client = client(&server.address);
    assert!(client.set("lost", "v").await.is_err());
    let results = client.batch().add(Get::new("lost")).add(Store::set("other", "v")).send().await;
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert!(client.get("other").strict().await.is_err(), "what it should have been is not there");
    assert!(client.get("third").strict().await.is_ok());
}

#[tokio::test]
async fn no_version_is_compared_with_none() {
    let fake = Fake::start().await;
    let client = client(&fake.address);
    let error = client.set("k", "v").compare(0).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    assert!(client.delete("k").compare(0).await.is_err());
    assert!(client.increment("k", 1).compare(0).await.is_err());
    let results = client.batch().add(Store::set("k", "v").compare(0)).add(Get::new("k")).send().await;
    assert!(results[0].is_err() && results[1].is_ok());
}

/// A member that went down under one runtime is found again under the next.
#[test]
fn a_client_outlives_its_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let mut fake = second.block_on(Fake::start());
    let policy = memcarp_client::HealthPolicy {
        first_probe: Duration::from_millis(20),
        ..memcarp_client::HealthPolicy::default()
    };
    let list = members(&[("only", &fake.address)]);
    let client = Client::builder().members(list).health(policy).build().unwrap();
    second.block_on(async {
        fake.cut();
        let Address::Tcp { port, .. } = fake.address else { unreachable!() };
        support::eventually("connections are refused", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
        })
        .await;
    });
    first.block_on(async {
        assert!(client.set("k", "v").await.is_err());
        assert_eq!(client.down_members(), ["only"]);
    });
    drop(first);
    second.block_on(async {
        fake.restore().await;
        support::eventually("the member is back", || async { client.set("k", "v").await.is_ok() }).await;
        assert_eq!(client.get("k").strict().await.unwrap().unwrap().text(), Some("v"));
    });
}

#[tokio::test]
async fn many_callers_and_a_server_that_closes_again_and_again() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    let server = Script::start(move |line, number| {
        // Now and then in the middle of a value.
        if number % 7 == 3 {
            count.fetch_add(1, Ordering::Relaxed);
            return Does::Closes(hit(line)[..6].to_owned());
        }
        Does::Says(hit(line))
    })
    .await;
    let client = client(&server.address);
    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..20 {
                    let key = format!("key:{caller}:{number}");
                    if let Ok(Some(item)) = client.get(&key).strict().await {
                        assert_eq!(item.text(), Some(key.as_str()), "somebody else's answer");
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(closed.load(Ordering::Relaxed) > 5);
}

/// A value longer than what is queued at once, refused before it has been read: who asks meanwhile is not forgotten.
#[tokio::test]
async fn a_long_value_that_is_refused_early_keeps_nobody_waiting() {
    const LEN: usize = 20_000_000;
    let asked = Arc::new(Notify::new());
    let server = Wild::start({
        let asked = asked.clone();
        move |mut peer, _| {
            let asked = asked.clone();
            async move {
                peer.greet().await;
                peer.head().await;
                peer.say("SERVER_ERROR object too large for cache\r\n").await;
                asked.notified().await;
                peer.skip(LEN + 2).await;
                while let Some(line) = peer.line().await {
                    peer.say(&hit(&line)).await;
                }
            }
        }
    })
    .await;
    let client = builder(&server.address).build().unwrap();
    let refused = client.set("long", vec![b'v'; LEN]).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Server(_)), "{refused}");
    let (other, ()) = tokio::join!(client.get("other"), async { asked.notify_one() });
    assert!(other.unwrap().is_some(), "it was asked before the rest of the value had left");
}
