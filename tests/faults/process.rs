//! One process in trouble.

use super::client::Client;
use super::started::{PATIENCE, Started, command, lines, wait_until};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Has the system allow a running process less than it began with.
fn limit(server: &Started, what: &str, most: u64) {
    let status = Command::new("prlimit")
        .args(["--pid", &server.process.id().to_string(), &format!("--{what}={most}:{most}")])
        .status();
    assert!(status.unwrap().success());
}

/// Whether all its threads have been stopped.
fn stands_still(server: &Started) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
    tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap()).all(|status| {
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.is_some_and(|state| state.trim().starts_with('T'))
    })
}

/// What it has said on standard error, once that holds these words.
fn said(server: &mut Started, words: &str) -> String {
    let lines = lines(server.process.stderr.take().expect("its standard error is ours"));
    let mut said = String::new();
    while !said.contains(words) {
        said += &lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it said only: {said}"));
        said.push('\n');
    }
    said
}

#[test]
fn a_panic_ends_its_connection_and_nothing_else() {
    let (mut command, directory) = command(&["-t", "1"]);
    // Only builds with debug assertions know it.
    command.env("MEMCARP_TEST_PANIC", "get panic");
    let mut server = Started::from((command, directory));
    let mut others: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for (number, other) in others.iter_mut().enumerate() {
        assert_eq!(other.say(&format!("set k{number} 0 0 1\r\n{number}\r\n")), "STORED\r\n");
        // In the middle of something when it happens.
        other.send(format!("set half{number} 0 0 300000\r\n{}", "x".repeat(150_000)));
    }
    for _ in 0..20 {
        let mut unlucky = server.connect();
        unlucky.send("set before 0 0 1\r\nb\r\nget panic\r\nset after 0 0 1\r\na\r\n");
        let mut rest = Vec::new();
        // It may be reset before it has read everything.
        if let Err(error) = unlucky.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert!(rest.is_empty() || rest == b"STORED\r\n", "{}", rest.escape_ascii());
    }
    for (number, other) in others.iter_mut().enumerate() {
        other.send("x".repeat(150_000));
        assert_eq!(other.say("\r\n"), "STORED\r\n");
        other.send(format!("get k{number} before after\r\n"));
        let lines = [other.line(), other.line(), other.line(), other.line(), other.line()].concat();
        assert_eq!(lines, format!("VALUE k{number} 0 1\r\n{number}\r\nVALUE before 0 1\r\nb\r\nEND\r\n"));
    }
    assert_eq!(others[0].stat("curr_connections"), "10");
    assert!(said(&mut server, "MEMCARP_TEST_PANIC").contains("panicked at"));
}

#[test]
fn without_descriptors_connections_wait_and_the_reason_is_said() {
    let mut server = Started::with(&["-t", "1"]);
    let mut first = server.connect();
    assert_eq!(first.say("mn\r\n"), "MN\r\n");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.process.id())).unwrap().count() as u64;
    limit(&server, "nofile", descriptors + 2);
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("version\r\n");
    }
    let said = said(&mut server, "ulimit -n");
    assert!(
        said.contains("connections wait, because they cannot be accepted: Too many open files"),
        "{said}"
    );
    // It tries again now and then: at most once in 50 milliseconds, so this many take no less than that.
    let failures =
        |client: &mut Client<TcpStream>| client.stat("listen_disabled_num").parse::<u32>().unwrap();
    let (begun, before) = (Instant::now(), failures(&mut first));
    wait_until("it to try again", || failures(&mut first) >= before + 5);
    assert!(begun.elapsed() >= Duration::from_millis(4 * 50), "{:?}", begun.elapsed());
    assert_eq!(first.stat("accepting_conns"), "0");
    // Whoever goes makes room for the next, in the order in which they came.
    for mut client in clients {
        assert_eq!(client.line(), "VERSION 1.6.45\r\n");
    }
    wait_until("it to accept again", || first.stat("accepting_conns") == "1");
}

