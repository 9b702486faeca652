//! One client connection as a small future: reads, lets the session answer, writes. Knows no command.

use super::accept::Accepted;
use super::desk::{Cleared, Desk, Kept};
use super::limit::Slot;
use super::socket::Socket;
use super::worker::Worker;
use super::{clock, log};
use crate::command::watch::Classes;
use crate::command::{self, Address, CloseReason, State, Step};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// One client connection. It is polled by its worker's runtime and by nobody else.
///
/// While it waits for a command it holds nothing but this struct: buffers and session are on a [`Desk`] that serves
/// others meanwhile. Whenever `poll` answers "pending", the socket knows this task's waker or the task has woken
/// itself.
pub(super) struct Connection {
    socket: Socket,
    worker: Rc<Worker>,
    entry: Arc<command::Connection>,
    /// Its desk, while it is in the middle of something.
    desk: Option<Box<Desk>>,
    /// What it keeps without a desk.
    kept: Option<Box<Kept>>,
    next: Next,
    /// Last, so that its place is free only when the socket is closed.
    _slot: Slot,
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
    Shutdown { graceful: bool },
}

/// Times a connection reads before others on its worker get a turn.
const READS_A_TURN: usize = 4;

/// Slices of one vectored write.
const SLICES: usize = 32;

impl Connection {
    /// A connection that has just been handed to its worker.
    pub(super) fn open(accepted: Accepted, worker: Rc<Worker>) -> io::Result<Connection> {
        let Accepted { stream, peer, listener, slot } = accepted;
        let (socket, fd) = Socket::new(stream)?;
        let second = worker.server.clock.now().seconds();
        let entry = Arc::new(command::Connection::new(fd, peer, listener, worker.index, second));
        worker.server.engine.connections.add(entry.clone());
        let connection =
            Connection { socket, worker, entry, desk: None, kept: None, next: Next::Read, _slot: slot };
        connection.tell_watchers("conn_new", None);
        if connection.is_verbose() {
            log(format_args!("<{fd} new auto-negotiating client connection"));
        }
        Ok(connection)
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut desk = match self.desk.take() {
            Some(desk) => desk,
            None => {
                ready!(self.socket.poll_readable(cx))?;
                self.worker.desks.borrow_mut().take(self.kept.take())
            }
        };
        let result = self.serve(&mut desk, cx);
        match result {
            Poll::Pending if self.next == Next::Read => self.wait(desk),
            Poll::Pending => self.desk = Some(desk),
            Poll::Ready(_) => {
                if let Some(watcher) = desk.session.watcher() {
                    self.worker.server.engine.watch.remove(watcher);
                }
                self.worker.desks.borrow_mut().give_back(desk);
            }
        }
        result
    }

