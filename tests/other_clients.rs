//! A Rust client of other people's (crate `memcache`) doing real work: its classic client, and the one it builds on the
//! meta commands, whose patterns are leases, stale values and CAS loops.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use common::Server;
use memcache::Client;
use memcache::exp::{Memcache, Ttl};

fn classic(server: &Server) -> Client {
    let client = Client::connect(format!("memcache://{}?protocol=ascii", server.address)).expect("a server");
    client.set_read_timeout(Some(common::PATIENCE)).expect("a socket");
    client
}

fn meta(server: &Server) -> Memcache {
    Memcache::builder().timeout(common::PATIENCE).connect([server.address.to_string()]).expect("a server")
}

#[test]
fn the_classic_client_does_all_it_can() {
    let server = Server::memcarp(&[]);
    let client = classic(&server);
    assert!(client.version().expect("a version")[0].1.starts_with("1.6."));

    client.set("text", "größe", 0).expect("stored");
    assert_eq!(client.get::<String>("text").expect("read").as_deref(), Some("größe"));
    client.set("number", 42, 0).expect("stored");
    assert_eq!(client.get::<u64>("number").expect("read"), Some(42));
    let bytes: Vec<u8> = (0..=255).cycle().take(900_000).collect();
    client.set("bytes", &bytes[..], 0).expect("stored");
    assert_eq!(client.get::<Vec<u8>>("bytes").expect("read"), Some(bytes));
    assert_eq!(client.get::<String>("missing").expect("read"), None);

    // It does not say whether something was stored, so the next read has to.
    let _ = client.add("text", "x", 0);
    assert_eq!(client.get::<String>("text").expect("read").as_deref(), Some("größe"));
    client.add("new", "x", 0).expect("added");
    let _ = client.replace("missing", "x", 0);
    assert_eq!(client.get::<String>("missing").expect("read"), None);
    client.replace("text", "middle", 0).expect("replaced");
    client.append("text", "-end").expect("appended");
    client.prepend("text", "begin-").expect("prepended");
    assert_eq!(client.get::<String>("text").expect("read").as_deref(), Some("begin-middle-end"));

    assert_eq!(client.increment("number", 8).expect("counted"), 50);
    assert_eq!(client.decrement("number", 100).expect("counted"), 0);
    assert!(client.increment("missing", 1).is_err());
    assert!(client.touch("number", 100).expect("touched"));
    assert!(!client.touch("missing", 100).expect("not there"));

    let found: HashMap<String, (Vec<u8>, u32, Option<u64>)> =
        client.gets(&["text", "missing"]).expect("read");
    let cas = found["text"].2.expect("a CAS number");
    assert!(client.cas("text", "first", 0, cas).expect("compared"));
    assert!(!client.cas("text", "second", 0, cas).expect("compared"));
    assert_eq!(client.get::<String>("text").expect("read").as_deref(), Some("first"));

    let keys: Vec<String> = (0..500).map(|number| format!("key-{number}")).collect();
    for key in &keys {
        client.set(key, key.as_str(), 0).expect("stored");
    }
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let many: HashMap<String, String> = client.gets(&names).expect("read");
    assert_eq!(many.len(), 500);
    assert!(many.iter().all(|(key, value)| key == value));

    assert!(client.set("large", &vec![0; 1_100_000][..], 0).is_err());
    client.set("small", "x", 0).expect("the connection is still good");

    assert!(client.delete("small").expect("deleted"));
    assert!(!client.delete("small").expect("not there"));
    client.flush().expect("flushed");
    assert_eq!(client.get::<String>("text").expect("read"), None);
}

