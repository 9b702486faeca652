//! Listening sockets: resolves where to listen and binds there. Knows no connections.

use super::error::Error;
use crate::command::Address;
use crate::config::{Config, Listen, ListenTls, Networks, Port};
use nix::sys::stat::SFlag;
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// A bound socket that accepts without blocking.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: ListenSocket,
    /// Where it listens.
    pub(super) address: Arc<Address>,
    /// What its prefix says of TLS.
    pub(super) tls: ListenTls,
    /// What its prefix says of who may connect.
    pub(super) allow: Networks,
}

#[derive(Debug)]
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a UNIX socket, removed when dropped if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// Its descriptor's number.
    pub(super) fn fd(&self) -> u32 {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.as_raw_fd() as u32,
            ListenSocket::Unix(socket, _) => socket.as_raw_fd() as u32,
        }
    }
}

/// The TCP listeners the configuration asks for: none if TCP is off or a UNIX socket takes its place.
///
/// Each `-l` entry is served on at least one of the addresses it stands for.
pub(super) fn bind_tcp(config: &Config) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    if config.unix_socket.is_some() || config.tcp_port == Port::Off {
        return Ok(listeners);
    }
    let local = Listen { host: "127.0.0.1".to_owned(), ..Listen::default() };
    let entries = if config.listen.is_empty() { std::slice::from_ref(&local) } else { &config.listen[..] };
    for entry in entries {
        bind_entry(entry, config, &mut listeners)?;
    }
    Ok(listeners)
}

/// The UNIX socket the configuration asks for.
pub(super) fn bind_unix(config: &Config) -> Result<Option<Listener>, Error> {
    let Some(path) = &config.unix_socket else { return Ok(None) };
    let failed = |advice| move |source| Error::Listen { address: path.display().to_string(), source, advice };
    let path = std::path::absolute(path).map_err(failed("give another path with -s"))?;
    remove_stale(&path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => failed("remove it, or give another path with -s")(source),
        _ => failed("end the other server, or give another path with -s")(source),
    })?;
    let (socket, file) = bind_unix_at(&path, config)
        .map_err(failed("see that its directory exists and may be written, or give another path with -s"))?;
    let address = Arc::new(Address::Unix(path.display().to_string().into()));
    let socket = ListenSocket::Unix(socket, file);
    Ok(Some(Listener { socket, address, tls: ListenTls::Off, allow: Networks::default() }))
}

fn bind_entry(entry: &Listen, config: &Config, listeners: &mut Vec<Listener>) -> Result<(), Error> {
    let port = entry.port.unwrap_or(match config.tcp_port {
        Port::Fixed(port) => port,
        Port::Ephemeral | Port::Off => 0,
    });
    let addresses = resolve(&entry.host, port)?;
    let mut chosen = None;
    let mut failure = None;
    for mut address in addresses {
        // Two addresses of one host share the port the system chose for the first, if they can.
        if let (0, Some(chosen)) = (port, chosen) {
            address.set_port(chosen);
        }
        let bound = bind_address(address, config).or_else(|error| {
            if port != 0 || chosen.is_none() {
                return Err(error);
            }
            address.set_port(0);
            bind_address(address, config)
        });
        match bound {
            Ok((socket, address)) => {
                chosen = Some(address.port());
                let address = Arc::new(Address::Tcp(address));
                let socket = ListenSocket::Tcp(socket);
                listeners.push(Listener { socket, address, tls: entry.tls, allow: entry.allow.clone() });
            }
            Err(source) => failure = Some((address, source)),
        }
    }
    match failure {
        Some((address, source)) if chosen.is_none() => {
            let advice = match source.kind() {
                io::ErrorKind::AddrInUse if listeners.iter().any(|own| takes(own, address)) => {
                    "-l names it twice: leave one out, or give it another port"
                }
                io::ErrorKind::AddrInUse => {
                    "another server uses it: end that one, or choose another port with -p PORT"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need privileges: choose another with -p PORT"
                }
                io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: choose another with -l ADDRESS"
                }
                _ => "choose another address with -l ADDRESS",
            };
            Err(Error::Listen { address: address.to_string(), source, advice })
        }
        // A machine without IPv6 serves `*` over IPv4, and says nothing of it.
        Some((address, source)) if !address.is_ipv6() => {
            warn!("not listening on {address}: {source}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether nobody else can listen on this address for the sake of this listener.
fn takes(listener: &Listener, address: SocketAddr) -> bool {
    let Address::Tcp(own) = *listener.address else { return false };
    let is_every = own.ip().is_unspecified() || address.ip().is_unspecified();
    own.port() == address.port()
        && own.is_ipv4() == address.is_ipv4()
        && (is_every || own.ip() == address.ip())
}

pub(super) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    if host == "*" {
        return Ok(vec![
            (IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into(),
            (IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into(),
        ]);
    }
    let host = host.trim().trim_matches(['[', ']']);
    let failed = |source| Error::Listen {
        address: host.to_owned(),
        source,
        advice: "give -l an address of this machine, a host name that stands for one, or *",
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(failed(io::ErrorKind::AddrNotAvailable.into()));
    }
    Ok(addresses)
}

pub(super) fn bind_address(address: SocketAddr, config: &Config) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these.
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(config))?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Removes a socket file nobody listens on; refuses if somebody does, or if it is another kind of file.
fn remove_stale(path: &Path) -> io::Result<()> {
    // What cannot be looked at now says why when it is bound.
    let Ok(file) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if file.mode() & SFlag::S_IFMT.bits() != SFlag::S_IFSOCK.bits() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "a server listens on it"));
    }
    std::fs::remove_file(path)
}

/// Nobody can connect between the file's appearance and its mode: that takes `listen`.
fn bind_unix_at(path: &Path, config: &Config) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    let file = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device: file.dev(), inode: file.ino() };
    std::fs::set_permissions(path, Permissions::from_mode(config.unix_mask & 0o777))?;
    socket.listen(backlog(config))?;
    Ok((UnixListener::from(socket), file))
}

fn backlog(config: &Config) -> i32 {
    config.backlog.min(i32::MAX as u32) as i32
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_every_address_of_both_families() {
        let all = resolve("*", 11211).expect("needs no resolver");
        assert_eq!(
            all.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
            ["0.0.0.0:11211", "[::]:11211"]
        );
    }

    #[test]
    fn brackets_belong_to_the_notation() {
        assert_eq!(resolve("[::1]", 1).expect("an address")[0].to_string(), "[::1]:1");
    }

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let port = taken.local_addr().expect("bound").port();
        let config = Config { tcp_port: Port::Fixed(port), ..Config::default() };
        let error = bind_tcp(&config).expect_err("the port is taken");
        assert_eq!(error.exit_code(), 71);
        let message = error.to_string();
        assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("-p PORT"), "{message}");
    }

    #[test]
    fn a_port_that_the_server_itself_has_taken_is_told_from_one_of_others() {
        let config = Config { tcp_port: Port::Ephemeral, ..Config::default() };
        let mut listeners = bind_tcp(&config).expect("some port is free");
        let Address::Tcp(taken) = *listeners[0].address else { panic!("it is TCP") };
        for host in ["127.0.0.1", "0.0.0.0"] {
            let entry = Listen { host: host.to_owned(), port: Some(taken.port()), ..Listen::default() };
            let error = bind_entry(&entry, &config, &mut listeners).expect_err("the port is taken");
            let message = error.to_string();
            assert!(
                message.ends_with("-l names it twice: leave one out, or give it another port"),
                "{message}"
            );
        }
    }
}
