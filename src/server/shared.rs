//! What the threads of a server share, and how they reach each other. Owns no thread and no socket.

use super::accept::Accepted;
use super::clock::Clock;
use super::error::Error;
use super::limit::Limit;
use super::tls::Tls;
use super::worker::{Inbox, Order};
use super::{METRICS_AUTH_FILE, log, read_users};
use crate::command::Engine;
use crate::command::auth::Users;
use crate::config::{Config, Networks, file};
use parking_lot::{Mutex, RwLock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tracing::warn;

/// What the threads of a server share.
pub(super) struct Server {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Clock,
    pub(super) limit: Limit,
    /// Who may connect through a TCP listener that does not say so itself.
    pub(super) allow: RwLock<Networks>,
    /// Who may ask for metrics.
    pub(super) metrics_allow: RwLock<Networks>,
    pub(super) workers: Vec<Inbox>,
    /// The worker that gets the next connection.
    next_worker: AtomicUsize,
    pub(super) tls: Option<Tls>,
    /// TLS for metrics.
    pub(super) metrics_tls: Option<Tls>,
    /// Who may ask for metrics, if not everybody.
    pub(super) metrics_users: RwLock<Option<Arc<Users>>>,
    /// Told when a client or a failure ends the server.
    pub(super) stop: Notify,
    pub(super) failure: Mutex<Option<Error>>,
    /// Workers that have answered the last roll call.
    present: AtomicUsize,
}

/// What is read from files that may be root's alone.
pub(super) struct Secrets {
    pub(super) users: Option<Users>,
    pub(super) tls: Option<Tls>,
    pub(super) metrics_users: Option<Users>,
    pub(super) metrics_tls: Option<Tls>,
}

impl Secrets {
    pub(super) fn read(config: &Config) -> Result<Secrets, Error> {
        let users =
            |option, path: &Option<PathBuf>| path.as_deref().map(|path| read_users(option, path)).transpose();
        Ok(Secrets {
            tls: config.tls.as_ref().map(Tls::read).transpose()?,
            metrics_tls: config.metrics_tls.as_ref().map(Tls::read).transpose()?,
            users: users("-Y", &config.auth_file)?,
            metrics_users: users(METRICS_AUTH_FILE, &config.metrics_auth_file)?,
        })
    }
}

impl Server {
    /// A server whose workers have not started.
    pub(super) fn new(config: Config, secrets: Secrets, workers: Vec<Inbox>) -> Server {
        Server {
            // Before the first call nobody is missing.
            present: AtomicUsize::new(workers.len()),
            clock: Clock::new(),
            limit: Limit::new(config.conn_limit),
            allow: RwLock::new(config.allow.clone()),
            metrics_allow: RwLock::new(config.metrics_allow.clone()),
            engine: Arc::new(Engine::new(Arc::new(config))),
            workers,
            next_worker: AtomicUsize::new(0),
            tls: secrets.tls,
            metrics_tls: secrets.metrics_tls,
            metrics_users: RwLock::new(secrets.metrics_users.map(Arc::new)),
            stop: Notify::new(),
            failure: Mutex::default(),
        }
    }

    /// Gives a connection to the next worker.
    pub(super) fn hand_over(&self, accepted: Accepted) {
        let next = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        self.workers[next].order(Order::Serve(accepted));
    }

    pub(super) fn order_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.order(order());
        }
    }

    /// Lets every worker look for connections that are to be ended.
    pub(super) fn wake_workers(&self) {
        self.workers.iter().for_each(Inbox::wake);
    }

    /// Whether every worker has answered the last roll call. If so they are called again.
    pub(super) fn roll_call(&self) -> bool {
        let all = self.present.load(Ordering::Relaxed) >= self.workers.len();
        if all {
            self.present.store(0, Ordering::Relaxed);
            self.order_all(|| Order::Answer);
        }
        all
    }

    /// A worker's answer.
    pub(super) fn answer_roll_call(&self) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads again the files that may change while the server runs, and says so. One that cannot be read changes nothing.
    pub(super) fn reload(&self) {
        let config = &self.engine.config;
        if let Some(users) = users_again("-Y", config.auth_file.as_deref()) {
            self.engine.set_users(Some(users));
        }
        if let Some(users) = users_again(METRICS_AUTH_FILE, config.metrics_auth_file.as_deref()) {
            *self.metrics_users.write() = Some(Arc::new(users));
        }
        if self.tls.is_some() || self.metrics_tls.is_some() {
            match self.refresh_certificates() {
                Ok(()) => log(format_args!("certificates read again")),
                Err(error) => warn!("{error}; the certificates stay as they were"),
            }
        }
    }

    pub(super) fn refresh_certificates(&self) -> Result<(), Error> {
        for tls in self.tls.iter().chain(&self.metrics_tls) {
            tls.read_again()?;
        }
        self.note_certificates();
        Ok(())
    }

    pub(super) fn note_certificates(&self) {
        self.engine.tls.refreshed.store(self.clock.now().seconds(), Ordering::Relaxed);
    }

    /// A client has asked the server to stop.
    pub(super) fn stop_by_command(&self) {
        self.stop.notify_one();
    }

    /// A thread cannot go on: the server stops and reports the first such error.
    pub(super) fn fail(&self, error: Error) {
        self.failure.lock().get_or_insert(error);
        self.stop.notify_one();
    }
}

/// The users of a file, if there is one and it can be read; says which of these it was.
fn users_again(option: &'static str, path: Option<&Path>) -> Option<Users> {
    let path = path?;
    match read_users_again(option, path) {
        Ok(users) => {
            let count = users.count();
            let noun = if count == 1 { "user" } else { "users" };
            log(format_args!("{option} {} read again: {count} {noun}", path.display()));
            Some(users)
        }
        Err(error) => {
            warn!("{error}; the users stay as they were");
            None
        }
    }
}

fn read_users_again(option: &'static str, path: &Path) -> Result<Users, Error> {
    file::may_be_read_again(path).map_err(|error| Error::auth_file(option, path, error))?;
    read_users(option, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_missed() {
        let (inboxes, _outsets): (Vec<_>, Vec<_>) = (0..2).map(|_| Inbox::new().unwrap()).unzip();
        let secrets = Secrets { users: None, tls: None, metrics_users: None, metrics_tls: None };
        let server = Server::new(Config::default(), secrets, inboxes);
        assert!(server.roll_call());
        assert!(!server.roll_call());
        server.answer_roll_call();
        assert!(!server.roll_call());
        server.answer_roll_call();
        assert!(server.roll_call());
    }
}
