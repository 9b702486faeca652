//! What clients of one server owe each other: turns, memory, and time.

use super::started::{Started, wait_until};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn commands_arrive_in_any_pieces() {
    let server = Started::with(&["-t", "1"]);
    let mut client = server.connect();
    let mut other = server.connect();
    for byte in b"set key 5 0 3\r\nabc\r\nget key\r\n" {
        client.send([*byte]);
        // The other's reply shows that the byte has been seen by the same worker.
        assert_eq!(other.say("mn\r\n"), "MN\r\n");
    }
    assert_eq!(client.line(), "STORED\r\n");
    assert_eq!([client.line(), client.line(), client.line()].concat(), "VALUE key 5 3\r\nabc\r\nEND\r\n");
}

#[test]
fn a_client_that_closes_in_the_middle_of_a_command_leaves_nothing() {
    let server = Started::with(&[]);
    let mut other = server.connect();
    for half in ["get half", "set half 0 0 10\r\nabc", "set half 0 0 500000\r\nabc"] {
        server.connect().send(half);
    }
    wait_until("the connections to be gone", || {
        other.send("stats conns\r\n");
        let mut clients = 0;
        loop {
            let line = other.line();
            if line == "END\r\n" {
                return clients == 1;
            }
            clients += usize::from(line.contains(":listen_addr "));
        }
    });
    assert_eq!(other.say("get half\r\n"), "END\r\n");
}

#[test]
fn a_value_longer_than_any_buffer_comes_back_whole() {
    let server = Started::with(&["-I", "16m", "-m", "64"]);
    let mut client = server.connect();
    let value: Vec<u8> = (0..10_000_000u32).map(|index| b'a' + (index % 23) as u8).collect();
    client.send(format!("set long 0 0 {}\r\n", value.len()));
    client.send(&value);
    assert_eq!(client.say("\r\n"), "STORED\r\n");
    client.send("get long\r\nquit\r\n");
    let reply = client.rest();
    let head = format!("VALUE long 0 {}\r\n", value.len());
    assert!(reply == [head.as_bytes(), &value, b"\r\nEND\r\n"].concat());
}

#[test]
fn an_idle_client_is_closed_and_one_that_speaks_is_not() {
    let server = Started::with(&["-o", "idle_timeout=1"]);
    let begun = Instant::now();
    let (mut idle, mut halfway, mut busy) = (server.connect(), server.connect(), server.connect());
    assert_eq!(idle.say("mn\r\n"), "MN\r\n");
    halfway.send("get some");
    let gone = std::thread::spawn(move || (idle.rest(), halfway.rest(), begun.elapsed()));
    wait_until("the idle to be closed", || {
        assert_eq!(busy.say("mn\r\n"), "MN\r\n");
        gone.is_finished()
    });
    let (idle, halfway, lasted) = gone.join().unwrap();
    assert!(idle.is_empty() && halfway.is_empty());
    assert!(lasted >= Duration::from_secs(1), "{lasted:?}");
    assert_eq!(busy.stat("idle_kicks"), "2");
}

/// `idle_timeout` is for TCP, as in memcached.
#[test]
fn an_idle_client_of_a_unix_socket_stays() {
    let server = Started::with(&["-s", "socket", "-o", "idle_timeout=1"]);
    let (mut idle, mut busy) = (server.connect_unix(), server.connect_unix());
    assert_eq!(idle.say("mn\r\n"), "MN\r\n");
    let mut uptime = || busy.stat("uptime").parse::<u32>().unwrap();
    let begun = uptime();
    wait_until("its time to be over", || uptime() >= begun + 4);
    assert_eq!(idle.say("mn\r\n"), "MN\r\n");
    assert_eq!(busy.stat("idle_kicks"), "0");
}

#[test]
fn a_pipelining_client_does_not_starve_its_neighbour() {
    let server = Started::with(&["-t", "1"]);
    let requests = 1_000_000;
    let mut greedy = server.connect();
    let mut writer = greedy.stream.get_ref().try_clone().unwrap();
    let flood =
        std::thread::spawn(move || writer.write_all("get a\r\n".repeat(requests).as_bytes()).unwrap());
    assert_eq!(greedy.line(), "END\r\n");

    let mut neighbour = server.connect();
    for _ in 0..20 {
        assert_eq!(neighbour.say("mn\r\n"), "MN\r\n");
    }
    // Nobody has read the flood's other replies: it can not have been answered whole.
    assert!(!flood.is_finished());
    for _ in 1..requests {
        assert_eq!(greedy.line(), "END\r\n");
    }
    flood.join().unwrap();
    assert_ne!(neighbour.stat("conn_yields"), "0");
}

#[test]
fn a_client_that_does_not_read_is_bounded_and_slows_nobody() {
    let server = Started::with(&["-t", "1"]);
    let mut other = server.connect();
    let value = "x".repeat(8000);
    other.send(format!("set k 0 0 8000\r\n{value}\r\n"));
    assert_eq!(other.line(), "STORED\r\n");
    let before = server.resident();

    let mut stream = TcpStream::connect(server.address()).unwrap();
    let end = stream.local_addr().unwrap();
    stream.set_nonblocking(true).unwrap();
    let (mut sent, request) = (0, b"get k\r\n");
    // Until the server has stopped reading, and everything between is full.
    wait_until("the client to be held back", || {
        loop {
            match stream.write(&request[sent % request.len()..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        other.state_of(end).as_deref() == Some("conn_mwrite")
    });
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    for _ in 0..100 {
        assert_eq!(other.say("mn\r\n"), "MN\r\n");
    }

    // Once it reads, it gets everything it is owed.
    stream.set_nonblocking(false).unwrap();
    let mut slow = super::client::Client::new(stream);
    let whole = sent / request.len();
    for _ in 0..whole {
        assert_eq!(slow.line(), "VALUE k 0 8000\r\n");
        assert_eq!(slow.line().len(), 8002);
        assert_eq!(slow.line(), "END\r\n");
    }
}

/// memcached 1.6.45 needs 501 bytes.
#[test]
fn ten_thousand_idle_connections_cost_little_memory() {
    const CONNECTIONS: usize = 10_000;
    let needed = CONNECTIONS as u64 + 200;
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    if soft < needed {
        let raised = nix::sys::resource::setrlimit(
            nix::sys::resource::Resource::RLIMIT_NOFILE,
            needed,
            hard.max(needed),
        );
        raised.expect("this test opens 10,000 connections: raise the limit with ulimit -n");
    }
    let server = Started::with(&["-c", "10200"]);
    let one_get = || {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"get nothing\r\n").unwrap();
        let mut reply = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut reply).unwrap();
        assert_eq!(&reply, b"END\r\n");
        stream
    };
    let warm: Vec<_> = (0..100).map(|_| one_get()).collect();
    let before = server.resident();
    let idle: Vec<_> = (0..CONNECTIONS).map(|_| one_get()).collect();
    let each = (server.resident() - before) / CONNECTIONS as u64;
    println!("{each} bytes of resident memory an idle connection");
    assert!(each <= 700, "{each} bytes");
    drop((warm, idle));
}
