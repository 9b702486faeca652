//! Expire-on-update under many clients at once, over TCP: nobody gets what was derived from data replaced before the
//! read began, no store that compared a source goes through after that has changed, and each key on its own behaves
//! as if its commands came one after the other. `single` has the same for all commands of one key, and nothing else.
//!
//! `MEMCARP_LINEARIZABLE_SECONDS`, `_CLIENTS` and `_SEED` change how long, how many and which.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod history;
mod register;
mod single;

use client::{Client, Random};
use common::{Server, wait_for};
use history::History;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

fn setting(name: &str, default: u64) -> u64 {
    let name = format!("MEMCARP_LINEARIZABLE_{name}");
    std::env::var(&name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: write a number")))
}

/// With memory to spare: no item is lost but by what somebody did to it.
#[test]
fn with_memory_to_spare() {
    run(&["-m", "64", "-t", "4"], false);
}

/// With far more data than memory, so that items are moved and evicted all the time.
#[test]
fn with_items_evicted() {
    run(&["-m", "2", "-I", "512k", "-t", "4"], true);
}

fn run(options: &[&str], evicts: bool) {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_nanos());
    let seed = setting("SEED", seed as u64);
    println!("MEMCARP_LINEARIZABLE_SEED={seed}");
    let server = Server::memcarp(options);
    let epoch = Instant::now();
    let end = epoch + Duration::from_secs(setting("SECONDS", 5));
    let longest = if evicts { 20_000 } else { 100_000 };
    let done = AtomicBool::new(false);
    let (mut history, mut refused) = (History::default(), 0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..setting("CLIENTS", 8) as usize)
            .map(|number| {
                let mut client = Client::new(&server, number, seed, longest, epoch);
                scope.spawn(move || {
                    while Instant::now() < end {
                        client.step();
                    }
                    (client.history, client.refused)
                })
            })
            .collect();
        if evicts {
            scope.spawn(|| fill(&server, seed, &done));
        }
        for client in clients {
            let (seen, lost) = client.join().expect("the client's own panic is shown");
            history.absorb(seen);
            refused += lost;
        }
        done.store(true, Ordering::Relaxed);
    });
    if evicts {
        assert!(stat(&server, "evictions") > 0, "nothing was evicted");
    }
    let mut connection = server.connect();
    assert_eq!(connection.ask("flush_all"), "OK");
    wait_for("the bookkeeping to go with the items", || {
        let counts = ["sources", "dependents"].map(|name| stat(&server, &format!("expire_on_update_{name}")));
        (counts == [0, 0]).then_some(())
    });
    let weight = history.check_sources().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    println!("{} commands, {refused} refused, {weight:?}", history.ops.len());
    assert!(weight.reads > 100 && weight.stores > 100 && weight.claims > 1000 && refused > 10);
    let lasting = |key: &str| !evicts && ["photo", "count", "tag"].iter().any(|name| key.starts_with(name));
    history.check_keys(lasting).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

fn stat(server: &Server, name: &str) -> u64 {
    let mut connection = server.connect();
    let prefix = format!("STAT {name} ");
    let found = ["stats", "stats memcarp"].into_iter().find_map(|command| {
        connection.send(format!("{command}\r\n"));
        let stats = String::from_utf8(connection.read_until(b"END\r\n")).expect("statistics are text");
        stats.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
    });
    found.unwrap_or_else(|| panic!("no {name} in stats"))
}

/// Writes far more than there is memory for.
fn fill(server: &Server, seed: u64, done: &AtomicBool) {
    let mut random = Random(!seed);
    let mut connection = server.connect();
    while !done.load(Ordering::Relaxed) {
        let mut batch = String::new();
        for _ in 0..10 {
            let value = "f".repeat(random.below(3000) as usize);
            let len = value.len();
            batch += &format!("set fill{} 0 0 {len} noreply\r\n{value}\r\n", random.below(5000));
        }
        connection.send(batch + "mn\r\n");
        assert_eq!(connection.read_line(), "MN");
    }
}
