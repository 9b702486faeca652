//! Scrapers that ask without end: they have a bound, and neither clients nor other scrapers wait for them long.

use std::io::Write;
use std::net::TcpStream;

use crate::http::{get, start};

/// More than may be served at once.
const SLOW: usize = 40;

#[test]
fn slow_scrapers_are_cut_and_hold_up_nobody() {
    let (server, address) = start(&["-t", "1"]);
    let mut client = server.connect();
    assert_eq!(client.ask("set a 0 0 1\r\n1"), "STORED");
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let slow: Vec<_> = (0..SLOW)
        .map(|number| {
            let mut stream = TcpStream::connect(address).expect("metrics are served");
            stream.write_all(&request.as_bytes()[..1 + number % request.len()]).expect("the server listens");
            stream
        })
        .collect();
    let mut ask = || {
        for _ in 0..100 {
            assert_eq!(client.ask("mg a v"), "VA 1");
            assert_eq!(client.read_line(), "1");
        }
    };
    ask();
    // Behind all of them, so this takes as long as they are given.
    let answer = get(address, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\nmemcached_up 1\n"), "{}", answer.body);
    ask();
    drop(slow);
}

#[test]
fn a_request_without_end_is_refused() {
    let (_server, address) = start(&["-t", "1"]);
    let mut stream = TcpStream::connect(address).expect("metrics are served");
    let header = format!("X-Long: {}\r\n", "x".repeat(1000));
    let mut sent = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
    // Sockets take some megabytes before they notice.
    for _ in 0..20_000 {
        if sent.is_err() {
            break;
        }
        sent = stream.write_all(header.as_bytes());
    }
    sent.expect_err("headers without end were read");
    assert_eq!(get(address, "/healthz").status, 200);
}
