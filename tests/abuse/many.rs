//! More clients than anybody has use for, at once or one after the other.

use super::bound::{Load, MIB, Probe, check_growth};
use super::started::{Started, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;

/// 10,000 connections, or as many as this process may open.
fn how_many() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = 10_000 + 200;
    let allowed = if soft >= wanted || setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        wanted
    } else {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        hard
    };
    let count = allowed as usize - 200;
    assert!(count >= 500, "{allowed} open files are too few to see anything: raise the limit with ulimit -n");
    count
}

#[test]
fn ten_thousand_connections_at_once() {
    let count = how_many();
    println!("{count} connections");
    let limit = (count + 100).to_string();
    let server = Started::with(&["-t", "2", "-m", "8", "-c", &limit]);
    let mut probe = Probe::of(&server);
    // None of them waits for another: each is in the middle of a command when the last one comes.
    let mut all: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(b"get pro").unwrap();
            stream
        })
        .collect();
    wait_until("all to be there", || {
        probe.client().stat("curr_connections").parse::<usize>().unwrap() == count + 1
    });
    probe.is_served();
    let load = Load { mebibytes: 8, threads: 2, connections: count as u64 + 2, ..Load::default() };
    load.check(&server);
    for stream in &mut all {
        stream.write_all(b"be\r\n").unwrap();
    }
    for stream in &mut all {
        let mut reply = [0; 27];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"VALUE probe 0 5\r\nhello\r\nEND");
    }
    load.check(&server);
    // As many again are turned away, and told so.
    let places = 100 - 1;
    let more: Vec<_> = (0..places).map(|_| server.connect()).collect();
    let mut over = server.connect();
    assert_eq!(over.line(), "ERROR Too many open connections\r\n");
    probe.client().say("mn\r\n");
    drop((all, more));
    wait_until("all to be gone", || probe.client().stat("curr_connections") == "1");
    probe.is_served();
}

#[test]
fn connections_that_come_and_go() {
    let server = Started::with(&["-t", "2", "-m", "8"]);
    let mut probe = Probe::of(&server);
    let ends =
        ["", "get pro", "set a 0 0 500000\r\nxx", "get probe\r\n", "quit\r\n", "nonsense\r\n", "watch\r\n"];
    let mut resident = 0;
    for round in 0..5000 {
        // What it leaves behind, some of it unread, is the server's to clear up.
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(ends[round % ends.len()].as_bytes()).unwrap();
        if round % 1000 == 0 {
            probe.is_served();
        }
        if round == 1000 {
            resident = server.resident();
        }
    }
    wait_until("all to be gone", || probe.client().stat("curr_connections") == "1");
    assert_eq!(probe.client().stat("rejected_connections"), "0");
    check_growth(&server, resident, 2 * MIB);
    // Nor do they hold what there is only so much of: room for values on their way in, and places to watch from.
    let value = "x".repeat(500_000);
    assert_eq!(probe.client().say(&format!("set big 0 0 500000\r\n{value}\r\n")), "STORED\r\n");
    assert_eq!(server.connect().say("watch\r\n"), "OK\r\n");
}
