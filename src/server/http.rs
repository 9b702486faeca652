//! Metrics, status page and probes over HTTP: a thread of its own, so that whoever reads slowly stalls no client.
//! Knows no metric's name.

use super::error::Error;
use super::shared::Server;
use super::{listen, log};
use crate::config::{Config, MetricsListen};
use crate::metrics::exposition::CONTENT_TYPE;
use crate::metrics::process::Process;
use crate::metrics::{self};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE as TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

/// Sockets that wait to be served.
pub(super) struct Bound(Vec<(TcpListener, SocketAddr)>);

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long a connection may last, from its first byte to the last of the answer. Each serves one request.
const LASTS: Duration = Duration::from_secs(10);
/// How long a client may take to ask.
const ASKS: Duration = Duration::from_secs(5);
/// Most bytes and lines of a request.
const REQUEST_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// Pause after an accept that failed.
const OUT_OF_ROOM: Duration = Duration::from_millis(50);

/// What workers are called by the system, before their number.
const WORKER: &str = "worker ";

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
                log(format_args!(
                    "no metrics: cannot listen on {host}:{port}: {source}; choose another address with \
                     --metrics-listen HOST:PORT, or off"
                ));
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
                let places = Arc::new(Semaphore::new(CONNECTIONS));
                for (listener, _) in self.0 {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => drop(tokio::spawn(accept(listener, server.clone(), places.clone()))),
                        Err(error) => log(format_args!("metrics: {error}")),
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

async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>, places: Arc<Semaphore>) {
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    // A client that gives up, or takes too long, has nobody to tell.
                    let _ = tokio::time::timeout(LASTS, talk(stream, server)).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(OUT_OF_ROOM).await,
        }
    }
}

async fn talk(stream: TcpStream, server: Arc<Server>) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKS)
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .max_headers(HEADERS)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &server);
                async move { Ok::<_, Infallible>(answer) }
            }),
        )
        .await
}

/// The answer to a request. A body that came with it is not read.
fn answer(method: &Method, path: &str, server: &Server) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let process = Process::now(WORKER);
            respond(
                StatusCode::OK,
                CONTENT_TYPE,
                metrics::render(&server.engine, &process, server.clock.now()),
            )
        }
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => match server.engine.connections.accepting.load(Ordering::Relaxed) {
            0 => plain(StatusCode::SERVICE_UNAVAILABLE, "not accepting connections\n"),
            _ => plain(StatusCode::OK, "ok\n"),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /healthz and /readyz\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    // Nothing from elsewhere is loaded, and no other page may show or ask this one.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
