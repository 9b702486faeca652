//! A server that is killed and started again under load, as an application on the client crate sees it.

use super::started::{Started, wait_until};
use memcarp_client::{Address, Client, HealthPolicy, Member, Members};
use std::cell::Cell;
use std::time::{Duration, Instant};

const OPTIONS: &[&str] = &["-s", "socket", "-t", "2"];

/// What the writers have done so far.
#[derive(Default)]
struct Tally {
    stored: Cell<u64>,
    read: Cell<u64>,
    failed: Cell<u64>,
    done: Cell<bool>,
}

#[test]
fn nothing_old_is_read_and_everything_goes_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut server = Started::with(OPTIONS);
        let policy = HealthPolicy {
            first_probe: Duration::from_millis(20),
            longest_probe: Duration::from_millis(100),
            ..HealthPolicy::default()
        };
        let member = Member::new("one").at(Address::Unix(server.directory.join("socket")));
        let client = Client::builder()
            .members(Members::new(vec![member]).unwrap())
            .health(policy)
            .timeout(Duration::from_millis(500))
            .build()
            .unwrap();
        let tally = Tally::default();
        let restarts = async {
            for _ in 0..3 {
                until(|| tally.stored.get() + 200, || tally.stored.get()).await;
                server.process.kill().unwrap();
                wait_until("it to be gone", || server.process.try_wait().unwrap().is_some());
                until(|| tally.failed.get() + 20, || tally.failed.get()).await;
                server = server.again(OPTIONS);
            }
            until(|| tally.stored.get() + 200, || tally.stored.get()).await;
            until(|| tally.read.get() + 200, || tally.read.get()).await;
            tally.done.set(true);
        };
        tokio::join!(
            restarts,
            write(&client, 0, &tally),
            write(&client, 1, &tally),
            write(&client, 2, &tally),
            write(&client, 3, &tally),
        );
        println!("{} stored, {} read, {} failed", tally.stored.get(), tally.read.get(), tally.failed.get());
    });
}

/// Waits until a count has grown as far as `goal` says now.
async fn until(goal: impl Fn() -> u64, count: impl Fn() -> u64) {
    let (goal, deadline) = (goal(), Instant::now() + super::started::PATIENCE);
    while count() < goal {
        assert!(Instant::now() < deadline, "it stopped at {} of {goal}", count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes growing numbers to a key nobody else writes, and reads them: a read may miss what a killed server took with
/// it, and may see a write that failed, but nothing older than the last one that went well.
async fn write(client: &Client, number: usize, tally: &Tally) {
    let key = format!("number{number}");
    let mut stored = 0;
    for next in 1u64.. {
        if tally.done.get() {
            return;
        }
        match client.set(key.as_str(), next.to_string()).await {
            Ok(outcome) => {
                assert!(outcome.is_stored());
                stored = next;
                tally.stored.set(tally.stored.get() + 1);
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                assert_eq!(error.member(), Some("one"), "{error}");
                tally.failed.set(tally.failed.get() + 1);
                // Down is answered at once; everybody else wants a turn, too.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if let Ok(Some(item)) = client.get(key.as_str()).await {
            let seen: u64 = item.text().unwrap().parse().unwrap();
            assert!(
                (stored..=next).contains(&seen),
                "{seen}, when {stored} had been stored and {next} tried"
            );
            tally.read.set(tally.read.get() + 1);
        }
    }
}
