//! `memcarp health`: whether a server answers, for the health checks of containers. Knows nothing of how it does.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The first argument that asks for it.
pub const NAME: &str = "health";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The first byte of what a TLS server says to those who do not speak TLS.
const TLS_ALERT: char = '\u{15}';

/// What to do about a server that speaks TLS.
const NO_TLS: &str = "health does not speak TLS: ask where metrics are (http://HOST:9150) or a listener without (-l notls:127.0.0.1)";

/// Bytes of an answer that are looked at.
const ENOUGH: usize = 256;

const USAGE: &str = "usage: memcarp health [ADDRESS]

Asks a server whether it answers; exit status 0 if it does, 1 if not. ADDRESS is
  HOST:PORT         where clients connect [127.0.0.1:11211]
  /PATH             a UNIX socket
  http://HOST:PORT  where metrics are served: asks /readyz, and works whatever clients have to speak";

/// Why there is no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code: 64 for wrong usage, 1 for a server that does not answer.
    pub exit: u8,
    /// What is wrong.
    pub message: String,
}

/// Asks the server that the arguments behind `health` name.
pub fn run(args: impl IntoIterator<Item = OsString>, out: &mut impl Write) -> Result<(), Refusal> {
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let address = match &args[..] {
        [] => "127.0.0.1:11211",
        [help] if help == "-h" || help == "--help" => {
            let _ = writeln!(out, "{USAGE}");
            return Ok(());
        }
        [address] if !address.starts_with('-') => address,
        _ => return Err(Refusal { exit: 64, message: USAGE.to_owned() }),
    };
    check(address).map_err(|why| Refusal { exit: 1, message: format!("{address}: {why}") })
}

fn check(address: &str) -> Result<(), String> {
    if let Some(rest) = address.strip_prefix("http://") {
        let host = rest.trim_end_matches('/');
        let request = format!("GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n");
        return judge(&ask(tcp(host)?, &request)?, |line| line.split(' ').nth(1) == Some("200"));
    }
    if address.starts_with("https://") {
        return Err(NO_TLS.to_owned());
    }
    // Who has to say who he is, is told so: an answer too.
    let good = |line: &str| line.starts_with("VERSION ") || line == "CLIENT_ERROR unauthenticated";
    if address.starts_with('/') {
        let stream = UnixStream::connect(address).map_err(|error| error.to_string())?;
        let bounded = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        bounded.map_err(|error| error.to_string())?;
        return judge(&ask(stream, "version\r\n")?, good);
    }
    judge(&ask(tcp(address)?, "version\r\n")?, good)
}

fn tcp(address: &str) -> Result<TcpStream, String> {
    let mut failure = "no such host".to_owned();
    let unknown = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidInput => "write HOST:PORT, /PATH of a UNIX socket, or http://HOST:PORT".to_owned(),
        _ => error.to_string(),
    };
    for address in address.to_socket_addrs().map_err(unknown)? {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

/// The first line of the answer.
fn ask(mut stream: impl Read + Write, request: &str) -> Result<String, String> {
    let silent = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {PATIENCE:?}"),
        _ => error.to_string(),
    };
    stream.write_all(request.as_bytes()).map_err(silent)?;
    let (mut answer, mut part) = (Vec::new(), [0; ENOUGH]);
    let deadline = Instant::now() + PATIENCE;
    while answer.len() < ENOUGH && !answer.contains(&b'\n') && Instant::now() < deadline {
        match stream.read(&mut part).map_err(silent)? {
            0 => break,
            count => answer.extend_from_slice(&part[..count]),
        }
    }
    let line = answer.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().to_owned())
}

fn judge(line: &str, good: impl Fn(&str) -> bool) -> Result<(), String> {
    match line {
        line if good(line) => Ok(()),
        "" => Err(format!("it closes the connection; {NO_TLS}")),
        line if line.starts_with(TLS_ALERT) => Err(NO_TLS.to_owned()),
        line => Err(format!("it answers: {}", line.escape_debug())),
    }
}
