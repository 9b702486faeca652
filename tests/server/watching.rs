//! `watch`: log lines over a socket, and a watcher that does not read.

use super::started::{Started, wait_until};
use std::io::Write;
use std::net::TcpStream;

#[test]
fn a_watcher_is_told_of_comings_and_goings() {
    let server = Started::with(&["-o", "idle_timeout=1"]);
    let mut watcher = server.connect();
    assert_eq!(watcher.say("watch connevents\r\n"), "OK\r\n");
    let mut other = server.connect();
    let port = other.stream.get_ref().local_addr().unwrap().port();
    assert_eq!(other.say("mn\r\n"), "MN\r\n");

    let new = watcher.line();
    assert!(new.contains(&format!(" type=conn_new rip=127.0.0.1 rport={port} transport=tcp cfd=")), "{new}");
    let fd = new.trim_end().rsplit('=').next().unwrap().to_owned();
    assert!(other.rest().is_empty(), "idle");
    let close = watcher.line();
    let expected =
        format!(" type=conn_close rip=127.0.0.1 rport={port} transport=tcp reason=idle_timeout cfd={fd}\n");
    assert!(close.ends_with(&expected), "{close}");

    drop(server.connect());
    assert!(watcher.line().contains("type=conn_new"));
    assert!(watcher.line().contains(" reason=normal "));
}

#[test]
fn a_watcher_that_closes_is_forgotten() {
    let server = Started::with(&[]);
    let mut watcher = server.connect();
    assert_eq!(watcher.say("watch\r\n"), "OK\r\n");
    let mut other = server.connect();
    assert_eq!(other.stat("log_watchers"), "1");
    drop(watcher);
    wait_until("the watcher to be forgotten", || other.stat("log_watchers") == "0");
}

#[test]
fn a_watcher_that_does_not_read_loses_lines_and_holds_nobody_up() {
    let server = Started::with(&["-o", "watcher_logbuf_size=8"]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let mut watcher = TcpStream::from(socket);
    watcher.write_all(b"watch fetchers\r\n").unwrap();
    let mut other = server.connect();
    wait_until("the watcher", || other.stat("log_watchers") == "1");
    let before = server.resident();
    // Each get is a line longer than its key: ten megabytes of them, more than the sockets' buffers hold.
    let gets = format!("mg {} q\r\n", "k".repeat(250)).repeat(1000) + "mn\r\n";
    for _ in 0..30 {
        assert_eq!(other.say(&gets), "MN\r\n");
    }
    assert_ne!(other.stat("log_watcher_skipped"), "0");
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
}
