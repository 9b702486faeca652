//! Servers that break off a login, and passwords that change.

mod support;

use memcarp_client::{ErrorKind, HealthPolicy};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Wild, builder, eventually, hit, opaque};
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
