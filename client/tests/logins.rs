//! Logins that are missing, wrong or broken off, and passwords that change.

mod support;

use memcarp_client::{Address, Builder, Client, Error, ErrorKind, HealthPolicy, ProtocolChoice, Tls};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Papers, Peer, Wild, builder, eventually, file_in, hit, opaque, peers_wanted, scratch};
use tokio::sync::watch;

#[tokio::test]
async fn a_login_cut_off_anywhere_is_an_error_with_a_name_and_is_tried_again() {
    let said = ["", "S", "STORED", "STORED\r", "STORED\r\n", "STORED\r\nMN", "STORED\r\nMN\r\nMN\r\n"];
    for says in said {
        let server = Wild::start(move |mut peer, number| async move {
            while let Some(line) = peer.line().await {
                match (number, line.split(' ').next().unwrap()) {
                    (0, _) => return peer.say(says).await,
                    (_, "set") => peer.say("STORED\r\n").await,
                    (_, "mn") => peer.say("MN\r\n").await,
                    _ => peer.say(&hit(&line)).await,
                }
            }
        })
        .await;
        let policy = HealthPolicy { first_probe: Duration::from_millis(1), ..HealthPolicy::default() };
        let client = builder(&server.address).credentials("user", "secret").health(policy).build().unwrap();
        let error = client.get("k").strict().await.unwrap_err();
        assert_eq!(error.member(), Some("only"));
        assert!(
            matches!(error.kind(), ErrorKind::Connect | ErrorKind::Authentication(_)),
            "{says:?}: {error}"
        );
        eventually("the next login succeeds", || async {
            client.get("k").strict().await.is_ok_and(|item| item.unwrap().text() == Some("k"))
        })
        .await;
    }
}

/// The password changes on the server first, then in the client's source.
#[tokio::test]
async fn a_password_that_changed_takes_the_member_down_until_the_new_one_is_known() {
    let (right, mine) = (Arc::new(Mutex::new("one")), Arc::new(Mutex::new("one")));
    let cut = watch::channel(()).0;
    let server = Wild::start({
        let (right, cut) = (right.clone(), cut.clone());
        move |mut peer, _| {
            let (right, mut cut) = (right.clone(), cut.subscribe());
            let serve = async move {
                let mut known = false;
                while let Some(line) = peer.line().await {
                    match line.split(' ').next().unwrap() {
                        // Nine bytes: "user" and a password of four; five: of three.
                        "set" => {
                            known = line.ends_with(&format!(" {}", 5 + right.lock().unwrap().len()));
                            let says =
                                if known { "STORED\r\n" } else { "CLIENT_ERROR authentication failure\r\n" };
                            peer.say(says).await;
                        }
                        _ if !known => peer.say("CLIENT_ERROR unauthenticated\r\n").await,
                        "mn" => peer.say("MN\r\n").await,
                        "ms" | "md" => peer.say(&format!("HD{}\r\n", opaque(&line))).await,
                        _ => peer.say(&hit(&line)).await,
                    }
                }
            };
            async move {
                tokio::select! { () = serve => {}, _ = cut.changed() => {} }
            }
        }
    })
    .await;
    let policy = HealthPolicy {
        first_probe: Duration::from_millis(10),
        longest_probe: Duration::from_millis(50),
        ..HealthPolicy::default()
    };
    let source = mine.clone();
    let client = builder(&server.address)
        .credentials_from(move || ("user".to_owned(), source.lock().unwrap().to_string()))
        .health(policy)
        .build()
        .unwrap();
    assert!(client.get("k").strict().await.unwrap().is_some());
    *right.lock().unwrap() = "three";
    cut.send_replace(());
    eventually("the member is down for its password", || async {
        let error = client.get("k").strict().await.err();
        error.is_some_and(|error| {
            assert_eq!(error.member(), Some("only"));
            error.to_string().contains("authentication failure")
        })
    })
    .await;
    *mine.lock().unwrap() = "three";
    eventually("the member is back", || async { client.get("k").strict().await.is_ok() }).await;
}

/// Whatever is asked for, first and later: an error of this sort that names the member, and no hope.
async fn says_all_along(client: &Client, sort: impl Fn(&Error) -> bool) {
    for _ in 0..3 {
        let (get, set, many) = tokio::join!(
            client.get("k").strict().send(),
            client.set("k", "v").send(),
            client.get_many(["k", "l"]),
        );
        for error in [get.unwrap_err(), set.unwrap_err(), many.failures[0].error.clone()] {
            assert!(sort(&error), "{error}");
            assert_eq!(error.member(), Some("only"), "{error}");
            assert!(!error.is_retryable() && !error.may_have_happened(), "{error}");
        }
    }
    assert_eq!(client.down_members(), ["only"]);
}

