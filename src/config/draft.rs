//! A configuration while it is being read: what each option says, and the rules between options at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::error::{Error, FAILURE, OS, USAGE, Warning};
use super::value::Value;
use super::{
    Config, Eviction, Listen, ListenTls, LogFormat, Networks, Port, Protocol, Tls, Transport, listen,
};

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
    port_given: bool,
    udp_port: Option<Port>,
    /// Options that add to what was written before in the source being read now.
    grow: BTreeSet<&'static str>,
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

/// Options that exclude each other, by their long names, and what is wrong.
type Conflict = (&'static [&'static str], Error);

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
        self.place = None;
    }

    /// Says where what follows stands.
    pub fn stand(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// An option is set, here.
    pub fn settled(&mut self, long: &'static str) {
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
        self.port_given = true;
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

    /// The configuration, if its parts agree with one another.
    pub fn finish(mut self) -> Result<(Config, Vec<Warning>), Error> {
        self.settle().map_err(|conflict| self.placed(conflict))?;
        if self.config.auth_file.is_some() {
            self.config.protocol = Protocol::Ascii;
        }
        Ok((self.config, self.warnings))
    }

    fn settle(&mut self) -> Result<(), Conflict> {
        self.check_memory()
            .map_err(|error| (&["max-item-size", "memory-limit", "slab_chunk_max"][..], error))?;
        self.check_engine()?;
        self.settle_metrics_tls()?;
        self.settle_udp().map_err(|error| (&["udp-port", "auth-file"][..], error))?;
        self.settle_tls()
    }

    /// The error, with the places of the options it is about, and their long names if they are written there.
    fn placed(&self, (options, error): Conflict) -> Error {
        let mut places: Vec<&Place> = options.iter().filter_map(|option| self.places.get(option)).collect();
        places.dedup();
        let long = places.iter().any(|place| place.names != Names::Letters);
        let error = if long { error.in_long_names() } else { error };
        let places: Vec<&str> = places.iter().map(|place| place.text.as_str()).collect();
        if places.is_empty() { error } else { error.at(places.join(" and ")) }
    }

    fn check_memory(&self) -> Result<(), Error> {
        let Config { item_max, memory_limit, .. } = self.config;
        let chunk = self.config.inert.slab_chunk_max as usize;
        if item_max > memory_limit / 2 {
            let (memory, least) = (memory_limit >> 20, (item_max * 2).div_ceil(1 << 20));
            let message = format!(
                "-m {memory} is too little memory for two items of {item_max} bytes (-I): \
                 write -m {least} or more, or a smaller -I"
            );
            return Err(Error::new(USAGE, message));
        }
        if item_max % chunk != 0 {
            let next = item_max.next_multiple_of(chunk);
            let message = format!(
                "-I {item_max} is not a multiple of {chunk}, as memcached has it: write -I {next}, \
                 or add -o slab_chunk_max=1 for any number of KiB"
            );
            return Err(Error::new(USAGE, message));
        }
        Ok(())
    }

    /// Limits of options that do nothing here, kept so that a command line that passes also passes with memcached.
    fn check_engine(&self) -> Result<(), Conflict> {
        let inert = &self.config.inert;
        if inert.hot_lru_pct + inert.warm_lru_pct > 80 {
            let message = "-o hot_lru_pct and warm_lru_pct are over 80 together; write less";
            return Err((&["hot_lru_pct", "warm_lru_pct"], Error::new(USAGE, message)));
        }
        if inert.temporary_ttl.is_some() && !inert.lru_maintainer {
            let message = "-o temporary_ttl needs lru_maintainer; leave no_lru_maintainer out";
            return Err((
                &["temporary_ttl", "no_lru_maintainer", "lru_maintainer"],
                Error::new(USAGE, message),
            ));
        }
        if inert.napi_ids as usize > self.config.threads {
            let message = format!("-N {} is more than the threads; write -t {0}", inert.napi_ids);
            return Err((&["napi-ids", "threads"], Error::new(USAGE, message)));
        }
        Ok(())
    }

    fn settle_udp(&mut self) -> Result<(), Error> {
        let Some(udp_port) = self.udp_port.filter(|&port| port != Port::Off) else {
            return Ok(());
        };
        if self.config.auth_file.is_some() {
            return Err(Error::new(USAGE, "UDP (-U) and authentication (-Y) exclude each other; write -U 0"));
        }
        if !self.port_given {
            self.config.tcp_port = udp_port;
        }
        if let Port::Fixed(port) = udp_port {
            self.config.udp_port = port;
        }
        Ok(())
    }

    fn settle_metrics_tls(&mut self) -> Result<(), Conflict> {
        let mut ssl = std::mem::take(&mut self.metrics_ssl);
        let Some(chain_cert) = ssl.chain_cert.take() else {
            if ssl.key.is_some() || ssl.ca_cert.is_some() {
                let message = "TLS for metrics needs a certificate; write --metrics-ssl-chain-cert FILE";
                let options = &["metrics-ssl-key", "metrics-ssl-ca-cert"];
                return Err((options, Error::new(USAGE, message)));
            }
            return Ok(());
        };
        ssl.verify_mode = if ssl.ca_cert.is_some() { 2 } else { 0 };
        self.config.metrics_tls = Some(ssl.with(chain_cert));
        Ok(())
    }

    fn settle_tls(&mut self) -> Result<(), Conflict> {
        if !self.tls {
            if !self.ssl.allowed_names.is_empty() {
                let message = "--ssl-allowed-names needs TLS; write -Z -o ssl_chain_cert=FILE,ssl_key=FILE";
                return Err((&["ssl-allowed-names", "enable-ssl"], Error::new(USAGE, message)));
            }
            if self.ssl.chain_cert.is_some() || self.ssl.key.is_some() {
                self.doubt("ssl_chain_cert and ssl_key do nothing without -Z (enable-ssl)");
            }
            let mut listeners = self.config.listen.iter().zip(&self.listen_places);
            let prefixed = listeners.find(|(listen, _)| listen.tls != ListenTls::Inherit);
            return prefixed.map_or(Ok(()), |(listen, place)| Err(without_tls(listen, place.as_ref())));
        }
        if self.config.tcp_port == Port::Off {
            let message = "TLS (-Z) is spoken over TCP only; leave -p 0 out";
            return Err((&["enable-ssl", "port"], Error::new(USAGE, message)));
        }
        let mut ssl = std::mem::take(&mut self.ssl);
        let asks =
            ssl.verify_mode > 0 || self.config.listen.iter().any(|listen| listen.tls == ListenTls::Mutual);
        if !ssl.allowed_names.is_empty() && !asks {
            let message = "--ssl-allowed-names needs clients to show certificates; \
                           write -o ssl_verify_mode=2,ssl_ca_cert=FILE";
            return Err((&["ssl-allowed-names", "ssl_verify_mode"], Error::new(USAGE, message)));
        }
        let chain_cert = ssl.chain_cert.take().ok_or_else(|| {
            let message = "TLS (-Z) needs a certificate; write -o ssl_chain_cert=FILE,ssl_key=FILE";
            (&["enable-ssl"][..], Error::new(USAGE, message))
        })?;
        self.config.tls = Some(ssl.with(chain_cert));
        Ok(())
    }
}

/// What is wrong with a listener that says whether it speaks TLS where there is none.
fn without_tls(listen: &Listen, place: Option<&Place>) -> Conflict {
    match place {
        Some(place) if place.names == Names::Keys => {
            let message = "tls is for servers that have a certificate; write [tls] with certificate = \"FILE\" and \
                           key = \"FILE\", or leave tls out";
            (&["enable-ssl"], Error::new(USAGE, message).at(&place.text))
        }
        _ => {
            let message = format!("-l {}: notls:, btls: and mtls: need -Z", listen.host);
            (&["listen", "enable-ssl"], Error::new(OS, message))
        }
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
