//! One connection: writes requests, reads replies, hands each reply to whoever waits at the head of the line.
//!
//! This is where cancellation is made safe. The connection alone owns the stream and the line of waiting
//! requests. A request enters the line in the same step that queues its bytes, and leaves it only when its
//! whole reply has been read, whether or not anybody still wants it: a caller that has gone away only
//! leaves a receiver that is dropped, never a place in the line.

use super::NetConfig;
use super::lane::Owner;
use super::transport::Transport;
use super::unended::Unended;
use super::work::{ManyReplies, Waiting, Work};
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::protocol::{Dialect, Expected, Output, QuietReplies, Reply, ReplyParser, Request};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

/// Requests sent and not yet answered, beyond which no new work is taken.
const MAX_WAITING: usize = 4096;
/// Bytes queued for writing, beyond which no new work is taken.
const MAX_OUTPUT_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 16 * 1024;
/// One answer may take this many times as long as a silence, if it comes in pieces.
const SLOWEST_ANSWER: u32 = 10;
const SLICES: usize = 16;

pub(super) struct Connection {
    stream: Box<dyn Transport>,
    dialect: Dialect,
    parser: ReplyParser,
    input: BytesMut,
    output: Output,
    /// What has been accepted since the last write came to an end.
    unwritten: usize,
    /// Whether callers come in company, so that a write is worth delaying for who else is about to ask.
    crowded: bool,
    flushed: bool,
    /// Each with the bytes of its requests.
    waiting: VecDeque<(Waiting, usize)>,
    /// Replies owed by the server: the requests of `waiting`.
    owed: usize,
    /// The number of the next request. Every meta request carries its own, and so does its reply: a reply too many
    /// or too few is noticed, and nobody gets what belongs to the one before.
    next_opaque: u32,
    /// Whether the server has done nothing to be given up for.
    blameless: bool,
    /// Whether the server still answers, though not as it should.
    listening: bool,
    /// Whether the server, or the system in its place, has closed or reset this: nothing more is carried out.
    closed: bool,
    /// Since when the server owes something and has sent nothing.
    silent_since: Instant,
    /// Since when the answer that comes next is due.
    due_since: Instant,
    patience: Duration,
    /// Wakes the task to look after the server. Callers may be served without the task only while it is set.
    alarm: Option<Pin<Box<Sleep>>>,
    /// What a caller that drove it has found wrong, for the task to act on.
    broken: Option<Error>,
}

