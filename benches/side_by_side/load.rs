//! The load generator: one thread that keeps many connections busy and compares every byte that comes back.

use crate::case::{Batch, Case, Deck, Random};
use crate::tls::{Authority, Stream};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections to one server, and what is sent over them.
pub struct Load<'a> {
    poll: Poll,
    clients: Vec<Client>,
    deck: &'a Deck,
    address: SocketAddr,
    authority: Option<&'a Authority>,
    random: Random,
    buffer: Vec<u8>,
}

/// What a generator has sent to one server so far.
#[derive(Default)]
pub struct Sent {
    pub gets: u64,
    pub sets: u64,
    /// The last number that was used for a new key.
    pub fresh: u64,
}

/// What a round has seen.
pub struct Seen {
    pub operations: u64,
    pub elapsed: Duration,
    /// Nanoseconds from a batch's beginning to the last byte of its reply.
    pub latency: Histogram<u64>,
}

struct Client {
    stream: Stream,
    /// Which batch is under way, if any.
    batch: Option<usize>,
    sent: usize,
    received: usize,
    /// When the batch was sent, or should have been.
    begun: Instant,
    /// Batches sent at a fixed rate so far.
    number: u64,
    /// The batch under way, and its reply, with numbers of its own written into them.
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// When batches are sent at a fixed rate.
struct Timetable {
    start: Instant,
    /// Seconds between two batches, of all connections.
    gap: f64,
    connections: usize,
}

/// How long a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);

impl<'a> Load<'a> {
    /// A generator without connections.
    pub fn new(
        address: SocketAddr,
        deck: &'a Deck,
        authority: Option<&'a Authority>,
    ) -> io::Result<Load<'a>> {
        Ok(Load {
            poll: Poll::new()?,
            clients: Vec::new(),
            deck,
            address,
            authority,
            random: Random(0x10ad),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Opens connections until there are `count`, and sends one batch over each new one.
    pub fn connect(&mut self, count: usize, sent: &mut Sent) -> io::Result<()> {
        while self.clients.len() < count {
            self.open()?;
            let batch = self.random.below(self.deck.batches.len());
            self.exchange(self.clients.len() - 1, &self.deck.batches[batch], sent)?;
        }
        Ok(())
    }

    /// Stores every key, over the first connection.
    pub fn fill(&mut self, sent: &mut Sent) -> io::Result<()> {
        self.open()?;
        self.deck.fill.iter().try_for_each(|batch| self.exchange(0, batch, sent))
    }

    /// Keeps every connection busy for `duration`, then waits for the last replies. With a `rate`, so many operations
    /// a second are sent in all, and a batch's time begins when it should have been sent.
    pub fn run(&mut self, duration: Duration, rate: Option<f64>, sent: &mut Sent) -> io::Result<Seen> {
        let start = Instant::now();
        let end = start + duration;
        let mut latency = Histogram::new_with_max(60_000_000_000, 3).map_err(io::Error::other)?;
        let mut operations = 0;
        let mut under_way = 0;
        let a_batch = f64::from(self.deck.batches[0].operations());
        let timetable =
            rate.map(|rate| Timetable { start, gap: a_batch / rate, connections: self.clients.len() });
        for client in &mut self.clients {
            client.number = 0;
        }
        if timetable.is_none() {
            for at in 0..self.clients.len() {
                self.begin(at, start, sent)?;
                under_way += 1;
            }
        }
        let mut events = Events::with_capacity(1024);
        let mut heard = start;
        let mut turn = 0;
        let mut now = start;
        while now < end || under_way > 0 {
            let wait = if timetable.is_some() { Duration::ZERO } else { Duration::from_millis(100) };
            self.poll.poll(&mut events, Some(wait))?;
            now = Instant::now();
            for event in &events {
                let at = event.token().0;
                let Some(batch) = self.clients[at].batch else { continue };
                if !self.advance(at, &self.deck.batches[batch])? {
                    continue;
                }
                now = Instant::now();
                heard = now;
                let client = &mut self.clients[at];
                client.batch = None;
                latency.saturating_record((now - client.begun).as_nanos() as u64);
                operations += u64::from(self.deck.batches[batch].operations());
                under_way -= 1;
                let next = match &timetable {
                    None => Some(now),
                    Some(timetable) => Some(timetable.due(at, client.number)).filter(|&due| due <= now),
                };
                if let Some(begun) = next.filter(|_| now < end) {
                    self.begin(at, begun, sent)?;
                    under_way += 1;
                }
            }
            // A connection whose turn has come while it is busy sends as soon as it is not.
            if let Some(timetable) = &timetable
                && now < end
            {
                while timetable.due(0, 0) + Duration::from_secs_f64(timetable.gap * turn as f64) <= now {
                    let at = turn % self.clients.len();
                    let due = timetable.due(at, self.clients[at].number);
                    if self.clients[at].batch.is_none() && due <= now {
                        self.begin(at, due, sent)?;
                        under_way += 1;
                    }
                    turn += 1;
                }
            }
            if under_way == 0 {
                heard = now;
            }
            if now - heard > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("{under_way} replies do not come")));
            }
        }
        Ok(Seen { operations, elapsed: now - start, latency })
    }

