//! How a worker waits for its sockets: epoll, and io_uring where it is used. Knows no connection.
//!
//! With a ring, the poll still tells of orders and of sockets with TLS; the ring waits for the poll's own descriptor.

use super::limit::Slot;
use super::log;
use crate::command::Output;
use crate::config;
use memcarp_uring::{Completion, Payload, Ring, Socket};
use mio::{Events, Poll, Registry};
use std::io::{self, IoSlice};
use std::time::Duration;

/// What tells of a worker's sockets.
pub(super) struct Transport {
    poll: Poll,
    pub(super) ring: Option<Submissions>,
}

/// A worker's ring, and memory for what it sends.
pub(super) struct Submissions {
    ring: Ring<Output, Slot>,
    /// Outputs that have been sent, to be filled again.
    spare: Vec<Output>,
    /// The sum of their capacities.
    spare_bytes: usize,
}

/// Buffers to receive into, and the length of each. All connections of a worker share them, each of them only from a
/// completion to the end of its handling.
const BUFFERS: u16 = 64;
pub(super) const BUFFER: usize = 16 << 10;

/// Capacity that is kept for what is sent next.
const SPARE_BYTES: usize = 1 << 20;
const SPARE_OUTPUTS: usize = 1024;

impl Transport {
    /// Waits with this poll, where orders come in too, and with a ring if `uring` says so and one can be had.
    pub(super) fn new(poll: Poll, uring: bool) -> Transport {
        let ring = match uring.then(|| Submissions::new(&poll)) {
            Some(Err(error)) => {
                log(format_args!("a worker has no io_uring ({error}) and serves over epoll"));
                None
            }
            Some(Ok(ring)) => Some(ring),
            None => None,
        };
        Transport { poll, ring }
    }

    /// Whether workers are to use io_uring: what was asked for, as far as this system permits it.
    pub(super) fn uses_uring(asked: config::Transport) -> bool {
        if asked != config::Transport::IoUring {
            return false;
        }
        let tried = Poll::new().and_then(|poll| Submissions::new(&poll));
        if let Err(error) = &tried {
            log(format_args!("io_uring is not to be had here ({error}): serving over epoll"));
        }
        tried.is_ok()
    }

    /// Where sockets are registered that the poll is to tell of; and the ring for the others, if there is one.
    pub(super) fn parts(&mut self) -> (&Registry, Option<&mut Submissions>) {
        (self.poll.registry(), self.ring.as_mut())
    }

    /// Waits until something has happened or the time is over.
    pub(super) fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match &mut self.ring {
            Some(submissions) => {
                events.clear();
                submissions.ring.wait(timeout)
            }
            None => self.poll(events, timeout),
        }
    }

    /// What the ring has completed. After [`Completion::Watched`] there is something at [`Transport::watched`].
    pub(super) fn completion(&mut self) -> Option<Completion<Output>> {
        self.ring.as_mut()?.ring.completion()
    }

    /// What the poll tells of. What is left over makes the ring tell again.
    pub(super) fn watched(&mut self, events: &mut Events) {
        // Without waiting there is nothing to fail.
        let _ = self.poll(events, Some(Duration::ZERO));
        if let Some(submissions) = &mut self.ring {
            submissions.ring.watch_on();
        }
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

impl Submissions {
    fn new(poll: &Poll) -> io::Result<Submissions> {
        let mut ring = Ring::new(BUFFERS, BUFFER as u32)?;
        ring.watch(poll)?;
        Ok(Submissions { ring, spare: Vec::new(), spare_bytes: 0 })
    }

    /// The ring.
    pub(super) fn ring(&mut self) -> &mut Ring<Output, Slot> {
        &mut self.ring
    }

    /// Starts to send what is in `output`, and leaves an empty one in its place. False, and everything as it was, if
    /// something is on its way already.
    pub(super) fn send(&mut self, socket: Socket, output: &mut Output) -> bool {
        if self.ring.is_sending(socket) {
            return false;
        }
        let empty = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= empty.capacity();
        match self.ring.send(socket, std::mem::replace(output, empty)) {
            Ok(()) => true,
            Err(refused) => {
                self.keep(std::mem::replace(output, refused));
                false
            }
        }
    }

    /// Takes an output that has been sent.
    pub(super) fn keep(&mut self, output: Output) {
        debug_assert!(output.is_empty());
        if self.spare.len() < SPARE_OUTPUTS && self.spare_bytes + output.capacity() <= SPARE_BYTES {
            self.spare_bytes += output.capacity();
            self.spare.push(output);
        }
    }
}

impl Payload for Output {
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        Output::slices(self, slices)
    }
}
