//! Metrics that not everybody may see: by address, by user and password, over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::{PATIENCE, Server, fresh_directory, wait_for};
use crate::http::{Answer, answer_of, ask, get, start};

fn with_password(address: SocketAddr, path: &str, pair: &str) -> Answer {
    let pair = base64_simd::STANDARD.encode_to_string(pair);
    ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Basic {pair}\r\n\r\n"))
}

#[test]
fn who_is_not_named_reads_the_end() {
    let (server, address) = start(&["--metrics-allow", "127.0.0.2"]);
    let mut stream = TcpStream::connect(address).expect("it listens");
    let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(server.connect().ask("version"), "VERSION 1.6.45", "clients have a list of their own");
}

#[test]
fn a_password_is_asked_for() {
    let directory = fresh_directory();
    let users = directory.join("users");
    let hash = memcarp::command::auth::hash::hash(b"s:cret").expect("random numbers");
    std::fs::write(&users, format!("ann:{hash}\nbob:plain\n")).expect("written");
    let (_server, address) = start(&["--metrics-auth-file", users.to_str().expect("text")]);
    for path in ["/", "/metrics", "/other"] {
        let refusal = get(address, path);
        assert_eq!(refusal.status, 401, "{path}");
        assert!(refusal.head.contains("www-authenticate: Basic realm="), "{}", refusal.head);
        assert!(!refusal.body.contains("memcached_up"));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    for pair in ["ann:s:cret", "ann:s:cret", "bob:plain"] {
        assert!(with_password(address, "/metrics", pair).body.contains("memcached_up 1"), "{pair}");
    }
    for pair in ["ann:s", "ann:", "ann", "bob:s:cret", ":"] {
        assert_eq!(with_password(address, "/metrics", pair).status, 401, "{pair}");
    }
    let guessed =
        (0..1000).find(|number| with_password(address, "/", &format!("bob:{number}")).status != 401);
    assert!(guessed.is_some_and(|number| number > 10), "{guessed:?}");
    assert_eq!(
        with_password(address, "/metrics", "bob:plain").status,
        429,
        "not even the right one for a while"
    );
}

#[test]
fn users_are_read_again() {
    let directory = fresh_directory();
    let users = directory.join("users");
    std::fs::write(&users, "ann:old\n").expect("written");
    let (server, address) = start(&["--metrics-auth-file", users.to_str().expect("text")]);
    assert_eq!(with_password(address, "/", "ann:old").status, 200);
    std::fs::write(&users, "bob:new\n").expect("written");
    server.signal("HUP");
    wait_for("the old user to be refused", || {
        (with_password(address, "/", "ann:old").status == 401).then_some(())
    });
    assert_eq!(with_password(address, "/", "bob:new").status, 200);
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// A certificate for 127.0.0.1 and its key, in PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }

    fn issue(&self, directory: &Path) {
        let (certificate, key) = self.sign();
        std::fs::write(directory.join("chain"), certificate).expect("written");
        std::fs::write(directory.join("key"), key).expect("written");
        std::fs::write(directory.join("authorities"), self.0.pem()).expect("written");
    }

    /// The answer to a client with or without a certificate, if there is one.
    fn get(&self, address: SocketAddr, own: bool) -> Option<Answer> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match own.then(|| self.sign()) {
            Some((certificate, key)) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key"),
            ),
            None => Ok(builder.with_no_client_auth()),
        };
        let name = "127.0.0.1".try_into().expect("an address");
        let session =
            ClientConnection::new(Arc::new(config.expect("a key that fits")), name).expect("settings");
        let tcp = TcpStream::connect(address).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let mut stream = StreamOwned::new(session, tcp);
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(answer_of(answer))
    }
}

/// As [`start`], of a server that speaks TLS there.
fn start_secure(options: &[&str]) -> (Server, SocketAddr) {
    let server = Server::memcarp(&[&["--metrics-listen", "127.0.0.1:0"], options].concat());
    let address = wait_for("the address of the metrics", || {
        let log = server.log();
        let line = log.lines().find_map(|line| line.strip_prefix("Metrics and status: https://"))?;
        line.trim_end_matches('/').parse().ok()
    });
    (server, address)
}

#[test]
fn they_are_served_over_tls() {
    let directory = fresh_directory();
    let authority = Authority::new();
    authority.issue(&directory);
    let file = |name: &str| directory.join(name).to_str().expect("text").to_owned();
    let (chain, key, authorities) = (file("chain"), file("key"), file("authorities"));
    let options = ["--metrics-ssl-chain-cert", &chain, "--metrics-ssl-key", &key];
    let (server, address) = start_secure(&options);
    let answer = authority.get(address, false).expect("it is served");
    assert!(answer.status == 200 && answer.body.contains("memcached_up 1"));
    assert_eq!(server.connect().ask("version"), "VERSION 1.6.45", "clients speak none");

    let mut plain = TcpStream::connect(address).expect("it listens");
    plain.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "who speaks no TLS is told nothing");
    let failures = wait_for("the failure to be counted", || {
        let body = authority.get(address, false).expect("it is served").body;
        let line =
            body.lines().find_map(|line| line.strip_prefix("memcarp_tls_handshake_failures_total "))?;
        (line != "0").then(|| line.to_owned())
    });
    assert_eq!(failures, "1");

    let (_server, address) = start_secure(&[&options[..], &["--metrics-ssl-ca-cert", &authorities]].concat());
    assert_eq!(authority.get(address, true).expect("it is served").status, 200);
    assert!(authority.get(address, false).is_none());
    let at = format!("https://{address}");
    let health = |options: &[&str]| {
        let health = Command::new(env!("CARGO_BIN_EXE_memcarp")).arg("health").args(options).output();
        let health = health.expect("memcarp was built");
        (health.status.code(), String::from_utf8_lossy(&health.stderr).into_owned())
    };
    assert_eq!(health(&[&at, "--cert", &chain, "--key", &key]), (Some(0), String::new()));
    let (code, message) = health(&[&at]);
    assert!(code == Some(1) && message.contains("CertificateRequired"), "{message}");
    let (code, message) = health(&[&at, "--cert", &chain]);
    assert!(code == Some(1) && message.contains(&format!("{chain}: ")), "there is no key in it: {message}");
    for wrong in [&["--key", &key, &at][..], &["--cert"], &["--bogus", &at], &[&at, &at]] {
        assert_eq!(health(wrong).0, Some(64), "{wrong:?}");
    }
}
