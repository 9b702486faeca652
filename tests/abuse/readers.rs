//! Clients that ask and do not read.

use super::bound::{KIB, Load, MIB, Probe, check_growth};
use super::started::{Started, wait_until};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;

/// A client that sends one request again and again and reads nothing.
struct Deaf {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
}

impl Deaf {
    fn new(server: &Started, request: &str) -> Deaf {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Deaf { stream, request: request.as_bytes().to_vec(), sent: 0 }
    }

    /// Sends until nobody takes any more.
    fn send(&mut self) {
        let many = self.request.repeat((64 << 10) / self.request.len() + 2);
        loop {
            match self.stream.write(&many[self.sent % self.request.len()..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Has all of them send until the server has stopped reading from each.
fn fill(probe: &mut Probe<'_>, clients: &mut [Deaf]) {
    for client in clients {
        let end = client.stream.local_addr().unwrap();
        wait_until("the client to be held back", || {
            client.send();
            probe.client().state_of(end).as_deref() == Some("conn_mwrite")
        });
    }
}

#[test]
fn readers_that_stop_reading() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let value = "x".repeat(8000);
    assert_eq!(probe.client().say(&format!("set k 0 0 8000\r\n{value}\r\n")), "STORED\r\n");
    let mut deaf: Vec<_> = (0..50).map(|_| Deaf::new(&server, "get k\r\n")).collect();
    fill(&mut probe, &mut deaf);
    probe.is_served();
    Load { mebibytes: 8, threads: 1, connections: 52, busy: 50, ..Load::default() }.check(&server);
}

/// Each asks until its own socket is full of requests: a hundred thousand of a mebibyte each.
#[test]
fn pipelined_gets_of_a_large_value_that_nobody_reads() {
    let server = Started::with(&["-t", "1", "-m", "64"]);
    let mut probe = Probe::of(&server);
    let value = "x".repeat(1_000_000);
    assert_eq!(probe.client().say(&format!("set big 0 0 1000000\r\n{value}\r\n")), "STORED\r\n");
    probe.is_served();
    let resident = server.resident();
    let mut deaf: Vec<_> = (0..10).map(|_| Deaf::new(&server, "get big\r\n")).collect();
    fill(&mut probe, &mut deaf);
    let asked: usize = deaf.iter().map(|client| client.sent / client.request.len()).sum();
    println!("{asked} gets of 1 MB");
    assert!(asked > 100_000, "{asked}");
    probe.is_served();
    // The value is there once, whoever waits for it.
    check_growth(&server, resident, MIB + 10 * 384 * KIB);
}

/// Values that clients asked for and do not read count in `-m`, also when they have been replaced or evicted. They keep
/// nobody from storing: those who have read nothing for longest are let go.
#[test]
fn values_that_are_replaced_or_evicted_while_nobody_reads_them() {
    const CLIENTS: u64 = 40;
    const VALUE: u64 = 1_000_000;
    /// What lies beside the values: their ends and keys, in segments.
    const ENDS: u64 = 128 * KIB;
    for (threads, transport) in [("1", "epoll"), ("4", "epoll"), ("2", "io_uring")] {
        for replaced in [true, false] {
            let server = Started::with(&["-t", threads, "-m", "16", "--transport", transport]);
            let mut probe = Probe::of(&server);
            let resident = server.resident();
            let before = probe.memory_used();
            let mut deaf = Vec::new();
            for number in 0..CLIENTS {
                let value = number.to_string().repeat(1_000_000)[..1_000_000].to_owned();
                let key = if replaced { "big".to_owned() } else { format!("big-{number}") };
                let reply = probe.client().say(&format!("set {key} 0 0 1000000\r\n{value}\r\n"));
                assert_eq!(reply, "STORED\r\n", "{transport}, {threads} workers, the value of {number}");
                let mut client = TcpStream::connect(server.address()).unwrap();
                // More than the system takes off the server's hands.
                client.write_all(format!("get {key}\r\n").repeat(32).as_bytes()).unwrap();
                let end = client.local_addr().unwrap();
                wait_until("the client to be held back", || {
                    probe.client().state_of(end).as_deref() == Some("conn_mwrite")
                });
                deaf.push(client);
            }
            // An eighth of the memory may be of values that are in the store no longer. Bytes and not clients are counted:
            // one whose socket takes a little more later goes on to the value that is there by then, or to none.
            let most = if replaced { before + 16 * MIB / 8 + VALUE + ENDS } else { 16 * MIB };
            let mut used = 0;
            wait_until("enough clients to be ended", || {
                used = probe.memory_used();
                used <= most
            });
            let ended: u64 = probe.client().own_stat("stalled_kicks").parse().unwrap();
            println!("{ended} clients ended, {used} bytes left, {most} at most");
            assert!(!replaced || ended < CLIENTS, "the last value is in the store, so its reader stays");
            check_growth(&server, resident, 16 * MIB * 102 / 100 + (CLIENTS - ended) * 384 * KIB);
            assert_eq!(probe.client().say("set probe 0 0 5\r\nhello\r\n"), "STORED\r\n");
            probe.is_served();
        }
    }
}

#[test]
fn long_statistics_that_nobody_reads() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    assert_eq!(probe.client().say("stats detail on\r\n"), "OK\r\n");
    let prefix = "p".repeat(200);
    for start in (0..10_000).step_by(100) {
        let gets: String = (start..start + 100).map(|number| format!("mg {prefix}{number}:k\r\n")).collect();
        probe.client().send(gets + "mn\r\n");
        while probe.client().line() != "MN\r\n" {}
    }
    let before: u64 = probe.client().stat("bytes_read").parse().unwrap();
    let asked = "stats detail dump\r\n".repeat(2);
    let deaf: Vec<_> = (0..100)
        .map(|_| {
            let mut client = server.connect();
            client.send(&asked);
            client
        })
        .collect();
    wait_until("all to have asked", || {
        let read: u64 = probe.client().stat("bytes_read").parse().unwrap();
        read >= before + 100 * asked.len() as u64
    });
    probe.is_served();
    Load { mebibytes: 16, threads: 1, connections: 102, busy: 100, long_replies: true, ..Load::default() }
        .check(&server);
    // Who comes too late is told so, and anybody else gets it once they are gone.
    drop(deaf);
    wait_until("there to be room", || {
        let mut client = server.connect();
        client.send("stats detail dump\r\n");
        let first = client.line();
        assert!(
            first.starts_with("PREFIX ") || first == "SERVER_ERROR out of memory writing stats\r\n",
            "{first}"
        );
        first.starts_with("PREFIX ")
    });
}

#[test]
fn watchers_that_do_not_read() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let mut watchers: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.say("watch fetchers mutations\r\n"), "OK\r\n");
    }
    let refused = server.connect().say("watch fetchers\r\n");
    assert!(refused.starts_with("WATCHER_TOO_MANY "), "{refused}");
    let gets = "mg some-key-that-makes-lines-long\r\n".repeat(1000) + "mn\r\n";
    wait_until("lines to be dropped", || {
        probe.client().send(&gets);
        while probe.client().line() != "MN\r\n" {}
        probe.client().stat("log_watcher_skipped") != "0"
    });
    for _ in 0..20 {
        probe.client().send(&gets);
        while probe.client().line() != "MN\r\n" {}
    }
    probe.is_served();
    Load { mebibytes: 8, threads: 1, connections: 22, busy: 20, watchers: 20, ..Load::default() }
        .check(&server);
}
