//! The table of client connections, for `stats conns` and for closing idle ones. Knows no socket.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Where a connection or a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A UNIX socket at this path; clients have none of their own.
    Unix(Arc<str>),
}

impl std::fmt::Display for Address {
    /// As `stats conns` shows it: `tcp:1.2.3.4:5`, `tcp6:[::1]:5`, `unix:/path`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address @ SocketAddr::V4(_)) => write!(out, "tcp:{address}"),
            Address::Tcp(address @ SocketAddr::V6(_)) => write!(out, "tcp6:{address}"),
            Address::Unix(path) => write!(out, "unix:{path}"),
        }
    }
}

/// What a connection is doing, in memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Waits for its next command.
    Read,
    /// Is being answered.
    ParseCommand,
    /// A value is being received.
    ReadValue,
    /// A refused value is being received and dropped.
    Swallow,
    /// Replies are being written.
    Write,
    /// Receives log lines.
    Watch,
}

impl State {
    const ALL: [State; 6] =
        [State::Read, State::ParseCommand, State::ReadValue, State::Swallow, State::Write, State::Watch];

    /// memcached's name.
    pub fn name(self) -> &'static str {
        match self {
            State::Read => "conn_read",
            State::ParseCommand => "conn_parse_cmd",
            State::ReadValue => "conn_nread",
            State::Swallow => "conn_swallow",
            State::Write => "conn_mwrite",
            State::Watch => "conn_watch",
        }
    }
}

/// Why a connection was closed, in the words of memcached's log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// Either side was done.
    Normal,
    /// Reading, writing or answering failed.
    Error,
    /// It sent no command for too long.
    IdleTimeout,
    /// The server ends.
    Shutdown,
}

impl CloseReason {
    const ALL: [CloseReason; 4] =
        [CloseReason::Normal, CloseReason::Error, CloseReason::IdleTimeout, CloseReason::Shutdown];

    /// memcached's name.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Normal => "normal",
            CloseReason::Error => "error",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

/// One client connection, shared by its worker (which writes) and the table (which reads).
#[derive(Debug)]
pub struct Connection {
    /// The socket's descriptor number; unique among open connections.
    pub fd: u32,
    /// The client's end.
    pub peer: Address,
    /// The listener it came through.
    pub listener: Arc<Address>,
    state: AtomicU8,
    close_reason: AtomicU8,
    /// Second, on the store's clock, of the last command.
    last_command: AtomicU32,
}

impl Connection {
    /// A connection that has just been accepted, at this second of the store's clock.
    pub fn new(fd: u32, peer: Address, listener: Arc<Address>, second: u32) -> Connection {
        Connection {
            fd,
            peer,
            listener,
            state: AtomicU8::new(State::Read as u8),
            close_reason: AtomicU8::new(CloseReason::Normal as u8),
            last_command: AtomicU32::new(second),
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Relaxed)) % State::ALL.len()]
    }

    /// Notes what it is doing.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Why it is being closed.
    pub fn close_reason(&self) -> CloseReason {
        CloseReason::ALL[usize::from(self.close_reason.load(Ordering::Relaxed)) % CloseReason::ALL.len()]
    }

    /// Notes why it is about to be closed; the first reason given stays.
    pub fn set_close_reason(&self, reason: CloseReason) {
        let normal = CloseReason::Normal as u8;
        let _ =
            self.close_reason.compare_exchange(normal, reason as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Second, on the store's clock, of its last command.
    pub fn last_command(&self) -> u32 {
        self.last_command.load(Ordering::Relaxed)
    }

    /// Notes the second of its last command.
    pub fn set_last_command(&self, second: u32) {
        self.last_command.store(second, Ordering::Relaxed);
    }
}

/// The open connections and listeners, and how many there have been.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Table>,
    listeners: Mutex<Vec<(u32, Arc<Address>)>>,
    /// Connections accepted since start or reset.
    pub total: AtomicU64,
    /// Connections turned away at the limit.
    pub rejected: AtomicU64,
    /// Connections closed because their addresses may not connect.
    pub not_allowed: AtomicU64,
    /// Times accepting was stopped at the limit.
    pub listen_disabled: AtomicU64,
    /// Microseconds during which accepting was stopped.
    pub listen_disabled_micros: AtomicU64,
    /// Whether connections are being accepted: 1 or 0.
    pub accepting: AtomicU8,
}

/// Connections by descriptor: descriptors are small numbers, given out again lowest first.
///
/// Invariant: `count` is the number of places taken.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Arc<Connection>>>,
    count: usize,
}

impl Connections {
    /// Adds one that has been accepted.
    pub fn add(&self, connection: Arc<Connection>) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let place = connection.fd as usize;
        let mut table = self.open.lock();
        if place >= table.places.len() {
            table.places.resize(place + 1, None);
        }
        if table.places[place].replace(connection).is_none() {
            table.count += 1;
        }
    }

    /// Removes one that is being closed; call it before its descriptor is, so that the number stays unique.
    pub fn remove(&self, fd: u32) {
        let mut table = self.open.lock();
        if table.places.get_mut(fd as usize).is_some_and(|place| place.take().is_some()) {
            table.count -= 1;
        }
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.open.lock().count
    }

    /// The open ones, by descriptor.
    pub fn open(&self) -> Vec<Arc<Connection>> {
        self.open.lock().places.iter().flatten().cloned().collect()
    }

    /// Shows each open one. The table is locked meanwhile.
    pub fn for_each_open(&self, visit: impl FnMut(&Arc<Connection>)) {
        self.open.lock().places.iter().flatten().for_each(visit);
    }

    /// Adds a listening socket.
    pub fn add_listener(&self, fd: u32, address: Arc<Address>) {
        self.listeners.lock().push((fd, address));
    }

    /// The listening sockets: descriptor and address.
    pub fn listeners(&self) -> Vec<(u32, Arc<Address>)> {
        self.listeners.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(fd: u32) -> Arc<Connection> {
        let nowhere = Address::Unix("".into());
        Arc::new(Connection::new(fd, nowhere.clone(), Arc::new(nowhere), 10))
    }

    #[test]
    fn the_table_counts_what_is_in_it() {
        let connections = Connections::default();
        connections.add(connection(30));
        connections.add(connection(7));
        assert_eq!(connections.open().iter().map(|open| open.fd).collect::<Vec<_>>(), [7, 30]);
        connections.remove(30);
        connections.remove(30);
        connections.remove(31);
        assert_eq!(connections.open_count(), 1);
        assert_eq!(connections.total.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_first_reason_to_close_stays() {
        let connection = connection(1);
        connection.set_close_reason(CloseReason::IdleTimeout);
        connection.set_close_reason(CloseReason::Error);
        assert_eq!(connection.close_reason().name(), "idle_timeout");
    }
}
