//! One client connection: reads, lets the session answer, writes, as far as that goes without waiting. Knows no command.

use super::accept::Accepted;
use super::clock;
use super::desk::{Cleared, Desk, Kept};
use super::socket::Socket;
use super::worker::Worker;
use crate::command::log as tell;
use crate::command::{self, Address, CloseReason, Output, State, Step};
use crate::config::MetricsListen;
use crate::store::Body;
use memcarp_uring::Arrival;
use mio::Token;
use mio::event::Event;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tracing::{debug, trace};

/// One client connection. Its worker calls [`Connection::go_on`] when its socket is ready or its turn has come.
///
/// While it waits for a command it holds nothing but this struct: buffers and session are on a [`Desk`] that serves
/// others meanwhile.
pub(super) struct Connection {
    socket: Socket,
    next: Next,
    /// It has given way, and its turn has not come yet.
    pub(super) aside: bool,
    entry: Arc<command::Connection>,
    /// Its desk, while it is in the middle of something.
    desk: Option<Box<Desk>>,
    /// What it keeps without a desk.
    kept: Option<Box<Kept>>,
}

/// Where a connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// It waits for its socket.
    Waiting,
    /// It gives way to the others; call it again after them.
    Aside,
    /// It is to be closed.
    Ended,
}

/// What there is to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read; if there is nothing to read, write what has been answered and wait.
    Read,
    /// Let the session answer what is there.
    Answer,
    /// Write log lines as they come.
    Watch,
    /// Write what has been answered, then close.
    Close,
    /// Write what has been answered, then close and end the server.
    Shutdown,
}

/// Times a connection reads before others on its worker get a turn.
const READS_A_TURN: usize = 4;

impl Connection {
    /// A connection that has just been handed to its worker, where it is known as `token`.
    pub(super) fn open(accepted: Accepted, token: Token, worker: &mut Worker) -> io::Result<Connection> {
        let Accepted { stream, peer, listener, slot } = accepted;
        let fd = stream.fd();
        let socket = Socket::open(stream, slot, token, &mut worker.transport, &worker.server.engine)?;
        let second = worker.server.clock.now().seconds();
        let entry = Arc::new(command::Connection::new(fd, peer, listener, second));
        worker.server.engine.connections.add(entry.clone());
        let connection = Connection { socket, entry, desk: None, kept: None, next: Next::Read, aside: false };
        tell::conn_new(&worker.server.engine.watch, &connection.entry, clock::unix_micros());
        if worker.is_verbose() {
            trace!("<{fd} new auto-negotiating client connection");
        }
        Ok(connection)
    }

    /// Takes note of what the poll told of its socket.
    pub(super) fn note(&mut self, event: &Event) {
        self.socket.note(event);
    }