#[test]
fn without_memory_from_the_system_stores_are_refused_or_evict() {
    for options in [&["-t", "1", "-m", "1024"][..], &["-t", "1", "-m", "1024", "-M"]] {
        let server = Started::with(options);
        let mut client = server.connect();
        let value = "x".repeat(10_000);
        let large = "y".repeat(900_000);
        let mut store = |number: usize| {
            let value = if number.is_multiple_of(50) { &large } else { &value };
            client.say(&format!("set k{number} 0 0 {}\r\n{value}\r\n", value.len()))
        };
        for number in 0..1000 {
            assert_eq!(store(number), "STORED\r\n");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        limit(&server, "as", (size + 65_536) * 1024);
        let mut refused = 0;
        for number in 1000..8000 {
            match store(number).as_str() {
                "STORED\r\n" => {}
                "SERVER_ERROR out of memory storing object\r\n" => refused += 1,
                other => panic!("{other}"),
            }
        }
        println!("{options:?}: {refused} of 7000 refused");
        let counted: u64 = client.own_stat("memory_bytes").parse().unwrap();
        let resident = server.resident();
        assert!(counted <= resident + (32 << 20), "{counted} bytes, and {resident} resident");
        assert_eq!(refused > 0, options.contains(&"-M"), "{refused}");
        client.send("get k7999 k7998\r\n");
        while client.line() != "END\r\n" {}
        assert_eq!(client.say("delete k0\r\n").len() % 2, 1);
        assert_eq!(client.say("set small 0 0 1\r\n1\r\n").get(..2).map(str::len), Some(2));
    }
}

/// For longer than an item lives here and clients may be idle. Ten seconds are the longest that the server waits for
/// anybody (handshakes of TLS, scrapers); what counts minutes goes by the clock that other tests move. So a minute is
/// the same as these seconds.
#[test]
fn a_server_that_stood_still_goes_on() {
    let server = Started::with(&["-t", "1", "-o", "idle_timeout=10"]);
    let mut client = server.connect();
    // More than a worker hears of at once.
    let mut known: Vec<_> = (0..300).map(|_| server.connect()).collect();
    let mut silent = server.connect();
    assert_eq!(silent.say("set short 0 1 1\r\n1\r\n"), "STORED\r\n");
    assert_eq!(client.say("set long 0 100 1\r\n1\r\n"), "STORED\r\n");
    for known in &mut known {
        assert_eq!(known.say("mn\r\n"), "MN\r\n");
    }
    server.signal("-STOP");
    wait_until("every thread to stand still", || stands_still(&server));
    let stopped = Instant::now();
    client.send("get short long\r\n");
    // Whoever comes meanwhile waits in the backlog.
    known.extend((0..50).map(|_| server.connect()));
    for client in &mut known {
        client.send("incr long 1\r\n");
    }
    wait_until("more than ten seconds to be over", || stopped.elapsed() > Duration::from_millis(11_500));
    server.signal("-CONT");
    let lines = [client.line(), client.line(), client.line()];
    assert!(lines[0].starts_with("VALUE long ") && lines[2] == "END\r\n", "{lines:?}");
    // Every one of them was answered, and all of them count.
    let mut counts: Vec<u32> = known.iter_mut().map(|client| client.line().trim().parse().unwrap()).collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(2..352));
    assert_eq!(silent.rest(), b"", "who said nothing has been closed");
    client.send("get short long\r\n");
    assert_eq!([client.line(), client.line(), client.line()].concat(), "VALUE long 0 3\r\n351\r\nEND\r\n");
}

#[test]
fn logs_that_cannot_be_written_stop_nobody() {
    let (mut command, directory) = command(&["-vv", "-t", "1"]);
    command.env("MEMCARP_TEST_PANIC", "get panic");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Started::logging_to((command, directory), full);
    let mut client = server.connect();
    for _ in 0..1000 {
        assert_eq!(client.say("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
    }
    let mut unlucky = server.connect();
    unlucky.stream.get_mut().write_all(b"get panic\r\n").unwrap();
    unlucky.rest();
    // It reads its files again, and says so if it can.
    server.signal("-HUP");
    assert_eq!(client.say("mn\r\n"), "MN\r\n");
    assert_eq!(server.connect().say("mn\r\n"), "MN\r\n");
}
