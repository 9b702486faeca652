//! Many callers against servers that break off, fall behind and come back: everybody gets an answer of its own or an
//! error, and in the end everything works.

mod support;

use memcarp_client::{Client, ErrorKind, HealthPolicy, Tls};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use support::{Fake, Papers, Peer, Wild, builder, eventually, file_in, hit, opaque, peers_wanted};
use tokio::task::JoinSet;

fn impatient() -> HealthPolicy {
    HealthPolicy {
        first_probe: Duration::from_millis(1),
        longest_probe: Duration::from_millis(20),
        flap_window: Duration::ZERO,
        ..HealthPolicy::default()
    }
}

fn is_ready(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Callers that keep asking.
struct Callers {
    done: Arc<AtomicBool>,
    tasks: JoinSet<usize>,
}

impl Callers {
    fn start(client: &Client) -> Callers {
        let done = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for caller in 0..20 {
            tasks.spawn(keep_asking(client.clone(), caller, done.clone()));
        }
        Callers { done, tasks }
    }

    /// How many reads of each were answered.
    async fn stop(self) -> Vec<usize> {
        self.done.store(true, Ordering::SeqCst);
        self.tasks.join_all().await
    }
}

/// Reads and stores until `done`, and says how many reads were answered. Every value names its key.
async fn keep_asking(client: Client, caller: usize, done: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    let mut round = 0;
    while !done.load(Ordering::SeqCst) {
        round += 1;
        let key = format!("key:{caller}:{}", round % 7);
        let _ = client.set(&key, key.as_str()).await;
        // Some lose interest on the way.
        let mut read = Box::pin(client.get(&key).strict().send());
        for _ in 0..round % 3 {
            if is_ready(read.as_mut()) {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(read);
        match client.get(&key).strict().await {
            Ok(item) => {
                assert!(item.is_none_or(|item| item.text() == Some(&key)), "somebody else's answer");
                answered += 1;
            }
            Err(error) => assert_eq!(error.member(), Some("only"), "{error}"),
        }
        tokio::task::yield_now().await;
    }
    answered
}

/// Each connection logs in before anything else, and lasts for a few requests; it ends in the middle of a reply, of the
/// login or of the handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_connection_logs_in_each_time_it_comes_back() {
    const CONNECTIONS: usize = 200;
    let papers = Papers::new();
    let (connections, early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Wild::start({
        let (acceptor, connections, early) = (papers.acceptor(), connections.clone(), early.clone());
        move |peer, number| {
            let (acceptor, connections, early) = (acceptor.clone(), connections.clone(), early.clone());
            async move {
                connections.fetch_add(1, Ordering::SeqCst);
                let lasts = if number < CONNECTIONS { number % 9 } else { usize::MAX };
                if lasts == 0 {
                    return peer.reset_after(b"\x16\x03\x03").await;
                }
                let mut peer = peer.secured(&acceptor).await;
                let mut known = false;
                let mut asked = 0;
                while let Some(line) = peer.line().await {
                    asked += 1;
                    let mut says = match line.split(' ').next().unwrap() {
                        "set" => {
                            known = true;
                            "STORED\r\n".to_owned()
                        }
                        _ if !known => {
                            early.fetch_add(1, Ordering::SeqCst);
                            "CLIENT_ERROR unauthenticated\r\n".to_owned()
                        }
                        "mn" => "MN\r\n".to_owned(),
                        "mg" => hit(&line),
                        _ => format!("HD{}\r\n", opaque(&line)),
                    };
                    if asked >= lasts {
                        says.truncate(number % says.len());
                        return peer.say(&says).await;
                    }
                    peer.say(&says).await;
                }
            }
        }
    })
    .await;
    let client = builder(&server.address)
        .tls(Tls::new(papers.authority.as_bytes()).unwrap())
        .credentials("ada", "secret")
        .connect_timeout(support::GENEROUS)
        .health(impatient())
        .build()
        .unwrap();
    let callers = Callers::start(&client);
    eventually("the last connection", || async { connections.load(Ordering::SeqCst) > CONNECTIONS }).await;
    eventually("the member is back", || async { client.get("k").strict().await.is_ok() }).await;
    callers.stop().await;
    assert_eq!(early.load(Ordering::SeqCst), 0, "asked before the login");
    assert!(client.down_members().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memcarp_with_tls_and_passwords_is_killed_and_started_under_load() {
    if !peers_wanted() {
        return;
    }
    let papers = Papers::new();
    let directory = support::scratch("attack");
    std::fs::create_dir(&directory).unwrap();
    let file = |name: &str, text: &str| file_in(&directory, name, text);
    let certificate = file("cert.pem", &papers.certificate);
    let options = format!("ssl_chain_cert={certificate},ssl_key={}", file("key.pem", &papers.key));
    let mut peer = Peer::memcarp(&["-Z", "-o", &options, "-Y", &file("passwords", "ada:secret\n")]);
    let client = builder(&peer.address)
        .tls(Tls::new(papers.authority.as_bytes()).unwrap())
        .credentials("ada", "secret")
        .health(impatient())
        .build()
        .unwrap();
    let callers = Callers::start(&client);
    for _ in 0..5 {
        eventually("it works", || async { client.set("k", "v").await.is_ok() }).await;
        peer.restart();
    }
    eventually("it works again", || async { client.set("k", "v").await.is_ok() }).await;
    let answered = callers.stop().await;
    assert!(answered.iter().all(|&count| count > 0), "{answered:?}");
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A queue of one place, values that fill what may be written at once, and a server that reads nothing for a while.
#[tokio::test]
async fn a_full_queue_is_an_error_that_says_so_and_leaves_nothing_behind() {
    let fake = Fake::start().await;
    let client = builder(&fake.address)
        .queue(1)
        .timeout(Duration::from_millis(100))
        .health(HealthPolicy { failures: u32::MAX, ..impatient() })
        .build()
        .unwrap();
    assert!(client.set("key:0", "before").timeout(support::GENEROUS).await.unwrap().is_stored());
    fake.silence(true);
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        callers.spawn(async move { client.set(format!("key:{number}"), vec![b'x'; 200_000]).await });
    }
    let kinds: Vec<ErrorKind> =
        callers.join_all().await.into_iter().map(|result| result.unwrap_err().kind().clone()).collect();
    assert!(kinds.contains(&ErrorKind::Overloaded), "{kinds:?}");
    assert!(kinds.contains(&ErrorKind::Timeout), "{kinds:?}");
    fake.silence(false);
    for number in 0..200 {
        let item = client.get(format!("key:{number}")).strict().timeout(support::GENEROUS).await.unwrap();
        assert_eq!(item, None, "a change that nobody knows the outcome of is made good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_callers_at_once_get_their_own_answers_and_may_leave() {
    let fake = Fake::start().await;
    let client = builder(&fake.address).build().unwrap();
    let mut callers = JoinSet::new();
    for number in 0..10_000 {
        let client = client.clone();
        callers.spawn(async move {
            let key = format!("key:{number}");
            let store = client.set(&key, key.as_str()).send();
            match number % 4 {
                0 => drop(tokio::time::timeout(Duration::ZERO, store).await),
                1 => drop(tokio::time::timeout(Duration::from_millis(number % 100), store).await),
                _ => assert!(store.await.unwrap().is_stored()),
            }
            let item = client.get(&key).strict().await.unwrap();
            let text = item.as_ref().and_then(|item| item.text());
            assert!(text == Some(&key) || (text.is_none() && number % 4 < 2), "{key}: {text:?}");
        });
    }
    callers.join_all().await;
    assert!(client.down_members().is_empty());
}