    /// Goes on until there is nothing to do (pending) or the connection is to be closed (ready).
    fn serve(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut reads = 0;
        loop {
            if desk.output.is_full() {
                ready!(self.write(desk, cx))?;
            }
            match self.next {
                Next::Read if reads == READS_A_TURN => return give_way(cx),
                Next::Read => match self.read(desk, cx)? {
                    Poll::Ready(0) => self.next = Next::Close,
                    Poll::Ready(_) => reads += 1,
                    Poll::Pending => {
                        ready!(self.write(desk, cx))?;
                        return Poll::Pending;
                    }
                },
                Next::Answer => {
                    self.next = match self.answer(desk, cx) {
                        Step::Read => Next::Read,
                        Step::Yield => return give_way(cx),
                        Step::Watch => Next::Watch,
                        Step::Close => Next::Close,
                        Step::Shutdown { graceful } => Next::Shutdown { graceful },
                    };
                }
                Next::Watch => return self.watch(desk, cx),
                Next::Close => return self.write(desk, cx),
                Next::Shutdown { graceful } => {
                    ready!(self.write(desk, cx))?;
                    self.entry.set_close_reason(CloseReason::Shutdown);
                    self.worker.server.stop_by_command(graceful);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Reads once: straight into a value's place if one is being received, otherwise into the input. 0 is the end.
    fn read(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut into_value = false;
        let space = match desk.session.space() {
            Some(space) if !space.is_empty() && desk.input.is_empty() => {
                into_value = true;
                space
            }
            _ => desk.input.space(),
        };
        debug_assert!(!space.is_empty(), "a session leaves less than INPUT_LIMIT");
        let count = ready!(self.socket.poll_read(cx, space))?;
        if into_value {
            desk.session.received(count);
            self.entry.set_last_command(self.worker.server.clock.now().seconds());
        } else {
            desk.input.filled(count);
            self.next = Next::Answer;
        }
        self.worker.counts.general.bytes_read.add(count as u64);
        Poll::Ready(Ok(count))
    }

    /// Lets the session answer its share of what is there.
    fn answer(&mut self, desk: &mut Desk, cx: &Context<'_>) -> Step {
        let server = &self.worker.server;
        let now = server.clock.now();
        self.entry.set_state(State::ParseCommand);
        self.entry.set_last_command(now.seconds());
        let context = command::Context {
            engine: &server.engine,
            counts: &self.worker.counts,
            connection: &self.entry,
            now,
            waker: &|| {
                let waker = cx.waker().clone();
                Box::new(move || waker.wake_by_ref())
            },
        };
        let progress = desk.session.on_bytes(desk.input.bytes(), &mut desk.output, &context);
        desk.input.consume(progress.consumed);
        self.entry.set_state(State::Read);
        progress.step
    }

    /// Writes all that has been answered.
    fn write(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !desk.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = desk.output.slices(&mut slices);
            let Poll::Ready(count) = self.socket.poll_write(cx, &slices[..filled])? else {
                self.entry.set_state(State::Write);
                return Poll::Pending;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            desk.output.advance(count);
            self.worker.counts.general.bytes_written.add(count as u64);
            if self.entry.state() == State::Write {
                // A client that reads slowly is not idle.
                self.entry.set_last_command(self.worker.server.clock.now().seconds());
                self.entry.set_state(State::Read);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the desk back before waiting for input, if what is on it can be kept elsewhere.
    fn wait(&mut self, desk: Box<Desk>) {
        match self.worker.desks.borrow_mut().clear(desk) {
            Cleared::Needed(desk) => self.desk = Some(desk),
            Cleared::Away(kept) => self.kept = kept,
        }
        if self.kept.as_mut().is_some_and(|kept| kept.receives_value()) {
            self.entry.set_state(State::ReadValue);
        }
    }

    /// Writes log lines as they come, until the client closes. What the client sends meanwhile is dropped.
    fn watch(&mut self, desk: &mut Desk, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(watcher) = desk.session.watcher().cloned() else { return Poll::Ready(Ok(())) };
        for _ in 0..READS_A_TURN {
            // Lines stay in the watcher's bounded queue while the client does not read.
            if desk.output.is_empty() {
                watcher.take_lines(desk.output.bytes());
            }
            let nothing_to_write = desk.output.is_empty();
            desk.input.clear();
            let read = self.socket.poll_read(cx, desk.input.space())?;
            if read == Poll::Ready(0) {
                return Poll::Ready(Ok(()));
            }
            let written = self.write(desk, cx)?;
            self.entry.set_state(State::Watch);
            if read.is_pending() && (nothing_to_write || written.is_pending()) {
                return Poll::Pending;
            }
        }
        give_way(cx)
    }

    fn tell_watchers(&self, event: &str, reason: Option<CloseReason>) {
        let hub = &self.worker.server.engine.watch;
        if !hub.wants(Classes::CONNEVENTS) {
            return;
        }
        let (ip, port, transport) = match &self.entry.peer {
            Address::Tcp(peer) => (peer.ip().to_string(), peer.port(), "tcp"),
            Address::Unix(_) => ("unix".to_owned(), 0, "local"),
        };
        let reason = reason.map_or(String::new(), |reason| format!("reason={} ", reason.name()));
        let fd = self.entry.fd;
        let line = format_args!("type={event} rip={ip} rport={port} transport={transport} {reason}cfd={fd}");
        hub.log(Classes::CONNEVENTS, clock::unix_micros(), line);
    }

    fn is_verbose(&self) -> bool {
        self.worker.server.engine.verbosity.load(Ordering::Relaxed) > 1
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        let ended = ready!(connection.advance(cx));
        if ended.is_err() {
            connection.entry.set_close_reason(CloseReason::Error);
        }
        Poll::Ready(())
    }
}

/// Runs however the connection ends: closed, failed, panicked, or dropped with its worker.
impl Drop for Connection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.entry.set_close_reason(CloseReason::Error);
        }
        // A desk is still here if the worker ends first.
        let watcher = self.desk.as_ref().and_then(|desk| desk.session.watcher());
        if let Some(watcher) = watcher {
            self.worker.server.engine.watch.remove(watcher);
        }
        self.tell_watchers("conn_close", Some(self.entry.close_reason()));
        if self.is_verbose() {
            log(format_args!("<{} connection closed.", self.entry.fd));
        }
        self.worker.server.engine.connections.remove(self.entry.fd);
    }
}

/// Lets others on the worker have their turn, and goes on after them.
fn give_way<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
