//! Values longer than the client is to send or take.

mod support;

use memcarp_client::op::{Get, Store};
use memcarp_client::{Error, ErrorKind, ProtocolChoice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Fake, Wild, builder, opaque};

fn is_too_long(error: &Error, wanted: usize) -> bool {
    *error.kind() == ErrorKind::ValueTooLarge { bytes: wanted } && !error.is_retryable()
}

#[tokio::test]
async fn a_value_that_is_too_long_is_not_sent() {
    let fake = Fake::start().await;
    let client = builder(&fake.address).max_value_bytes(10).build().unwrap();
    assert!(client.set("k", "0123456789").await.unwrap().is_stored());
    let requests = fake.requests();
    for store in [Store::set("k", [0; 11].as_slice()), Store::append("k", [0; 11].as_slice())] {
        assert!(is_too_long(&client.call(store.clone()).await.unwrap_err(), 11));
        assert!(is_too_long(client.batch().add(store).send().await[0].as_ref().unwrap_err(), 11));
    }
    assert_eq!(fake.requests(), requests);
}

/// Others who ask at the same time are not disturbed, and the connection stays.
#[tokio::test]
async fn a_value_that_is_too_long_fails_whoever_asked_for_it_and_nobody_else() {
    let connections = Arc::new(AtomicUsize::new(0));
    for protocol in [ProtocolChoice::Meta, ProtocolChoice::Classic] {
        connections.store(0, Ordering::SeqCst);
        let server = Wild::start({
            let connections = connections.clone();
            move |mut peer, _| {
                connections.fetch_add(1, Ordering::SeqCst);
                async move {
                    while let Some(line) = peer.line().await {
                        let key = line.split(' ').nth(1).unwrap_or_default();
                        let length = if key == "long" { 100_000 } else { 10 };
                        let value = "x".repeat(length);
                        let says = match line.split(' ').next().unwrap() {
                            "mn" => "MN\r\n".to_owned(),
                            "mg" => format!("VA {length}{}\r\n{value}\r\n", opaque(&line)),
                            _ => format!("VALUE {key} 0 {length} 1\r\n{value}\r\nEND\r\n"),
                        };
                        peer.say(&says).await;
                    }
                }
            }
        })
        .await;
        let client = builder(&server.address).protocol(protocol).max_value_bytes(10).build().unwrap();
        for _ in 0..5 {
            let (short, long, other) = tokio::join!(
                client.get("short").strict().send(),
                client.get("long").send(),
                client.get("other").strict().send()
            );
            assert!(short.unwrap().is_some() && other.unwrap().is_some());
            let error = long.unwrap_err();
            assert!(is_too_long(&error, 100_000), "{error}");
            assert_eq!(error.member(), Some("only"));
            let found = client.get_many(["short", "long", "other"]).await;
            assert_eq!(found.hits().count(), 2);
            assert!(is_too_long(&found.failures[0].error, 100_000));
            assert_eq!(found.failures[0].places, [1]);
            let results = client.batch().add(Get::new("long")).add(Get::new("short")).send().await;
            assert!(results[0].is_err() && results[1].is_ok());
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        assert!(client.down_members().is_empty());
    }
}

#[tokio::test]
async fn a_value_is_as_long_as_it_is_before_it_is_compressed() {
    let fake = Fake::start().await;
    let value = vec![0; 100_000];
    let free = builder(&fake.address).compress_above(10).build().unwrap();
    let bound = builder(&fake.address).compress_above(10).max_value_bytes(99_999).build().unwrap();
    assert!(is_too_long(&bound.set("k", value.clone()).await.unwrap_err(), 100_000));
    assert!(free.set("k", value).await.unwrap().is_stored());
    assert!(fake.peek("k").unwrap().len() < 10_000);
    assert!(is_too_long(&bound.get("k").await.unwrap_err(), 100_000));
}

/// As long as it comes, time passes, and a caller may lose interest.
#[tokio::test]
async fn whoever_waits_behind_a_value_that_is_dropped_gets_an_answer_of_its_own() {
    let server = Wild::start(|mut peer, _| async move {
        peer.greet().await;
        while let Some(line) = peer.line().await {
            if !line.contains(" long ") {
                peer.say(&support::hit(&line)).await;
                continue;
            }
            peer.say(&format!("VA 100000{}\r\n", opaque(&line))).await;
            for _ in 0..100 {
                peer.say(&"x".repeat(1000)).await;
                tokio::task::yield_now().await;
            }
            peer.say("\r\n").await;
        }
    })
    .await;
    let client = builder(&server.address).max_value_bytes(10).build().unwrap();
    for round in 0..20 {
        let mut long = Box::pin(client.get("long").send());
        for _ in 0..round {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if long.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(long);
        let key = format!("key:{round}");
        let item = client.get(&key).strict().await.unwrap().unwrap();
        assert_eq!(item.text(), Some(key.as_str()));
    }
}
