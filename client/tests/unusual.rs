//! What only memcarp can do, asked of memcached: an error that says so, and no value that pretends.

mod support;

use memcarp_client::op::{Get, Store};
use memcarp_client::{Client, Error, ErrorKind, Item, Key, Outcome, ProtocolChoice, Stored};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Does, Fake, Peer, Script, builder, opaque, peers_wanted};

fn says_so(error: &Error) {
    assert_eq!(
        error.to_string(),
        "only: not supported by this server: derived_from, which needs the expire-on-update of memcarp"
    );
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)));
    assert!(!error.is_retryable() && !error.may_have_happened());
}

/// Every way to store, derived in every way.
fn derived(photo: &Item) -> Vec<Store> {
    let key = || "there:{12}";
    let binary = || Key::from("th ere:{12}");
    vec![
        Store::set("new:{12}", "v").derived_from("photo:{12}"),
        Store::add("new:{12}", "v").derived_from("photo:{12}"),
        Store::set(key(), "v").derived_from("photo:{12}"),
        Store::set(key(), "v").derived_from(photo),
        Store::set(key(), "v").derived_from("photo:{12}").derived_from("tag:{12}"),
        Store::replace(key(), "v").derived_from("photo:{12}"),
        Store::append(key(), "v").derived_from("photo:{12}"),
        Store::prepend(key(), "v").derived_from("photo:{12}"),
        Store::set(key(), "v").compare(photo.cas).derived_from(photo),
        // memcached could take these for numbers.
        Store::set(key(), "v").derived_from("12"),
        Store::set(key(), "v").derived_from("+12"),
        Store::set(key(), "v").derived_from("-0"),
        Store::set(binary(), "v").derived_from("photo 12"),
        Store::set(binary(), "v").derived_from(Key::from(b"\xd7\x6d\xf8")), // 1234 in base64.
    ]
}

#[tokio::test]
async fn memcached_stores_nothing_that_is_derived_and_says_why() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcached(&[]);
    let client = || builder(&peer.address).build().unwrap();
    for key in ["photo:{12}", "there:{12}", "th ere:{12}"] {
        assert!(client().set(key, "before").await.unwrap().is_stored());
    }
    let photo = client().get("photo:{12}").await.unwrap().unwrap();
    for store in derived(&photo) {
        // Each by a client that does not know yet.
        says_so(&client().call(store.clone()).await.unwrap_err());
        let asks_twice = client();
        for _ in 0..2 {
            let batch = asks_twice.batch().add(Get::new("photo:{12}")).add(store.clone());
            let results = batch.send().await;
            assert!(results[0].is_ok());
            says_so(results[1].as_ref().unwrap_err());
        }
        let quiet = client().batch().add(store.clone()).quiet().send().await;
        says_so(quiet[0].as_ref().unwrap_err());
    }
    assert_eq!(client().get("new:{12}").strict().await.unwrap(), None);
    for key in ["there:{12}", "th ere:{12}"] {
        assert_eq!(client().get(key).strict().await.unwrap().unwrap().text(), Some("before"));
    }
    assert!(client().update_source_everywhere("tag:{12}").await[0].1.is_ok(), "nothing is derived there");
}

#[tokio::test]
async fn a_value_that_memcached_does_not_take_is_computed_each_time() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcached(&[]);
    let client = builder(&peer.address).build().unwrap();
    for _ in 0..3 {
        let compute =
            client.get_or_compute("thumb:{1}", Duration::from_secs(60), async || Ok::<_, Error>("v"));
        let computed = compute.derived_from("photo:{1}").await.unwrap();
        assert_eq!(computed.origin, memcarp_client::Origin::Computed);
    }
    assert!(client.down_members().is_empty());
}

#[tokio::test]
async fn on_memcarp_a_source_may_be_named_like_a_number() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcarp(&[]);
    let client = builder(&peer.address).build().unwrap();
    for (key, source) in [("thumb", Key::from("12")), ("th umb", Key::from(b"\xd7\x6d\xf8"))] {
        let store = client.set(key, "v").derived_from(source.clone());
        assert!(store.await.unwrap().is_stored());
        assert!(client.get(key).await.unwrap().is_some());
        client.delete(&source).await.unwrap();
        assert_eq!(client.get(key).strict().await.unwrap(), None);
    }
}

/// All keys of a request travel as base64 if one has to.
#[tokio::test]
async fn a_source_that_is_too_long_in_base64_is_an_error_that_says_so() {
    let client = builder(&Fake::start().await.address).build().unwrap();
    let source = "s".repeat(187);
    let error = client.set("an item", "v").derived_from(&source).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::InvalidKey { bytes: 187 });
    let blanks = client.set("item", "v").derived_from("a source").await.unwrap_err();
    assert!(matches!(blanks.kind(), ErrorKind::Invalid(_)), "{blanks}");
}

async fn stats(client: &Client) -> Result<Vec<(String, String)>, Error> {
    client.stats("memcarp").await.remove(0).1
}

#[tokio::test]
async fn statistics_of_memcarp_are_not_supported_elsewhere() {
    if !peers_wanted() {
        return;
    }
    let (memcached, memcarp) = (Peer::memcached(&[]), Peer::memcarp(&[]));
    for protocol in [ProtocolChoice::Meta, ProtocolChoice::Classic] {
        let client = |peer: &Peer| builder(&peer.address).protocol(protocol).build().unwrap();
        let error = stats(&client(&memcached)).await.unwrap_err();
        assert_eq!(error.to_string(), "only: not supported by this server: stats memcarp");
        assert!(matches!(error.kind(), ErrorKind::Unsupported(_)));
        assert!(!stats(&client(&memcarp)).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_member_that_does_not_know_sources_is_asked_once() {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = lines.clone();
    let server = Script::start(move |line, _| {
        seen.lock().unwrap().push(line.to_owned());
        Does::Says(match line.contains(" D") {
            true => "CLIENT_ERROR invalid flag\r\n".to_owned(),
            false => format!("HD c7{}\r\n", opaque(line)),
        })
    })
    .await;
    let client = builder(&server.address).build().unwrap();
    for _ in 0..3 {
        says_so(&client.set("k", "v").derived_from("s").await.unwrap_err());
        let batch = client.batch().add(Store::set("k", "v").derived_from("s")).add(Store::set("plain", "v"));
        let results = batch.send().await;
        says_so(results[0].as_ref().unwrap_err());
        assert_eq!(*results[1].as_ref().unwrap(), Outcome::Store(Stored::Stored { cas: 7 }));
    }
    let asked = lines.lock().unwrap().iter().filter(|line| line.contains(" D")).count();
    assert_eq!(asked, 1);
}

/// It would have been taken for the time to live of the item, which then lived for ever.
#[tokio::test]
async fn only_what_needs_an_item_may_create_it() {
    let server = Script::start(|line, _| Does::Says(format!("HD c7{}\r\n", opaque(line)))).await;
    let client = builder(&server.address).build().unwrap();
    let minute = Duration::from_secs(60);
    for wrong in [Store::set("k", "v"), Store::add("k", "v"), Store::replace("k", "v")] {
        let error = client.call(wrong.or_create(minute)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid(why) if why.contains("or_create")), "{error}");
    }
    for right in [Store::append("k", "v"), Store::prepend("k", "v")] {
        assert!(client.call(right.or_create(minute)).await.unwrap().is_stored());
    }
}
