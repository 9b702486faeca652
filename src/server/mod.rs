//! Everything between sockets and sessions: the only part that waits, reads the clock and owns sockets.
//!
//! [`run`] is the whole life of a server process. [`start`] is the part of it that belongs to no process: listeners,
//! workers, store; [`Running::serve`] lives until it is told to stop, and drains.

mod accept;
mod clock;
mod connection;
mod daemon;
mod desk;
mod error;
mod files;
mod limit;
mod listen;
mod maintenance;
mod privileges;
mod reload;
mod restart;
mod restart_record;
mod signals;
mod socket;
mod tls;
mod tls_stream;
mod worker;

pub use error::Error;

use crate::command::auth::Users;
use crate::command::{Address, Engine};
use crate::config::{Config, Port, Sources};
use accept::{Accepted, Acceptor};
use clock::Clock;
use limit::Limit;
use listen::Listener;
use parking_lot::Mutex;
use reload::Reload;
use restart::MemoryFile;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tls::Tls;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use worker::{Inbox, Order, Outset};

/// How long connections have, when the server is told to stop, to be sent what they are owed.
const GRACE: Duration = Duration::from_secs(5);

/// Serves as a process does, until a signal or `shutdown` ends it. At SIGHUP the files of `sources` are read again.
pub fn run(config: Config, sources: Sources) -> Result<(), Error> {
    if config.daemon && !daemon::is_child() {
        return daemon::launch();
    }
    let pidfile = config.pidfile.clone();
    let (in_background, verbose, coredumps) = (config.daemon, config.verbosity > 0, config.coredumps);
    let asked = config.clone();
    let running = start(config)?;
    let mut signals = signals::Signals::install(&running)?;
    files::write_ports(running.addresses());
    let _pidfile = pidfile.and_then(|path| files::PidFile::write(&path));
    if in_background {
        daemon::settle(verbose, coredumps)?;
    } else {
        announce(&running);
    }
    let mut reload = Reload::new(sources, asked, running.server.clone());
    running.serve(async || signals.stop(|| reload.run()).await)
}

/// Whether `config` could be served, as far as can be told without taking anything: the files it needs are read.
pub fn check(config: &Config) -> Result<(), Error> {
    if let Some(settings) = &config.tls {
        Tls::read(settings)?.check(config.listen.iter().map(|listen| listen.tls))?;
    }
    if config.tcp_port == Port::Off && config.unix_socket.is_none() {
        return Err(Error::NothingToListenOn);
    }
    privileges::user(config)?;
    config.auth_file.as_deref().map(read_users).transpose()?;
    Ok(())
}

/// Binds the listeners and starts the workers: from then on clients are served.
pub fn start(mut config: Config) -> Result<Running, Error> {
    // Before root is given up: files may be root's alone.
    let tls = config.tls.as_ref().map(Tls::read).transpose()?;
    let users = config.auth_file.as_deref().map(read_users).transpose()?;
    let rules = config.rules.clone();
    privileges::raise_limits(&mut config)?;
    let mut listeners = listen::bind_tcp(&config)?;
    privileges::lock_memory(&config);
    privileges::drop_root(&config)?;
    listeners.extend(listen::bind_unix(&config)?);
    if listeners.is_empty() {
        return Err(Error::NothingToListenOn);
    }
    if config.udp_port != 0 {
        log(format_args!("UDP port {} is not served: this server speaks TCP only", config.udp_port));
    }
    if let Some(tls) = &tls {
        tls.check(listeners.iter().map(|listener| listener.tls))?;
    }
    let running = Running::new(config, listeners, tls)?;
    // Nobody is let in before `serve`.
    running.engine().set_users(users);
    running.engine().set_rules(rules);
    if let Some(file) = &running.memory_file {
        file.load(&running.engine().store, running.server.clock.now())?;
    }
    Ok(running)
}

fn read_users(path: &Path) -> Result<Users, Error> {
    Users::read(path).map_err(|source| Error::AuthFile { path: path.display().to_string(), source })
}

/// A server whose listeners are bound and whose workers wait for connections.
pub struct Running {
    server: Arc<Server>,
    addresses: Vec<Arc<Address>>,
    runtime: Runtime,
    accepting: JoinSet<()>,
    stop_accepting: watch::Sender<bool>,
    end: watch::Sender<bool>,
    stops: mpsc::Receiver<Stop>,
    threads: Vec<JoinHandle<()>>,
    memory_file: Option<MemoryFile>,
}

/// What the threads of a server share.
pub(crate) struct Server {
    engine: Arc<Engine>,
    clock: Clock,
    limit: Limit,
    workers: Vec<Inbox>,
    /// The worker that gets the next connection.
    next_worker: AtomicUsize,
    tls: Option<Tls>,
    stop: mpsc::Sender<Stop>,
    failure: Mutex<Option<Error>>,
}

/// Why the server is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A client's `shutdown`.
    Command,
    /// A thread could not go on.
    Failure,
}

