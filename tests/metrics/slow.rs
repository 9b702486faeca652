//! Scrapers that ask without end: they have a bound, and neither clients nor other scrapers wait for them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::common::PATIENCE;
use crate::http::{answer_of, get, start};

/// Many times more than may be served at once.
const SLOW: usize = 600;

const REQUEST: &[u8] = b"GET /metrics HTTP/1.0\r\nHost: a\r\nX-Slow: a\r\n\r\n";

/// A connection from 127.0.0.`last`, over which this much of a request has been sent.
fn half_open(last: u8, to: SocketAddr, part: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("metrics are served");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    // It may have been closed already.
    let _ = stream.write_all(&REQUEST[..part]);
    stream
}

/// Sends the rest, and reads the status of the answer, if there is one.
fn finish(mut stream: TcpStream, part: usize) -> Option<u16> {
    stream.write_all(&REQUEST[part..]).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    (!answer.is_empty()).then(|| answer_of(answer).status)
}

#[test]
fn slow_scrapers_hold_up_nobody() {
    // All from one address, and from more than there are places.
    for addresses in [1, 200] {
        slow_scrapers_from(addresses);
    }
}

fn slow_scrapers_from(addresses: usize) {
    let (server, address) = start(&["-t", "1"]);
    let mut client = server.connect();
    assert_eq!(client.ask("set a 0 0 1\r\n1"), "STORED");
    let last_byte = |number: usize| (1 + number % addresses) as u8;
    let mut slow: Vec<_> =
        (0..SLOW).map(|number| half_open(last_byte(number), address, number % (REQUEST.len() - 1))).collect();
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    for _ in 0..100 {
        assert_eq!(client.ask("mg a v"), "VA 1");
        assert_eq!(client.read_line(), "1");
    }
    // Those who came last have their places still, so nobody waited for their time to be over.
    let last = slow.pop().expect("there are some");
    assert_eq!(finish(last, (SLOW - 1) % (REQUEST.len() - 1)), Some(200));
    assert_eq!(finish(slow.remove(0), 0), None, "the first had to make way");
}

/// Whoever takes all places takes them from itself.
#[test]
fn who_comes_from_elsewhere_keeps_its_place() {
    let (_server, address) = start(&["-t", "1"]);
    let part = REQUEST.len() / 2;
    let first = half_open(1, address, part);
    let flood: Vec<_> = (0..SLOW).map(|_| half_open(2, address, part)).collect();
    assert_eq!(get(address, "/healthz").status, 200);
    assert_eq!(finish(first, part), Some(200));
    drop(flood);
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
