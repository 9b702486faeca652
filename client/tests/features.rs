//! What the crate's features add, and member lists that change by themselves.

mod support;

use memcarp_client::{
    Client, Discovery, Error, ErrorKind, Event, Member, Members, NearCachePolicy, Tls, Value,
};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Fake, Papers, Peer, eventually, file_in, members, peers_wanted};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User<'a> {
    name: &'a str,
    logins: u64,
}

#[tokio::test]
async fn values_as_json() {
    let fake = Fake::start().await;
    let client = Client::new(members(&[("only", &fake.address)])).unwrap();
    let ada = User { name: "Ada", logins: 3 };
    assert!(client.set("user", Value::json(&ada).unwrap()).await.unwrap().is_stored());
    let item = client.get("user").await.unwrap().unwrap();
    assert_eq!(item.json::<User<'_>>().unwrap(), ada);
    assert!(matches!(item.json::<u32>().unwrap_err().kind(), ErrorKind::Codec));
    let computed = client
        .get_or_compute("other", Duration::from_secs(60), || async {
            Value::json(&User { name: "Bo", logins: 0 })
        })
        .await
        .unwrap();
    assert_eq!(computed.json::<User<'_>>().unwrap().name, "Bo");
}

#[tokio::test]
async fn long_values_travel_compressed() {
    let fake = Fake::start().await;
    let list = members(&[("only", &fake.address)]);
    let client = Client::builder().members(list).compress_above(1000).build().unwrap();
    let text = "so it goes. ".repeat(1000);
    assert!(client.set("long", Value::from(text.as_str()).with_flags(9)).await.unwrap().is_stored());
    assert!(client.set("short", "so it goes.").await.unwrap().is_stored());
    assert!(fake.peek("long").unwrap().len() < 500);
    assert_eq!(fake.peek("short").unwrap(), b"so it goes.");
    let found = client.get_many(["long", "short"]).await;
    let long = found.items[0].as_ref().unwrap();
    assert_eq!((long.text(), long.flags), (Some(text.as_str()), 9));
    assert_eq!(found.items[1].as_ref().unwrap().text(), Some("so it goes."));
}

#[tokio::test]
async fn hot_items_are_read_nearby_until_this_process_changes_them() {
    let fake = Fake::start().await;
    let policy = NearCachePolicy::new(NonZeroUsize::new(100).unwrap(), support::GENEROUS);
    let client =
        Client::builder().members(members(&[("only", &fake.address)])).near_cache(policy).build().unwrap();
    assert!(client.set("k", "one").await.unwrap().is_stored());
    for _ in 0..2 {
        assert_eq!(client.get("k").await.unwrap().unwrap().text(), Some("one"));
    }
    let requests = fake.requests();
    for _ in 0..10 {
        assert_eq!(client.get("k").await.unwrap().unwrap().text(), Some("one"));
        let computed =
            client.get_or_compute("k", Duration::from_secs(60), || async { Err::<&str, _>(std::fmt::Error) });
        assert_eq!(computed.await.unwrap().value, "one");
    }
    assert_eq!(fake.requests(), requests, "hot items were asked for");
    assert!(client.set("k", "two").await.unwrap().is_stored());
    assert_eq!(client.get("k").await.unwrap().unwrap().text(), Some("two"));
    let _ = client.batch().add(memcarp_client::op::Delete::new("k")).send().await;
    assert_eq!(client.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn followed_members_come_and_go_and_a_failing_lookup_changes_nothing() {
    let fakes = [Fake::start().await, Fake::start().await];
    let answer: Arc<Mutex<Result<Members, String>>> =
        Arc::new(Mutex::new(Ok(members(&[("a", &fakes[0].address)]))));
    let lookups = Arc::new(AtomicUsize::new(0));
    let discovery = Discovery::from_fn({
        let (answer, lookups) = (answer.clone(), lookups.clone());
        move || {
            lookups.fetch_add(1, Ordering::SeqCst);
            let answer = answer.lock().unwrap().clone();
            async move { answer.map_err(|_| Error::from(ErrorKind::Members)) }
        }
    })
    .refresh(Duration::from_millis(10));
    let client = Client::new(discovery.resolve().await.unwrap()).unwrap();
    let mut events = client.events();
    let following = client.follow(discovery);
    *answer.lock().unwrap() = Ok(members(&[("a", &fakes[0].address), ("b", &fakes[1].address)]));
    let event = tokio::time::timeout(support::GENEROUS, events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Members { epoch: 2 }));
    assert_eq!(client.routing().members().len(), 2);
    for nothing in [Err("away".to_owned()), Ok(Members::default())] {
        *answer.lock().unwrap() = nothing;
        let before = lookups.load(Ordering::SeqCst);
        eventually("it is looked up again", || async { lookups.load(Ordering::SeqCst) > before + 2 }).await;
        assert_eq!(client.epoch(), 2);
    }
    drop(following);
    assert!(client.set("k", "v").await.unwrap().is_stored());
}

#[tokio::test]
async fn host_names_become_members() {
    let found = Discovery::hosts("localhost", 4711).resolve().await.unwrap();
    let names: Vec<&str> = found.iter().map(Member::name).collect();
    assert!(names.contains(&"127.0.0.1:4711") || names.contains(&"[::1]:4711"), "{names:?}");
    assert!(Discovery::hosts("no.such.host.invalid", 1).resolve().await.is_err());
}

/// A name server that knows one answer: two targets of priority 1 and one of priority 2.
async fn name_server() -> std::net::SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            // Copy the question after the header, without anything that follows it.
            let end = 12 + packet[12..length].iter().position(|&b| b == 0).unwrap() + 5;
            let mut answer = packet[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0]);
            for (priority, weight, port, host) in
                [(1u16, 3u16, 7001u16, "cache-0"), (1, 0, 7002, "cache-1"), (2, 1, 1, "x")]
            {
                let mut data: Vec<u8> =
                    [priority, weight, port].iter().flat_map(|n| n.to_be_bytes()).collect();
                for label in [host, "example"] {
                    data.push(label.len() as u8);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                answer.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1]);
                answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
                answer.extend_from_slice(&data);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn srv_records_become_members_with_names_and_weights() {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    let server = name_server().await;
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let servers = vec![NameServerConfig::new(server.ip(), true, vec![connection])];
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let resolver =
        hickory_resolver::TokioResolver::builder_with_config(config, Default::default()).build().unwrap();
    let found = Discovery::srv_from(resolver, "_memcache._tcp.example.").resolve().await.unwrap();
    let seen: Vec<_> =
        found.iter().map(|m| (m.name(), m.weight(), m.address().unwrap().to_string())).collect();
    assert_eq!(
        seen,
        [
            ("cache-0.example:7001", 3.0, "cache-0.example:7001".to_owned()),
            ("cache-1.example:7002", 1.0, "cache-1.example:7002".to_owned())
        ]
    );
}

#[tokio::test]
async fn requests_and_members_are_counted() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let mut fake = Fake::start().await;
    let client = Client::new(members(&[("counted", &fake.address)])).unwrap();
    assert!(client.set("k", "v").await.unwrap().is_stored());
    assert!(client.get("k").await.unwrap().is_some() && client.get("none").await.unwrap().is_none());
    fake.cut();
    eventually("the member is down", || async {
        let _ = client.get("k").await;
        !client.down_members().is_empty()
    })
    .await;
    let seen: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<String> =
                key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => (count > 0).to_string(),
                DebugValue::Gauge(level) => level.to_string(),
                DebugValue::Histogram(_) => String::new(),
            };
            format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
        })
        .collect();
    for wanted in [
        "memcarp_client_requests_total{outcome=hit} true",
        "memcarp_client_requests_total{outcome=miss} true",
        "memcarp_client_requests_total{outcome=done} true",
        "memcarp_client_member_up{member=counted} 0",
    ] {
        assert!(seen.iter().any(|line| line == wanted), "{wanted} is not in {seen:#?}");
    }
    assert!(
        seen.iter().any(|line| line.starts_with("memcarp_client_errors_total{member=counted,kind=")),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn tls_to_a_server_that_wants_certificates_and_passwords() {
    if !peers_wanted() {
        return;
    }
    let papers = Papers::new();
    let directory = support::scratch("tls");
    std::fs::create_dir(&directory).unwrap();
    let file = |name: &str, text: &str| file_in(&directory, name, text);
    let options = format!(
        "ssl_chain_cert={},ssl_key={},ssl_ca_cert={},ssl_verify_mode=2",
        file("cert.pem", &papers.certificate),
        file("key.pem", &papers.key),
        file("ca.pem", &papers.authority)
    );
    let passwords = file("passwords", "ada:secret\n");
    let peer = Peer::memcarp(&["-Z", "-o", &options, "-Y", &passwords]);
    let connect = |tls: Tls| {
        Client::builder()
            .members(members(&[("tls", &peer.address)]))
            .credentials("ada", "secret")
            .tls(tls)
            .build()
            .unwrap()
    };
    let tls = Tls::with_client_certificate(
        papers.authority.as_bytes(),
        papers.certificate.as_bytes(),
        papers.key.as_bytes(),
    )
    .unwrap();
    let client = connect(tls);
    let big = vec![7u8; 500_000];
    assert!(client.set("big", big.clone()).await.unwrap().is_stored());
    assert_eq!(client.get("big").strict().await.unwrap().unwrap().value, big);

    let without = connect(Tls::new(papers.authority.as_bytes()).unwrap());
    assert!(without.get("big").strict().await.is_err(), "a client without a certificate got through");
    let stranger = Papers::new();
    let distrustful = connect(Tls::new(stranger.authority.as_bytes()).unwrap());
    let error = distrustful.get("big").strict().await.unwrap_err();
    assert!(*error.kind() == ErrorKind::Connect && error.to_string().contains("certificate"), "{error}");
    assert!(Tls::new(b"no certificate").is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}
