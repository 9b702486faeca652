//! One TLS connection over a socket that does not block: bytes in and out of a [`ServerConnection`]. Knows no settings.

use super::Ready;
use crate::command::Engine;
use mio::net::TcpStream;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// A TLS connection, from its handshake on.
pub(super) struct TlsStream {
    pub(super) tcp: TcpStream,
    session: ServerConnection,
    /// Its counts of what went wrong are counted here.
    engine: Arc<Engine>,
    /// That the handshake is done, or has failed.
    handshake_counted: bool,
}

impl TlsStream {
    /// A connection whose handshake begins when the client says something.
    pub(super) fn new(
        tcp: TcpStream,
        settings: Arc<ServerConfig>,
        engine: Arc<Engine>,
    ) -> io::Result<TlsStream> {
        let session = ServerConnection::new(settings).map_err(io::Error::other)?;
        Ok(TlsStream { tcp, session, engine, handshake_counted: false })
    }

    /// Whether the two sides do not know each other yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something is owed to the client that the socket has not taken yet.
    pub(super) fn owes(&self) -> bool {
        self.session.wants_write()
    }

    /// Whether something has been deciphered and not been read yet, if only the end.
    pub(super) fn has_read_ahead(&mut self) -> bool {
        !matches!(self.session.reader().fill_buf(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads what has been received and deciphered; 0 is the end.
    pub(super) fn read(&mut self, ready: &mut Ready, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.read_plain(ready, buffer);
        let over = matches!(read, Poll::Ready(Ok(0) | Err(_)));
        if over && !buffer.is_empty() && self.session.is_handshaking() && !self.handshake_counted {
            self.handshake_counted = true;
            self.engine.tls.handshake_errors.fetch_add(1, Ordering::Relaxed);
        }
        read
    }

    fn read_plain(&mut self, ready: &mut Ready, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let _ = self.flush(ready)?;
            match self.session.reader().read(buffer) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client has closed without saying so in TLS, as many do. Commands say their own length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(error)),
            }
            if !ready.is_readable() {
                return Poll::Pending;
            }
            match self.session.read_tls(&mut Receiving { tcp: &mut self.tcp, ready }) {
                Ok(_) => self.process(ready)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Enciphers and writes what can be written at once; pending if that is nothing.
    pub(super) fn write(&mut self, ready: &mut Ready, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.flush(ready)?.is_pending() {
            return Poll::Pending;
        }
        let count = self.session.writer().write_vectored(slices)?;
        let _ = self.flush(ready)?;
        Poll::Ready(Ok(count))
    }

    /// Writes what is owed.
    pub(super) fn flush(&mut self, ready: &mut Ready) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            if !ready.is_writable() {
                return Poll::Pending;
            }
            match self.session.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.not_writable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, if that can be said at once.
    pub(super) fn say_goodbye(&mut self, ready: &mut Ready) {
        self.session.send_close_notify();
        let _ = self.flush(ready);
    }

    fn process(&mut self, ready: &mut Ready) -> io::Result<()> {
        let was_handshaking = self.session.is_handshaking();
        if let Err(error) = self.session.process_new_packets() {
            if !was_handshaking {
                self.engine.tls.protocol_errors.fetch_add(1, Ordering::Relaxed);
            }
            // The alert that tells the client.
            let _ = self.flush(ready);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if !self.handshake_counted && !self.session.is_handshaking() {
            self.handshake_counted = true;
            if self.session.handshake_kind() != Some(HandshakeKind::Resumed) {
                self.engine.tls.new_sessions.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// The socket as a source of what the client has enciphered.
struct Receiving<'a> {
    tcp: &'a mut TcpStream,
    ready: &'a mut Ready,
}

impl Read for Receiving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.ready.read(buffer, |buffer| self.tcp.read(buffer)) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
