//! What the operator asked for, resolved once from what was written. Knows no sockets and no store.
//!
//! What was written is a list of options with their values, wherever it stands: the files' options are applied first,
//! then the environment's, then the command line's, each through the one table in `options`, so that limits and
//! messages are the same everywhere. What is meant is [`Config`], checked as a whole at the end.

mod changes;
mod command_line;
mod draft;
mod environment;
mod error;
pub mod file;
mod getopt;
mod help;
mod listen;
mod memcached_conf;
mod metrics_listen;
mod networks;
mod options;
mod rules;
mod setting;
mod sources;
mod suboptions;
mod tables;
mod toml_file;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

pub use draft::NamedFiles;
pub use error::{Error, USAGE, Warning};
pub use help::COMMANDS;
pub use metrics_listen::MetricsListen;
pub use networks::Networks;
pub use rules::{Rule, RuleError, Rules};
pub use sources::{Invocation, Sources};
pub use toml_file::knows;

/// The version of memcached whose behaviour is copied, which clients and scripts are told.
pub const MEMCACHED_VERSION: &str = "1.6.45";

/// What the operator asked for, as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// TCP port of listeners that name none (`-p`).
    pub tcp_port: Port,
    /// The UDP port that was asked for (`-U`); never served, shown by `stats settings`.
    pub udp_port: u16,
    /// Where to listen (`-l`), as written and resolved; empty means 127.0.0.1.
    pub listen: Vec<Listen>,
    /// Who may connect through a TCP listener that does not say so itself (`--allow`).
    pub allow: Networks,
    /// Listen on this UNIX socket instead of TCP (`-s`).
    pub unix_socket: Option<PathBuf>,
    /// Permissions of the UNIX socket (`-a`).
    pub unix_mask: u32,
    /// Where metrics and the status page are served (`--metrics-listen`).
    pub metrics: MetricsListen,
    /// Who may connect there (`--metrics-allow`).
    pub metrics_allow: Networks,
    /// TLS there (`--metrics-ssl-*`).
    pub metrics_tls: Option<Tls>,
    /// File of users who may ask there (`--metrics-auth-file`).
    pub metrics_auth_file: Option<PathBuf>,
    /// Run in the background (`-d`).
    pub daemon: bool,
    /// File to write the process id to (`-P`).
    pub pidfile: Option<PathBuf>,
    /// User to run as when started as root (`-u`).
    pub user: Option<String>,
    /// Memory for items in bytes (`-m`).
    pub memory_limit: usize,
    /// Whether items are evicted when memory is full (off with `-M`).
    pub evictions: bool,
    /// Which items are evicted first (`--eviction`).
    pub eviction: Eviction,
    /// Most client connections (`-c`).
    pub conn_limit: usize,
    /// Turn connections over the limit away at once, rather than not accept them (`-o maxconns_fast`).
    pub maxconns_fast: bool,
    /// Worker threads (`-t`).
    pub threads: usize,
    /// How they wait for clients (`--transport`).
    pub transport: Transport,
    /// Largest item in bytes (`-I`).
    pub item_max: usize,
    /// How much to log (`-v`): 0 to 3.
    pub verbosity: u8,
    /// How what is logged is written (`--log-format`).
    pub log_format: LogFormat,
    /// Requests of one connection before others get a turn (`-R`).
    pub reqs_per_event: u32,
    /// CAS values are kept and shown (off with `-C`).
    pub cas: bool,
    /// listen(2)'s backlog (`-b`).
    pub backlog: u32,
    /// Whether the binary protocol was excluded or asked for (`-B`); only the text protocol is spoken.
    pub protocol: Protocol,
    /// Character that ends a key's prefix in `stats detail` (`-D`).
    pub prefix_delimiter: u8,
    /// Whether `stats detail` counts from the start (`-D`).
    pub detail: bool,
    /// Whether the `shutdown` command is allowed (`-A`).
    pub shutdown_command: bool,
    /// Whether `flush_all` is allowed (off with `-F`).
    pub flush: bool,
    /// Whether keys may be listed (off with `-X`).
    pub dump: bool,
    /// Whether `watch` is allowed (off with `-W`).
    pub watch: bool,
    /// File of users and passwords (`-Y`).
    pub auth_file: Option<PathBuf>,
    /// File that keeps the items over a restart (`-e`).
    pub memory_file: Option<PathBuf>,
    /// Keep memory from being swapped (`-k`).
    pub lock_memory: bool,
    /// Allow core dumps (`-r`).
    pub coredumps: bool,
    /// Seconds without a command after which a TCP connection is closed; 0 is never (`-o idle_timeout`).
    pub idle_timeout: u32,
    /// Keep a histogram of item sizes (`-o track_sizes`).
    pub track_sizes: bool,
    /// Bytes a watcher may have waiting (`-o watcher_logbuf_size`).
    pub watcher_logbuf: usize,
    /// TLS on TCP listeners (`-Z`, `-o ssl_*`).
    pub tls: Option<Tls>,
    /// What items are derived from, by their keys (`[[expire_on_update]]`).
    pub rules: Rules,
    /// Options of memcached's own engine: accepted, shown by `stats settings`, without effect.
    pub inert: Inert,
}

