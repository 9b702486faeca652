//! TLS over real sockets, with certificates made for the test.

use super::client::{Client, Stream};
use super::started::{PATIENCE, Started, command, lines, next_line, run, signal, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub type Secure = StreamOwned<ClientConnection, TcpStream>;

impl Stream for Secure {
    fn limit_reads(&self, limit: Duration) {
        self.sock.limit_reads(limit);
    }
}

/// An authority, and what it has signed.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// A certificate for 127.0.0.1 and its key, in PEM.
    fn sign(&self) -> (String, String) {
        self.sign_for("127.0.0.1")
    }

    /// The same for another name.
    fn sign_for(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes a new certificate and key where the server looks for them; what the certificate is.
    pub fn issue(&self, directory: &Path) -> CertificateDer<'static> {
        let (certificate, key) = self.sign();
        std::fs::write(directory.join("chain"), &certificate).unwrap();
        std::fs::write(directory.join("key"), key).unwrap();
        std::fs::write(directory.join("authorities"), self.issuer.pem()).unwrap();
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn client(
        &self,
        server: &Started,
        versions: &[&'static SupportedProtocolVersion],
        own: bool,
    ) -> Client<Secure> {
        self.client_with(server, versions, own.then(|| self.sign()))
    }

    fn client_with(
        &self,
        server: &Started,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(String, String)>,
    ) -> Client<Secure> {
        let own = own.map(|(certificate, key)| {
            (vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()], key)
        });
        self.client_of(server, versions, own)
    }

    /// With a chain of its own and the key of the first.
    fn client_of(
        &self,
        server: &Started,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<(Vec<CertificateDer<'static>>, String)>,
    ) -> Client<Secure> {
        let mut authorities = RootCertStore::empty();
        authorities.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(authorities);
        let config = if let Some((chain, key)) = own {
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let session = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
        Client::new(StreamOwned::new(session, TcpStream::connect(server.address()).unwrap()))
    }

    pub fn plain_client(&self, server: &Started) -> Client<Secure> {
        self.client(server, rustls::ALL_VERSIONS, false)
    }
}

pub const FILES: &str = "ssl_chain_cert=chain,ssl_key=key,ssl_ca_cert=authorities";

#[test]
fn the_first_line_says_how_to_try_it() {
    let server = start(&Authority::new(), &[]);
    let tried = format!("openssl s_client -quiet -connect {}\n", server.address());
    assert!(server.line.ends_with(&tried), "{}", server.line);
    let server = start(&Authority::new(), &["-o", "ssl_verify_mode=2"]);
    assert!(server.line.ends_with(" MiB).\n"), "{}", server.line);
}

#[test]
fn a_key_that_does_not_fit_is_told() {
    let (other, _) = Authority::new().sign();
    for (name, text, told) in [
        ("key", "no key", "key: there is no private key in it (PEM is read"),
        ("chain", &other, "chain: its first certificate is not that of the key"),
        ("chain", "none", "chain: there is no certificate in it (PEM is read)"),
    ] {
        let (mut command, directory) = command(&["-Z", "-o", FILES]);
        Authority::new().issue(&directory);
        std::fs::write(directory.join(name), text).unwrap();
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}

fn start(authority: &Authority, options: &[&str]) -> Started {
    let mut all = vec!["-Z", "-o", FILES];
    all.extend(options);
    let (command, directory) = command(&all);
    authority.issue(&directory);
    Started::from((command, directory))
}

/// Whether the server takes this client: it may find out only when it reads.
fn is_served(client: &mut Client<Secure>) -> bool {
    let mut reply = [0; 4];
    let stream = client.stream.get_mut();
    stream.write_all(b"mn\r\n").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"MN\r\n"
}

#[test]
fn values_of_any_length_pass_both_ways() {
    let authority = Authority::new();
    let server = start(&authority, &["-t", "1", "-I", "8m"]);
    let mut client = authority.plain_client(&server);
    for length in [0, 1, 1000, 20_000, 5_000_000] {
        let value: Vec<u8> = (0..length).map(|index: usize| b'a' + (index % 23) as u8).collect();
        client.send([format!("set k 0 0 {length}\r\n").as_bytes(), &value, b"\r\n"].concat());
        assert_eq!(client.line(), "STORED\r\n");
        client.send("get k\r\n");
        assert_eq!(client.line(), format!("VALUE k 0 {length}\r\n"));
        let mut reply = vec![0; length + 2];
        client.stream.read_exact(&mut reply).unwrap();
        assert!(reply[..length] == value, "{length}");
        assert_eq!(client.line(), "END\r\n");
    }
    assert_eq!(client.say("set k 0 0 3\r\nabc\r\n"), "STORED\r\n");
    client.send("get k\r\n".repeat(5000));
    client.send("quit\r\n");
    assert!(client.rest() == b"VALUE k 0 3\r\nabc\r\nEND\r\n".repeat(5000));
}

/// Each byte of handshake and records arrives by itself.
#[test]
fn records_may_come_byte_by_byte() {
    struct Bytewise(TcpStream);
    impl Write for Bytewise {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(&bytes[..bytes.len().min(1)])
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
    impl Read for Bytewise {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut bytes[..1])
        }
    }
    let authority = Authority::new();
    let server = start(&authority, &["-o", "ssl_verify_mode=2"]);
    for version in rustls::ALL_VERSIONS {
        let whole = authority.client(&server, &[version], true).stream.into_inner();
        whole.sock.limit_reads(PATIENCE);
        let mut stream = StreamOwned::new(whole.conn, Bytewise(whole.sock));
        stream.write_all(b"set a 0 0 3\r\nabc\r\nget a\r\nquit\r\n").unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        assert_eq!(reply.escape_ascii().to_string(), "STORED\\r\\nVALUE a 0 3\\r\\nabc\\r\\nEND\\r\\n");
    }
}

/// What is shown with a good certificate is taken up to the length that a handshake has room for.
#[test]
fn clients_with_huge_certificates_are_turned_away() {
    let authority = Authority::new();
    let server = start(&authority, &["-o", "ssl_verify_mode=2"]);
    let mut client = authority.client(&server, rustls::ALL_VERSIONS, true);
    for (length, count, served) in
        [(60_000, 1, true), (200_000, 1, false), (8_000_000, 1, false), (400, 2000, false)]
    {
        let (certificate, key) = authority.sign();
        let mut chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        chain.extend((0..count).map(|_| CertificateDer::from(vec![0x30; length])));
        let mut huge = authority.client_of(&server, rustls::ALL_VERSIONS, Some((chain, key)));
        assert_eq!(is_served(&mut huge), served, "{count} of {length} bytes");
        drop(huge);
    }
    wait_until("the failures to be counted", || client.stat("ssl_handshake_errors") == "3");
    assert!(is_served(&mut client));
}

#[test]
fn who_does_not_speak_tls_is_not_served() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut plain = server.connect();
    plain.send("get a\r\n");
    let mut reply = Vec::new();
    let _ = plain.stream.read_to_end(&mut reply);
    assert!(!reply.starts_with(b"END"), "{reply:?}");
    let mut client = authority.plain_client(&server);
    assert_eq!(client.stat("ssl_handshake_errors"), "1");
    assert_eq!(client.stat("accepting_conns"), "1");

    // Who only looks whether the port is open has failed too.
    drop(server.connect());
    wait_until("the failure to be counted", || client.stat("ssl_handshake_errors") == "2");
}

#[test]
fn who_says_nothing_is_closed() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send([0x16, 0x03, 0x01]);
    assert!(silent.rest().is_empty());
    assert!(slow.rest().is_empty());
    assert_eq!(authority.plain_client(&server).stat("ssl_handshake_errors"), "2");
}

#[test]
fn a_listener_may_be_left_without_tls() {
    let authority = Authority::new();
    let server = start(&authority, &["-l", "notls:127.0.0.1"]);
    assert_eq!(server.connect().say("version\r\n"), "VERSION 1.6.45\r\n");
}

#[test]
fn the_lowest_version_is_kept() {
    let authority = Authority::new();
    let server = start(&authority, &["-o", "ssl_min_version=3"]);
    assert!(is_served(&mut authority.client(&server, &[&rustls::version::TLS13], false)));
    assert!(!is_served(&mut authority.client(&server, &[&rustls::version::TLS12], false)));
}

#[test]
fn clients_show_certificates_where_they_must() {
    let authority = Authority::new();
    for options in [["-o", "ssl_verify_mode=2"], ["-l", "mtls:127.0.0.1"]] {
        let server = start(&authority, &options);
        assert!(is_served(&mut authority.client(&server, rustls::ALL_VERSIONS, true)), "{options:?}");
        assert!(!is_served(&mut authority.plain_client(&server)), "{options:?}");
    }
    let server = start(&authority, &["-o", "ssl_verify_mode=1"]);
    assert!(is_served(&mut authority.client(&server, rustls::ALL_VERSIONS, true)));
    assert!(is_served(&mut authority.plain_client(&server)));
}

#[test]
fn a_health_check_speaks_tls() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let health = |address: String| {
        let arguments = ["health".to_owned(), address];
        std::process::Command::new(env!("CARGO_BIN_EXE_memcarp")).args(arguments).output().unwrap()
    };
    assert_eq!(health(format!("tls://{}", server.address())).status.code(), Some(0));
    let plain = health(server.address().to_string());
    let said = String::from_utf8(plain.stderr).unwrap();
    assert!(plain.status.code() == Some(1) && said.contains("write tls://HOST:PORT"), "{said}");
}

