//! A configuration while it is being read: what each option says.

mod named_files;
mod settle;

pub use named_files::NamedFiles;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::error::{Error, FAILURE, USAGE, Warning};
use super::value::Value;
use super::{Config, Eviction, LogFormat, Networks, Port, Protocol, Tls, Transport, listen};

/// What was written so far, over the defaults.
#[derive(Debug, Default)]
pub struct Draft {
    /// What options settled at once.
    pub config: Config,
    /// Said on standard error, without hindering the start.
    pub warnings: Vec<Warning>,
    /// `-Z`.
    pub tls: bool,
    /// `-o ssl_*`.
    pub ssl: Ssl,
    /// `--metrics-ssl-*`.
    pub metrics_ssl: Ssl,
    udp_port: Option<Port>,
    /// Options that add to what was written before in the source being read now.
    grow: BTreeSet<&'static str>,
    /// How many sources have been read: files, environment and command line, in this order.
    source: usize,
    /// The last source that set each option.
    sources: BTreeMap<&'static str, usize>,
    /// Where what is being read stands; nowhere on the command line.
    place: Option<Place>,
    /// Where the options stand that were not settled on the command line.
    places: BTreeMap<&'static str, Place>,
    /// Where each of `config.listen` stands.
    listen_places: Vec<Option<Place>>,
}

/// Where an option was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    text: String,
    names: Names,
}

/// How options are called where they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Letters,
    Long,
    Keys,
}

impl Place {
    /// Among options written as on the command line.
    pub fn by_letter(text: &str) -> Place {
        Place { text: text.to_owned(), names: Names::Letters }
    }

    /// Among options written by their long names.
    pub fn by_name(text: &str) -> Place {
        Place { text: text.to_owned(), names: Names::Long }
    }

    /// In a table, by keys of its own.
    pub fn in_table(text: &str) -> Place {
        Place { text: text.to_owned(), names: Names::Keys }
    }
}

/// `-o ssl_*` as written, used only under `-Z`; or `--metrics-ssl-*`, which say fewer of them.
#[derive(Debug)]
pub struct Ssl {
    /// `ssl_chain_cert`.
    pub chain_cert: Option<PathBuf>,
    /// `ssl_key`; without it the key is looked for in the chain's file.
    pub key: Option<PathBuf>,
    /// `ssl_ca_cert`.
    pub ca_cert: Option<PathBuf>,
    /// `--ssl-allowed-names`.
    pub allowed_names: Vec<ServerName<'static>>,
    /// `ssl_verify_mode`.
    pub verify_mode: u8,
    /// `ssl_keyformat`.
    pub keyformat: u8,
    /// `ssl_ciphers`.
    pub ciphers: Option<String>,
    /// `ssl_min_version`.
    pub min_version: u8,
    /// `ssl_session_cache`.
    pub session_cache: bool,
    /// `ssl_kernel_tls`.
    pub kernel_tls: bool,
    /// `ssl_wbuf_size`, in bytes.
    pub wbuf_size: usize,
}

impl Default for Ssl {
    fn default() -> Ssl {
        Ssl {
            chain_cert: None,
            key: None,
            ca_cert: None,
            allowed_names: Vec::new(),
            verify_mode: 0,
            keyformat: 1,
            ciphers: None,
            min_version: 2,
            session_cache: false,
            kernel_tls: false,
            wbuf_size: 16 << 10,
        }
    }
}

impl Ssl {
    fn with(self, chain_cert: PathBuf) -> Tls {
        Tls {
            key: self.key.unwrap_or_else(|| chain_cert.clone()),
            chain_cert,
            ca_cert: self.ca_cert,
            allowed_names: self.allowed_names,
            verify_mode: self.verify_mode,
            keyformat: self.keyformat,
            ciphers: self.ciphers,
            min_version: self.min_version,
            session_cache: self.session_cache,
            kernel_tls: self.kernel_tls,
            wbuf_size: self.wbuf_size,
        }
    }
}

/// Puts a value that could be read in its place.
pub fn set<T>(place: &mut T, value: Result<T, Error>) -> Result<(), Error> {
    *place = value?;
    Ok(())
}

/// The options that say more than one plain value.
impl Draft {
    /// What follows was written in another place (a file, then the command line), which wins over what was read.
    pub fn next_source(&mut self) {
        self.grow.clear();
        self.source += 1;
        self.place = None;
    }

