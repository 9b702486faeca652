//! What HTTP requests are answered: metrics, the status page, probes. Knows no connection.

use crate::command::auth::{self, Check, Verdict};
use crate::config::ListenTls;
use crate::metrics;
use crate::metrics::exposition::CONTENT_TYPE;
use crate::metrics::process::Process;
use crate::server::shared::Server;
use crate::status::Status;
use crate::status::history::{History, Sample};
use crate::store::Now;
use ahash::RandomState;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE as TYPE, HOST, HeaderValue,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use rustls::ServerConfig;
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

    /// What a connection is to speak; `None` is no TLS.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.server.metrics_tls.as_ref()?.settings(ListenTls::Inherit)
    }

    /// A client did not come to terms about TLS.
    pub(super) fn note_failed_handshake(&self) {
        self.server.engine.tls.handshake_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer to who may not ask: a user and password are wanted, and not there or wrong. Probes need none, as they
    /// are told nothing.
    pub(super) async fn refuse<B>(&self, request: &Request<B>, peer: IpAddr) -> Option<Answer> {
        let mut users = self.server.metrics_users.read().clone()?;
        if PROBES.contains(&request.uri().path()) {
            return None;
        }
        let Some((user, password)) = credentials(request) else { return Some(unauthorized()) };
        let (engine, now) = (&self.server.engine, self.server.clock.now());
        let failed = || engine.note_failed_login(format_args!("{peer}, asking for metrics,"), now);
        if !engine.attempts.may_try(peer, now) {
            failed();
            return Some(plain(
                StatusCode::TOO_MANY_REQUESTS,
                "too many wrong passwords from this address\n",
            ));
        }
        loop {
            let verdict = match users.ask(&user, &password) {
                auth::Answer::Yes => return None,
                auth::Answer::No => {
                    engine.attempts.failed(peer, now);
                    failed();
                    return Some(unauthorized());
                }
                auth::Answer::Unclear(check) => self.verdict(check, peer, now).await,
            };
            // It is that of the users who were asked, which others may have taken the place of: these are asked again.
            let asked = std::mem::replace(&mut users, self.server.metrics_users.read().clone()?);
            if Arc::ptr_eq(&asked, &users) {
                return match verdict {
                    Verdict::Accepted => None,
                    Verdict::Refused => {
                        failed();
                        Some(unauthorized())
                    }
                    Verdict::Displaced => {
                        Some(plain(StatusCode::SERVICE_UNAVAILABLE, "too many clients are logging in\n"))
                    }
                };
            }
        }
    }

    async fn verdict(&self, check: Check, peer: IpAddr, now: Now) -> Verdict {
        let (sender, told) = tokio::sync::oneshot::channel();
        // Nobody is left to tell if the client has gone.
        let wake = move || {
            let _ = sender.send(());
        };
        match self.server.engine.verify(check, Some(peer), now, wake) {
            None => Verdict::Displaced,
            Some(check) => {
                let _ = told.await;
                check.verdict().unwrap_or(Verdict::Displaced)
            }
        }
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

/// Paths of probes.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// User and password of basic authentication, if the request has any.
fn credentials<B>(request: &Request<B>) -> Option<(Vec<u8>, Vec<u8>)> {
    let header = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = base64_simd::STANDARD.decode_to_vec(encoded.trim_ascii()).ok()?;
    let colon = user.iter().position(|&byte| byte == b':')?;
    let password = user.split_off(colon + 1);
    user.pop();
    Some((user, password))
}

fn unauthorized() -> Answer {
    let mut response = plain(StatusCode::UNAUTHORIZED, "a user and a password are wanted\n");
    let challenge = HeaderValue::from_static("Basic realm=\"memcarp\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
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
