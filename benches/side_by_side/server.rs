//! A server under test: started on its processors, asked for its processor time and memory, killed at the end.

use crate::case::Case;
use crate::tls::Authority;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A program that takes memcached's options.
#[derive(Clone)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    /// Options beside those of the case.
    pub flags: Vec<String>,
}

/// A server under test.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub struct Time {
    pub user: f64,
    pub system: f64,
}

/// Which processors whom: the server's, the load generator's. `None`: there are too few to part them.
#[derive(Clone)]
pub struct Processors {
    pub server: Option<String>,
    pub load: Option<String>,
}

/// How many processors there were when this was asked first: before the generator bound itself to one of them.
pub fn processor_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Program {
    /// What it says of its version.
    pub fn version(&self) -> String {
        let said =
            Command::new(&self.path).arg("-V").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or("?").to_owned()
    }

    /// Whether it was built with TLS.
    pub fn has_tls(&self) -> bool {
        let help =
            Command::new(&self.path).arg("-h").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&help).contains("--enable-ssl")
    }
}

impl Processors {
    /// The first `threads` processors for a server, the next for the load.
    pub fn part(threads: usize) -> Processors {
        let count = processor_count();
        if count <= threads {
            return Processors { server: None, load: None };
        }
        Processors { server: Some(format!("0-{}", threads - 1)), load: Some(threads.to_string()) }
    }

    /// Puts this thread, the load generator, where it belongs.
    pub fn take_load(&self) -> io::Result<()> {
        let last = processor_count() - 1;
        let all = format!("0-{last}");
        let list = self.load.as_deref().unwrap_or(&all);
        let me = std::process::id().to_string();
        let status = Command::new("taskset").args(["-cp", list, &me]).stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("taskset failed")) }
    }
}

impl Server {
    /// Starts `program` for `case`, its files in `directory`.
    pub fn start(
        program: &Program,
        case: &Case,
        processors: &Processors,
        authority: Option<&Authority>,
        directory: &Path,
    ) -> io::Result<Server> {
        let ports = directory.join("ports");
        let _ = fs::remove_file(&ports);
        // The generator's processors were inherited, unless others are said.
        let count = processor_count();
        let list = processors.server.clone().unwrap_or(format!("0-{}", count - 1));
        let mut command = Command::new("taskset");
        command.args(["-c", &list]).arg(&program.path).args(["-l", "127.0.0.1", "-p", "-1", "-U", "0"]);
        command.args(["-u", "root", "-t", &case.threads.to_string(), "-m", &case.memory.to_string()]);
        command.args(["-c", "12000", "-I", "4m"]).args(&program.flags);
        if let Some(authority) = authority {
            let files = format!(
                "ssl_chain_cert={},ssl_key={}",
                authority.certificate.display(),
                authority.key.display()
            );
            command.args(["-Z", "-o", &files]);
        }
        command.env("MEMCACHED_PORT_FILENAME", &ports).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let begun = Instant::now();
        let port = loop {
            let said = fs::read_to_string(&ports).unwrap_or_default();
            let port = said.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok());
            if let Some(port) = port {
                break port;
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("{} did not start: {status}", program.path.display())));
            }
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
                return Err(io::Error::new(ErrorKind::TimedOut, "the server does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Server { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Processor time it has used. The system knows the sum exactly, its parts by ticks.
    pub fn time(&self) -> io::Result<Time> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedule = fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += schedule.split(' ').next().and_then(|run| run.parse().ok()).unwrap_or(0.0);
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let mut ticks = fields.skip(11).map(|ticks| ticks.parse().unwrap_or(0.0));
        let (user, system): (f64, f64) = (ticks.next().unwrap_or(0.0), ticks.next().unwrap_or(0.0));
        let share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        Ok(Time { user: sum * share, system: sum * (1.0 - share) })
    }

    /// Resident bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        Ok(statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096)
    }
}

impl Time {
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    pub fn since(self, earlier: Time) -> Time {
        Time { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
