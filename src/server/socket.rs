//! A client's socket: reads and writes without waiting, and remembers what it is ready for. Knows no bytes' meaning.

use super::tls_stream::TlsStream;
use crate::command::Engine;
use mio::event::Event;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::Poll;

/// A client's socket, registered with its worker's poll.
///
/// Pending means: the poll will tell.
pub(super) struct Socket {
    stream: Stream,
    ready: Ready,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
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
    /// Something can be written, for all that is known.
    writable: bool,
}

impl Socket {
    /// A socket that has not been registered yet.
    pub(super) fn new(accepted: Accepted, engine: &Arc<Engine>) -> io::Result<Socket> {
        let stream = match accepted {
            Accepted::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)),
            Accepted::Tls(stream, settings) => {
                let stream = TlsStream::new(TcpStream::from_std(stream), settings, engine.clone())?;
                Stream::Tls(Box::new(stream))
            }
            Accepted::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)),
        };
        Ok(Socket { stream, ready: Ready { readable: false, ended: false, writable: true } })
    }

    /// The descriptor's number.
    pub(super) fn fd(&self) -> u32 {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd() as u32,
            Stream::Tls(stream) => stream.tcp.as_raw_fd() as u32,
            Stream::Unix(stream) => stream.as_raw_fd() as u32,
        }
    }

    /// Has the poll tell of it from now on.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => registry.register(stream, token, interest),
            Stream::Tls(stream) => registry.register(&mut stream.tcp, token, interest),
            Stream::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Takes note of what the poll told.
    pub(super) fn note(&mut self, event: &Event) {
        self.ready.readable |= event.is_readable();
        self.ready.ended |= event.is_read_closed() || event.is_error();
        self.ready.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Whether a connection that has nothing to do has something to do after all.
    pub(super) fn is_ready(&self) -> bool {
        let owes = matches!(&self.stream, Stream::Tls(stream) if stream.owes());
        self.ready.is_readable() || owes && self.ready.writable
    }

    /// Whether TLS has not been agreed on yet.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.stream, Stream::Tls(stream) if stream.is_handshaking())
    }

    /// Whether a read may find something, as far as can be told without one.
    pub(super) fn may_read(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tls(stream) => self.ready.is_readable() || stream.has_read_ahead(),
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
        }
    }

    /// Writes what can be written at once; pending if that is nothing.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => self.ready.write(slices, |slices| write(stream, slices)),
            Stream::Tls(stream) => stream.write(&mut self.ready, slices),
            Stream::Unix(stream) => self.ready.write(slices, |slices| write(stream, slices)),
        }
    }

    /// Sees that what was written is on its way.
    pub(super) fn flush(&mut self) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tls(stream) => stream.flush(&mut self.ready),
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more comes, where there is a way to say it.
    pub(super) fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.say_goodbye(&mut self.ready);
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
