//! Whatever is dropped or timed out, wherever: no caller ever sees an answer that is not its own.

mod support;

use memcarp_client::op::{Count, Delete, Get, Store};
use memcarp_client::{Client, HealthPolicy, Outcome};
use proptest::prelude::*;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use support::{Chaos, Fake, members};

/// Something a caller does, and when it loses interest.
#[derive(Clone, Debug)]
enum Step {
    Get(u16),
    Many(u16, u8),
    Set(u16),
    Batch(u16, u8),
}

#[derive(Clone, Copy, Debug)]
enum Patience {
    /// Dropped after this many polls.
    Polls(u8),
    /// Dropped after this many microseconds.
    Micros(u16),
    /// Told to time out after this many microseconds.
    Timeout(u16),
    Unlimited,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u16>().prop_map(Step::Get),
        (any::<u16>(), 1..20u8).prop_map(|(first, count)| Step::Many(first, count)),
        any::<u16>().prop_map(Step::Set),
        (any::<u16>(), 1..20u8).prop_map(|(first, count)| Step::Batch(first, count)),
    ]
}

fn patience() -> impl Strategy<Value = Patience> {
    prop_oneof![
        (0..4u8).prop_map(Patience::Polls),
        (0..3000u16).prop_map(Patience::Micros),
        (1..3000u16).prop_map(Patience::Timeout),
        Just(Patience::Unlimited),
    ]
}

/// Keys 0 to 255; every value names its key, in a length that varies.
fn key(number: u16) -> String {
    format!("key:{}", number % 256)
}

fn value(key: &str) -> String {
    let length = 1 + key.bytes().map(usize::from).sum::<usize>() * 7 % 900;
    key.chars().cycle().take(key.len() + length).collect()
}

fn check(key: &str, text: Option<&str>) {
    assert_eq!(text, Some(value(key).as_str()), "somebody else's answer for {key}");
}

/// Runs a future until it loses interest.
async fn limited<F: Future>(patience: Patience, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match patience {
        Patience::Polls(limit) => {
            let mut polls = 0;
            poll_fn(|cx| {
                if polls == limit {
                    return Poll::Ready(None);
                }
                polls += 1;
                future.as_mut().poll(cx).map(Some)
            })
            .await
        }
        Patience::Micros(micros) => {
            tokio::time::timeout(Duration::from_micros(micros.into()), future).await.ok()
        }
        Patience::Timeout(_) | Patience::Unlimited => Some(future.await),
    }
}

async fn take(client: &Client, step: Step, patience: Patience) {
    let timeout = match patience {
        Patience::Timeout(micros) => Duration::from_micros(micros.into()),
        _ => support::GENEROUS,
    };
    match step {
        Step::Get(number) => {
            let key = key(number);
            let call = client.get(&key).strict().timeout(timeout);
            // A journalled change may have taken the item away, but never given another.
            if let Some(Ok(Some(item))) = limited(patience, call.send()).await {
                check(&key, item.text());
            }
        }
        Step::Set(number) => {
            let key = key(number);
            let _ = limited(patience, client.set(&key, value(&key)).timeout(timeout).send()).await;
        }
        Step::Many(first, count) => {
            let keys: Vec<String> = (0..u16::from(count)).map(|i| key(first.wrapping_add(i * 7))).collect();
            if let Some(found) = limited(patience, client.get_many(&keys).send()).await {
                for (key, item) in keys.iter().zip(&found.items) {
                    if let Some(item) = item {
                        check(key, item.text());
                    }
                }
            }
        }
        Step::Batch(first, count) => {
            let keys: Vec<String> = (0..u16::from(count)).map(|i| key(first.wrapping_add(i * 3))).collect();
            let mut batch = client.batch().timeout(timeout);
            for key in &keys {
                batch = batch
                    .add(Count::up(format!("missing:{key}"), 1))
                    .add(Get::new(key))
                    .add(Store::add(key, value(key)))
                    .add(Delete::new(format!("missing:{key}")));
            }
            if let Some(results) = limited(patience, batch.send()).await {
                for (key, results) in keys.iter().zip(results.chunks(4)) {
                    if let Ok(Outcome::Get(Some(item))) = &results[1] {
                        check(key, item.text());
                    }
                    assert!(matches!(results[0], Err(_) | Ok(Outcome::Count(_))));
                    assert!(matches!(results[3], Err(_) | Ok(Outcome::Delete(_))));
                }
            }
        }
    }
}

async fn run(callers: Vec<Vec<(Step, Patience)>>, chaos: Chaos, connections: usize) {
    let fake = Fake::with(chaos).await;
    let client = Client::builder()
        .members(members(&[("chaotic", &fake.address)]))
        .timeout(support::GENEROUS)
        .unresponsive_after(support::GENEROUS)
        .connections_per_member(connections)
        // Timeouts are this test's doing: nobody is to be taken for down.
        .health(HealthPolicy { failures: u32::MAX, ..HealthPolicy::default() })
        .build()
        .unwrap();
    let warm = client.batch().extend((0..256).map(|n| Store::set(key(n), value(&key(n)))));
    assert!(warm.send().await.iter().all(Result::is_ok));
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|steps| {
            let client = client.clone();
            tokio::spawn(async move {
                for (step, patience) in steps {
                    take(&client, step, patience).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // The stream is still in step: a last caller gets its own answers.
    for number in 0..16 {
        let key = key(number);
        if let Some(item) = client.get(&key).strict().await.unwrap() {
            check(&key, item.text());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MEMCARP_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_sees_an_answer_that_is_not_its_own(
        callers in prop::collection::vec(prop::collection::vec((step(), patience()), 1..25), 1..8),
        piece in 4..1000u64,
        pause in 5..200u64,
        connections in 1..3usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(callers, Chaos { piece, pause }, connections));
    }
}