#[test]
fn the_meta_client_does_all_it_can() {
    let server = Server::memcarp(&[]);
    let cache = meta(&server);
    let ttl = || Ttl::secs(600);

    cache.set("text", "größe".to_owned(), ttl()).expect("stored");
    assert_eq!(cache.get::<String>("text").expect("read").as_deref(), Some("größe"));
    assert_eq!(cache.get::<String>("missing").expect("read"), None);
    assert!(!cache.add("text", "x".to_owned(), ttl()).expect("answered"));
    assert!(cache.add("new", "x".to_owned(), ttl()).expect("answered"));
    assert!(!cache.replace("missing", "x".to_owned(), ttl()).expect("answered"));
    assert!(cache.replace("text", "middle".to_owned(), ttl()).expect("answered"));
    cache.append("text", b"-end", ttl()).expect("appended");
    cache.prepend("text", b"begin-", ttl()).expect("prepended");
    cache.append("made", b"by append", ttl()).expect("made");
    assert_eq!(cache.get::<String>("made").expect("read").as_deref(), Some("by append"));
    assert_eq!(
        cache.get_and_touch::<String>("text", Ttl::secs(50)).expect("read").as_deref(),
        Some("begin-middle-end")
    );
    let item = cache.inspect("text").expect("answered").expect("there");
    assert_eq!(item.size, 16);
    assert!(item.hit_before && item.ttl.is_some_and(|left| left <= Duration::from_secs(51)));
    cache.touch("text", Ttl::secs(5000)).expect("touched");
    let item = cache.inspect("text").expect("answered").expect("there");
    assert!(item.ttl.is_some_and(|left| left > Duration::from_secs(4000)));

    // Keys of any bytes: they go in base64.
    let key = b"blank and \r\n\0\xff";
    cache.set(key, "odd".to_owned(), ttl()).expect("stored");
    assert_eq!(cache.get::<String>(key).expect("read").as_deref(), Some("odd"));

    let pairs: Vec<(String, String)> =
        (0..2000).map(|n| (format!("key-{n}"), format!("value {n}"))).collect();
    cache.set_many(pairs.clone(), ttl()).expect("stored");
    let found: HashMap<String, String> =
        cache.get_many(pairs.iter().map(|(key, _)| key.clone())).expect("read");
    assert_eq!(found, pairs.iter().cloned().collect());
    cache.delete_many(pairs.iter().map(|(key, _)| key)).expect("deleted");
    assert_eq!(cache.get::<String>("key-7").expect("read"), None);

    assert_eq!(cache.incr("hits", 5, ttl()).expect("counted"), 5);
    assert_eq!(cache.incr("hits", 5, ttl()).expect("counted"), 10);
    assert_eq!(cache.decr("hits", 100, ttl()).expect("counted"), 0);

    assert_eq!(cache.take::<String>("new").expect("taken").as_deref(), Some("x"));
    assert_eq!(cache.take::<String>("new").expect("nothing").as_deref(), None);
    cache.delete("text").expect("deleted");
    assert_eq!(cache.get::<String>("text").expect("read"), None);
}

/// Many readers miss at once: one computes, the others get what it has computed.
#[test]
fn one_client_computes_what_all_are_missing() {
    let server = Server::memcarp(&[]);
    let computed = AtomicU32::new(0);
    let compute = || {
        computed.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        Ok::<String, std::io::Error>("report".into())
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = meta(&server);
                assert_eq!(cache.fetch("report", Ttl::secs(600), compute).expect("fetched"), "report");
            });
        }
    });
    assert_eq!(computed.load(Ordering::Relaxed), 1);

    // Outdated, it goes on being served while one renews it.
    let cache = meta(&server);
    cache.invalidate("report", Duration::from_secs(60)).expect("invalidated");
    assert_eq!(cache.get::<String>("report").expect("read").as_deref(), Some("report"));
    let renewed = || Ok::<String, std::io::Error>("renewed".into());
    assert_eq!(cache.fetch("report", Ttl::secs(600), renewed).expect("fetched"), "renewed");
    assert_eq!(cache.get::<String>("report").expect("read").as_deref(), Some("renewed"));
}

/// No update is lost between clients that each read, change and write.
#[test]
fn updates_of_many_clients_all_count() {
    let server = Server::memcarp(&[]);
    thread::scope(|scope| {
        for client in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let cache = meta(server);
                for number in 0..50 {
                    let note = format!("{client}:{number};");
                    // It gives up after some conflicts in a row, which says nothing of the server.
                    while cache
                        .update("log", Ttl::secs(600), |log: Option<String>| log.unwrap_or_default() + &note)
                        .is_err()
                    {}
                }
            });
        }
    });
    let log = meta(&server).get::<String>("log").expect("read").expect("there");
    assert_eq!(log.split_terminator(';').count(), 200);
}
