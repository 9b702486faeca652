//! Replays a trace through a server of its own process, over a UNIX socket.

use super::replay::Outcome;
use super::trace::{Op, Request};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A server under test; killed when dropped.
pub struct Server {
    child: Child,
    socket: PathBuf,
}

/// Servers started: each has a socket of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Gets sent together.
const BATCH: usize = 32;

impl Server {
    /// Starts `program`, which takes memcached's options, with this much memory.
    pub fn start(program: &Path, mebibytes: usize) -> io::Result<Server> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("hit-ratio-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let child = Command::new(program)
            .args(["-m", &mebibytes.to_string(), "-t", "1", "-u", "root", "-s"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server { child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Resident bytes of the server now.
    pub fn resident(&self) -> io::Result<usize> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        Ok(pages * 4096)
    }

    /// Replays `count` requests; the first fifth is not counted. TTLs shrink as the trace's time does, down to a
    /// second.
    pub fn replay(&self, requests: impl Iterator<Item = Request>, count: u32) -> io::Result<Outcome> {
        let stream = UnixStream::connect(&self.socket)?;
        let mut replay = Replay {
            input: BufReader::with_capacity(1 << 20, stream.try_clone()?),
            stream,
            gets: Vec::new(),
            after: Vec::new(),
            pending: HashMap::new(),
            filler: vec![b'v'; 1 << 20],
            outcome: Outcome::default(),
            begun: Instant::now(),
        };
        for (number, request) in requests.take(count as usize).enumerate() {
            replay.request(request, number >= count as usize / 5)?;
        }
        replay.finish_batch()?;
        Ok(Outcome { resident: self.resident()?, ..replay.outcome })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

struct Replay {
    stream: UnixStream,
    input: BufReader<UnixStream>,
    /// The line of gets under way, and what follows it.
    gets: Vec<u8>,
    after: Vec<u8>,
    /// Keys asked for in this batch: their requests, and whether they count.
    pending: HashMap<Vec<u8>, (Request, bool)>,
    filler: Vec<u8>,
    outcome: Outcome,
    begun: Instant,
}

impl Replay {
    fn request(&mut self, request: Request, counts: bool) -> io::Result<()> {
        let mut buffer = [0; 250];
        let key = request.write_key(&mut buffer);
        if self.pending.len() == BATCH || self.after.len() > 1 << 16 || self.pending.contains_key(key) {
            self.finish_batch()?;
        }
        match request.op {
            Op::Get => {
                self.gets.push(b' ');
                self.gets.extend_from_slice(key);
                self.pending.insert(key.to_vec(), (request, counts));
            }
            Op::Set => self.set(request)?,
            Op::Delete => {
                self.after.extend_from_slice(b"delete ");
                self.after.extend_from_slice(key);
                self.after.extend_from_slice(b" noreply\r\n");
            }
        }
        Ok(())
    }

    fn set(&mut self, request: Request) -> io::Result<()> {
        let mut buffer = [0; 250];
        let key = request.write_key(&mut buffer);
        let speed = (f64::from(request.time) / self.begun.elapsed().as_secs_f64()).max(1.0);
        let ttl = if request.ttl == 0 { 0 } else { ((f64::from(request.ttl) / speed) as u32).max(1) };
        let len = (request.value_len as usize).min(self.filler.len() - 1000);
        self.after.extend_from_slice(b"set ");
        self.after.extend_from_slice(key);
        write!(self.after, " 0 {ttl} {len} noreply\r\n")?;
        self.after.extend_from_slice(&self.filler[..len]);
        self.after.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Sends what has been gathered, and sets what was missed.
    fn finish_batch(&mut self) -> io::Result<()> {
        if !self.gets.is_empty() {
            self.stream.write_all(b"get")?;
            self.gets.extend_from_slice(b"\r\n");
            self.stream.write_all(&self.gets)?;
            self.gets.clear();
            let mut line = Vec::new();
            let mut value = Vec::new();
            let mut hits = 0;
            loop {
                line.clear();
                self.input.read_until(b'\n', &mut line)?;
                let mut words = line.trim_ascii_end().split(|&byte| byte == b' ');
                match words.next() {
                    Some(b"VALUE") => {
                        let key = words.next().unwrap_or_default();
                        let len = words.nth(1).and_then(|len| std::str::from_utf8(len).ok()?.parse().ok());
                        value.resize(len.unwrap_or(0) + 2, 0);
                        let key = key.to_vec();
                        self.input.read_exact(&mut value)?;
                        if let Some((_, counts)) = self.pending.remove(&key) {
                            hits += u64::from(counts);
                        }
                    }
                    Some(b"END") => break,
                    _ => return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned())),
                }
            }
            let missed: Vec<_> = self.pending.drain().map(|(_, missed)| missed).collect();
            let misses = missed.iter().filter(|(_, counts)| *counts).count() as u64;
            self.outcome.gets += hits + misses;
            self.outcome.misses += misses;
            for (request, _) in missed {
                self.set(request)?;
            }
        }
        self.stream.write_all(&self.after)?;
        self.after.clear();
        Ok(())
    }
}
