//! A client's socket: reads and writes without waiting, and remembers what it is ready for. Knows no bytes' meaning.

mod tls;

use super::limit::Slot;
use super::ring_socket::RingSocket;
use super::transport::Transport;
use crate::command::{Engine, Output};
use crate::store::Body;
use memcarp_uring::Arrival;
use mio::event::Event;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Token};
use rustls::ServerConfig;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::Poll;

use tls::TlsStream;

/// A client's socket, registered with its worker's poll.
///
/// Pending means: the poll will tell.
pub(super) struct Socket {
    stream: Stream,
    ready: Ready,
    /// After the stream, so that the place is free only when the socket is closed. A ring has those of its sockets.
    _slot: Option<Slot>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
    Ring(RingSocket),
}

/// A client's socket as it was accepted, not blocking.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Tls(std::net::TcpStream, Arc<ServerConfig>),
    Unix(std::os::unix::net::UnixStream),
}

/// What a socket is ready for. The poll tells only of changes, so it is remembered here until a call finds otherwise.
pub(super) struct Ready {
    /// There may be something to read.
    readable: bool,
    /// The end will be read sooner or later; the poll does not tell of it again.
    ended: bool,
    /// Neither side sends any more.
    broken: bool,
    /// Something can be written, for all that is known.
    writable: bool,
}

/// Slices of one vectored write.
const SLICES: usize = 32;

impl Accepted {
    /// The descriptor's number.
    pub(super) fn fd(&self) -> u32 {
        match self {
            Accepted::Tcp(stream) | Accepted::Tls(stream, _) => stream.as_raw_fd() as u32,
            Accepted::Unix(stream) => stream.as_raw_fd() as u32,
        }
    }
}

impl Socket {
    /// A socket that `transport` tells of as `token` from now on.
    pub(super) fn open(
        accepted: Accepted,
        slot: Slot,
        token: Token,
        transport: &mut Transport,
        engine: &Arc<Engine>,
    ) -> io::Result<Socket> {
        let (registry, ring) = transport.parts();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let (stream, slot) = match (accepted, ring) {
            (Accepted::Tcp(stream), Some(submissions)) => {
                stream.set_nonblocking(false)?;
                (Stream::Ring(RingSocket::open(stream.into(), token.0, slot, submissions)), None)
            }
            (Accepted::Unix(stream), Some(submissions)) => {
                stream.set_nonblocking(false)?;
                (Stream::Ring(RingSocket::open(stream.into(), token.0, slot, submissions)), None)
            }
            (Accepted::Tcp(stream), None) => {
                let mut stream = TcpStream::from_std(stream);
                registry.register(&mut stream, token, interest)?;
                (Stream::Tcp(stream), Some(slot))
            }
            (Accepted::Unix(stream), None) => {
                let mut stream = UnixStream::from_std(stream);
                registry.register(&mut stream, token, interest)?;
                (Stream::Unix(stream), Some(slot))
            }
            (Accepted::Tls(stream, settings), _) => {
                let mut stream = TlsStream::new(TcpStream::from_std(stream), settings, engine.clone())?;
                registry.register(&mut stream.tcp, token, interest)?;
                (Stream::Tls(Box::new(stream)), Some(slot))
            }
        };
        let ready = Ready { readable: false, ended: false, broken: false, writable: true };
        Ok(Socket { stream, ready, _slot: slot })
    }

    /// Takes note of what the poll told.
    pub(super) fn note(&mut self, event: &Event) {
        self.ready.readable |= event.is_readable();
        self.ready.ended |= event.is_read_closed() || event.is_error();
        self.ready.broken |= event.is_write_closed() || event.is_error();
        self.ready.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Takes note of what the ring has received.
    pub(super) fn arrived(&mut self, arrival: Arrival) {
        if let Stream::Ring(socket) = &mut self.stream {
            socket.arrived(arrival);
        }
    }

    /// Takes note of what became of a send over the ring. Says how many bytes have gone out.
    pub(super) fn sent(
        &mut self,
        output: Output,
        count: io::Result<usize>,
        transport: &mut Transport,
    ) -> usize {
        match (&mut self.stream, &mut transport.ring) {
            (Stream::Ring(socket), Some(submissions)) => socket.sent(output, count, submissions),
            _ => 0,
        }
    }

    /// To be called when what could be done has been done, before it waits.
    pub(super) fn settle(&mut self, transport: &mut Transport) {
        if let (Stream::Ring(socket), Some(submissions)) = (&mut self.stream, &mut transport.ring) {
            socket.settle(submissions);
        }
    }

    /// Whether a connection that has nothing to do has something to do after all.
    pub(super) fn is_ready(&self) -> bool {
        match &self.stream {
            Stream::Ring(socket) => socket.is_readable(),
            Stream::Tls(stream) => self.ready.is_readable() || stream.owes() && self.ready.writable,
            Stream::Tcp(_) | Stream::Unix(_) => self.ready.is_readable(),
        }
    }

    /// Whether TLS has not been agreed on yet.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.stream, Stream::Tls(stream) if stream.is_handshaking())
    }

