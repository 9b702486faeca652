//! Servers and connections for the integration tests: started on free ports, stopped on drop, every wait bounded.
//! Knows the command line and the wire, nothing of the crate.
#![allow(dead_code, reason = "every test binary compiles this file and uses its own part of it")]

pub mod commands;
pub mod compare;
pub mod faults;
pub mod memory;
pub mod pattern;
pub mod script;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No wait of a test is longer than this; a test that needs it all has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether tests that need real memcached are to run; then its absence is a failure.
pub fn peers() -> bool {
    std::env::var_os("MEMCARP_PEERS").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A started server process with a directory of its own.
pub struct Server {
    child: Child,
    /// Where it listens on TCP.
    pub address: SocketAddr,
    /// Removed on drop; for sockets, auth files and the like.
    pub directory: PathBuf,
}

impl Server {
    /// Starts the server under test (`MEMCARP_BINARY` names another binary) on a free port of 127.0.0.1.
    pub fn memcarp(options: &[&str]) -> Server {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_memcarp"));
        // Many servers at once have one default port for metrics between them.
        let options = [&["--metrics-listen", "off"], options].concat();
        Server::start(&std::env::var_os("MEMCARP_BINARY").map_or(built, PathBuf::from), &options)
    }

    /// Starts Debian's memcached the same way.
    pub fn memcached(options: &[&str]) -> Server {
        Server::start(&PathBuf::from("/usr/bin/memcached"), options)
    }

    fn start(binary: &Path, options: &[&str]) -> Server {
        let directory = fresh_directory();
        let ports = directory.join("ports");
        let log = directory.join("log");
        let output = fs::File::create(&log).expect("a log file in our own directory");
        let child = Command::new(binary)
            .args(["-p", "-1", "-l", "127.0.0.1", "-u", "root"])
            .args(options)
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        // From here on a panic drops the server and so ends the process.
        let mut server = Server { child, address: ([127, 0, 0, 1], 0).into(), directory };
        let port = wait_for(&format!("{} to listen", binary.display()), || {
            if let Some(status) = server.child.try_wait().expect("our own child") {
                panic!("{} ended with {status}:\n{}", binary.display(), server.log());
            }
            let text = fs::read_to_string(&ports).ok()?;
            text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.parse().ok())
        });
        server.address.set_port(port);
        server
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends the named signal (`TERM`, `USR1`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {name}");
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().expect("our own child"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A client connection with bounded waits that keeps what it has read and nobody has asked for yet.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    closed: bool,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a listening server");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
        Connection { stream, received: Vec::new(), closed: false }
    }

    /// Sends all of `bytes`. A peer that has closed is no error here: its reply or end is what the test reads next.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("cannot send: {error}"),
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Bytes received and not taken.
    pub fn received(&mut self) -> &mut Vec<u8> {
        &mut self.received
    }

    /// Waits for more bytes until `deadline`; false if the peer has closed.
    pub fn read_more(&mut self, deadline: Instant) -> Result<bool, String> {
        if self.closed {
            return Ok(false);
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("a TCP socket");
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.closed = true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("nothing came ({error}); so far: {}", text(&self.received))),
        }
        Ok(!self.closed)
    }

    /// Reads until what came ends with `end`, and returns all of it.
    pub fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while !self.received.ends_with(end) {
            match self.read_more(deadline) {
                Ok(true) => {}
                Ok(false) => panic!("closed before {}; got {}", text(end), text(&self.received)),
                Err(error) => panic!("waiting for {}: {error}", text(end)),
            }
        }
        std::mem::take(&mut self.received)
    }

    /// Sends one line and reads one line, both without their ends.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.read_line()
    }

    /// Reads one line, and returns it without its end.
    pub fn read_line(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            }
            match self.read_more(deadline) {
                Ok(true) => {}
                Ok(false) => panic!("closed within a line; got {}", text(&self.received)),
                Err(error) => panic!("waiting for a line: {error}"),
            }
        }
    }

    /// Reads until the peer closes, and returns what came before.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + PATIENCE;
        while self.read_more(deadline)? {}
        Ok(std::mem::take(&mut self.received))
    }
}

/// Asks `ready` until it answers, for at most [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A new directory that no other test uses.
pub fn fresh_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("memcarp-test-{}-{count}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

/// Bytes as a reader of a failed test wants them: escaped, and long ones cut in the middle.
pub fn text(bytes: &[u8]) -> String {
    const ENDS: usize = 300;
    if bytes.len() <= 2 * ENDS {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (head, tail) = (&bytes[..ENDS], &bytes[bytes.len() - ENDS..]);
    format!("\"{} ... {} ({} bytes)\"", head.escape_ascii(), tail.escape_ascii(), bytes.len())
}
