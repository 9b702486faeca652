//! A client that asks for one page and reads the whole answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::{PATIENCE, Server, wait_for};

/// An answer.
pub struct Answer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

/// A server that serves metrics on a port of its own, and where.
pub fn start(options: &[&str]) -> (Server, SocketAddr) {
    let server = Server::memcarp(&[&["--metrics-listen", "127.0.0.1:0"], options].concat());
    let address = wait_for("the address of the metrics", || {
        let log = server.log();
        let line = log.lines().find_map(|line| line.strip_prefix("Metrics and status: http://"))?;
        line.trim_end_matches('/').parse().ok()
    });
    (server, address)
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

pub fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("metrics are served");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("a whole answer");
    answer_of(answer)
}

/// What has been read up to the end.
pub fn answer_of(answer: Vec<u8>) -> Answer {
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