/// What is left of a connection that failed.
pub(super) struct Ended {
    /// What the server is to blame for. Nothing if nobody was in line: it may close an idle connection.
    pub(super) failure: Option<Error>,
    pub(super) rest: Option<Unended>,
    pub(super) listening: bool,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Transport>, dialect: Dialect, config: &NetConfig) -> Connection {
        Connection {
            stream,
            dialect,
            parser: ReplyParser::new(config.max_value_bytes),
            input: BytesMut::new(),
            output: Output::default(),
            unwritten: 0,
            crowded: false,
            flushed: true,
            waiting: VecDeque::new(),
            owed: 0,
            next_opaque: 0,
            blameless: false,
            listening: false,
            closed: false,
            silent_since: Instant::now(),
            due_since: Instant::now(),
            patience: config.unresponsive_after,
            alarm: None,
            broken: None,
        }
    }

    /// Tells everybody in line why it ended.
    pub(super) fn end(self, error: Error, owner: &dyn Owner) -> Ended {
        let late = |(waiting, _): &(Waiting, usize)| waiting.late().to_vec();
        let late: Vec<Key> = match self.closed {
            true => Vec::new(),
            false => self.waiting.iter().flat_map(late).collect(),
        };
        let unanswered = self.waiting.iter().map(|(_, bytes)| bytes).sum();
        let hold = (!late.is_empty()).then(|| owner.hold(late));
        let failure = (!self.waiting.is_empty() && !self.blameless).then(|| error.clone());
        for (waiting, _) in self.waiting {
            waiting.fail(&error);
        }
        let rest = match hold {
            Some(hold) => Some(Unended::new(self.stream, hold, unanswered, self.patience)),
            None => {
                self.stream.forget_unsent();
                None
            }
        };
        Ended { failure, rest, listening: self.listening }
    }

    /// The task's turn: serves until every sender is gone and every reply has come, or the connection fails.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut mpsc::Receiver<Work>,
    ) -> Poll<Result<(), Error>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        loop {
            if self.waiting.is_empty() && self.output.is_empty() {
                // What comes now is nobody's answer, and must not meet the next request.
                if let Poll::Ready(read) = self.poll_read(cx) {
                    return Poll::Ready(read);
                }
            }
            let was_empty = self.output.is_empty();
            let finished = self.poll_work(cx, work);
            let was_full = !self.has_room();
            // Of several callers the others get a turn before the first one's request is written: one write for all.
            let crowded = self.crowded || self.waiting.len() > 1;
            if was_empty && !self.output.is_empty() && crowded && !finished {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.poll_write(cx)?;
            let read = self.poll_read(cx)?;
            if finished && self.waiting.is_empty() && self.output.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Work that there was no room for has not been asked for: nobody would tell of it.
            if read.is_pending() && !(was_full && self.has_room()) {
                return self.poll_alarm(cx);
            }
        }
    }

    /// Whether somebody who asks now is alone, so that the task's turn is not worth waiting for.
    pub(super) fn is_free(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_at_rest() || self.crowded || self.alarm.is_none() || self.broken.is_some() {
            return false;
        }
        // What comes now is nobody's answer, and must not meet the next request.
        match self.poll_read(cx) {
            Poll::Ready(read) => {
                self.broken = read.err();
                false
            }
            Poll::Pending => true,
        }
    }

    /// A caller's turn: writes what there is, and reads until everybody has been answered or nothing comes. False
    /// if the connection failed, which is for the task to act on.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        while self.broken.is_none() && !self.waiting.is_empty() {
            let read = match self.poll_write(cx) {
                Ok(()) => self.poll_read(cx),
                Err(error) => Poll::Ready(Err(error)),
            };
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.broken = Some(error),
                Poll::Pending => break,
            }
        }
        self.broken.is_none()
    }

    /// Whether nobody waits and nothing is left to be written.
    pub(super) fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.output.is_empty() && self.flushed
    }

    fn has_room(&self) -> bool {
        self.owed < MAX_WAITING && self.output.len() < MAX_OUTPUT_BYTES
    }

    /// Takes what there is to send; true once nobody can send any more.
    fn poll_work(&mut self, cx: &mut Context<'_>, work: &mut mpsc::Receiver<Work>) -> bool {
        while self.has_room() {
            match work.poll_recv(cx) {
                Poll::Ready(Some(work)) => self.accept(work),
                Poll::Ready(None) => return true,
                Poll::Pending => break,
            }
        }
        false
    }

    pub(super) fn accept(&mut self, work: Work) {
        if work.is_abandoned() {
            return; // Not a byte of it has been queued.
        }
        self.unwritten += 1;
        if self.waiting.is_empty() {
            self.silent_since = Instant::now();
            self.due_since = self.silent_since;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let queued = self.output.len();
        let waiting = self.queue(work, now);
        self.waiting.extend(waiting.map(|waiting| (waiting, self.output.len() - queued)));
    }

    /// Queues the bytes of requests; nobody waits for what cannot be sent.
    fn queue(&mut self, work: Work, now: u64) -> Option<Waiting> {
        match work {
            Work::One { request, reply } => match self.encode(&request, now) {
                Ok(expected) => {
                    self.owed += 1;
                    Some(Waiting::One { expected, late: request.brings_back().cloned(), reply })
                }
                Err(error) => {
                    drop(reply.send(Err(error)));
                    None
                }
            },
            Work::Many { requests, quiet: true, reply } if self.dialect == Dialect::Meta => {
                let first = self.next_opaque;
                for request in &requests {
                    Dialect::encode_quiet(request, self.next_opaque, now, &mut self.output);
                    self.next_opaque = self.next_opaque.wrapping_add(1);
                }
                self.output.text(b"mn\r\n");
                let count = requests.len();
                self.owed += count;
                let expected = Expected::meta(requests.iter().any(Request::has_block));
                let replies = Box::new(QuietReplies::new(first, count));
                let late = requests.iter().filter_map(Request::brings_back).cloned().collect();
                Some(Waiting::Quiet { expected, replies, late, count, reply })
            }
            Work::Many { requests, reply, .. } => {
                let mut results: ManyReplies = Vec::with_capacity(requests.len());
                let mut expected = VecDeque::with_capacity(requests.len());
                for (number, request) in requests.iter().enumerate() {
                    results.push(match self.encode(request, now) {
                        Ok(reply) => {
                            expected.push_back((number, reply));
                            Ok(None)
                        }
                        Err(error) => Err(error),
                    });
                }
                if expected.is_empty() {
                    drop(reply.send(results));
                    return None;
                }
                self.owed += expected.len();
                let late = requests.iter().filter_map(Request::brings_back).cloned().collect();
                Some(Waiting::Many { expected, late, results, reply })
            }
        }
    }

    fn encode(&mut self, request: &Request, now: u64) -> Result<Expected, Error> {
        let opaque = self.next_opaque;
        self.next_opaque = opaque.wrapping_add(1);
        self.dialect.encode(request, opaque, now, &mut self.output)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.output.slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            // Mostly it is one piece, for which the system need not be given a list.
            let written = match &slices[..count] {
                [piece] => stream.poll_write(cx, piece),
                pieces => stream.poll_write_vectored(cx, pieces),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.output.advance(written),
                Poll::Ready(Err(error)) => return Err(self.lost(error)),
                Poll::Pending => return Ok(()),
            }
            self.flushed = false;
        }
        if self.unwritten > 0 {
            self.crowded = self.unwritten > 1;
            self.unwritten = 0;
        }
        if !self.flushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushed = true,
                Poll::Ready(Err(error)) => return Err(self.lost(error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// Reads once and hands out every reply that is whole.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        // Cancel-safe: either it is ready now or it has read nothing.
        match ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx)) {
            Ok(0) => return Poll::Ready(Err(self.lost(io::ErrorKind::UnexpectedEof.into()))),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(self.lost(error))),
        }
        self.silent_since = Instant::now();
        let handed_out = self.hand_out();
        self.listening = handed_out.is_err();
        Poll::Ready(handed_out)
    }

    fn lost(&mut self, error: io::Error) -> Error {
        self.closed = true;
        Error::caused(ErrorKind::ConnectionLost, error)
    }

    fn hand_out(&mut self) -> Result<(), Error> {
        while !self.input.is_empty() {
            let Some((head, _)) = self.waiting.front() else {
                return Err(nonsense("an answer nobody asked for".to_owned()));
            };
            let expected = head.expected();
            let Some(reply) =
                self.parser.parse(expected.shape, &mut self.input).map_err(|bad| nonsense(bad.0))?
            else {
                return Ok(());
            };
            if !expected.is_answered_by(&reply) {
                return Err(nonsense("an answer to something else".to_owned()));
            }
            if reply.wants_login() {
                self.closed = true;
                return Err(Error::new(ErrorKind::LoginRequired)); // Nobody's request has been carried out.
            }
            let in_doubt = expected.leaves_in_doubt(&reply);
            if self.settle_head(reply)? {
                self.waiting.pop_front();
            }
            self.due_since = self.silent_since;
            if let Some(why) = in_doubt {
                self.blameless = true;
                return Err(Error::caused(ErrorKind::ConnectionLost, why));
            }
        }
        Ok(())
    }

    /// Gives the head of the line its reply; true if it has all it waits for.
    fn settle_head(&mut self, got: Reply) -> Result<bool, Error> {
        let Some((head, _)) = self.waiting.front_mut() else { return Ok(false) };
        match head {
            Waiting::One { .. } => {
                self.owed -= 1;
                if let Some((Waiting::One { reply, .. }, _)) = self.waiting.pop_front() {
                    drop(reply.send(Ok(got)));
                }
                Ok(false)
            }
            Waiting::Many { expected, results, reply, .. } => {
                self.owed -= 1;
                if let Some((number, _)) = expected.pop_front() {
                    results[number] = Ok(Some(got));
                }
                if !expected.is_empty() {
                    return Ok(false);
                }
                let results = std::mem::take(results);
                let reply = std::mem::replace(reply, oneshot::channel().0);
                drop(reply.send(results));
                Ok(true)
            }
            Waiting::Quiet { replies, count, reply, .. } => {
                if !replies.take(got).map_err(nonsense)? {
                    return Ok(false);
                }
                self.owed -= *count;
                let replies = std::mem::replace(&mut **replies, QuietReplies::new(0, 0));
                let reply = std::mem::replace(reply, oneshot::channel().0);
                drop(reply.send(replies.into_replies().into_iter().map(Ok).collect()));
                Ok(true)
            }
        }
    }

    /// Gives up a server that owes an answer and has been silent, or busy with that one answer, for too long.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.waiting.is_empty() && self.alarm.is_none() {
            return Poll::Pending;
        }
        loop {
            let due =
                (self.silent_since + self.patience).min(self.due_since + self.patience * SLOWEST_ANSWER);
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            ready!(alarm.as_mut().poll(cx));
            if self.waiting.is_empty() {
                self.alarm = None;
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(Err(Error::caused(
                    ErrorKind::ConnectionLost,
                    "the server went silent, or never came to an end",
                )));
            }
            alarm.as_mut().reset(due);
        }
    }
}

fn nonsense(what: String) -> Error {
    Error::new(ErrorKind::Protocol(what))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