#[test]
fn new_certificates_are_taken_without_a_restart() {
    let authority = Authority::new();
    let mut server = start(&authority, &["-v"]);
    let (process, stderr) = (server.process.id(), server.process.stderr.take().unwrap());
    let server = server;
    let shown = || {
        let mut client = authority.plain_client(&server);
        assert!(is_served(&mut client));
        client.stream.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut staying = authority.plain_client(&server);
    assert!(is_served(&mut staying));

    let second = authority.issue(&server.directory);
    assert_eq!(staying.say("refresh_certs\r\n"), "OK\r\n");
    assert_eq!(shown(), second);

    // A client's wish and a file's change are told under -v, a signal always.
    let lines = lines(stderr);
    let read_again = |level: &str, why: &str| {
        let said = format!(" {level} certificates read again{why}");
        // The files may have been seen to change before.
        while !next_line(&lines).ends_with(&said) {}
    };
    read_again("DEBUG", ": a client asked for it");
    signal(process, "-HUP");
    read_again("INFO", "");

    // What cannot be read changes nothing, and is told whoever asks: a client, or whoever changed the file.
    let told = || {
        let line = next_line(&lines);
        assert!(line.contains("WARN TLS: chain: "), "{line}");
        assert!(line.ends_with("; the certificates stay as they were"), "{line}");
    };
    std::fs::write(server.directory.join("chain"), "no certificate").unwrap();
    told();
    assert!(staying.say("refresh_certs\r\n").starts_with("SERVER_ERROR TLS: chain: "));
    signal(process, "-HUP");
    told();
    assert_eq!(shown(), second);

    // Nobody has to say that a file has changed.
    let third = authority.issue(&server.directory);
    wait_until("the new certificate", || shown() == third);
    read_again("DEBUG", ": their files have changed");
    assert!(is_served(&mut staying), "who is connected stays");
}

#[test]
fn clients_are_let_in_by_the_names_of_their_certificates() {
    let authority = Authority::new();
    let options = ["-o", "ssl_verify_mode=2", "--ssl-allowed-names", "web.example.com,10.0.0.7"];
    let server = start(&authority, &options);
    let comes_in = |authority: &Authority, name: &str| {
        let own = Some(authority.sign_for(name));
        let mut clients = rustls::ALL_VERSIONS
            .iter()
            .map(|version| is_served(&mut authority.client_with(&server, &[version], own.clone())));
        let first = clients.next().unwrap();
        assert!(clients.all(|other| other == first), "{name}: every version does the same");
        first
    };
    for name in ["web.example.com", "*.example.com", "10.0.0.7"] {
        assert!(comes_in(&authority, name), "{name}");
    }
    for name in ["db.example.com", "example.com", "web.example.com.evil.com", "10.0.0.8", "127.0.0.1"] {
        assert!(!comes_in(&authority, name), "{name}");
    }
    assert!(!is_served(&mut authority.plain_client(&server)));

    // The right name signed by anybody else is nobody's.
    let stranger = Authority::new().sign_for("web.example.com");
    assert!(!is_served(&mut authority.client_with(&server, rustls::ALL_VERSIONS, Some(stranger))));
}

#[test]
fn what_cannot_be_read_is_named() {
    let output = run(&["-Z", "-o", "ssl_chain_cert=missing-chain,ssl_key=missing-key"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing-chain"));
}