    /// Says where what follows stands.
    pub fn stand(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// An option is set, here.
    pub fn settled(&mut self, long: &'static str) {
        self.sources.insert(long, self.source);
        match &self.place {
            Some(place) => self.places.insert(long, place.clone()),
            None => self.places.remove(long),
        };
    }

    /// Says of what is being read that it can be served, and is probably not what was meant.
    pub fn doubt(&mut self, what: impl fmt::Display) {
        self.warnings.push(Warning::Mistake(match &self.place {
            Some(place) => format!("{}: {what}", place.text),
            None => what.to_string(),
        }));
    }

    /// Says something that may well be meant.
    pub fn advise(&mut self, what: impl Into<String>) {
        self.warnings.push(Warning::Advice(what.into()));
    }

    /// `-p`.
    pub fn tcp_port(&mut self, value: Value<'_>) -> Result<(), Error> {
        let write = "write a port from 1 to 65535, 0 for no TCP, or -1 for one the system chooses";
        set(&mut self.config.tcp_port, port(value, write))
    }

    /// `-U`.
    pub fn udp_port(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.udp_port = Some(port(value, "write -U 0, or leave it out: UDP is not served")?);
        Ok(())
    }

    /// `-l`.
    pub fn listen(&mut self, value: Value<'_>) -> Result<(), Error> {
        let listeners = listen::read(&value.text())?;
        if self.grow.insert("listen") {
            self.config.listen.clear();
            self.listen_places.clear();
        }
        self.config.listen.extend(listeners);
        self.listen_places.resize(self.config.listen.len(), self.place.clone());
        Ok(())
    }

    /// `--allow`.
    pub fn allow(&mut self, value: Value<'_>) -> Result<(), Error> {
        let networks = Networks::read(&value.text(), ',')?;
        if self.grow.insert("allow") {
            self.config.allow = Networks::default();
        }
        self.config.allow.extend(networks);
        Ok(())
    }

    /// `--metrics-allow`.
    pub fn metrics_allow(&mut self, value: Value<'_>) -> Result<(), Error> {
        let networks = Networks::read(&value.text(), ',')?;
        if self.grow.insert("metrics-allow") {
            self.config.metrics_allow = Networks::default();
        }
        self.config.metrics_allow.extend(networks);
        Ok(())
    }

    /// `--ssl-allowed-names`.
    pub fn ssl_allowed_names(&mut self, value: Value<'_>) -> Result<(), Error> {
        let text = value.text();
        let written = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = written.map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| {
                let message = format!("{name} is no name; write a DNS name without wildcards, or an address");
                Error::new(USAGE, message)
            })
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Err(Error::new(USAGE, "no name; write web.example.com for example"));
        }
        if self.grow.insert("ssl-allowed-names") {
            self.ssl.allowed_names.clear();
        }
        self.ssl.allowed_names.extend(names);
        Ok(())
    }

    /// `-v`, or `--verbose=2`.
    pub fn verbose(&mut self, value: Value<'_>) -> Result<(), Error> {
        if !value.raw().is_empty() {
            return set(&mut self.config.verbosity, value.number(0..=3, USAGE));
        }
        let so_far = if self.grow.insert("verbose") { 0 } else { self.config.verbosity };
        self.config.verbosity = so_far.saturating_add(1).min(3);
        Ok(())
    }

    /// `--eviction`.
    pub fn eviction(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.config.eviction = match value.bytes() {
            b"ranked" => Eviction::Ranked,
            b"queues" => Eviction::Queues,
            b"clock" => Eviction::Clock,
            _ => return Err(Error::new(USAGE, "write --eviction ranked, queues or clock")),
        };
        Ok(())
    }

    /// `--log-format`.
    pub fn log_format(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.config.log_format = match value.bytes() {
            b"text" => LogFormat::Text,
            b"json" => LogFormat::Json,
            _ => return Err(Error::new(USAGE, "write --log-format text or --log-format json")),
        };
        Ok(())
    }

    /// `-t`.
    pub fn threads(&mut self, value: Value<'_>) -> Result<(), Error> {
        let threads = value.number(1..=1024, FAILURE)?;
        if threads > 64 {
            self.advise(format!("{threads} threads are many; as many as there are processors serve best"));
        }
        self.config.threads = threads;
        Ok(())
    }

    /// `-b`. Below zero is the most, as listen(2) takes it.
    pub fn backlog(&mut self, value: Value<'_>) -> Result<(), Error> {
        let backlog: Result<i64, Error> = value.number(i64::MIN..=i64::MAX, USAGE);
        let most = i32::MAX as u32;
        set(&mut self.config.backlog, backlog.map(|backlog| u32::try_from(backlog).unwrap_or(most).min(most)))
    }

    /// `-B`.
    pub fn protocol(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.config.protocol = match value.bytes() {
            b"auto" => Protocol::Auto,
            b"ascii" => Protocol::Ascii,
            b"binary" => {
                let message =
                    "memcarp speaks only the text protocol; leave -B out, and have clients use that";
                return Err(Error::new(USAGE, message));
            }
            _ => return Err(Error::new(USAGE, "write -B auto or -B ascii")),
        };
        Ok(())
    }

    /// `--transport`.
    pub fn transport(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.config.transport = match value.bytes() {
            b"auto" => Transport::Auto,
            b"epoll" => Transport::Epoll,
            b"io_uring" => Transport::IoUring,
            _ => return Err(Error::new(USAGE, "write auto, epoll or io_uring")),
        };
        Ok(())
    }

    /// `-D`, the only value whose blanks count.
    pub fn prefix_delimiter(&mut self, value: Value<'_>) -> Result<(), Error> {
        let first = value.raw().first().copied();
        self.config.prefix_delimiter = first
            .ok_or_else(|| Error::new(FAILURE, "write the character that ends a prefix, -D : for example"))?;
        self.config.detail = true;
        Ok(())
    }

    /// `-I`.
    pub fn item_max(&mut self, value: Value<'_>) -> Result<(), Error> {
        match value.size() {
            Some(size @ 0x400..=0x4000_0000) => self.config.item_max = size as usize,
            _ => return Err(Error::new(USAGE, "write a size from 1k to 1g, -I 4m for example")),
        }
        Ok(())
    }

    /// `-S`.
    pub fn sasl(&mut self) -> Result<(), Error> {
        Err(Error::new(USAGE, "memcarp has no SASL; write -Y FILE to ask for users and passwords"))
    }
}

fn port(value: Value<'_>, write: &str) -> Result<Port, Error> {
    match value.number::<i32>(-1..=65535, USAGE) {
        Ok(-1) => Ok(Port::Ephemeral),
        Ok(0) => Ok(Port::Off),
        Ok(port) => u16::try_from(port).map(Port::Fixed).map_err(|_| Error::new(USAGE, write)),
        Err(_) => Err(Error::new(USAGE, write)),
    }
}
