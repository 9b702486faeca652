//! Opens a byte stream to an address, proves who we are and finds out which protocol is spoken.

use super::{NetConfig, ProtocolChoice};
use crate::error::{Error, ErrorKind};
use crate::members::Address;
use crate::protocol::Dialect;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer to the first requests is one short line.
const MAX_ANSWER_BYTES: usize = 1024;

/// How a server that expects TLS begins its answer to anything else.
const TLS_ALERT: &[u8] = &[21, 3];

/// What is said to everything but a login, before the login.
const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";

/// A byte stream: TCP, a Unix socket, TLS.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has the system drop, when this is closed, what the other side has not received. By itself it would go on
    /// sending, and a change could arrive minutes later, after those of the next connection.
    fn forget_unsent(&self) {}

    /// Has the system end this with an error once the other side has not acknowledged what it was sent for so long. By
    /// itself it would try for a quarter of an hour.
    fn forget_unacknowledged(&self, _after: Duration) {}

    /// Has the system end this with an error soon after the other side's has gone, though nothing is sent any longer.
    fn ask_after(&self, _every: Duration) {}
}

impl Transport for TcpStream {
    fn forget_unsent(&self) {
        // Without it all is as it would have been.
        let _ = self.set_zero_linger();
    }

    fn forget_unacknowledged(&self, after: Duration) {
        // Without it the end takes longer to come.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = socket2::SockRef::from(self).set_tcp_user_timeout(Some(after));
        #[cfg(not(any(target_os = "android", target_os = "linux")))]
        let _ = after;
    }

    fn ask_after(&self, every: Duration) {
        // Systems count in seconds.
        let every = every.max(Duration::from_secs(1));
        let keepalive = socket2::TcpKeepalive::new().with_time(every);
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let keepalive = keepalive.with_interval(every).with_retries(3);
        let _ = socket2::SockRef::from(self).set_tcp_keepalive(&keepalive);
    }
}

#[cfg(feature = "tls")]
impl Transport for tokio_rustls::client::TlsStream<TcpStream> {
    fn forget_unsent(&self) {
        self.get_ref().0.forget_unsent();
    }

    fn forget_unacknowledged(&self, after: Duration) {
        self.get_ref().0.forget_unacknowledged(after);
    }

    fn ask_after(&self, every: Duration) {
        self.get_ref().0.ask_after(every);
    }
}

/// Between two processes of one host whatever is sent has arrived.
#[cfg(unix)]
impl Transport for tokio::net::UnixStream {}

/// Asked for a user name and a password each time a connection is made.
#[derive(Clone)]
pub(crate) struct Credentials(pub(crate) Arc<dyn Fn() -> (String, String) + Send + Sync>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Connects within the time allowed.
pub(super) async fn connect(
    address: &Address,
    config: &NetConfig,
) -> Result<(Box<dyn Transport>, Dialect), Error> {
    let attempt = async {
        let mut stream = open(address, config).await.map_err(|e| Error::caused(ErrorKind::Connect, e))?;
        if let Some(credentials) = &config.credentials {
            authenticate(&mut stream, credentials).await?;
        }
        let dialect = match config.protocol {
            ProtocolChoice::Meta => Dialect::Meta,
            ProtocolChoice::Classic => Dialect::Classic,
            ProtocolChoice::Auto => match negotiate(&mut stream).await {
                // Of those that want a login, some close on so short a first word and answer a longer one.
                Err(error) if config.credentials.is_none() && was_closed(&error) => {
                    return Err(if wants_login(address, config).await { login_required() } else { error });
                }
                negotiated => negotiated?,
            },
        };
        Ok((stream, dialect))
    };
    match tokio::time::timeout(config.connect_timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Error::caused(
            ErrorKind::Connect,
            "no connection, or no first answer, within connect_timeout",
        )),
    }
}

async fn open(address: &Address, config: &NetConfig) -> io::Result<Box<dyn Transport>> {
    match address {
        Address::Tcp { host, port } => {
            // Looked up anew for every connection, so that a member may move.
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            #[cfg(feature = "tls")]
            if let Some(tls) = &config.tls {
                return Ok(Box::new(tls.connect(stream, host).await?));
            }
            let _ = config;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "no Unix sockets here")),
    }
}

/// memcached's own way: a `set` whose value is the user and the password. To a server that wants no login it is an item
/// like others, and ends at once.
async fn authenticate(stream: &mut Box<dyn Transport>, credentials: &Credentials) -> Result<(), Error> {
    let (user, password) = (credentials.0)();
    let token = format!("{user} {password}");
    let answer = ask(stream, format!("set auth 0 -1 {}\r\n{token}\r\n", token.len()).as_bytes()).await?;
    match answer.as_str() {
        "STORED" => Ok(()),
        // Too many log in at once, say: no verdict on the credentials.
        _ if answer.starts_with("SERVER_ERROR") => Err(Error::caused(ErrorKind::Connect, answer)),
        _ => Err(Error::new(ErrorKind::Authentication(answer))),
    }
}

async fn negotiate(stream: &mut Box<dyn Transport>) -> Result<Dialect, Error> {
    let answer = ask(stream, b"mn\r\n").await?;
    match answer.as_str() {
        "MN" => Ok(Dialect::Meta),
        UNAUTHENTICATED => Err(login_required()),
        // "ERROR Too many open connections" and its like are no verdict on the protocol.
        "ERROR" => Ok(Dialect::Classic),
        _ if answer.starts_with("CLIENT_ERROR") => Ok(Dialect::Classic),
        _ => Err(Error::caused(ErrorKind::Connect, answer)),
    }
}

async fn wants_login(address: &Address, config: &NetConfig) -> bool {
    let Ok(mut stream) = open(address, config).await else { return false };
    ask(&mut stream, b"version\r\n").await.is_ok_and(|answer| answer == UNAUTHENTICATED)
}

fn login_required() -> Error {
    Error::new(ErrorKind::LoginRequired)
}

fn was_closed(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
}

/// Sends one line and reads one, which must be all there is.
async fn ask(stream: &mut Box<dyn Transport>, question: &[u8]) -> Result<String, Error> {
    let lost = |error: io::Error| Error::caused(ErrorKind::Connect, error);
    stream.write_all(question).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        if stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
            let speaks_tls = answer.starts_with(TLS_ALERT);
            let why = if speaks_tls {
                "it speaks TLS, and the client does not"
            } else {
                "it closed the connection"
            };
            return Err(lost(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(Error::new(ErrorKind::Protocol("a first answer without end".to_owned())));
        }
    }
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}