    /// Takes note of what was received.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        self.socket.arrived(arrival);
    }

    /// Takes note of what has become of something that was to be sent.
    pub(super) fn sent(&mut self, output: Output, count: io::Result<usize>, worker: &mut Worker) {
        let count = self.socket.sent(output, count, &mut worker.transport);
        if count > 0 {
            self.written(count, worker);
        }
    }

    /// To be called before others have their turn.
    pub(super) fn settle(&mut self, worker: &mut Worker) {
        self.socket.settle(&mut worker.transport);
    }

    /// Does what can be done without waiting, up to its share.
    pub(super) fn go_on(&mut self, token: Token, worker: &mut Worker) -> Went {
        let mut desk = match self.desk.take() {
            Some(desk) => desk,
            None if self.next == Next::Read && !self.socket.is_ready() => return Went::Waiting,
            None => worker.desks.take(self.kept.take()),
        };
        let went = match self.serve(&mut desk, token, worker) {
            Ok(went) => went,
            Err(error) => {
                if worker.server.engine.shows_debug() {
                    debug!("<{} {} failed: {error}", self.entry.fd, self.entry.peer);
                }
                self.entry.set_close_reason(CloseReason::Error);
                Went::Ended
            }
        };
        if went == Went::Waiting && matches!(self.next, Next::Read | Next::Answer) {
            self.wait(desk, worker);
        } else {
            self.desk = Some(desk);
        }
        went
    }

    /// Whether it is TCP and has sent no command for longer than `timeout` seconds. What has come and is yet to be read
    /// counts: nobody pays for a process that stood still.
    pub(super) fn is_idle(&self, second: u32, timeout: u32) -> bool {
        matches!(self.entry.peer, Address::Tcp(_))
            && second.saturating_sub(self.entry.last_command()) > timeout
            && self.next != Next::Watch
            && self.entry.close_reason() == CloseReason::Normal
            && !(self.entry.state() != State::Write && self.has_unread())
    }

    fn has_unread(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.entry.fd as i32, &mut [0], flags).is_ok_and(|count| count > 0)
    }

    /// If it waits for its client to read: bytes of long values it holds that are in the store no longer, if any, and the
    /// second of its last progress.
    pub(super) fn holds_detached(&self) -> Option<(usize, u32)> {
        if self.entry.state() != State::Write {
            return None;
        }
        let waiting = self.desk.iter().flat_map(|desk| desk.output.bodies());
        let bodies = waiting.chain(self.socket.bodies());
        let bytes = bodies.filter(|body| body.is_detached()).map(Body::len).sum();
        (bytes > 0).then(|| (bytes, self.entry.last_command()))
    }

    /// Ends both sides; the poll tells of it and the connection closes.
    pub(super) fn end(&self, reason: CloseReason) {
        self.entry.set_close_reason(reason);
        let _ = shutdown(self.entry.fd as i32, Shutdown::Both);
    }

    /// Ends the receiving side: what has arrived can still be read, then comes the end.
    pub(super) fn end_receiving(&self) {
        self.entry.set_close_reason(CloseReason::Shutdown);
        let _ = shutdown(self.entry.fd as i32, Shutdown::Read);
    }

    /// Whether it is still to show that it speaks TLS, and when it came, in seconds of the store's clock.
    pub(super) fn handshaking_since(&self) -> Option<u32> {
        self.socket.is_handshaking().then(|| self.entry.last_command())
    }

    /// Ends the connection, whatever it is in the middle of.
    pub(super) fn close(mut self, worker: &mut Worker) {
        self.socket.close(&mut worker.transport);
        if let Some(desk) = self.desk.take() {
            if let Some(watcher) = desk.session.watcher() {
                worker.server.engine.unwatch(watcher);
            }
            worker.desks.give_back(desk);
        }
        let server = &worker.server;
        tell::conn_close(&server.engine.watch, &self.entry, clock::unix_micros());
        if worker.is_verbose() {
            trace!("<{} connection closed.", self.entry.fd);
        }
        server.engine.connections.remove(self.entry.fd);
    }

    /// Why it is to be closed, once that is known.
    pub(super) fn set_close_reason(&self, reason: CloseReason) {
        self.entry.set_close_reason(reason);
    }

    fn serve(&mut self, desk: &mut Desk, token: Token, worker: &mut Worker) -> io::Result<Went> {
        let mut reads = 0;
        loop {
            if desk.output.is_full() && self.write(desk, worker)?.is_pending() {
                return Ok(Went::Waiting);
            }
            match self.next {
                Next::Read if reads == READS_A_TURN => return Ok(Went::Aside),
                Next::Read => match self.read(desk, worker)? {
                    Poll::Ready(0) => self.next = Next::Close,
                    Poll::Ready(_) => reads += 1,
                    Poll::Pending => {
                        let _ = self.write(desk, worker)?;
                        return Ok(Went::Waiting);
                    }
                },
                Next::Answer => {
                    self.next = match self.answer(desk, token, worker) {
                        Step::Read => Next::Read,
                        Step::Yield => {
                            if desk.output.is_full() || worker.detached_excess() > 0 {
                                let _ = self.write(desk, worker)?;
                            }
                            return Ok(Went::Aside);
                        }
                        Step::Wait if self.socket.is_broken() => return Ok(Went::Ended),
                        Step::Wait => {
                            if self.socket.has_ended() {
                                desk.session.hears_the_end();
                            }
                            let _ = self.write(desk, worker)?;
                            return Ok(Went::Waiting);
                        }
                        Step::Watch => Next::Watch,
                        Step::Close => Next::Close,
                        Step::Shutdown { .. } => Next::Shutdown,
                    };
                }
                Next::Watch => return self.watch(desk, worker),
                Next::Close => {
                    let written = self.write(desk, worker)?.is_ready();
                    return Ok(if written { Went::Ended } else { Went::Waiting });
                }
                Next::Shutdown => {
                    if self.write(desk, worker)?.is_pending() {
                        return Ok(Went::Waiting);
                    }
                    self.entry.set_close_reason(CloseReason::Shutdown);
                    worker.server.stop_by_command();
                    return Ok(Went::Ended);
                }
            }
        }
    }

    /// Reads once: straight into a value's place if one is being received, otherwise into the input. 0 is the end.
    fn read(&mut self, desk: &mut Desk, worker: &Worker) -> io::Result<Poll<usize>> {
        let mut into_value = false;
        // A value takes memory as it comes: for what has only been announced there is none.
        if !self.socket.may_read() {
            return Ok(Poll::Pending);
        }
        let space = match desk.session.space() {
            Some(space) if !space.is_empty() && desk.input.is_empty() => {
                into_value = true;
                space
            }
            _ => desk.input.space(),
        };
        debug_assert!(!space.is_empty(), "a session leaves less than INPUT_LIMIT");
        let Poll::Ready(count) = self.socket.read(space)? else { return Ok(Poll::Pending) };
        if into_value {
            desk.session.received(count);
            self.entry.set_last_command(worker.server.clock.now().seconds());
        } else {
            desk.input.filled(count);
            self.next = Next::Answer;
        }
        worker.counts.general.bytes_read.add(count as u64);
        Ok(Poll::Ready(count))
    }

    /// Lets the session answer its share of what is there.
    fn answer(&mut self, desk: &mut Desk, token: Token, worker: &Worker) -> Step {
        let server = &worker.server;
        let begun = Instant::now();
        let now = server.clock.at(begun);
        self.entry.set_state(State::ParseCommand);
        self.entry.set_last_command(now.seconds());
        let context = command::Context {
            engine: &server.engine,
            counts: &worker.counts,
            connection: &self.entry,
            now,
            waker: &|| worker.waker(token),
        };
        let progress = desk.session.on_bytes(desk.input.bytes(), &mut desk.output, &context);
        if server.engine.config.metrics != MetricsListen::Off {
            worker.counts.distributions.served(&progress.served, begun.elapsed());
        }
        desk.input.consume(progress.consumed);
        self.entry.set_state(State::Read);
        progress.step
    }

    /// Writes all that has been answered.
    fn write(&mut self, desk: &mut Desk, worker: &mut Worker) -> io::Result<Poll<()>> {
        while !desk.output.is_empty() {
            let Poll::Ready(count) = self.socket.write(&mut desk.output, &mut worker.transport)? else {
                self.entry.set_state(State::Write);
                return Ok(Poll::Pending);
            };
            self.written(count, worker);
        }
        let flushed = self.socket.flush(&mut worker.transport)?;
        if flushed.is_pending() {
            self.entry.set_state(State::Write);
        }
        Ok(flushed)
    }

    /// Takes note of what has gone out.
    fn written(&self, count: usize, worker: &Worker) {
        worker.counts.general.bytes_written.add(count as u64);
        if self.entry.state() == State::Write {
            // A client that reads slowly is not idle.
            self.entry.set_last_command(worker.server.clock.now().seconds());
            self.entry.set_state(State::Read);
        }
    }

    /// Gives the desk back before waiting for input, if what is on it can be kept elsewhere.
    fn wait(&mut self, desk: Box<Desk>, worker: &mut Worker) {
        match worker.desks.clear(desk) {
            Cleared::Needed(desk) => self.desk = Some(desk),
            Cleared::Away(kept) => self.kept = kept,
        }
        if self.kept.as_ref().is_some_and(|kept| kept.receives_value()) {
            self.entry.set_state(State::ReadValue);
        }
    }

    /// Writes log lines as they come, until the client closes. What the client sends meanwhile is dropped.
    fn watch(&mut self, desk: &mut Desk, worker: &mut Worker) -> io::Result<Went> {
        let Some(watcher) = desk.session.watcher().cloned() else { return Ok(Went::Ended) };
        for _ in 0..READS_A_TURN {
            // Lines stay in the watcher's bounded queue while the client does not read.
            if desk.output.is_empty() {
                watcher.take_lines(desk.output.bytes());
            }
            let nothing_to_write = desk.output.is_empty();
            desk.input.clear();
            let read = self.socket.read(desk.input.space())?;
            if let Poll::Ready(0) = read {
                return Ok(Went::Ended);
            }
            let written = self.write(desk, worker)?;
            self.entry.set_state(State::Watch);
            if read.is_pending() && (nothing_to_write || written.is_pending()) {
                return Ok(Went::Waiting);
            }
        }
        Ok(Went::Aside)
    }
}
