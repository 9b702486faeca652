//! A client's socket: waiting for it, reading and writing without waiting. Knows no bytes' meaning.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A client's socket, registered with its worker's runtime.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A client's socket as it was accepted, not blocking.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Registers a socket with this thread's runtime; also its descriptor's number.
    pub(super) fn new(accepted: Accepted) -> io::Result<(Socket, u32)> {
        Ok(match accepted {
            Accepted::Tcp(stream) => {
                let fd = stream.as_raw_fd() as u32;
                (Socket::Tcp(TcpStream::from_std(stream)?), fd)
            }
            Accepted::Unix(stream) => {
                let fd = stream.as_raw_fd() as u32;
                (Socket::Unix(UnixStream::from_std(stream)?), fd)
            }
        })
    }

    /// Waits until there is something to read, or the end. Needs no buffer meanwhile.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Reads what is there; 0 is the end. A read that does not fill `buffer` has emptied the socket, and the
    /// next one waits without asking the system.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes what can be written at once; waits if that is nothing.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }
}
