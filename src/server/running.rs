//! A server as a whole: its threads, from their start to the end of their work. Knows no process around it.

use super::accept::Acceptor;
use super::error::Error;
use super::listen::Listener;
use super::restart::Held;
use super::shared::{Secrets, Server};
use super::transport::Transport;
use super::verifier::Verifier;
use super::worker::{self, Inbox, Order, Outset};
use super::{http, maintenance, tls};
use crate::command::{Address, Engine};
use crate::config::Config;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// How long connections have, when the server is told to stop, to be sent what they are owed.
const GRACE: Duration = Duration::from_secs(5);

/// A server whose listeners are bound and whose workers wait for connections.
pub struct Running {
    pub(super) server: Arc<Server>,
    addresses: Vec<Arc<Address>>,
    metrics_addresses: Vec<SocketAddr>,
    pub(super) runtime: Runtime,
    accepting: JoinSet<()>,
    stop_accepting: watch::Sender<bool>,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    verifier: Arc<Verifier>,
    pub(super) memory_file: Option<Held>,
}

impl Running {
    pub(super) fn new(config: Config, listeners: Vec<Listener>, secrets: Secrets) -> Result<Running, Error> {
        let threads = config.threads.clamp(1, usize::from(u16::MAX));
        let mut inboxes = Vec::with_capacity(threads);
        let mut outsets = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (inbox, outset) = Inbox::new()?;
            inboxes.push(inbox);
            outsets.push(outset);
        }
        let server = Arc::new(Server::new(config, secrets, inboxes));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::system("wait for connections", source))?;
        let mut running = Running {
            addresses: listeners.iter().map(|listener| listener.address.clone()).collect(),
            metrics_addresses: Vec::new(),
            accepting: JoinSet::new(),
            stop_accepting: watch::Sender::new(false),
            end: watch::Sender::new(false),
            threads: Vec::new(),
            verifier: Arc::default(),
            memory_file: None,
            runtime,
            server,
        };
        running.let_clients_refresh_certificates();
        running.start_threads(outsets)?;
        running.start_accepting(listeners)?;
        Ok(running)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[Arc<Address>] {
        &self.addresses
    }

    /// Where metrics are served.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }

    /// What its workers share.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.server.engine
    }

    /// Serves until `stop` (or a client's `shutdown`) says so, then answers what has been received and closes, within a
    /// time of grace, of which `stopping` is told first. A second call of `stop` that ends meanwhile makes it close at once.
    pub fn serve(mut self, mut stop: impl AsyncFnMut(), stopping: impl FnOnce()) -> Result<(), Error> {
        let Running { server, runtime, accepting, stop_accepting, memory_file, .. } = &mut self;
        let saved = runtime.block_on(async {
            tokio::select! {
                () = stop() => {}
                () = server.stop.notified() => {}
            }
            stopping();
            stop_accepting.send_replace(true);
            while accepting.join_next().await.is_some() {}
            server.engine.connections.accepting.store(0, Ordering::Relaxed);
            server.order_all(|| Order::Drain);
            tokio::select! {
                _ = server.limit.all_free(GRACE) => {}
                () = stop() => return Ok(()),
            }
            let Some(file) = memory_file.take() else { return Ok(()) };
            // What is answered from now on would not be in the file.
            server.order_all(|| Order::End);
            server.limit.all_free(GRACE).await;
            save(server.clone(), file, stop()).await
        });
        let failure = self.server.failure.lock().take();
        failure.map_or(saved, Err)
    }

    fn start_threads(&mut self, outsets: Vec<Outset>) -> Result<(), Error> {
        let uring = Transport::uses_uring(self.server.engine.config.transport);
        self.server.engine.rings.store(if uring { outsets.len() } else { 0 }, Ordering::Relaxed);
        for (index, outset) in outsets.into_iter().enumerate() {
            self.threads.push(worker::start(self.server.clone(), index as u16, outset, uring)?);
        }
        let config = &self.server.engine.config;
        if config.auth_file.is_some() || config.metrics_auth_file.is_some() {
            self.threads.push(self.verifier.start()?);
            let verifier = self.verifier.clone();
            self.server
                .engine
                .on_verify(Box::new(move |check, asker, done| verifier.push(check, asker, done)));
        }
        self.threads.push(maintenance::start(self.server.clone(), self.end.subscribe())?);
        Ok(())
    }

    /// Serves metrics from now on.
    pub(super) fn serve_metrics(&mut self, bound: http::Bound) -> Result<(), Error> {
        self.metrics_addresses = bound.addresses();
        self.threads.extend(bound.serve(self.server.clone(), self.end.subscribe())?);
        Ok(())
    }

    fn let_clients_refresh_certificates(&self) {
        if self.server.tls.is_some() || self.server.metrics_tls.is_some() {
            self.server.note_certificates();
            self.runtime.spawn(tls::files::watch(self.server.clone()));
            // Weak, because the engine belongs to the server.
            let server = Arc::downgrade(&self.server);
            let refresh = move || {
                let Some(server) = server.upgrade() else { return Ok(()) };
                server.refresh_certificates().map_err(|error| format!("SERVER_ERROR {error}"))?;
                if server.engine.shows_debug() {
                    debug!("certificates read again: a client asked for it");
                }
                Ok(())
            };
            self.server.engine.on_refresh_certificates(Box::new(refresh));
        }
    }

    fn start_accepting(&mut self, listeners: Vec<Listener>) -> Result<(), Error> {
        let _inside = self.runtime.enter();
        let connections = &self.server.engine.connections;
        for listener in listeners {
            connections.add_listener(listener.fd(), listener.address.clone());
            let acceptor = Acceptor::new(listener, self.server.clone())?;
            self.accepting.spawn(acceptor.run(self.stop_accepting.subscribe()));
        }
        connections.accepting.store(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Writes the items on a thread of its own; gives up if `stop` ends first.
async fn save(server: Arc<Server>, file: Held, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let cancel = Arc::new(AtomicBool::new(false));
    let cancelled = cancel.clone();
    let saving =
        tokio::task::spawn_blocking(move || file.save(&server.engine.store, server.clock.now(), &cancelled));
    tokio::pin!(saving);
    let saved = tokio::select! {
        saved = &mut saving => saved,
        () = stop => {
            cancel.store(true, Ordering::Relaxed);
            saving.await
        }
    };
    match saved {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => {
            warn!("-e: stopped before the items were written: the next start is without them");
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        Err(panicked) => Err(Error::system("write the items", io::Error::other(panicked))),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.send_replace(true);
        self.verifier.end();
        self.accepting.abort_all();
        self.runtime.block_on(async { while self.accepting.join_next().await.is_some() {} });
        self.server.order_all(|| Order::End);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
