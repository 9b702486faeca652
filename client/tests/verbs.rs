//! Every verb and outcome, against the server in this process and against real memcached in both dialects.

mod support;

use memcarp_client::op::{Count, Delete, Get, Store, Touch};
use memcarp_client::{
    Address, Client, Counted, Deleted, ErrorKind, Key, Outcome, ProtocolChoice, Stored, Touched, Ttl, Value,
};
use std::time::Duration;
use support::{Fake, Peer, members, peers_wanted};

const MINUTE: Duration = Duration::from_secs(60);

fn client(address: &Address, protocol: ProtocolChoice) -> Client {
    Client::builder()
        .members(members(&[("only", address)]))
        .protocol(protocol)
        .timeout(support::GENEROUS)
        .build()
        .unwrap()
}

/// What both dialects can say.
async fn common_verbs(client: &Client) {
    assert_eq!(client.get("a").await.unwrap(), None);
    assert!(client.set("a", "one").ttl(MINUTE).await.unwrap().is_stored());
    assert_eq!(client.get("a").await.unwrap().unwrap().text(), Some("one"));
    assert_eq!(client.add("a", "two").await.unwrap(), Stored::NotStored);
    assert!(client.add("b", "two").await.unwrap().is_stored());
    assert!(client.replace("b", Value::new("three").with_flags(77)).await.unwrap().is_stored());
    assert_eq!(client.replace("c", "x").await.unwrap(), Stored::NotStored);
    let b = client.get("b").await.unwrap().unwrap();
    assert_eq!((b.text(), b.flags, b.size), (Some("three"), 77, 5));

    assert!(client.append("a", "+").await.unwrap().is_stored());
    assert!(client.prepend("a", "-").await.unwrap().is_stored());
    assert_eq!(client.append("c", "x").await.unwrap(), Stored::NotStored);
    let a = client.get("a").await.unwrap().unwrap();
    assert_eq!(a.text(), Some("-one+"));

    assert!(client.set("a", "cas").compare(a.cas).await.unwrap().is_stored());
    assert_eq!(client.set("a", "lost").compare(a.cas).await.unwrap(), Stored::Exists);
    assert_eq!(client.set("c", "lost").compare(a.cas).await.unwrap(), Stored::NotFound);

    assert_eq!(client.touch("a", MINUTE).await.unwrap(), Touched::Touched);
    assert_eq!(client.touch("c", Ttl::Never).await.unwrap(), Touched::NotFound);
    assert_eq!(client.get("a").touch(MINUTE).await.unwrap().unwrap().text(), Some("cas"));

    assert_eq!(client.increment("n", 1).await.unwrap(), Counted::NotFound);
    assert!(client.set("n", "5").await.unwrap().is_stored());
    assert_eq!(client.increment("n", 10).await.unwrap(), Counted::Value(15));
    assert_eq!(client.decrement("n", 20).await.unwrap(), Counted::Value(0));
    let refused = client.increment("b", 1).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Refused(text) if text.contains("non-numeric")), "{refused}");
    assert_eq!(refused.member(), Some("only"));

    assert_eq!(client.delete("a").await.unwrap(), Deleted::Deleted);
    assert_eq!(client.delete("a").await.unwrap(), Deleted::NotFound);

    let empty = client.set("empty", ()).await.unwrap();
    assert!(empty.is_stored());
    assert_eq!(client.get("empty").await.unwrap().unwrap().size, 0);

    let big = vec![b'x'; 700_000];
    assert!(client.set("big", big.clone()).await.unwrap().is_stored());
    assert_eq!(client.get("big").await.unwrap().unwrap().value, big);

    // A batch in its order, each operation with its own result, a wrong one among them.
    let results = client
        .batch()
        .add(Store::set("x", "1"))
        .add(Get::new("x"))
        .add(Get::new("k".repeat(300)))
        .add(Count::up("x", 1))
        .add(Touch::new("nobody", MINUTE))
        .add(Delete::new("x"))
        .add(Get::new("x"))
        .send()
        .await;
    assert!(matches!(&results[0], Ok(Outcome::Store(stored)) if stored.is_stored()));
    assert!(matches!(&results[1], Ok(Outcome::Get(Some(item))) if item.text() == Some("1")));
    assert!(matches!(results[2].as_ref().unwrap_err().kind(), ErrorKind::InvalidKey { bytes: 300 }));
    assert_eq!(results[3].as_ref().unwrap(), &Outcome::Count(Counted::Value(2)));
    assert_eq!(results[4].as_ref().unwrap(), &Outcome::Touch(Touched::NotFound));
    assert_eq!(results[5].as_ref().unwrap(), &Outcome::Delete(Deleted::Deleted));
    assert_eq!(results[6].as_ref().unwrap(), &Outcome::Get(None));

    // Many keys, some there, one twice.
    let stored =
        client.batch().extend((0..300).map(|i| Store::set(format!("many:{i}"), format!("{i}")))).quiet();
    assert!(stored.send().await.iter().all(|r| matches!(r, Ok(Outcome::Store(s)) if s.is_stored())));
    let keys: Vec<String> = (0..600).map(|i| format!("many:{}", i % 450)).collect();
    let found = client.get_many(&keys).await;
    assert!(found.is_complete());
    for (place, item) in found.items.iter().enumerate() {
        let number = place % 450;
        let expected = (number < 300).then(|| number.to_string());
        assert_eq!(item.as_ref().map(|i| i.text().unwrap().to_owned()), expected, "{place}");
    }
    assert_eq!(found.hits().count(), 300 + 150);

    let versions = client.versions().await;
    assert!(!versions[0].1.as_ref().unwrap().is_empty());
    assert!(client.flush_all().await[0].1.is_ok());
    assert_eq!(client.get("b").await.unwrap(), None);
}

