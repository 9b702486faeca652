//! The one table of options, memcached's and those that memcarp adds: how each is written, what its help says, and what it sets.

use std::fmt;

use super::draft::{Draft, set};
use super::error::{Error, FAILURE};
use super::metrics_listen::MetricsListen;
use super::suboptions;
use super::value::{MOST, Value};
use Group::{Commands, Connections, Listening, Memory, Metrics, NoEffect, Process, Refused};
use Takes::{Flag, Maybe, Needs};

/// An option.
pub struct Opt {
    /// `p` of `-p`; memcarp's own have no letter.
    pub short: Option<char>,
    /// `port` of `--port`.
    pub long: &'static str,
    /// Where `--help` shows it.
    pub group: Group,
    /// One line of `--help`, with the default in brackets.
    pub help: &'static str,
    /// Whether a value follows, and what is set.
    pub takes: Takes,
}

/// The parts of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Where connections come from.
    Listening,
    /// Metrics, and who gets them.
    Metrics,
    /// What is kept.
    Memory,
    /// How connections are served.
    Connections,
    /// What may be asked for, and by whom.
    Commands,
    /// The process.
    Process,
    /// Accepted, meaning something only to memcached's own engine: named in one paragraph.
    NoEffect,
    /// Known, so that the message can say what to do instead; not shown.
    Refused,
}

