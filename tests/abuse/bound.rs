//! The most memory a server takes, as the README states it, and a client that sees whether others are served.

use super::client::Client;
use super::started::Started;
use std::net::TcpStream;

pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;

/// What the server has to deal with; everything else is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// `-m`.
    pub mebibytes: u64,
    /// `-t`.
    pub threads: u64,
    /// Open connections.
    pub connections: u64,
    /// Those of them that are in the middle of something: half a command, or replies they do not read.
    pub busy: u64,
    /// Clients that watch, each with the default `watcher_logbuf_size`.
    pub watchers: u64,
    /// Whether anybody asks for `stats conns` or `stats detail dump` and does not read it.
    pub long_replies: bool,
}

impl Load {
    /// Bytes of resident memory that are not exceeded.
    pub fn most(&self) -> u64 {
        24 * MIB
            + self.mebibytes * MIB * 102 / 100
            + self.threads * 3 * MIB
            + self.connections * KIB
            + self.busy * 384 * KIB
            + self.watchers * 512 * KIB
            + if self.long_replies { 64 * MIB } else { 0 }
    }

    /// Checks a server against it, and says how far it is.
    pub fn check(&self, server: &Started) {
        let resident = server.resident();
        println!("{} MiB resident, {} MiB at most: {self:?}", resident / MIB, self.most() / MIB);
        assert!(resident <= self.most(), "{resident} bytes, {} at most: {self:?}", self.most());
    }
}

/// Checks how much more memory a server has than it had `before`.
pub fn check_growth(server: &Started, before: u64, most: u64) {
    let grown = server.resident().saturating_sub(before);
    println!("{} KiB more, {} KiB at most", grown / KIB, most / KIB);
    assert!(grown <= most, "{grown} bytes more, {most} at most");
}

/// A client that means well.
pub struct Probe<'s> {
    server: &'s Started,
    client: Client<TcpStream>,
}

impl<'s> Probe<'s> {
    pub fn of(server: &'s Started) -> Probe<'s> {
        let mut client = server.connect();
        assert_eq!(client.say("set probe 0 0 5\r\nhello\r\n"), "STORED\r\n");
        Probe { server, client }
    }

    /// Gets that were answered over a connection it has had all the time, and over a new one.
    pub fn is_served(&mut self) {
        for client in [&mut self.client, &mut self.server.connect()] {
            for _ in 0..50 {
                assert_eq!(client.say("get probe\r\n"), "VALUE probe 0 5\r\n");
                assert_eq!([client.line(), client.line()], ["hello\r\n", "END\r\n"]);
            }
        }
    }

    /// A connection of its own to ask the server about itself.
    pub fn client(&mut self) -> &mut Client<TcpStream> {
        &mut self.client
    }

    /// Bytes of memory the items take, with what readers still hold of values that are gone.
    pub fn memory_used(&mut self) -> u64 {
        self.client.send("stats slabs\r\n");
        let mut used = None;
        loop {
            match self.client.line().trim_end() {
                "END" => return used.expect("it is in stats slabs"),
                line => {
                    used =
                        line.strip_prefix("STAT total_malloced ").map(|used| used.parse().unwrap()).or(used)
                }
            }
        }
    }
}
