//! Accepting: takes new connections within the limit and hands them to the workers in turn.

use super::error::Error;
use super::limit::Slot;
use super::listen::{ListenSocket, Listener, SocketFile};
use super::shared::Server;
use super::socket;
use crate::command::Address;
use crate::config::{ListenTls, Networks};
use nix::errno::Errno;
use parking_lot::Mutex;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tracing::warn;

/// A connection on its way to its worker.
pub(super) struct Accepted {
    pub(super) stream: socket::Accepted,
    pub(super) peer: Address,
    pub(super) listener: Arc<Address>,
    pub(super) slot: Slot,
}

/// One listener being served.
pub(super) struct Acceptor {
    socket: AcceptSocket,
    /// Removed with the listener.
    _file: Option<SocketFile>,
    address: Arc<Address>,
    tls: ListenTls,
    allow: Networks,
    server: Arc<Server>,
    lingering: Arc<Semaphore>,
    /// When it was last said that connections cannot be accepted.
    complained: Mutex<Option<Instant>>,
}

/// A connection just accepted.
enum Client {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

enum AcceptSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a client over the limit reads before its end.
const REFUSAL: &[u8] = b"ERROR Too many open connections\r\n";

/// Refused clients that are given time to read why; more are closed at once.
const LINGERING: usize = 64;
const LINGER: Duration = Duration::from_secs(1);

/// Pause after the system had no descriptor or memory left for a connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(50);

/// How often that is said.
const COMPLAINTS: Duration = Duration::from_secs(60);

impl Acceptor {
    /// Registers a listener with this thread's runtime.
    pub(super) fn new(listener: Listener, server: Arc<Server>) -> Result<Acceptor, Error> {
        let failed = |source| Error::system("wait for connections", source);
        let (socket, file) = match listener.socket {
            ListenSocket::Tcp(socket) => {
                (AcceptSocket::Tcp(TcpListener::from_std(socket).map_err(failed)?), None)
            }
            ListenSocket::Unix(socket, file) => {
                (AcceptSocket::Unix(UnixListener::from_std(socket).map_err(failed)?), Some(file))
            }
        };
        let lingering = Arc::new(Semaphore::new(LINGERING));
        let Listener { address, tls, allow, .. } = listener;
        let complained = Mutex::default();
        Ok(Acceptor { socket, _file: file, address, tls, allow, server, lingering, complained })
    }

    /// Accepts until told to stop, then takes once more what is waiting already.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.accept_all() => {}
        }
        for _ in 0..self.server.engine.config.backlog {
            let waiting = poll_fn(|cx| Poll::Ready(self.poll_accept(cx))).await;
            let Poll::Ready(Ok(client)) = waiting else { return };
            if !self.admit(&client) {
                continue;
            }
            let Some(slot) = self.server.limit.take() else { return };
            self.hand_over(client, slot);
        }
    }

    async fn accept_all(&self) {
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(client) if !self.admit(&client) => {}
                Ok(client) => self.accepted(client).await,
                Err(error) => self.recover(error).await,
            }
        }
    }

    /// Whether this client may connect. One that may not is closed before a byte of it is read.
    fn admit(&self, client: &Client) -> bool {
        let admitted = match client {
            Client::Unix(_) => true,
            Client::Tcp(_, peer) if self.allow.is_empty() => self.server.allow.read().admit(peer.ip()),
            Client::Tcp(_, peer) => self.allow.admit(peer.ip()),
        };
        if !admitted {
            self.server.engine.connections.not_allowed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// With maxconns_fast a client over the limit is refused. Without, it waits for a place as it would in the
    /// backlog, and those behind it do.
    async fn accepted(&self, client: Client) {
        let connections = &self.server.engine.connections;
        let slot = match self.server.engine.config.maxconns_fast {
            true => self.server.limit.take(),
            false => Some(self.server.limit.wait(connections).await),
        };
        match slot {
            Some(slot) => self.hand_over(client, slot),
            None => {
                connections.rejected.fetch_add(1, Ordering::Relaxed);
                match client {
                    Client::Tcp(stream, _) => self.refuse(stream),
                    Client::Unix(stream) => self.refuse(stream),
                }
            }
        }
    }

    /// Takes the socket off this thread's runtime and gives it to a worker, whose poll will wait for it.
    fn hand_over(&self, client: Client, slot: Slot) {
        let stream = match client {
            Client::Tcp(stream, peer) => {
                let settings = self.server.tls.as_ref().and_then(|tls| tls.settings(self.tls));
                stream.into_std().map(|stream| match settings {
                    Some(settings) => (socket::Accepted::Tls(stream, settings), Address::Tcp(peer)),
                    None => (socket::Accepted::Tcp(stream), Address::Tcp(peer)),
                })
            }
            Client::Unix(stream) => {
                stream.into_std().map(|stream| (socket::Accepted::Unix(stream), (*self.address).clone()))
            }
        };
        match stream {
            Ok((stream, peer)) => {
                self.server.hand_over(Accepted { stream, peer, listener: self.address.clone(), slot });
            }
            Err(error) => warn!("a connection could not be served: {error}"),
        }
    }

    /// Says why, and closes once the client has read it: closing at once could reset what it has not read yet.
    fn refuse(&self, mut stream: impl AsyncRead + AsFd + Unpin + Send + 'static) {
        let socket = SockRef::from(&stream);
        if socket.send(REFUSAL).and_then(|_| socket.shutdown(Shutdown::Write)).is_err() {
            return;
        }
        let Ok(place) = self.lingering.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let mut dropped = [0; 1024];
            let end = async { while stream.read(&mut dropped).await.is_ok_and(|count| count > 0) {} };
            let _ = tokio::time::timeout(LINGER, end).await;
            drop(place);
        });
    }

    /// After a failed accept: goes on at once if it was that one connection's fault, later if the system has no
    /// descriptor or memory left.
    async fn recover(&self, error: io::Error) {
        let of_one = [Errno::ECONNABORTED, Errno::ECONNRESET, Errno::EPROTO, Errno::EINTR, Errno::EPERM];
        if error.raw_os_error().is_some_and(|code| of_one.contains(&Errno::from_raw(code))) {
            return;
        }
        self.complain(&error);
        let _stopped = self.server.limit.stop_accepting(&self.server.engine.connections);
        tokio::time::sleep(OUT_OF_ROOM).await;
    }

    fn complain(&self, error: &io::Error) {
        let mut complained = self.complained.lock();
        if complained.is_none_or(|last| last.elapsed() >= COMPLAINTS) {
            *complained = Some(Instant::now());
            let advice = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EMFILE | Errno::ENFILE) => {
                    "; close some, raise the limit with ulimit -n, or lower -c"
                }
                _ => "",
            };
            let address = &self.address;
            warn!("{address}: connections wait, because they cannot be accepted: {error}{advice}");
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Client>> {
        match &self.socket {
            AcceptSocket::Tcp(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, peer)| Client::Tcp(stream, peer))
            }
            AcceptSocket::Unix(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| Client::Unix(stream)),
        }
    }
}