impl Running {
    fn new(config: Config, listeners: Vec<Listener>, tls: Option<Tls>) -> Result<Running, Error> {
        let threads = config.threads.clamp(1, usize::from(u16::MAX));
        let mut inboxes = Vec::with_capacity(threads);
        let mut outsets = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (inbox, outset) = Inbox::new()?;
            inboxes.push(inbox);
            outsets.push(outset);
        }
        let memory_file = MemoryFile::of(&config);
        let (stop, stops) = mpsc::channel(4);
        let server = Arc::new(Server {
            clock: Clock::new(),
            limit: Limit::new(config.conn_limit),
            engine: Arc::new(Engine::new(Arc::new(config))),
            workers: inboxes,
            next_worker: AtomicUsize::new(0),
            tls,
            stop,
            failure: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::system("wait for connections", source))?;
        let mut running = Running {
            addresses: listeners.iter().map(|listener| listener.address.clone()).collect(),
            accepting: JoinSet::new(),
            stop_accepting: watch::Sender::new(false),
            end: watch::Sender::new(false),
            stops,
            threads: Vec::new(),
            memory_file,
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

    /// What its workers share.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.server.engine
    }

    /// Serves until `stop` (or a client's `shutdown`) says so, then answers what has been received and closes, within a
    /// time of grace. A second call of `stop` that ends meanwhile makes it close at once.
    pub fn serve(mut self, mut stop: impl AsyncFnMut()) -> Result<(), Error> {
        let Running { server, runtime, accepting, stop_accepting, stops, memory_file, .. } = &mut self;
        let saved = runtime.block_on(async {
            tokio::select! {
                () = stop() => {}
                _ = stops.recv() => {}
            }
            stop_accepting.send_replace(true);
            while accepting.join_next().await.is_some() {}
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
        for (index, outset) in outsets.into_iter().enumerate() {
            self.threads.push(worker::start(self.server.clone(), index as u16, outset)?);
        }
        self.threads.push(maintenance::start(self.server.clone(), self.end.subscribe())?);
        Ok(())
    }

    fn let_clients_refresh_certificates(&self) {
        if self.server.tls.is_some() {
            self.server.note_certificates();
            // Weak, because the engine belongs to the server.
            let server = Arc::downgrade(&self.server);
            let refresh = move || match server.upgrade().map(|server| server.refresh_certificates()) {
                Some(Err(error)) => Err(format!("SERVER_ERROR {error}")),
                _ => Ok(()),
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
async fn save(server: Arc<Server>, file: MemoryFile, stop: impl Future<Output = ()>) -> Result<(), Error> {
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
            log(format_args!("-e: stopped before the items were written: the next start is without them"));
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        Err(panicked) => Err(Error::system("write the items", io::Error::other(panicked))),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.send_replace(true);
        self.accepting.abort_all();
        self.runtime.block_on(async { while self.accepting.join_next().await.is_some() {} });
        self.server.order_all(|| Order::End);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Server {
    /// Gives a connection to the next worker.
    fn hand_over(&self, accepted: Accepted) {
        let next = self.next_worker.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        self.workers[next].order(Order::Serve(accepted));
    }

    fn order_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.order(order());
        }
    }

    /// Reads again the files that may change while the server runs. One that cannot be read changes nothing.
    fn reload(&self) {
        match self.engine.config.auth_file.as_deref().map(read_users) {
            Some(Ok(users)) => self.engine.set_users(Some(users)),
            Some(Err(error)) => log(format_args!("{error}; the users stay as they were")),
            None => {}
        }
        if let Err(error) = self.refresh_certificates() {
            log(format_args!("{error}; the certificates stay as they were"));
        }
    }

    fn refresh_certificates(&self) -> Result<(), Error> {
        if let Some(tls) = &self.tls {
            tls.read_again()?;
            self.note_certificates();
        }
        Ok(())
    }

    fn note_certificates(&self) {
        self.engine.tls.refreshed.store(self.clock.now().seconds(), Ordering::Relaxed);
    }

    /// A client has asked the server to stop.
    fn stop_by_command(&self, _graceful: bool) {
        let _ = self.stop.try_send(Stop::Command);
    }

    /// A thread cannot go on: the server stops and reports the first such error.
    fn fail(&self, error: Error) {
        self.failure.lock().get_or_insert(error);
        let _ = self.stop.try_send(Stop::Failure);
    }
}

/// One line for the operator, on stderr. A stderr that is gone stops nobody.
fn log(line: Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One line on stdout: where it serves, and how to try it.
fn announce(running: &Running) {
    let addresses: Vec<_> = running.addresses().iter().map(|address| plain(address)).collect();
    let attempt = match &**running.addresses.first().expect("a server without listeners does not start") {
        Address::Tcp(address) if address.ip().is_unspecified() => {
            format!("nc -q1 127.0.0.1 {}", address.port())
        }
        Address::Tcp(address) => format!("nc -q1 {} {}", address.ip(), address.port()),
        Address::Unix(path) => format!("nc -q1 -U {path}"),
    };
    let memory = running.engine().config.memory_limit >> 20;
    let mut stdout = std::io::stdout();
    let _ = writeln!(
        stdout,
        "memcarp serves on {} ({memory} MiB). Try: printf 'version\\r\\n' | {attempt}",
        addresses.join(", "),
    );
    let _ = stdout.flush();
}

fn plain(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.to_string(),
    }
}
