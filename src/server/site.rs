//! What HTTP requests are answered: metrics, the status page, probes. Knows no connection.

use super::shared::Server;
use crate::metrics;
use crate::metrics::exposition::CONTENT_TYPE;
use crate::metrics::process::Process;
use crate::status::Status;
use crate::status::history::{History, Sample};
use ahash::RandomState;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE as TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What requests are answered from.
pub(super) struct Site {
    server: Arc<Server>,
    history: Mutex<History>,
    /// Makes names that nobody can guess, of numbers that are never used twice.
    names: RandomState,
    next: AtomicU64,
}

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// What workers are called by the system, before their number.
const WORKER: &str = "worker ";

impl Site {
    /// Of a server, without history yet.
    pub(super) fn new(server: Arc<Server>) -> Site {
        Site { server, history: Mutex::default(), names: RandomState::new(), next: AtomicU64::new(0) }
    }

    /// Whether this address may ask.
    pub(super) fn admit(&self, address: IpAddr) -> bool {
        let admitted = self.server.metrics_allow.read().admit(address);
        if !admitted {
            self.server.engine.connections.not_allowed.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Looks at the server, for the plots.
    pub(super) fn remember(&self) {
        let sample = Sample::now(&self.server.engine, &Process::now(WORKER), self.server.clock.now());
        self.history.lock().add(sample);
    }

    /// The answer to a request. A body that came with it is not read.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => self.status(request),
            "/metrics" => {
                let (engine, now) = (&self.server.engine, self.server.clock.now());
                let text = metrics::render(engine, &Process::now(WORKER), now);
                respond(StatusCode::OK, CONTENT_TYPE, NOTHING, text)
            }
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match self.server.engine.connections.accepting.load(Ordering::Relaxed) {
                0 => plain(StatusCode::SERVICE_UNAVAILABLE, "not accepting connections\n"),
                _ => plain(StatusCode::OK, "ok\n"),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /healthz and /readyz\n"),
        }
    }

    /// The page for people.
    fn status<B>(&self, request: &Request<B>) -> Answer {
        let engine = &self.server.engine;
        let nonce = format!("{:016x}", self.names.hash_one(self.next.fetch_add(1, Ordering::Relaxed)));
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let page = Status {
            engine,
            process: &Process::now(WORKER),
            history: &self.history.lock(),
            shows_keys: engine.config.dump && !engine.requires_users() && is_ours(host),
            nonce: &nonce,
            now: self.server.clock.now(),
        };
        // Nothing from elsewhere is loaded, and no other page may show this one.
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
             img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        );
        respond(StatusCode::OK, "text/html; charset=utf-8", &policy, page.page())
    }
}

/// The policy of what is no page.
const NOTHING: &str = "default-src 'none'";

/// Whether a request meant this server by address or by a plain name. A page from elsewhere can make a browser ask
/// here under its own domain, and would read the answer.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    !name.contains('.') || bare.parse::<IpAddr>().is_ok()
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    respond(status, "text/plain; charset=utf-8", NOTHING, text)
}

fn respond(status: StatusCode, content_type: &'static str, policy: &str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn keys_are_for_those_who_know_the_address() {
        for ours in ["127.0.0.1:9150", "127.0.0.1", "[::1]:9150", "[::1]", "localhost:9150", "cache-0", ""] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["evil.example:9150", "a.b", "127.0.0.1.evil.example:80", "127.0.0.1.:9150"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
