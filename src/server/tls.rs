//! TLS settings: certificates and keys read from files, and read again while the server runs. Knows no socket.

pub(super) mod files;
mod names;

use super::error::Error;
use crate::config::{self, ListenTls, file};
use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, crypto};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::Stamps;
use names::Named;

/// TLS as the configuration wants it, with what was last read from its files.
pub(super) struct Tls {
    settings: config::Tls,
    current: RwLock<Settings>,
    /// As the files were when they were last read, or found wrong.
    tried: Mutex<Stamps>,
}

/// What new connections get, by what their listener says.
struct Settings {
    /// As `ssl_verify_mode` says.
    plain: Arc<ServerConfig>,
    /// `btls:`: clients show no certificate.
    basic: Arc<ServerConfig>,
    /// `mtls:`: clients show one. Without authorities there is none that could be accepted.
    mutual: Option<Arc<ServerConfig>>,
}

const NO_AUTHORITIES: &str =
    "clients' certificates need authorities to be verified by: give -o ssl_ca_cert=FILE";

const NO_KEY: &str = "there is no private key in it (PEM is read, DER with -o ssl_keyformat=2)";

/// Whether clients show certificates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    Unknown,
    MayShow,
    MustShow,
}

impl Tls {
    /// Reads the files.
    pub(super) fn read(settings: &config::Tls) -> Result<Tls, Error> {
        let tried = Mutex::new(stamps(settings));
        let current = RwLock::new(Settings::read(settings)?);
        Ok(Tls { settings: settings.clone(), current, tried })
    }

    /// Reads the files again, for connections from now on. If that fails nothing changes.
    pub(super) fn read_again(&self) -> Result<(), Error> {
        // Looked at before they are read: what changes meanwhile is noticed.
        *self.tried.lock() = self.stamps();
        for path in files(&self.settings) {
            file::may_be_read_again(path).map_err(|error| Error::tls(path, error))?;
        }
        let settings = Settings::read(&self.settings)?;
        *self.current.write() = settings;
        Ok(())
    }

    /// As the files are now.
    pub(super) fn stamps(&self) -> Stamps {
        stamps(&self.settings)
    }

    /// As the files were when they were last read, or found wrong.
    pub(super) fn tried(&self) -> Stamps {
        self.tried.lock().clone()
    }

    /// What a connection through such a listener is to speak; `None` is no TLS.
    pub(super) fn settings(&self, listener: ListenTls) -> Option<Arc<ServerConfig>> {
        let current = self.current.read();
        match listener {
            ListenTls::Off => None,
            ListenTls::Inherit => Some(current.plain.clone()),
            ListenTls::Basic => Some(current.basic.clone()),
            ListenTls::Mutual => current.mutual.clone(),
        }
    }

    /// Whether all these listeners can be served.
    pub(super) fn check(&self, mut listeners: impl Iterator<Item = ListenTls>) -> Result<(), Error> {
        let mutual = listeners.any(|listener| listener == ListenTls::Mutual);
        if mutual && self.current.read().mutual.is_none() {
            return Err(Error::tls(Path::new("-l mtls:"), io::Error::other(NO_AUTHORITIES)));
        }
        Ok(())
    }
}

impl Settings {
    fn read(settings: &config::Tls) -> Result<Settings, Error> {
        let clients = match settings.verify_mode {
            0 => Clients::Unknown,
            1 => Clients::MayShow,
            _ => Clients::MustShow,
        };
        let basic = Arc::new(server_config(settings, Clients::Unknown)?);
        Ok(Settings {
            plain: match clients {
                Clients::Unknown => basic.clone(),
                _ => Arc::new(server_config(settings, clients)?),
            },
            mutual: match settings.ca_cert {
                Some(_) => Some(Arc::new(server_config(settings, Clients::MustShow)?)),
                None => None,
            },
            basic,
        })
    }
}

fn stamps(settings: &config::Tls) -> Stamps {
    Stamps::of(files(settings))
}

fn files(settings: &config::Tls) -> impl Iterator<Item = &Path> {
    let files = [Some(&settings.chain_cert), Some(&settings.key), settings.ca_cert.as_ref()];
    files.into_iter().flatten().map(PathBuf::as_path)
}

fn server_config(settings: &config::Tls, clients: Clients) -> Result<ServerConfig, Error> {
    let failed = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let message = format!("its first certificate is not that of the key {}", settings.key.display());
            Error::tls(&settings.chain_cert, io::Error::other(message))
        }
        error => Error::tls(&settings.chain_cert, io::Error::other(error)),
    };
    let provider = Arc::new(crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] =
        if settings.min_version >= 3 { &[&TLS13] } else { &[&TLS12, &TLS13] };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(failed)?;
    let builder = match client_verifier(settings, clients, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(certificates(&settings.chain_cert)?, key(settings)?).map_err(failed)?;
    if !settings.session_cache {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn client_verifier(
    settings: &config::Tls,
    clients: Clients,
    provider: Arc<crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    if clients == Clients::Unknown {
        return Ok(None);
    }
    let Some(path) = &settings.ca_cert else {
        return Err(Error::tls(Path::new("-o ssl_verify_mode"), io::Error::other(NO_AUTHORITIES)));
    };
    let mut authorities = RootCertStore::empty();
    for authority in certificates(path)? {
        authorities.add(authority).map_err(|error| Error::tls(path, io::Error::other(error)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    let builder = if clients == Clients::MayShow { builder.allow_unauthenticated() } else { builder };
    let signed = builder.build().map_err(|error| Error::tls(path, io::Error::other(error)))?;
    Ok(Some(match settings.allowed_names.is_empty() {
        true => signed,
        false => Arc::new(Named { signed, names: settings.allowed_names.clone() }),
    }))
}

fn key(settings: &config::Tls) -> Result<PrivateKeyDer<'static>, Error> {
    /// `ssl_keyformat`: DER.
    const DER: u8 = 2;
    let path = &settings.key;
    let bytes = file::read(path).map_err(|error| Error::tls_unreadable(path, &error))?;
    if settings.keyformat == DER {
        return PrivateKeyDer::try_from(bytes).map_err(|error| Error::tls(path, io::Error::other(error)));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::tls(path, io::Error::other(NO_KEY)),
        error => Error::tls(path, io::Error::other(error)),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = file::read(path).map_err(|error| Error::tls_unreadable(path, &error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| Error::tls(path, io::Error::other(error)))?;
    if certificates.is_empty() {
        return Err(Error::tls(path, io::Error::other("there is no certificate in it (PEM is read)")));
    }
    Ok(certificates)
}
