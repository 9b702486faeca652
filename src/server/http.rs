//! Metrics, status page and probes over HTTP: a thread of its own, so that whoever reads slowly stalls no client.
//! Knows no answer.

mod places;
mod site;

use super::error::Error;
use super::listen;
use super::shared::Server;
use crate::config::{Config, MetricsListen};
use crate::status::history::STEP;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use places::{Place, Places};
use site::Site;

/// Sockets that wait to be served.
pub(super) struct Bound(Vec<(TcpListener, SocketAddr)>);

/// How long a connection may last, from its first byte to the last of the answer. Each serves one request.
const LASTS: Duration = Duration::from_secs(10);
/// How long a client may take to ask.
const ASKS: Duration = Duration::from_secs(5);
/// Most bytes and lines of a request.
const REQUEST_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// Pause after an accept that failed.
const OUT_OF_ROOM: Duration = Duration::from_millis(50);

impl Bound {
    /// Binds what the configuration asks for. That the default port is taken is said, and no failure.
    pub(super) fn bind(config: &Config) -> Result<Bound, Error> {
        let (host, port) = match &config.metrics {
            MetricsListen::Off => return Ok(Bound(Vec::new())),
            MetricsListen::At { host, port } => (host.as_str(), *port),
            MetricsListen::Default => MetricsListen::DEFAULT,
        };
        match bind(host, port, config) {
            Ok(bound) => Ok(bound),
            Err(source) if config.metrics == MetricsListen::Default => {
                warn!(
                    "no metrics: cannot listen on {host}:{port}: {source}; choose another address with \
                     --metrics-listen HOST:PORT, or off"
                );
                Ok(Bound(Vec::new()))
            }
            Err(source) => Err(Error::Listen {
                address: format!("{host}:{port}"),
                source,
                advice: "choose another address with --metrics-listen HOST:PORT, or off",
            }),
        }
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }

    /// Serves them until `end` says so. Nothing is started if there are none.
    pub(super) fn serve(
        self,
        server: Arc<Server>,
        mut end: watch::Receiver<bool>,
    ) -> Result<Option<JoinHandle<()>>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let failed = |source| Error::system("serve metrics", source);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name("metrics".to_owned());
        let run = move || {
            runtime.block_on(async {
                let site = Arc::new(Site::new(server));
                tokio::spawn(remember(site.clone()));
                let places = Arc::new(Places::default());
                for (listener, _) in self.0 {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => drop(tokio::spawn(accept(listener, site.clone(), places.clone()))),
                        Err(error) => warn!("metrics: {error}"),
                    }
                }
                let _ = end.wait_for(|end| *end).await;
            });
        };
        thread.spawn(run).map(Some).map_err(failed)
    }
}

fn bind(host: &str, port: u16, config: &Config) -> io::Result<Bound> {
    let addresses = listen::resolve(host, port).map_err(|error| match error {
        Error::Listen { source, .. } => source,
        error => io::Error::other(error),
    })?;
    let (mut bound, mut failure) = (Vec::new(), None);
    for address in addresses {
        match listen::bind_address(address, config) {
            Ok(listener) => bound.push(listener),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(Bound(bound)),
    }
}

/// Looks at the server now and then, for the plots.
async fn remember(site: Arc<Site>) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        site.remember();
    }
}

async fn accept(listener: tokio::net::TcpListener, site: Arc<Site>, places: Arc<Places>) {
    loop {
        match listener.accept().await {
            Ok((_, peer)) if !site.admit(peer.ip()) => {}
            Ok((stream, peer)) => {
                let site = site.clone();
                let serve = |place| async move {
                    // A client that gives up, or takes too long, has nobody to tell.
                    let _ = tokio::time::timeout(LASTS, welcome(stream, peer.ip(), &place, site)).await;
                };
                places.take(peer.ip(), serve).await;
            }
            Err(_) => tokio::time::sleep(OUT_OF_ROOM).await,
        }
    }
}

async fn welcome(stream: TcpStream, peer: IpAddr, place: &Place, site: Arc<Site>) {
    let Some(settings) = site.tls() else { return talk(stream, peer, place, site).await };
    match TlsAcceptor::from(settings).accept(stream).await {
        Ok(stream) => talk(stream, peer, place, site).await,
        Err(_) => site.note_failed_handshake(),
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, peer: IpAddr, place: &Place, site: Arc<Site>) {
    // An answer that could not be written has nobody to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKS)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .max_headers(HEADERS)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request: Request<Incoming>| {
                place.has_asked();
                let site = site.clone();
                async move {
                    Ok::<_, Infallible>(match site.refuse(&request, peer).await {
                        Some(refusal) => refusal,
                        None => site.answer(&request),
                    })
                }
            }),
        )
        .await;
}
