//! Clients that send what they should not, or less than they announced.

use super::bound::{KIB, MIB, Probe, check_growth};
use super::client::Client;
use super::started::{Started, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Waits until the server has read this many bytes more than `before`, its clients' own traffic aside.
fn until_read(probe: &mut Probe<'_>, before: u64, bytes: u64) {
    wait_until("the server to have read it", || read_so_far(probe) >= before + bytes);
}

fn read_so_far(probe: &mut Probe<'_>) -> u64 {
    probe.client().stat("bytes_read").parse().unwrap()
}

#[test]
fn half_a_command_and_silence() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let beginnings =
        ["g", "get a", "set a 0 0 100\r\n", "set a 0 0 100\r\nxy", "mg ", "ms b 500000\r\nx", "watc"];
    probe.is_served();
    let (resident, before) = (server.resident(), read_so_far(&mut probe));
    let mut sent = 0;
    let silent: Vec<_> = (0..700)
        .map(|number| {
            let beginning = beginnings[number % beginnings.len()];
            let mut client = server.connect();
            client.send(beginning);
            sent += beginning.len() as u64;
            client
        })
        .collect();
    until_read(&mut probe, before, sent);
    probe.is_served();
    // Not a page for any of them.
    check_growth(&server, resident, MIB + 700 * KIB);
    drop(silent);
}

#[test]
fn long_beginnings_of_commands_and_silence() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    // Just less than what is answered without its end.
    let beginning = format!("get {}", "k ".repeat(15_000));
    probe.is_served();
    let (resident, before) = (server.resident(), read_so_far(&mut probe));
    let silent: Vec<_> = (0..200)
        .map(|_| {
            let mut client = server.connect();
            client.send(&beginning);
            client
        })
        .collect();
    until_read(&mut probe, before, 200 * beginning.len() as u64);
    probe.is_served();
    check_growth(&server, resident, MIB + 200 * 40 * KIB);
    drop(silent);
}

#[test]
fn one_byte_at_a_time_by_many() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let mut slow: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for byte in b"set slow 0 0 3\r\nabc\r\nget slow\r\n" {
        for client in &mut slow {
            client.send([*byte]);
        }
        probe.client().say("mn\r\n");
    }
    probe.is_served();
    for client in &mut slow {
        assert_eq!(client.line(), "STORED\r\n");
        assert_eq!(
            [client.line(), client.line(), client.line()].concat(),
            "VALUE slow 0 3\r\nabc\r\nEND\r\n"
        );
    }
}

#[test]
fn a_gibibyte_announced_and_never_sent() {
    let server = Started::with(&["-t", "1", "-I", "1g", "-m", "2048"]);
    let mut probe = Probe::of(&server);
    probe.is_served();
    let (resident, before) = (server.resident(), read_so_far(&mut probe));
    let announcement = format!("set huge 0 0 {}\r\n{}", (1 << 30) - 100, "x".repeat(10_000));
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let mut client = server.connect();
            client.send(&announcement);
            client
        })
        .collect();
    until_read(&mut probe, before, 100 * announcement.len() as u64);
    probe.is_served();
    // What has come, in whole pages, and nothing of what has not.
    check_growth(&server, resident, MIB + 100 * 16 * KIB);
    let taken: u64 = probe.client().own_stat("memory_bytes").parse().unwrap();
    assert!(taken <= 103 * MIB, "{taken} bytes charged: a block for each, of this much memory, and no more");
    assert_eq!(probe.client().stat("evictions"), "0");
    drop(silent);
    wait_until("their memory to be free", || probe.client().stat("curr_connections") == "1");
    // Over what an item may have, it is refused before a byte of it has come.
    let mut client = server.connect();
    let reply = client.say("set huger 0 0 1073741824\r\n");
    assert_eq!(reply, "SERVER_ERROR object too large for cache\r\n");
}

#[test]
fn a_line_of_ten_megabytes() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    const LEN: usize = 10_000_000;
    let long_key = "CLIENT_ERROR bad command line format\r\n";
    for (begin, answer) in [
        ("", None),
        ("set ", None),
        ("ms ", None),
        ("gat 0 ", None),
        ("get ", Some(long_key)),
        ("get k ", Some(long_key)),
    ] {
        let resident = server.resident();
        let mut client = server.connect();
        let line = [begin.as_bytes(), &vec![b'x'; LEN]].concat();
        let sent = client.stream.get_mut().write_all(&line);
        // Before its end has come.
        probe.is_served();
        check_growth(&server, resident, MIB);
        let sent = sent.and_then(|()| client.stream.get_mut().write_all(b"\r\nmn\r\n"));
        if let Some(answer) = answer {
            sent.unwrap();
            assert_eq!([client.line(), client.line()], [answer, "MN\r\n"], "{begin}");
        } else {
            // The server need not read it all.
            let mut rest = Vec::new();
            let end = sent.and_then(|()| client.stream.read_to_end(&mut rest));
            let closed = |error: std::io::Error| {
                matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
            };
            assert!(
                end.map_or_else(closed, |_| true) && rest.is_empty(),
                "{begin} is no command of this length"
            );
        }
    }
    // As many keys are a command like any other; each is answered as it comes.
    let mut client = server.connect();
    let key = "k".repeat(99);
    client.send(format!("get{} probe\r\n", format!(" {key}").repeat(LEN / 100)));
    assert_eq!([client.line(), client.line(), client.line()].concat(), "VALUE probe 0 5\r\nhello\r\nEND\r\n");
    probe.is_served();
}

#[test]
fn values_refused_for_their_length_are_not_kept() {
    let server = Started::with(&["-t", "1", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let before = server.resident();
    let mut client = Client::new(TcpStream::connect(server.address()).unwrap());
    client.send("set long 0 0 100000000\r\n");
    assert_eq!(client.line(), "SERVER_ERROR object too large for cache\r\n");
    for _ in 0..100 {
        client.send(vec![b'x'; 1_000_000]);
    }
    probe.is_served();
    assert_eq!(client.say("\r\nmn\r\n"), "MN\r\n");
    check_growth(&server, before, 2 * MIB);
}