    /// What the server says it has counted: keys asked for, and stores.
    pub fn counted(&mut self) -> io::Result<(u64, u64)> {
        let client = &mut self.clients[0];
        client.stream.write_all(b"stats\r\n")?;
        let mut said = Vec::new();
        let begun = Instant::now();
        while !said.ends_with(b"END\r\n") {
            match client.stream.read(&mut self.buffer) {
                Ok(count) => said.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        let count = |name: &str| {
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
        };
        Ok((count("cmd_get"), count("cmd_set")))
    }

    fn open(&mut self) -> io::Result<()> {
        let stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // Ten thousand closed connections would hold their ports for a minute.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let stream = TcpStream::from_std(stream);
        let mut stream = match self.authority {
            Some(authority) => authority.secure(stream)?,
            None => Stream::Plain(stream),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(stream.socket(), Token(self.clients.len()), interest)?;
        self.clients.push(Client {
            stream,
            batch: None,
            sent: 0,
            received: 0,
            begun: Instant::now(),
            number: 0,
            request: Vec::new(),
            reply: Vec::new(),
        });
        Ok(())
    }

    /// Sends one batch over one connection and waits for the reply.
    fn exchange(&mut self, at: usize, batch: &Batch, sent: &mut Sent) -> io::Result<()> {
        let begun = Instant::now();
        self.clients[at].prepare(batch, begun, sent);
        while !self.advance(at, batch)? {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "a reply does not come"));
            }
        }
        Ok(())
    }

    /// Sends a batch that is picked at random over one connection.
    fn begin(&mut self, at: usize, begun: Instant, sent: &mut Sent) -> io::Result<()> {
        let number = self.random.below(self.deck.batches.len());
        let batch = &self.deck.batches[number];
        let client = &mut self.clients[at];
        client.prepare(batch, begun, sent);
        client.batch = Some(number);
        client.number += 1;
        client.send(batch)
    }

    /// Sends what is left to send and takes what has come; true when that was all.
    fn advance(&mut self, at: usize, batch: &Batch) -> io::Result<bool> {
        let client = &mut self.clients[at];
        if client.sent < batch.request.len() || matches!(client.stream, Stream::Tls(_)) {
            client.send(batch)?;
        }
        client.receive(batch, &mut self.buffer)
    }
}

impl Client {
    fn prepare(&mut self, batch: &Batch, begun: Instant, sent: &mut Sent) {
        if !batch.fresh.is_empty() {
            self.request.clone_from(&batch.request);
            self.reply.clone_from(&batch.reply);
            batch.freshen(&mut self.request, &mut self.reply, &mut sent.fresh);
        }
        sent.gets += u64::from(batch.gets);
        sent.sets += u64::from(batch.sets);
        self.sent = 0;
        self.received = 0;
        self.begun = begun;
    }

    /// Sends as much as goes.
    fn send(&mut self, batch: &Batch) -> io::Result<()> {
        let request = if batch.fresh.is_empty() { &batch.request } else { &self.request };
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes what has come, and sees that it is what has to come.
    fn receive(&mut self, batch: &Batch, buffer: &mut [u8]) -> io::Result<bool> {
        let reply = if batch.fresh.is_empty() { &batch.reply } else { &self.reply };
        while self.received < reply.len() {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let expected = reply.get(self.received..self.received + count);
            if expected != Some(&buffer[..count]) {
                let got = buffer[..count.min(200)].escape_ascii();
                let expected = reply[self.received..].iter().take(200).copied().collect::<Vec<_>>();
                let text = format!("a wrong reply: \"{got}\", not \"{}\"", expected.escape_ascii());
                return Err(io::Error::other(text));
            }
            self.received += count;
            // Less than there was room for is all there was.
            if count < buffer.len() && matches!(self.stream, Stream::Plain(_)) {
                break;
            }
        }
        Ok(self.received == reply.len())
    }
}

impl Timetable {
    /// When a connection's batch of this number is to be sent. The connections take turns.
    fn due(&self, connection: usize, number: u64) -> Instant {
        let turn = number * self.connections as u64 + connection as u64;
        self.start + Duration::from_secs_f64(self.gap * turn as f64)
    }
}

impl Sent {
    /// Nothing yet; new keys begin far above the filled ones.
    pub fn nothing() -> Sent {
        Sent { fresh: 1_000_000_000, ..Sent::default() }
    }
}

/// Operations a second that `case`'s connections get out of a server in a short while.
pub fn maximum(load: &mut Load<'_>, case: &Case, sent: &mut Sent) -> io::Result<f64> {
    load.connect(case.connections, sent)?;
    let seen = load.run(Duration::from_millis(700), None, sent)?;
    Ok(seen.operations as f64 / seen.elapsed.as_secs_f64())
}