    /// Whether the client has said that it sends nothing more. It may still read.
    pub(super) fn has_ended(&self) -> bool {
        match &self.stream {
            Stream::Ring(socket) => socket.has_ended(),
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Tls(_) => self.ready.ended,
        }
    }

    /// Whether there is nobody to answer any more.
    pub(super) fn is_broken(&self) -> bool {
        match &self.stream {
            Stream::Ring(socket) => socket.is_broken(),
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Tls(_) => self.ready.broken,
        }
    }

    /// Whether a read may find something, as far as can be told without one.
    pub(super) fn may_read(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tls(stream) => self.ready.is_readable() || stream.has_read_ahead(),
            Stream::Ring(socket) => socket.is_readable(),
            Stream::Tcp(_) | Stream::Unix(_) => self.ready.is_readable(),
        }
    }

    /// Reads what is there; 0 is the end. A read that does not fill `buffer` has emptied the socket, and the next one
    /// does not ask the system until the poll has told of more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => self.ready.read(buffer, |buffer| stream.read(buffer)),
            Stream::Tls(stream) => stream.read(&mut self.ready, buffer),
            Stream::Unix(stream) => self.ready.read(buffer, |buffer| stream.read(buffer)),
            Stream::Ring(socket) => socket.read(buffer),
        }
    }

    /// Takes off `output` what can be written at once, and says how many bytes have gone out; pending if nothing can be
    /// written now. A ring takes all, and says later what has gone out.
    pub(super) fn write(
        &mut self,
        output: &mut Output,
        transport: &mut Transport,
    ) -> Poll<io::Result<usize>> {
        if let (Stream::Ring(socket), Some(submissions)) = (&mut self.stream, &mut transport.ring) {
            return socket.write(output, submissions).map_ok(|()| 0);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = output.slices(&mut slices);
        let slices = &slices[..filled];
        let written = match &mut self.stream {
            Stream::Tcp(stream) => self.ready.write(slices, |slices| write(stream, slices)),
            Stream::Tls(stream) => stream.write(&mut self.ready, slices),
            Stream::Unix(stream) => self.ready.write(slices, |slices| write(stream, slices)),
            Stream::Ring(_) => Poll::Ready(Ok(0)),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                output.advance(count);
                Poll::Ready(Ok(count))
            }
            other => other,
        }
    }

    /// The bodies of long values that have been written and are not on their way yet, as far as the system does not have
    /// a copy.
    pub(super) fn bodies(&self) -> &[Body] {
        match &self.stream {
            Stream::Ring(socket) => socket.bodies(),
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Tls(_) => &[],
        }
    }

    /// Sees that what was written is on its way.
    pub(super) fn flush(&mut self, transport: &mut Transport) -> Poll<io::Result<()>> {
        match (&mut self.stream, &mut transport.ring) {
            (Stream::Tls(stream), _) => stream.flush(&mut self.ready),
            (Stream::Ring(socket), Some(submissions)) => socket.flush(submissions),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more comes, where there is a way to say it, and gives the socket up.
    pub(super) fn close(&mut self, transport: &mut Transport) {
        match (&mut self.stream, &mut transport.ring) {
            (Stream::Tls(stream), _) => stream.say_goodbye(&mut self.ready),
            (Stream::Ring(socket), Some(submissions)) => socket.close(submissions),
            _ => {}
        }
    }
}

/// The system takes one slice with less ado than a list of one.
fn write(stream: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [one] => stream.write(one),
        many => stream.write_vectored(many),
    }
}

impl Ready {
    pub(super) fn is_readable(&self) -> bool {
        self.readable || self.ended
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn not_writable(&mut self) {
        self.writable = false;
    }

    /// Reads with `call` if there may be something to read, and remembers what that shows.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        mut call: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.is_readable() {
            match call(buffer) {
                Ok(count) => {
                    self.readable = count == buffer.len();
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.ended = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }

    /// Writes with `call` if that may be possible, and remembers what that shows.
    fn write(
        &mut self,
        slices: &[IoSlice<'_>],
        mut call: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.writable {
            match call(slices) {
                Ok(count) => {
                    self.writable = count == slices.iter().map(|slice| slice.len()).sum::<usize>();
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }
}
