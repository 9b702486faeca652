//! TLS to members. Knows no protocol.

use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::error::{Error, ErrorKind};

/// How to speak TLS: whom to trust and how to show who we are. TLS 1.2 and 1.3, by rustls with ring.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Trusts the authorities in `ca_pem` and no others. Fails ([`ErrorKind::Settings`]) if there are none.
    pub fn new(ca_pem: &[u8]) -> Result<Tls, Error> {
        Tls::build(ca_pem, None)
    }

    /// The same, showing a certificate (a chain, its own first) to members that ask for one.
    pub fn with_client_certificate(ca_pem: &[u8], chain_pem: &[u8], key_pem: &[u8]) -> Result<Tls, Error> {
        Tls::build(ca_pem, Some((chain_pem, key_pem)))
    }

    /// Whatever else rustls can do.
    pub fn from_config(config: Arc<ClientConfig>) -> Tls {
        Tls { config, server_name: None }
    }

    /// The name every member's certificate must carry, instead of the host in its address. Fails ([`ErrorKind::Settings`])
    /// for what is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: &str) -> Result<Tls, Error> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|e| Error::caused(ErrorKind::Settings, e))?;
        self.server_name = Some(name);
        Ok(self)
    }

    fn build(ca_pem: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Tls, Error> {
        let wrong =
            |error: Box<dyn std::error::Error + Send + Sync>| Error::caused(ErrorKind::Settings, error);
        let chain = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let mut roots = RootCertStore::empty();
        for certificate in chain(ca_pem).map_err(|e| wrong(e.into()))? {
            roots.add(certificate).map_err(|e| wrong(e.into()))?;
        }
        if roots.is_empty() {
            return Err(wrong("there is no certificate of an authority in the PEM".into()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(e.into()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((chain_pem, key_pem)) => {
                let certificates = chain(chain_pem).map_err(|e| wrong(e.into()))?;
                let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| wrong(e.into()))?;
                config.with_client_auth_cert(certificates, key).map_err(|e| wrong(e.into()))?
            }
        };
        Ok(Tls::from_config(Arc::new(config)))
    }

    pub(crate) async fn connect(&self, stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        TlsConnector::from(self.config.clone()).connect(name, stream).await.map_err(in_words)
    }
}

/// The error, with what it mostly means where it says so to few.
fn in_words(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|cause| cause.downcast_ref());
    let meaning = match tls {
        Some(tokio_rustls::rustls::Error::InvalidMessage(_)) => "it does not speak TLS, but the client does",
        Some(_) if error.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is one for an authority (CA:TRUE), not for a server"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{meaning}: {error}"))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}