/// Which items are evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Those that promise fewest hits for their bytes, of what nobody used lately.
    #[default]
    Ranked,
    /// New ones before those that were used, or missed soon after they went.
    Queues,
    /// The oldest, those used since excepted.
    Clock,
}

/// How what is logged is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// An object of JSON a line.
    Json,
}

/// A TCP port as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// No TCP.
    Off,
    /// One the system chooses.
    Ephemeral,
    /// This one.
    Fixed(u16),
}

/// One `-l` address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// As written, host name or address without port and prefixes; `*` is every address.
    pub host: String,
    /// The port written with it, if any.
    pub port: Option<u16>,
    /// TLS or not, where `-Z` leaves a choice.
    pub tls: ListenTls,
    /// `tag[x]:`, shown nowhere yet.
    pub tag: Option<String>,
    /// `allow[10.0.0.0/8+127.0.0.1]:`, who may connect through it; if empty, those of `--allow`.
    pub allow: Networks,
}

impl Listen {
    /// The address, if it is written as one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }
}

/// What a listener's prefix says of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenTls {
    /// As `-Z` says.
    #[default]
    Inherit,
    /// `notls:`.
    Off,
    /// `btls:`: TLS without client certificates.
    Basic,
    /// `mtls:`: TLS with client certificates.
    Mutual,
}

/// `-B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Text; the binary protocol is refused.
    Auto,
    /// Text only.
    Ascii,
}

/// `--transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The one that does best over all kinds of traffic: epoll (figures in `benches/README.md`).
    Auto,
    /// epoll.
    Epoll,
    /// io_uring, or epoll with a warning where the system does not permit it.
    IoUring,
}

/// `-Z` and `-o ssl_*`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM certificate chain (`ssl_chain_cert`).
    pub chain_cert: PathBuf,
    /// Private key (`ssl_key`).
    pub key: PathBuf,
    /// PEM file of authorities for client certificates (`ssl_ca_cert`).
    pub ca_cert: Option<PathBuf>,
    /// Of client certificates, those that carry one of these names; empty is any (`--ssl-allowed-names`).
    pub allowed_names: Vec<ServerName<'static>>,
    /// Client certificates: 0 none, 1 requested, 2 required, 3 required once (`ssl_verify_mode`).
    pub verify_mode: u8,
    /// 1 PEM, 2 DER (`ssl_keyformat`).
    pub keyformat: u8,
    /// OpenSSL cipher list (`ssl_ciphers`); shown, without effect.
    pub ciphers: Option<String>,
    /// Lowest version: 0 to 3 for TLS 1.0 to 1.3 (`ssl_min_version`); below 1.2 means 1.2.
    pub min_version: u8,
    /// Session resumption (`ssl_session_cache`).
    pub session_cache: bool,
    /// Kernel TLS (`ssl_kernel_tls`); without effect.
    pub kernel_tls: bool,
    /// Write buffer in bytes (`ssl_wbuf_size`).
    pub wbuf_size: usize,
}

