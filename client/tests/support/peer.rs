//! Real servers: memcached from the PATH, and memcarp where it has been built.

use memcarp_client::Address;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether real servers are to be used. If so, a missing one is a failure.
pub fn peers_wanted() -> bool {
    std::env::var_os("MEMCARP_PEERS").is_some_and(|value| value == "1")
}

/// A started server. It is killed when dropped.
pub struct Peer {
    child: Option<Child>,
    program: PathBuf,
    arguments: Vec<String>,
    pub address: Address,
}

impl Peer {
    /// memcached on a TCP port of its own choice.
    pub fn memcached(arguments: &[&str]) -> Peer {
        let mut all = vec!["-l", "127.0.0.1"];
        all.extend_from_slice(arguments);
        Peer::start(PathBuf::from("memcached"), &all, None)
    }

    /// memcarp, as built beside these tests or named by the environment.
    pub fn memcarp(arguments: &[&str]) -> Peer {
        let beside = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("memcarp");
        let program = std::env::var_os("MEMCARP").map_or(beside, PathBuf::from);
        let mut all = vec!["-l", "127.0.0.1"];
        all.extend_from_slice(arguments);
        Peer::start(program, &all, None)
    }

    /// memcached started by another program, in a place of its own.
    pub fn command(program: &str, arguments: &[&str]) -> Peer {
        Peer::start(PathBuf::from(program), arguments, None)
    }

    /// memcached on a Unix socket.
    pub fn memcached_unix(arguments: &[&str]) -> Peer {
        let socket = scratch("sock");
        let mut all = vec!["-s", socket.to_str().unwrap(), "-a", "777"];
        all.extend_from_slice(arguments);
        Peer::start(PathBuf::from("memcached"), &all, Some(socket.clone()))
    }

    fn start(program: PathBuf, arguments: &[&str], socket: Option<PathBuf>) -> Peer {
        let mut arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        if !arguments.iter().any(|argument| argument == "-t") {
            arguments.extend(["-t", "1"].map(str::to_owned));
        }
        arguments.extend(["-u", "root"].map(str::to_owned));
        let mut peer = Peer {
            child: None,
            program,
            arguments,
            address: Address::Unix(socket.clone().unwrap_or_default()),
        };
        match socket {
            Some(path) => {
                peer.spawn(&[], &[]);
                wait_for("its socket", || std::os::unix::net::UnixStream::connect(&path).is_ok());
            }
            None => {
                let ports = scratch("ports");
                let file = ports.to_str().unwrap().to_owned();
                peer.spawn(&["-p", "-1"], &[("MEMCACHED_PORT_FILENAME", &file)]);
                wait_for("its port", || ports.exists());
                let text = std::fs::read_to_string(&ports).unwrap();
                std::fs::remove_file(&ports).unwrap();
                let port = text.lines().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap();
                peer.address =
                    Address::Tcp { host: "127.0.0.1".to_owned(), port: port.trim().parse().unwrap() };
            }
        }
        peer
    }

    fn spawn(&mut self, more: &[&str], environment: &[(&str, &str)]) {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .args(more)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Starts it again, empty, at the address it had.
    pub fn restart(&mut self) {
        self.kill();
        match &self.address {
            Address::Tcp { host, port } => {
                let address = (host.clone(), *port);
                self.spawn(&["-p", &address.1.to_string()], &[]);
                wait_for("its port", || std::net::TcpStream::connect(&address).is_ok());
            }
            _ => self.spawn(&[], &[]),
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the process without closing anything (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("-STOP");
        let stat = format!("/proc/{}/stat", self.id());
        wait_for("its stop", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

pub fn scratch(extension: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("memcarp-client-{}-{number}.{extension}", std::process::id()))
}

/// Writes a file into a directory, and says where it is, as options want it.
pub fn file_in(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + super::GENEROUS;
    while !ready() {
        assert!(Instant::now() < deadline, "no server: {what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}
