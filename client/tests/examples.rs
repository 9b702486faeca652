//! The examples run, as they are, against a started server.

mod support;

use memcarp_client::Address;
use std::process::{Command, Output};
use std::sync::Once;
use support::{Fake, Peer, peers_wanted};

/// Builds the examples once, with what the tests have been built with. `cargo test` does it by itself, but not if it is
/// told which targets to test.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let status =
            Command::new(env!("CARGO")).args(["build", "--quiet", "--workspace", "--examples"]).status();
        assert!(status.unwrap().success(), "the examples do not build");
    });
}

/// What becomes of an example.
async fn run(example: &str, address: &Address) -> Output {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(example);
    let address = address.to_string();
    let run = move || {
        build();
        Command::new(&program).arg(address).output().unwrap_or_else(|e| panic!("{}: {e}", program.display()))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// What an example prints.
async fn output(example: &str, address: &Address) -> String {
    let output = run(example, address).await;
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn quickstart_says_what_it_should(address: &Address) {
    let text = output("quickstart", address).await;
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "greeting = hello",
            "swapped: true",
            "visits = Some(1)",
            "greeting has 11 bytes",
            "visits has 1 bytes",
            "the report of 2026 (Computed)"
        ]
    );
}

#[tokio::test]
async fn quickstart() {
    let fake = Fake::start().await;
    quickstart_says_what_it_should(&fake.address).await;
    if peers_wanted() {
        quickstart_says_what_it_should(&Peer::memcached(&[]).address).await;
        quickstart_says_what_it_should(&Peer::memcarp(&[]).address).await;
    }
}

/// The program on the front page, as anybody would paste it.
#[tokio::test]
async fn readme() {
    let (_, code) = include_str!("../examples/readme.rs").split_once("\n\n").unwrap();
    assert!(include_str!("../README.md").contains(&format!("```rust\n{code}```\n")));
    let fake = Fake::start().await;
    assert_eq!(output("readme", &fake.address).await, "stored: true\n7 bytes, Computed\n");
}

#[tokio::test]
async fn a_program_that_fails_says_why_in_a_sentence() {
    let output = run("readme", &Address::Unix("/no/such/socket".into())).await;
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "Error: /no/such/socket: cannot connect: No such file or directory (os error 2)\n"
    );
}

#[tokio::test]
async fn derived() {
    if peers_wanted() {
        let text = output("derived", &Peer::memcarp(&[]).address).await;
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "small a sunrise (Computed)",
                "small a sunrise (Hit)",
                "small a sunset (Computed)",
                "small a sunset (Hit)"
            ]
        );
    }
}

#[tokio::test]
async fn members() {
    let text = output("members", &Address::Unix("unused".into())).await;
    assert!(
        text.contains("of 100000 keys move")
            && text.contains(", 0 of them between members that do not change")
    );
}
