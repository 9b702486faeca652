//! `memcarp health`: whether a server answers, for the health checks of containers. Knows nothing of how it does.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned, crypto};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first argument that asks for it.
pub const NAME: &str = "health";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The first byte of what a TLS server says to those who do not speak TLS.
const TLS_ALERT: char = '\u{15}';

/// What to do about a server that speaks TLS.
const NEEDS_TLS: &str = "it speaks TLS: write tls://HOST:PORT, or https://HOST:PORT where metrics are";

/// Bytes of an answer that are looked at.
const ENOUGH: usize = 256;

const USAGE: &str = "usage: memcarp health [--cert FILE [--key FILE]] [ADDRESS]

Asks a server whether it answers; exit status 0 if it does, 1 if not. ADDRESS is
  HOST:PORT          where clients connect [127.0.0.1:11211]
  tls://HOST:PORT    the same where they speak TLS
  /PATH              a UNIX socket
  http://HOST:PORT   where metrics are served, or https://HOST:PORT: asks /readyz, whatever clients have to speak
Over TLS any certificate will do: nothing is said that has to be kept from anybody. To a server that wants one of us,
--cert and --key name a chain and its key in PEM (one file may have both).";

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
    let wrong = || Refusal { exit: 64, message: USAGE.to_owned() };
    let mut args = args.into_iter().map(|arg| arg.to_string_lossy().into_owned());
    let (mut address, mut certificate, mut key) = (None, None, None);
    while let Some(arg) = args.next() {
        let (place, value) = match arg.as_str() {
            "-h" | "--help" => {
                let _ = writeln!(out, "{USAGE}");
                return Ok(());
            }
            "--cert" => (&mut certificate, args.next()),
            "--key" => (&mut key, args.next()),
            option if option.starts_with('-') => return Err(wrong()),
            _ => (&mut address, Some(arg)),
        };
        if value.is_none() || place.is_some() {
            return Err(wrong());
        }
        *place = value;
    }
    if key.is_some() && certificate.is_none() {
        return Err(wrong());
    }
    let address = address.as_deref().unwrap_or("127.0.0.1:11211");
    let certificate = certificate.map(|chain| (key.unwrap_or_else(|| chain.clone()), chain));
    check(address, certificate).map_err(|why| Refusal { exit: 1, message: format!("{address}: {why}") })
}

/// `own` is the files of a key and a certificate to show.
fn check(address: &str, own: Option<(String, String)>) -> Result<(), String> {
    let scheme = address.split_once("://");
    if let Some((http @ ("http" | "https"), rest)) = scheme {
        let host = rest.trim_end_matches('/');
        let request = format!("GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n");
        let line = match http {
            "http" => ask(tcp(host)?, &request)?,
            _ => ask(tls(host, own)?, &request)?,
        };
        return judge(&line, |line| line.split(' ').nth(1) == Some("200"));
    }
    // Who has to say who he is, is told so: an answer too.
    let good = |line: &str| line.starts_with("VERSION ") || line == "CLIENT_ERROR unauthenticated";
    if address.starts_with('/') {
        let stream = UnixStream::connect(address).map_err(|error| error.to_string())?;
        let bounded = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        bounded.map_err(|error| error.to_string())?;
        return judge(&ask(stream, "version\r\n")?, good);
    }
    match scheme {
        Some(("tls", host)) => judge(&ask(tls(host, own)?, "version\r\n")?, good),
        _ => judge(&ask(tcp(address)?, "version\r\n")?, good),
    }
}

/// A connection that speaks TLS with whoever is there.
fn tls(address: &str, own: Option<(String, String)>) -> Result<Secure, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match own {
        Some((key, chain)) => {
            let of = |file: &str, error: pem::Error| format!("{file}: {error}");
            let certificates = CertificateDer::pem_file_iter(&chain).and_then(Iterator::collect);
            let certificates: Vec<_> = certificates.map_err(|error| of(&chain, error))?;
            let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| of(&key, error))?;
            builder.with_client_auth_cert(certificates, key).map_err(|error| format!("{chain}: {error}"))?
        }
        None => builder.with_no_client_auth(),
    };
    let stream = tcp(address)?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(session, stream))
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Takes any certificate whose key the server shows to have.
#[derive(Debug)]
struct Anybody(Arc<crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn tcp(address: &str) -> Result<TcpStream, String> {
    let mut failure = "no such host".to_owned();
    let unknown = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidInput => {
            "write HOST:PORT, tls://HOST:PORT, /PATH of a UNIX socket, http://HOST:PORT or https://HOST:PORT"
                .to_owned()
        }
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
        "" => Err(format!("it closes the connection; if {NEEDS_TLS}")),
        line if line.starts_with(TLS_ALERT) => Err(NEEDS_TLS.to_owned()),
        line => Err(format!("it answers: {}", line.escape_debug())),
    }
}