async fn tells_of_a_missing_login(builder: impl Fn() -> Builder) {
    for protocol in [ProtocolChoice::Auto, ProtocolChoice::Meta, ProtocolChoice::Classic] {
        let client = builder().protocol(protocol).build().unwrap();
        says_all_along(&client, |error| {
            error.to_string() == "only: wants a login; give the client credentials"
                && *error.kind() == ErrorKind::LoginRequired
        })
        .await;
    }
}

#[tokio::test]
async fn who_has_no_credentials_is_told_that_they_are_wanted() {
    for shortest in [0, 6] {
        // memcached 1.6.18 answers everything, 1.6.45 and memcarp nothing that is as short as `mn`.
        let server = Wild::start(move |mut peer, _| async move {
            while let Some(line) = peer.line().await {
                if line.len() < shortest {
                    return;
                }
                peer.say("CLIENT_ERROR unauthenticated\r\n").await;
            }
        })
        .await;
        tells_of_a_missing_login(|| builder(&server.address)).await;
    }
}

/// Lets ada in with her secret.
/// One speaks TLS and the other does not.
#[tokio::test]
async fn who_speaks_tls_alone_is_told_so() {
    if !peers_wanted() {
        return;
    }
    let papers = Papers::new();
    let directory = scratch("tls");
    std::fs::create_dir(&directory).unwrap();
    let file = |name, text: &str| file_in(&directory, name, text);
    let (chain, key) = (file("cert", &papers.certificate), file("key", &papers.key));
    let secured = Peer::memcarp(&["-Z", "-o", &format!("ssl_chain_cert={chain},ssl_key={key}")]);
    let plain = builder(&secured.address).build().unwrap();
    let error = plain.get("k").strict().await.unwrap_err();
    assert!(error.to_string().contains("it speaks TLS, and the client does not"), "{error}");
    for server in [Peer::memcarp(&[]), Peer::memcached(&[])] {
        let client = builder(&server.address).tls(Tls::new(papers.authority.as_bytes()).unwrap());
        let error = client.build().unwrap().get("k").strict().await.unwrap_err();
        assert!(error.to_string().contains("it does not speak TLS, but the client does"), "{error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

fn guarded(start: impl Fn(&[&str]) -> Peer) -> Peer {
    let file = scratch("auth");
    std::fs::write(&file, "ada:secret\n").unwrap();
    let peer = start(&["-Y", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    peer
}

#[tokio::test]
async fn real_servers_tell_of_logins_that_are_missing_or_wrong() {
    if !peers_wanted() {
        return;
    }
    for peer in [guarded(Peer::memcached), guarded(Peer::memcarp)] {
        tells_of_a_missing_login(|| builder(&peer.address)).await;
        let with = |password: &str| builder(&peer.address).credentials("ada", password).build().unwrap();
        says_all_along(&with("wrong"), |error| {
            error.to_string() == "only: refused the credentials: CLIENT_ERROR authentication failure"
        })
        .await;
        assert!(with("secret").set("k", "v").await.unwrap().is_stored());
    }
}

async fn keeps_no_password(address: &Address) {
    let client = builder(address).credentials("ada", "secret").build().unwrap();
    assert!(client.set("k", "v").await.unwrap().is_stored());
    assert_eq!(client.get("auth").strict().await.unwrap(), None, "anybody can read the password");
}

#[tokio::test]
async fn a_server_that_wants_no_login_keeps_no_password() {
    if peers_wanted() {
        keeps_no_password(&Peer::memcached(&[]).address).await;
        keeps_no_password(&Peer::memcarp(&[]).address).await;
    }
}

#[tokio::test]
async fn too_many_logins_at_once_are_no_verdict_on_the_credentials() {
    let server = Wild::start(|mut peer, number| async move {
        while let Some(line) = peer.line().await {
            match (number, line.split(' ').next().unwrap()) {
                (0, _) => peer.say("SERVER_ERROR too many clients are logging in, try again\r\n").await,
                (_, "set") => peer.say("STORED\r\n").await,
                (_, "mn") => peer.say("MN\r\n").await,
                _ => peer.say(&hit(&line)).await,
            }
        }
    })
    .await;
    let client = builder(&server.address).credentials("user", "secret").build().unwrap();
    let error = client.get("k").strict().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("too many"), "{error}");
}