/// Options that memcached's engine needs and this one has no use for. Kept because tools read them back.
#[derive(Clone, Debug, PartialEq)]
pub struct Inert {
    /// `-f`.
    pub growth_factor: f64,
    /// `-n`.
    pub chunk_size: u32,
    /// `-o slab_reassign`.
    pub slab_reassign: bool,
    /// `-o slab_automove`.
    pub slab_automove: u32,
    /// `-o slab_automove_ratio`.
    pub slab_automove_ratio: f64,
    /// `-o slab_automove_window`.
    pub slab_automove_window: u32,
    /// `-o slab_chunk_max`, in bytes.
    pub slab_chunk_max: u32,
    /// `-o lru_crawler`.
    pub lru_crawler: bool,
    /// `-o lru_crawler_sleep`, in microseconds.
    pub lru_crawler_sleep: u32,
    /// `-o lru_crawler_tocrawl`.
    pub lru_crawler_tocrawl: u32,
    /// `-o lru_maintainer`.
    pub lru_maintainer: bool,
    /// `-o no_modern` makes it flat.
    pub lru_segmented: bool,
    /// `-o hot_lru_pct`.
    pub hot_lru_pct: u32,
    /// `-o warm_lru_pct`.
    pub warm_lru_pct: u32,
    /// `-o hot_max_factor`.
    pub hot_max_factor: f64,
    /// `-o warm_max_factor`.
    pub warm_max_factor: f64,
    /// `-o temporary_ttl`: the TTL below which memcached keeps items apart, if at all.
    pub temporary_ttl: Option<u32>,
    /// `-o hashpower`; 0 if it was not given.
    pub hashpower: u32,
    /// `-o hash_algorithm`.
    pub hash_algorithm: String,
    /// `-o tail_repair_time`.
    pub tail_repair_time: u32,
    /// `-o worker_logbuf_size`, in bytes.
    pub worker_logbuf: usize,
    /// `-o read_buf_mem_limit`, in bytes.
    pub read_buf_mem_limit: usize,
    /// `-N`.
    pub napi_ids: u32,
    /// `-o drop_privileges`.
    pub drop_privileges: bool,
}

impl Default for Config {
    /// What memcached's defaults are, but listening on 127.0.0.1 only.
    fn default() -> Config {
        Config {
            tcp_port: Port::Fixed(11211),
            udp_port: 0,
            listen: Vec::new(),
            allow: Networks::default(),
            unix_socket: None,
            unix_mask: 0o700,
            metrics: MetricsListen::Default,
            metrics_allow: Networks::default(),
            metrics_tls: None,
            metrics_auth_file: None,
            daemon: false,
            pidfile: None,
            user: None,
            memory_limit: 64 << 20,
            evictions: true,
            eviction: Eviction::Ranked,
            conn_limit: 1024,
            maxconns_fast: true,
            threads: 4,
            transport: Transport::Auto,
            item_max: 1 << 20,
            verbosity: 0,
            log_format: LogFormat::Text,
            reqs_per_event: 20,
            cas: true,
            backlog: 1024,
            protocol: Protocol::Auto,
            prefix_delimiter: b':',
            detail: false,
            shutdown_command: false,
            flush: true,
            dump: true,
            watch: true,
            auth_file: None,
            memory_file: None,
            lock_memory: false,
            coredumps: false,
            idle_timeout: 0,
            track_sizes: false,
            watcher_logbuf: 256 << 10,
            tls: None,
            rules: Rules::default(),
            inert: Inert::default(),
        }
    }
}

impl Default for Inert {
    fn default() -> Inert {
        Inert {
            growth_factor: 1.25,
            chunk_size: 48,
            slab_reassign: true,
            slab_automove: 1,
            slab_automove_ratio: 0.8,
            slab_automove_window: 10,
            slab_chunk_max: 512 << 10,
            lru_crawler: true,
            lru_crawler_sleep: 100,
            lru_crawler_tocrawl: 0,
            lru_maintainer: true,
            lru_segmented: true,
            hot_lru_pct: 20,
            warm_lru_pct: 40,
            hot_max_factor: 0.2,
            warm_max_factor: 2.0,
            temporary_ttl: None,
            hashpower: 0,
            hash_algorithm: "murmur3".to_owned(),
            tail_repair_time: 0,
            worker_logbuf: 64 << 10,
            read_buf_mem_limit: 0,
            napi_ids: 0,
            drop_privileges: false,
        }
    }
}
