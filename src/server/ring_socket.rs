//! A client's socket over io_uring: what has been received and not read yet, and what is being sent.

use super::limit::Slot;
use super::transport::{BUFFER, Submissions};
use crate::command::Output;
use crate::store::Body;
use memcarp_uring::{Arrival, Received, Socket};
use std::io;
use std::os::fd::OwnedFd;
use std::task::Poll;

/// A socket that the worker's ring owns.
pub(super) struct RingSocket {
    socket: Socket,
    unread: Unread,
    /// The ring has been told to stop receiving, and has not stopped yet.
    stopping: bool,
    /// After what is unread comes the end.
    ended: bool,
    /// After what is unread comes this.
    failed: Option<io::Error>,
    /// Bodies of long values among what is on its way: the output is the kernel's meanwhile.
    bodies: Vec<Body>,
}

/// What has been received and not read yet.
enum Unread {
    Nothing,
    /// The rest, from a place on, of a buffer that others wait for. Only until [`RingSocket::settle`].
    Lent(Received, u32),
    /// A copy of it.
    Kept(Box<Kept>),
}

/// Invariant: `at < bytes.len()`.
struct Kept {
    bytes: Vec<u8>,
    at: usize,
}

/// A client that has sent so much more than is read is not received from until it has been.
const UNREAD: usize = BUFFER;

impl RingSocket {
    /// Receives from now on from a connected socket that blocks.
    pub(super) fn open(fd: OwnedFd, token: usize, slot: Slot, submissions: &mut Submissions) -> RingSocket {
        let ring = submissions.ring();
        let socket = ring.add(fd, token, slot);
        ring.receive(socket);
        RingSocket {
            socket,
            unread: Unread::Nothing,
            stopping: false,
            ended: false,
            failed: None,
            bodies: Vec::new(),
        }
    }

    /// Whether a read finds something.
    pub(super) fn is_readable(&self) -> bool {
        !matches!(self.unread, Unread::Nothing) || self.ended || self.failed.is_some()
    }

    /// Whether the end has been received.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether receiving or sending has failed.
    pub(super) fn is_broken(&self) -> bool {
        self.failed.is_some()
    }

    /// Takes note of what was received.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Bytes(received) => match &mut self.unread {
                Unread::Nothing => self.unread = Unread::Lent(received, 0),
                Unread::Lent(..) => {
                    self.copy_lent();
                    self.arrived(Arrival::Bytes(received));
                }
                Unread::Kept(kept) => {
                    kept.bytes.drain(..kept.at);
                    kept.at = 0;
                    kept.bytes.extend_from_slice(&received);
                }
            },
            Arrival::End => self.ended = true,
            Arrival::Failed(error) => self.failed = Some(error),
            Arrival::Nothing => {}
        }
    }

    /// Reads what has been received; 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (rest, count) = match &mut self.unread {
            Unread::Lent(received, at) => {
                let rest = &received[*at as usize..];
                let count = copy(rest, buffer);
                *at += count as u32;
                (rest.len(), count)
            }
            Unread::Kept(kept) => {
                let rest = &kept.bytes[kept.at..];
                let count = copy(rest, buffer);
                kept.at += count;
                (rest.len(), count)
            }
            Unread::Nothing => {
                return match self.failed.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    None if self.ended => Poll::Ready(Ok(0)),
                    None => Poll::Pending,
                };
            }
        };
        if count == rest {
            self.unread = Unread::Nothing;
        }
        Poll::Ready(Ok(count))
    }

    /// Starts to send what is in `output`; pending if something is on its way already.
    pub(super) fn write(
        &mut self,
        output: &mut Output,
        submissions: &mut Submissions,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let bodies = self.bodies.len();
        self.bodies.extend(output.bodies().cloned());
        if submissions.send(self.socket, output) {
            return Poll::Ready(Ok(()));
        }
        self.bodies.truncate(bodies);
        Poll::Pending
    }

    /// The bodies of long values among what is on its way.
    pub(super) fn bodies(&self) -> &[Body] {
        &self.bodies
    }

    /// Whether all has been sent.
    pub(super) fn flush(&mut self, submissions: &mut Submissions) -> Poll<io::Result<()>> {
        match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if submissions.ring().is_sending(self.socket) => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes note of what a send has led to, and sends the rest. Says how many bytes have gone out.
    pub(super) fn sent(
        &mut self,
        mut output: Output,
        count: io::Result<usize>,
        submissions: &mut Submissions,
    ) -> usize {
        match count {
            Ok(0) => self.failed = Some(io::ErrorKind::WriteZero.into()),
            Err(error) => self.failed = Some(error),
            Ok(count) => {
                output.advance(count);
                if output.is_empty() {
                    self.bodies.clear();
                    submissions.keep(output);
                } else {
                    submissions.send(self.socket, &mut output);
                }
                return count;
            }
        }
        0
    }

    /// Gives a buffer back that has not been read to its end, and receives on only while little is unread. Call it each
    /// time something may have changed.
    pub(super) fn settle(&mut self, submissions: &mut Submissions) {
        self.copy_lent();
        let ring = submissions.ring();
        let receiving = ring.is_receiving(self.socket);
        match &self.unread {
            Unread::Kept(kept) if receiving && !self.stopping && kept.bytes.len() - kept.at > UNREAD => {
                self.stopping = true;
                ring.stop_receiving(self.socket);
            }
            Unread::Nothing if !receiving && !self.ended && self.failed.is_none() => {
                self.stopping = false;
                ring.receive(self.socket);
            }
            _ => {}
        }
    }

    /// Gives the socket up.
    pub(super) fn close(&mut self, submissions: &mut Submissions) {
        self.unread = Unread::Nothing;
        submissions.ring().close(self.socket);
    }

    fn copy_lent(&mut self) {
        if let Unread::Lent(received, at) = &self.unread {
            self.unread = Unread::Kept(Box::new(Kept { bytes: received[*at as usize..].to_vec(), at: 0 }));
        }
    }
}

/// Copies what fits.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    to[..count].copy_from_slice(&from[..count]);
    count
}
