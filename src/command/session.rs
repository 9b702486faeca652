//! One connection's conversation: bytes in, replies out. Waits for nothing and knows no socket.

use super::connections::Connection;
use super::counts::Counts;
use super::engine::Engine;
use super::output::Output;
use super::watch::Watcher;
use crate::store::Now;
use std::sync::Arc;

/// What a session needs from the worker that runs it, lent for one call.
pub struct Context<'a> {
    /// What all workers share.
    pub engine: &'a Engine,
    /// This worker's counts.
    pub counts: &'a Counts,
    /// The connection as the table shows it.
    pub connection: &'a Connection,
    /// The time of this batch.
    pub now: Now,
    /// Makes the function that wakes this connection when log lines wait for it (only `watch` calls it).
    pub waker: &'a dyn Fn() -> Box<dyn Fn() + Send + Sync>,
}

/// How far a call got.
#[derive(Debug)]
pub struct Progress {
    /// Bytes of the input that are done with; the rest is to be shown again, at the front, with what follows.
    pub consumed: usize,
    /// What is to happen next.
    pub step: Step,
}

/// What is to happen next.
#[derive(Debug)]
pub enum Step {
    /// Nothing whole is left: write the output, read more.
    Read,
    /// There is more to answer: write the output, let others have a turn, call again.
    Yield,
    /// The client watches from now on: write the output, then its lines as they come, until it closes.
    Watch,
    /// Write the output, then close.
    Close,
    /// Write the output, close, and end the server; gracefully if told so.
    Shutdown {
        /// `shutdown graceful`.
        graceful: bool,
    },
}

/// One connection's conversation.
#[derive(Default)]
pub struct Session {
    watcher: Option<Arc<Watcher>>,
}

impl Session {
    /// Longest input that [`Session::on_bytes`] may leave unconsumed: a buffer of this size never deadlocks.
    pub const INPUT_LIMIT: usize = 64 << 10;

    /// A conversation that has not begun.
    pub fn new() -> Session {
        Session::default()
    }

    /// Answers the whole requests at the front of `input`, at most the connection's share of requests, and stops early when
    /// the output is full.
    pub fn on_bytes(&mut self, input: &[u8], output: &mut Output, context: &Context<'_>) -> Progress {
        let _ = (output, context);
        Progress { consumed: input.len(), step: Step::Close }
    }

    /// Where the next bytes of a long value go, if one is being received: read straight into it, then call
    /// [`Session::received`]. Only while no input is left unconsumed.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        None
    }

    /// Says that `count` bytes have been read into [`Session::space`].
    pub fn received(&mut self, count: usize) {
        let _ = count;
    }

    /// The log lines of a client that watches.
    pub fn watcher(&self) -> Option<&Arc<Watcher>> {
        self.watcher.as_ref()
    }

    /// Whether nothing needs to be kept between two commands: an idle session can be made anew.
    pub fn is_idle(&self) -> bool {
        true
    }
}
