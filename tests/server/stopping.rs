//! The end: what clients still get, what is left behind, and the exit code.

use super::started::Started;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;

#[test]
fn what_has_been_received_is_answered_before_the_end() {
    for signal in ["-TERM", "-INT", "-USR1"] {
        let mut server = Started::with(&["-t", "2"]);
        let mut idle = server.connect();
        assert_eq!(idle.say("mn\r\n"), "MN\r\n");
        let mut owed = server.connect();
        let value = "x".repeat(5000);
        owed.send(format!("set k 0 0 5000\r\n{value}\r\n"));
        assert_eq!(owed.line(), "STORED\r\n");
        let requests = 1000;
        owed.send("get k\r\n".repeat(requests));
        server.signal(signal);

        let reply = owed.rest();
        assert_eq!(reply.len(), requests * ("VALUE k 0 5000\r\n\r\nEND\r\n".len() + 5000));
        assert!(idle.rest().is_empty());
        assert_eq!(server.end().code(), Some(0), "{signal}");
        assert!(TcpStream::connect(server.address()).is_err());
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Started::with(&[]);
    let mut other = server.connect();
    let value = "x".repeat(500_000);
    other.send(format!("set k 0 0 500000\r\n{value}\r\n"));
    assert_eq!(other.line(), "STORED\r\n");
    // It will not read, so the server waits for it, with a time of grace.
    let mut stuck = TcpStream::connect(server.address()).unwrap();
    stuck.write_all("get k\r\n".repeat(100).as_bytes()).unwrap();
    let end = stuck.local_addr().unwrap();
    super::started::wait_until("it to be stuck", || other.state_of(end).as_deref() == Some("conn_mwrite"));
    server.signal("-TERM");
    assert!(other.rest().is_empty(), "the idle are closed first");
    assert!(server.process.try_wait().unwrap().is_none(), "it waits");
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_client_may_end_the_server_if_allowed() {
    let mut server = Started::with(&["-A"]);
    let mut client = server.connect();
    client.send("shutdown\r\n");
    assert!(client.rest().is_empty());
    assert_eq!(server.end().code(), Some(0));

    let mut server = Started::with(&["-A"]);
    server.connect().send("shutdown graceful\r\n");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_pipe_that_nobody_reads_ends_nothing() {
    let mut server = Started::with(&[]);
    server.signal("-PIPE");
    assert_eq!(server.connect().say("version\r\n"), "VERSION 1.6.45\r\n");
    server.signal("-KILL");
    assert_eq!(server.end().signal(), Some(9));
}
