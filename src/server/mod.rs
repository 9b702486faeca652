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
mod http;
mod limit;
mod listen;
mod logs;
mod maintenance;
mod notify;
mod privileges;
mod reload;
mod restart;
mod ring_socket;
mod running;
mod shared;
mod signals;
mod socket;
mod tls;
mod transport;
mod verifier;
mod worker;

pub use error::Error;
pub use running::Running;

use crate::command::Address;
use crate::command::auth::Users;
use crate::config::{Config, ListenTls, Port, Sources};
use reload::Reload;
use restart::MemoryFile;
use shared::Secrets;
use std::fmt::Arguments;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use tracing::{info, warn};

/// Serves as a process does, until a signal or `shutdown` ends it. At SIGHUP the files of `sources` are read again.
pub fn run(mut config: Config, sources: Sources) -> Result<(), Error> {
    if config.daemon && !daemon::is_child() {
        return daemon::launch();
    }
    let pidfile = config.pidfile.clone();
    let (in_background, verbose, coredumps) = (config.daemon, config.verbosity > 0, config.coredumps);
    let asked = config.clone();
    if in_background {
        daemon::keep_names(&mut config);
    }
    let running = start(config)?;
    let mut signals = signals::Signals::install(&running)?;
    files::write_ports(running.addresses());
    let _pidfile = pidfile.and_then(|path| files::PidFile::write(&path));
    if in_background {
        daemon::settle(verbose, coredumps)?;
    } else {
        announce(&running);
    }
    notify::ready();
    running.runtime.spawn(notify::watchdog(running.server.clone()));
    let mut reload = Reload::new(sources, asked, running.server.clone());
    let mut reload = || {
        notify::reloading();
        reload.run();
        notify::ready();
    };
    running.serve(async || signals.stop(&mut reload).await, notify::stopping)
}

/// Has what is logged from now on written as the configuration says.
pub fn log_as(config: &Config) {
    logs::start(config.log_format);
}

/// Whether `config` could be served, as far as can be told without taking anything: the files it needs are read. This
/// process becomes the user that the server would run as.
pub fn check(config: &Config) -> Result<(), Error> {
    let secrets = Secrets::read(config)?;
    if let Some(tls) = &secrets.tls {
        tls.check(config.listen.iter().map(|listen| listen.tls))?;
    }
    if config.tcp_port == Port::Off && config.unix_socket.is_none() {
        return Err(Error::NothingToListenOn);
    }
    privileges::drop_root(config)?;
    MemoryFile::of(config).map_or(Ok(()), |file| file.check())
}

/// Binds the listeners and starts the workers: from then on clients are served.
pub fn start(mut config: Config) -> Result<Running, Error> {
    // Before root is given up: files may be root's alone.
    let mut secrets = Secrets::read(&config)?;
    let users = secrets.users.take();
    let rules = config.rules.clone();
    privileges::raise_limits(&mut config)?;
    let mut listeners = listen::bind_tcp(&config)?;
    let metrics = http::Bound::bind(&config)?;
    privileges::lock_memory(&config);
    privileges::drop_root(&config)?;
    listeners.extend(listen::bind_unix(&config)?);
    if listeners.is_empty() {
        return Err(Error::NothingToListenOn);
    }
    if config.udp_port != 0 {
        warn!("UDP port {} is not served: this server speaks TCP only", config.udp_port);
    }
    if let Some(tls) = &secrets.tls {
        tls.check(listeners.iter().map(|listener| listener.tls))?;
    }
    let mut running = Running::new(config, listeners, secrets)?;
    // Nobody is let in before `serve`.
    running.engine().set_users(users);
    running.engine().set_rules(rules);
    if let Some(file) = MemoryFile::of(&running.engine().config) {
        running.memory_file = Some(file.load(&running.engine().store, running.server.clock.now())?);
    }
    running.serve_metrics(metrics)?;
    Ok(running)
}

/// The option that names the file of users who may ask for metrics.
const METRICS_AUTH_FILE: &str = "--metrics-auth-file";

fn read_users(option: &'static str, path: &Path) -> Result<Users, Error> {
    Users::read(path).map_err(|error| Error::auth_file(option, path, error))
}

/// One line for the operator: what was done, as asked.
fn log(line: Arguments<'_>) {
    info!("{line}");
}

/// A line or two on stdout: where it serves, and how to try it.
fn announce(running: &Running) {
    let addresses: Vec<_> = running.addresses().iter().map(|address| plain(address)).collect();
    let config = &running.engine().config;
    let memory = config.memory_limit >> 20;
    let attempt = attempt(running).map(|attempt| format!(" Try: {attempt}")).unwrap_or_default();
    let say = |line: Arguments<'_>| logs::announce(config.log_format, line);
    say(format_args!("memcarp serves on {} ({memory} MiB).{attempt}", addresses.join(", ")));
    let scheme = if config.metrics_tls.is_some() { "https" } else { "http" };
    for address in running.metrics_addresses() {
        say(format_args!("Metrics and status: {scheme}://{address}/"));
    }
}

/// A command line that shows whether it serves, unless clients have to show first who they are.
fn attempt(running: &Running) -> Option<String> {
    let config = &running.engine().config;
    // The first listener is of the first entry of -l.
    let tls = config.listen.first().map_or(ListenTls::Inherit, |listen| listen.tls);
    let address = match &**running.addresses().first()? {
        _ if config.auth_file.is_some() => return None,
        Address::Unix(path) => return Some(format!("printf 'version\\r\\n' | nc -q1 -U {path}")),
        Address::Tcp(address) => address,
    };
    let host = match address.ip() {
        any if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        host => host,
    };
    match (&config.tls, tls) {
        (None, _) | (_, ListenTls::Off) => {
            Some(format!("printf 'version\\r\\n' | nc -q1 {host} {}", address.port()))
        }
        (_, ListenTls::Mutual) => None,
        (Some(settings), ListenTls::Inherit) if settings.verify_mode > 1 => None,
        (Some(_), _) => {
            let address = SocketAddr::new(host, address.port());
            Some(format!("printf 'version\\r\\nquit\\r\\n' | openssl s_client -quiet -connect {address}"))
        }
    }
}

fn plain(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.to_string(),
    }
}
