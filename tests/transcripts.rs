//! Plays `tests/transcripts/*.txt` against a started memcarp and, under MEMCARP_PEERS, against Debian's memcached.
//! Those that move the clock are played in memory only.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::memory::Memory;
use common::script::{Dialect, More, Script, Target};
use memcarp::config::Config;

use common::{Connection, Server};

#[test]
fn memcarp_answers_as_written_in_memory() {
    play_all(|script| !script.wire, |_| Box::new(InMemory::new(usize::MAX)));
}

#[test]
fn memcarp_answers_as_written_a_byte_at_a_time() {
    play_all(|script| !script.wire && !script.whole, |_| Box::new(InMemory::new(1)));
}

/// Pieces that end anywhere: within line ends, within data blocks, within names.
#[test]
fn memcarp_answers_as_written_in_pieces() {
    for piece in [2, 3, 5, 7, 11, 64, 1000] {
        play_all(|script| !script.wire && !script.whole, |_| Box::new(InMemory::new(piece)));
    }
}

#[test]
fn memcarp_answers_as_written() {
    play_all(|script| !script.moves_clock(), |script| Box::new(Wire::start(script, Dialect::Current)));
}

#[test]
fn memcached_answers_as_written() {
    if !common::peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    play_all(
        |script| !script.moves_clock() && !script.no_peer,
        |script| Box::new(Wire::start(script, Dialect::Debian)),
    );
}

/// Plays every chosen script, and fails with everything that went wrong in any.
fn play_all(chosen: impl Fn(&Script) -> bool, target: impl Fn(&Script) -> Box<dyn Target>) {
    let only = std::env::var("MEMCARP_TRANSCRIPT").ok();
    let scripts = scripts();
    let mut failures = Vec::new();
    let mut played = 0;
    for script in scripts.iter().filter(|script| chosen(script)) {
        if only.as_ref().is_some_and(|only| !script.name.contains(only.as_str())) {
            continue;
        }
        played += 1;
        if let Err(failure) = script.play(&mut *target(script)) {
            failures.push(failure);
        }
    }
    assert!(played > 0, "no transcript was played");
    assert!(
        failures.is_empty(),
        "{} of {played} transcripts failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn scripts() -> Vec<Script> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = fs::read_dir(&directory).expect("the directory of transcripts");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Script::parse(&name, &fs::read_to_string(path).expect("a readable transcript in UTF-8"))
    };
    paths.iter().map(|path| read(path)).collect()
}

/// Sessions over one engine, without sockets.
struct InMemory {
    memory: Memory,
    /// What is sent arrives in pieces of this many bytes.
    piece: usize,
}

impl InMemory {
    fn new(piece: usize) -> InMemory {
        InMemory { memory: Memory::new(Config::default()), piece }
    }
}

impl Target for InMemory {
    fn dialect(&self) -> Dialect {
        Dialect::Current
    }

    fn now(&self) -> u64 {
        self.memory.now().unix()
    }

    fn advance(&mut self, seconds: u64) -> bool {
        self.memory.advance(seconds);
        true
    }

    fn send(&mut self, connection: &str, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            self.memory.send(connection, piece);
        }
    }

    /// Everything is answered when it is sent.
    fn more(&mut self, connection: &str) -> More {
        match self.memory.is_closed(connection) {
            true => More::Closed,
            false => More::Nothing,
        }
    }

    fn received(&mut self, connection: &str) -> &mut Vec<u8> {
        self.memory.received(connection)
    }
}

/// A started server, spoken to over TCP.
struct Wire {
    server: Server,
    dialect: Dialect,
    connections: HashMap<String, Connection>,
}

impl Wire {
    fn start(script: &Script, dialect: Dialect) -> Wire {
        let mut options = Vec::new();
        // For files the script's server needs, such as one with a user and a password.
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
        let peer_options: &[String] = if dialect == Dialect::Debian { &script.peer_options } else { &[] };
        for option in script.options.iter().chain(peer_options) {
            options.push(option.replace("FILES", &files.to_string_lossy()));
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = match dialect {
            Dialect::Current => Server::memcarp(&options),
            Dialect::Debian => Server::memcached(&options),
        };
        Wire { server, dialect, connections: HashMap::new() }
    }

    fn talk(&mut self, name: &str) -> &mut Connection {
        let address = self.server.address;
        self.connections.entry(name.to_owned()).or_insert_with(|| Connection::open(address))
    }
}

impl Target for Wire {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn advance(&mut self, _seconds: u64) -> bool {
        false
    }

    fn send(&mut self, connection: &str, bytes: &[u8]) {
        self.talk(connection).send(bytes);
    }

    fn more(&mut self, connection: &str) -> More {
        match self.talk(connection).read_more(Instant::now() + Duration::from_secs(8)) {
            Ok(true) => More::Came,
            Ok(false) => More::Closed,
            Err(_) => More::Nothing,
        }
    }

    fn received(&mut self, connection: &str) -> &mut Vec<u8> {
        self.talk(connection).received()
    }
}