/// Documented at `Count`.
async fn a_shorter_number_is_padded(client: &Client) {
    assert!(client.set("padded", "10").await.unwrap().is_stored());
    assert_eq!(client.decrement("padded", 5).await.unwrap(), Counted::Value(5));
    assert_eq!(client.get("padded").await.unwrap().unwrap().text(), Some("5 "));
}

/// What only the meta protocol can.
async fn meta_verbs(client: &Client) {
    assert_eq!(
        client.increment("count", 5).or_create(100, MINUTE).await.unwrap(),
        Counted::Value(100),
        "the delta is not applied to a new counter"
    );
    assert_eq!(client.increment("count", 5).or_create(100, MINUTE).await.unwrap(), Counted::Value(105));

    assert!(client.set("d", "v").ttl(MINUTE).await.unwrap().is_stored());
    let item = client.get("d").details().peek().without_value().await.unwrap().unwrap();
    let details = item.details.unwrap();
    assert!(item.value.is_empty() && item.size == 1);
    assert!(!details.hit_before && details.ttl.unwrap() <= MINUTE && details.ttl.unwrap() > MINUTE / 2);

    let cas = client.get("d").await.unwrap().unwrap().cas;
    assert_eq!(client.delete("d").compare(cas + 1).await.unwrap(), Deleted::Exists);
    assert_eq!(client.delete("d").compare(cas).await.unwrap(), Deleted::Deleted);

    assert!(client.set("s", "old").ttl(MINUTE).await.unwrap().is_stored());
    assert_eq!(client.delete("s").as_stale_for(MINUTE).await.unwrap(), Deleted::Deleted);
    let stale = client.get("s").await.unwrap().unwrap();
    assert!(stale.stale && stale.text() == Some("old"));

    let Stored::Stored { cas } = client.set("v", "1").await.unwrap() else { panic!() };
    assert_eq!(client.get("v").await.unwrap().unwrap().cas, cas);

    let found = client.get_many(["v", "nope", "s"]).await;
    let texts: Vec<_> = found.items.iter().map(|item| item.as_ref().and_then(|i| i.text())).collect();
    assert_eq!(texts, [Some("1"), None, Some("old")]);
}

#[tokio::test]
async fn the_server_in_this_process() {
    let fake = Fake::start().await;
    let client = client(&fake.address, ProtocolChoice::Auto);
    common_verbs(&client).await;
    meta_verbs(&client).await;
}

#[tokio::test]
async fn real_memcached_in_both_dialects_over_tcp_and_unix_sockets() {
    if !peers_wanted() {
        return;
    }
    for peer in [Peer::memcached(&[]), Peer::memcached_unix(&[])] {
        let meta = client(&peer.address, ProtocolChoice::Auto);
        common_verbs(&meta).await;
        meta_verbs(&meta).await;
        a_shorter_number_is_padded(&meta).await;
        // Keys that are no text travel as base64 and stay what they were.
        let binary = Key::from(&b"a key\r\nget \xff\x00"[..]);
        assert!(meta.set(&binary, "binary").await.unwrap().is_stored());
        assert_eq!(meta.get(&binary).await.unwrap().unwrap().text(), Some("binary"));
        let stats = meta.stats("").await;
        assert!(
            stats[0].1.as_ref().unwrap().iter().any(|(name, value)| name == "curr_items" && value != "0")
        );

        let classic = client(&peer.address, ProtocolChoice::Classic);
        common_verbs(&classic).await;
        let refused = classic.increment("x", 1).or_create(1, MINUTE).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Unsupported(_)), "{refused}");
    }
}

#[tokio::test]
async fn memcarp_in_both_dialects() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcarp(&[]);
    let meta = client(&peer.address, ProtocolChoice::Auto);
    common_verbs(&meta).await;
    meta_verbs(&meta).await;
    a_shorter_number_is_padded(&meta).await;
    assert!(meta.append("made", "x").or_create(MINUTE).await.unwrap().is_stored());
    common_verbs(&client(&peer.address, ProtocolChoice::Classic)).await;
}

#[tokio::test]
async fn a_refused_value_fails_alone() {
    if !peers_wanted() {
        return;
    }
    let peer = Peer::memcached(&[]);
    let client = client(&peer.address, ProtocolChoice::Auto);
    assert!(client.set("small", "fits").await.unwrap().is_stored());
    let error = client.set("big", vec![0; 2_000_000]).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Server(text) if text.contains("too large")), "{error}");
    assert_eq!(client.get("small").await.unwrap().unwrap().text(), Some("fits"));
    for quiet in [false, true] {
        let batch = client.batch().add(Store::set("x", "1")).add(Store::set("big", vec![0; 2_000_000]));
        let batch = batch.add(Get::new("small"));
        let results = if quiet { batch.quiet().send().await } else { batch.send().await };
        // Quietly, nobody can tell which of the two stores it was.
        assert_eq!(results[0].is_ok(), !quiet);
        assert!(results[1].is_err() && results[2].is_ok());
    }
}

#[tokio::test]
async fn passwords() {
    if !peers_wanted() {
        return;
    }
    let file = std::env::temp_dir().join(format!("memcarp-client-{}.auth", std::process::id()));
    std::fs::write(&file, "ada:secret\n").unwrap();
    let peer = Peer::memcached(&["-Y", file.to_str().unwrap()]);
    let with = |password: &str| {
        Client::builder()
            .members(members(&[("m", &peer.address)]))
            .credentials("ada", password)
            .build()
            .unwrap()
    };
    assert!(with("secret").set("k", "v").await.unwrap().is_stored());
    let error = with("wrong").set("k", "v").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Authentication(_)), "{error}");
    std::fs::remove_file(&file).unwrap();
}
