//! A client's socket: reads and writes without waiting, and remembers what it is ready for. Knows no bytes' meaning.

use mio::event::Event;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::task::Poll;

/// A client's socket, registered with its worker's poll.
///
/// The poll tells only of changes, so what the socket is ready for is remembered here until a call finds that it no
/// longer is. Pending means: the poll will tell.
pub(super) struct Socket {
    stream: Stream,
    /// There may be something to read.
    readable: bool,
    /// The end will be read sooner or later; the poll does not tell of it again.
    ended: bool,
    /// Something can be written, for all that is known.
    writable: bool,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A client's socket as it was accepted, not blocking.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// The descriptor's number.
    pub(super) fn fd(&self) -> u32 {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_raw_fd() as u32,
            Stream::Unix(stream) => stream.as_raw_fd() as u32,
        }
    }

    /// A socket that has not been registered yet.
    pub(super) fn new(accepted: Accepted) -> Socket {
        let stream = match accepted {
            Accepted::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)),
            Accepted::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)),
        };
        Socket { stream, readable: false, ended: false, writable: true }
    }

    /// Has the poll tell of it from now on.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => registry.register(stream, token, interest),
            Stream::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Takes note of what the poll told.
    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable();
        self.ended |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Whether there may be something to read.
    pub(super) fn is_readable(&self) -> bool {
        self.readable || self.ended
    }

    /// Reads what is there; 0 is the end. A read that does not fill `buffer` has emptied the socket, and the next one
    /// does not ask the system until the poll has told of more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.is_readable() {
            return Poll::Pending;
        }
        let read = match &mut self.stream {
            Stream::Tcp(stream) => retry(|| stream.read(buffer)),
            Stream::Unix(stream) => retry(|| stream.read(buffer)),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                self.ended = false;
                Poll::Pending
            }
            Ok(count) => {
                self.readable = count == buffer.len();
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Writes what can be written at once; pending if that is nothing.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.writable {
            return Poll::Pending;
        }
        let written = match &mut self.stream {
            Stream::Tcp(stream) => retry(|| stream.write_vectored(slices)),
            Stream::Unix(stream) => retry(|| stream.write_vectored(slices)),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Poll::Pending
            }
            Ok(count) => {
                self.writable = count == slices.iter().map(|slice| slice.len()).sum();
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
