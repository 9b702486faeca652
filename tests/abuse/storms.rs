//! Commands that are cheap to send and dear to carry out, again and again.

use super::bound::{Load, MIB, Probe, check_growth};
use super::client::Client;
use super::started::{Started, wait_until};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Ends the storm when it is dropped, be it because something has failed.
struct Calm<'s>(&'s AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads up to this line, and says how many others there were.
fn read_to(client: &mut Client<TcpStream>, last: &str) -> u64 {
    for count in 0.. {
        let line = client.line();
        assert_ne!(line, "", "the connection was closed");
        if line == last {
            return count;
        }
    }
    unreachable!("lines without end")
}

/// Has some clients repeat a batch while others are served. They take turns, and leave nothing behind.
fn storm(server: &Started, probe: &mut Probe<'_>, batch: &str) {
    let batch = format!("{batch}mn\r\n");
    let yields = |probe: &mut Probe<'_>| probe.client().stat("conn_yields").parse::<u64>().unwrap();
    let yields_before = yields(probe);
    let (stop, batches) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _calm = Calm(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = server.connect();
                while !stop.load(Ordering::Relaxed) {
                    client.send(&batch);
                    read_to(&mut client, "MN\r\n");
                    batches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("the storm", || batches.load(Ordering::Relaxed) > 10);
        let resident = server.resident();
        let mut client = server.connect();
        for _ in 0..500 {
            assert_eq!(client.say("mn\r\n"), "MN\r\n");
        }
        wait_until("more of it", || batches.load(Ordering::Relaxed) > 50);
        check_growth(server, resident, 4 * MIB);
    });
    // A turn has 20 requests; a batch may have come in pieces.
    let turns = batch.matches("\r\n").count() as u64 / 20 / 4;
    let yielded = yields(probe) - yields_before;
    assert!(yielded >= batches.into_inner() * turns, "{yielded} yields");
    assert_eq!(probe.client().say("set probe 0 0 5\r\nhello\r\n"), "STORED\r\n");
    probe.is_served();
}

#[test]
fn flushes() {
    let server = Started::with(&["-t", "2", "-m", "64"]);
    let mut probe = Probe::of(&server);
    for start in (0..200_000).step_by(1000) {
        let sets: String =
            (start..start + 1000).map(|number| format!("set k{number} 0 0 1 noreply\r\nx\r\n")).collect();
        probe.client().send(sets + "mn\r\n");
        assert_eq!(probe.client().line(), "MN\r\n");
    }
    storm(&server, &mut probe, &"flush_all\r\nset a 0 0 1\r\nx\r\n".repeat(100));
    assert!(probe.client().stat("cmd_flush").parse::<u64>().unwrap() > 5000);
    Load { mebibytes: 64, threads: 2, connections: 6, ..Load::default() }.check(&server);
}

#[test]
fn dumps_and_statistics() {
    let server = Started::with(&["-t", "2", "-m", "64"]);
    let mut probe = Probe::of(&server);
    for start in (0..5000).step_by(1000) {
        let sets: String =
            (start..start + 1000).map(|number| format!("set k{number} 0 0 1 noreply\r\nx\r\n")).collect();
        probe.client().send(sets + "mn\r\n");
        assert_eq!(probe.client().line(), "MN\r\n");
    }
    storm(&server, &mut probe, "stats settings\r\nstats conns\r\nstats sizes\r\n");
    let (stop, lines) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _calm = Calm(&stop);
        scope.spawn(|| {
            let mut client = server.connect();
            while !stop.load(Ordering::Relaxed) {
                client.send("lru_crawler metadump all\r\n");
                lines.fetch_add(read_to(&mut client, "END\r\n"), Ordering::Relaxed);
            }
        });
        wait_until("dumps", || lines.load(Ordering::Relaxed) > 20_000);
        let resident = server.resident();
        probe.is_served();
        wait_until("more dumps", || lines.load(Ordering::Relaxed) > 100_000);
        check_growth(&server, resident, 2 * MIB);
    });
    Load { mebibytes: 8, threads: 2, connections: 6, ..Load::default() }.check(&server);
}