/// Sets what a value says.
pub type Setter = fn(&mut Draft, Value<'_>) -> Result<(), Error>;

/// An option's value.
#[derive(Clone, Copy)]
pub enum Takes {
    /// None. What is set is whether it is on: a file or the environment may also turn it off.
    Flag(fn(&mut Draft, bool)),
    /// One, called this in `--help`; empty if it was left out.
    Maybe(&'static str, Setter),
    /// One that must be there.
    Needs(&'static str, Setter),
}

impl Takes {
    /// Sets what a value says; a number that was cut short is doubted. `written` is the option with it.
    pub fn write(
        self,
        draft: &mut Draft,
        value: Value<'_>,
        written: fmt::Arguments<'_>,
    ) -> Result<(), Error> {
        let (kind, set) = match self {
            Flag(_) => return Err(Error::new(FAILURE, "write true or false")),
            Maybe(kind, set) | Needs(kind, set) => (kind, set),
        };
        set(draft, value)?;
        if let Some(number) = value.cut_short(kind) {
            draft.doubt(format_args!(
                "{written} is read as {number}, as memcached reads it; write the number alone"
            ));
        }
        Ok(())
    }
}

/// Every option of memcached 1.6.45 but `-h`, `-i` and `-V`, and memcarp's that a file may also say.
#[rustfmt::skip] // a table
pub const OPTIONS: &[Opt] = &[
    opt('p', "port", Listening, "TCP port; 0: none, -1: any free one [11211]",
        Needs("PORT", Draft::tcp_port)),
    opt('l', "listen", Listening, "HOST[:PORT],...; '*': every address [127.0.0.1]",
        Needs("ADDRESSES", Draft::listen)),
    own("allow", Listening, "NETWORK,...: who may connect over TCP [anybody]",
        Needs("NETWORKS", Draft::allow)),
    opt('s', "unix-socket", Listening, "listen on this UNIX socket, not on TCP",
        Needs("FILE", |d, v| set(&mut d.config.unix_socket, v.path().map(Some)))),
    opt('a', "unix-mask", Listening, "permissions of the UNIX socket, in octal [700]",
        Needs("MODE", |d, v| set(&mut d.config.unix_mask, v.mode()))),
    opt('U', "udp-port", Listening, "not served; TCP takes it if there is no -p [0]",
        Needs("PORT", Draft::udp_port)),
    opt('B', "protocol", Listening, "auto or ascii, both the text protocol [auto]",
        Needs("NAME", Draft::protocol)),
    opt('Z', "enable-ssl", Listening, "TLS over TCP; needs -o ssl_chain_cert",
        Flag(|d, on| d.tls = on)),
    own("ssl-allowed-names", Commands, "names client certificates may have [any]",
        Needs("NAMES", Draft::ssl_allowed_names)),
    own("metrics-listen", Metrics, "HOST:PORT, or off [127.0.0.1:9150]",
        Needs("ADDR", |d, v| set(&mut d.config.metrics, MetricsListen::read(v)))),
    own("metrics-allow", Metrics, "NETWORK,...: who may connect [anybody]",
        Needs("NETWORKS", Draft::metrics_allow)),
    own("metrics-auth-file", Metrics, "users who may ask, as in -Y [anybody]",
        Needs("FILE", |d, v| set(&mut d.config.metrics_auth_file, v.path().map(Some)))),
    own("metrics-ssl-chain-cert", Metrics, "speak TLS, with this certificate chain",
        Needs("FILE", |d, v| set(&mut d.metrics_ssl.chain_cert, v.path().map(Some)))),
    own("metrics-ssl-key", Metrics, "private key, if it is not in that file",
        Needs("FILE", |d, v| set(&mut d.metrics_ssl.key, v.path().map(Some)))),
    own("metrics-ssl-ca-cert", Metrics, "require certificates of these authorities",
        Needs("FILE", |d, v| set(&mut d.metrics_ssl.ca_cert, v.path().map(Some)))),

    opt('m', "memory-limit", Memory, "memory for items, in MiB [64]",
        Needs("MIB", |d, v| set(&mut d.config.memory_limit, v.mebibytes()))),
    opt('I', "max-item-size", Memory, "largest item, 1k to 1g, at most half of -m [1m]",
        Needs("SIZE", Draft::item_max)),
    opt('M', "disable-evictions", Memory, "when memory is full, an error, not an eviction",
        Flag(|d, on| d.config.evictions = !on)),
    own("eviction", Memory, "evicts by: ranked, queues, clock [ranked]",
        Needs("NAME", Draft::eviction)),
    opt('e', "memory-file", Memory, "file to keep the items in over a restart",
        Needs("FILE", |d, v| set(&mut d.config.memory_file, v.path().map(Some)))),
    opt('k', "lock-memory", Memory, "keep memory from being swapped out",
        Flag(|d, on| d.config.lock_memory = on)),

    opt('c', "conn-limit", Connections, "most client connections [1024]",
        Needs("NUM", |d, v| set(&mut d.config.conn_limit, v.number(1..=MOST, FAILURE)))),
    opt('t', "threads", Connections, "worker threads [4]",
        Needs("NUM", Draft::threads)),
    opt('b', "listen-backlog", Connections, "connections waiting to be accepted [1024]",
        Needs("NUM", Draft::backlog)),
    opt('R', "max-reqs-per-event", Connections, "requests before others get a turn [20]",
        Needs("NUM", |d, v| set(&mut d.config.reqs_per_event, v.number(1..=MOST, FAILURE)))),
    own("transport", Connections, "epoll, io_uring, or auto: epoll [auto]",
        Needs("NAME", Draft::transport)),

    opt('Y', "auth-file", Commands, "users: NAME:PASSWORD or NAME:HASH a line",
        Needs("FILE", |d, v| set(&mut d.config.auth_file, v.path().map(Some)))),
    opt('A', "enable-shutdown", Commands, "allow the shutdown command",
        Flag(|d, on| d.config.shutdown_command = on)),
    opt('F', "disable-flush-all", Commands, "refuse flush_all",
        Flag(|d, on| d.config.flush = !on)),
    opt('X', "disable-dumping", Commands, "refuse to list keys, and stats detail",
        Flag(|d, on| d.config.dump = !on)),
    opt('W', "disable-watch", Commands, "refuse watch",
        Flag(|d, on| d.config.watch = !on)),
    opt('C', "disable-cas", Commands, "no CAS values",
        Flag(|d, on| d.config.cas = !on)),
    opt('D', "prefix-delimiter", Commands, "stats detail: count by prefix up to CHAR [:]",
        Needs("CHAR", Draft::prefix_delimiter)),

    opt('d', "daemon", Process, "run in the background, with a log only under -v",
        Flag(|d, on| d.config.daemon = on)),
    opt('u', "user", Process, "user to run as, when started as root",
        Needs("USER", |d, v| set(&mut d.config.user, v.name().map(Some)))),
    opt('P', "pidfile", Process, "file to write the process id to",
        Needs("FILE", |d, v| set(&mut d.config.pidfile, v.path().map(Some)))),
    opt('r', "enable-coredumps", Process, "allow core dumps of any size",
        Flag(|d, on| d.config.coredumps = on)),
    opt('v', "verbose", Process, "-v: log failed connections; -vv: commands, replies",
        Maybe("LEVEL", Draft::verbose)),
    own("log-format", Process, "lines on stderr: text, or json [text]",
        Needs("NAME", Draft::log_format)),
    opt('o', "extended", Process, "further options: NAME[=VALUE],..., listed below",
        Needs("OPTIONS", suboptions::read)),

    opt('f', "slab-growth-factor", NoEffect, "",
        Needs("FACTOR", |d, v| set(&mut d.config.inert.growth_factor, v.fraction(1.0, f64::MAX)))),
    opt('n', "slab-min-size", NoEffect, "",
        Needs("BYTES", |d, v| set(&mut d.config.inert.chunk_size, v.number(1..=MOST, FAILURE)))),
    opt('L', "enable-largepages", NoEffect, "",
        Flag(|_, _| ())),
    opt('N', "napi-ids", NoEffect, "",
        Needs("NUM", |d, v| set(&mut d.config.inert.napi_ids, v.number(1..=MOST, FAILURE)))),
    opt('S', "enable-sasl", Refused, "",
        Maybe("", |d, _| d.sasl())),
];

const fn opt(short: char, long: &'static str, group: Group, help: &'static str, takes: Takes) -> Opt {
    Opt { short: Some(short), long, group, help, takes }
}

const fn own(long: &'static str, group: Group, help: &'static str, takes: Takes) -> Opt {
    Opt { short: None, long, group, help, takes }
}

impl Opt {
    /// The option of this long name.
    pub fn named(long: &str) -> Option<&'static Opt> {
        OPTIONS.iter().find(|option| option.long == long)
    }

    /// `-c`, or `--metrics-listen` if there is no letter.
    pub fn written(&self) -> String {
        self.short.map_or_else(|| format!("--{}", self.long), |letter| format!("-{letter}"))
    }

    /// Sets what the option says. An error says where: `-c 0`.
    pub fn apply(&self, draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
        draft.settled(self.long);
        match self.takes {
            Flag(set) => {
                set(draft, true);
                Ok(())
            }
            takes => {
                let written = match (takes, value.text().as_str()) {
                    (Maybe(..), "") => self.written(),
                    (Maybe(..), text) => format!("{}={text}", self.written()),
                    (_, "") => format!("{} \"\"", self.written()),
                    (_, text) => format!("{} {text}", self.written()),
                };
                takes.write(draft, value, format_args!("{written}")).map_err(|error| error.at(&written))
            }
        }
    }
}
