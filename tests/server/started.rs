//! A started server process with a directory of its own; both are gone at the end of the test.

use super::client::Client;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far more than anything takes on a machine that is doing something else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub struct Started {
    pub process: Child,
    pub directory: PathBuf,
    /// What it said when it served.
    pub line: String,
}

/// The program with these options, in a new directory, on a TCP port of its own unless told otherwise.
pub fn command(options: &[&str]) -> (Command, PathBuf) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("memcarp-server-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_memcarp"));
    command
        .args(["-u", "root", "-p", "-1", "--metrics-listen", "off"])
        .args(options)
        .current_dir(&directory)
        .stdin(Stdio::null());
    (command, directory)
}

/// Runs it to its end, which must be soon.
pub fn run(options: &[&str]) -> Output {
    let (mut command, directory) = command(options);
    let output = output(&mut command);
    std::fs::remove_dir_all(directory).unwrap();
    output
}

/// What a process says and how it ends, which must be soon: one that should have refused to serve may be serving.
pub fn output(command: &mut Command) -> Output {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            process.kill().unwrap();
            panic!("it did not end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    process.wait_with_output().unwrap()
}

impl Started {
    /// Starts it and waits until it serves.
    pub fn with(options: &[&str]) -> Started {
        Started::from(command(options))
    }

    pub fn from(command: (Command, PathBuf)) -> Started {
        Started::logging_to(command, Stdio::piped())
    }

    pub fn logging_to((mut command, directory): (Command, PathBuf), stderr: impl Into<Stdio>) -> Started {
        let mut process = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("memcarp serves on "), "{line:?}");
        Started { process, directory, line }
    }

    /// Starts it again in the same directory, after it has ended.
    pub fn again(mut self, options: &[&str]) -> Started {
        let (mut command, unused) = command(options);
        std::fs::remove_dir(unused).unwrap();
        let directory = std::mem::take(&mut self.directory);
        command.current_dir(&directory);
        Started::from((command, directory))
    }

    /// Its first TCP address.
    pub fn address(&self) -> SocketAddr {
        let (_, words) = self.line.split_once("memcarp serves on ").unwrap();
        words.split([' ', ',']).next().unwrap().parse().unwrap()
    }

    pub fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address()).unwrap())
    }

    /// From 127.0.0.`last`.
    pub fn connect_from(&self, last: u8) -> Client<TcpStream> {
        Client::new(from(last, self.address()))
    }

    /// Over `-s socket`.
    pub fn connect_unix(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(self.directory.join("socket")).unwrap())
    }

    pub fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// How it ends, which must be soon.
    pub fn end(&mut self) -> ExitStatus {
        wait_until("the server to end", || self.process.try_wait().unwrap().is_some());
        self.process.wait().unwrap()
    }

    /// Its resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !self.directory.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// A connection from 127.0.0.`last`: every address of 127.0.0.0/8 is this machine.
pub fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// What a process says on standard error, a line at a time as [`next_line`] takes them.
pub fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(stderr).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    lines
}

/// The next line, which must come.
pub fn next_line(lines: &Receiver<String>) -> String {
    lines.recv_timeout(PATIENCE).expect("a line on standard error")
}

pub fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Waits for a condition, not for a time.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
