//! A client that says bytes and reads replies, over any stream. No read waits longer than the tests' patience.

use super::started::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// One conversation.
pub struct Client<S> {
    pub stream: BufReader<S>,
}

/// What both kinds of sockets can do.
pub trait Stream: Read + Write {
    fn limit_reads(&self, limit: Duration);
}

impl Stream for TcpStream {
    fn limit_reads(&self, limit: Duration) {
        self.set_nodelay(true).unwrap();
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl Stream for UnixStream {
    fn limit_reads(&self, limit: Duration) {
        self.set_read_timeout(Some(limit)).unwrap();
    }
}

impl<S: Stream> Client<S> {
    pub fn new(stream: S) -> Client<S> {
        stream.limit_reads(PATIENCE);
        Client { stream: BufReader::with_capacity(64 << 10, stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, CR LF included.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// Says something and reads a reply of one line.
    pub fn say(&mut self, bytes: &str) -> String {
        self.send(bytes);
        self.line()
    }

    /// Everything up to the end, which must come.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    /// A value of `stats`.
    pub fn stat(&mut self, name: &str) -> String {
        self.send("stats\r\n");
        self.find_stat(name).unwrap_or_else(|| panic!("no {name} in stats"))
    }

    /// A value of `stats memcarp`.
    pub fn own_stat(&mut self, name: &str) -> String {
        self.send("stats memcarp\r\n");
        self.find_stat(name).unwrap_or_else(|| panic!("no {name} in stats memcarp"))
    }

    /// `stats conns`: what the connection with this end is doing, if it is there.
    pub fn state_of(&mut self, end: std::net::SocketAddr) -> Option<String> {
        self.send("stats conns\r\n");
        let (mut number, mut state) = (None, None);
        let mine = format!("tcp:{end}");
        self.each_stat(|name, value| match name.split_once(':') {
            Some((fd, "addr")) if value == mine => number = Some(fd.to_owned()),
            Some((fd, "state")) if Some(fd) == number.as_deref() => state = Some(value.to_owned()),
            _ => {}
        });
        state
    }

    fn find_stat(&mut self, wanted: &str) -> Option<String> {
        let mut found = None;
        self.each_stat(|name, value| {
            if name == wanted {
                found = Some(value.to_owned());
            }
        });
        found
    }

    fn each_stat(&mut self, mut visit: impl FnMut(&str, &str)) {
        loop {
            let line = self.line();
            if line == "END\r\n" {
                return;
            }
            let (name, value) = line.trim_end().strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
            visit(name, value);
        }
    }
}
