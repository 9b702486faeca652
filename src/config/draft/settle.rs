//! The rules between options, once all of them have been read: what excludes each other, and where each of them stands.

use std::collections::BTreeMap;

use super::{Draft, NamedFiles, Names, Place};
use crate::config::error::{Error, OS, USAGE, Warning};
use crate::config::{Config, Listen, ListenTls, Port, Protocol};

/// Options that exclude each other, by their long names, and what is wrong.
type Conflict = (&'static [&'static str], Error);

impl Draft {
    /// The configuration, if its parts agree with one another.
    pub fn finish(mut self) -> Result<(Config, Vec<Warning>, NamedFiles), Error> {
        self.settle().map_err(|conflict| self.placed(conflict))?;
        if self.config.auth_file.is_some() {
            self.config.protocol = Protocol::Ascii;
        }
        let files = NamedFiles::of(&self.config, &self.places);
        Ok((self.config, self.warnings, files))
    }

    fn settle(&mut self) -> Result<(), Conflict> {
        self.check_memory()
            .map_err(|error| (&["max-item-size", "memory-limit", "slab_chunk_max"][..], error))?;
        self.check_engine()?;
        self.settle_metrics_tls()?;
        self.settle_udp().map_err(|error| (&["udp-port", "auth-file"][..], error))?;
        self.check_listeners()?;
        self.doubt_tcp_beside_unix();
        self.settle_tls()
    }

    /// The error, with the places of the options it is about, and their long names if they are written there.
    fn placed(&self, (options, error): Conflict) -> Error {
        at_places(error, options.iter().filter_map(|option| self.places.get(option)).collect())
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
        if !self.sources.contains_key("port") {
            self.config.tcp_port = udp_port;
        }
        if let Port::Fixed(port) = udp_port {
            self.config.udp_port = port;
        }
        Ok(())
    }

    /// An address that is to be listened on twice, of which the second time would fail.
    fn check_listeners(&self) -> Result<(), Conflict> {
        let Config { listen, tcp_port, unix_socket, .. } = &self.config;
        if unix_socket.is_some() || *tcp_port == Port::Off {
            return Ok(());
        }
        let mut known = BTreeMap::new();
        for (listen, place) in listen.iter().zip(&self.listen_places) {
            let port = match (listen.port, tcp_port) {
                (Some(port), _) | (None, &Port::Fixed(port)) => port,
                (None, _) => 0,
            };
            let host = listen.ip().map_or(listen.host.to_ascii_lowercase(), |ip| ip.to_string());
            // The system chooses another port each time.
            if port == 0 {
                continue;
            }
            let address =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            if let Some(before) = known.insert(address.clone(), place) {
                let message = format!(
                    "-l {address} is there twice; leave one out, or give it another port with -l HOST:PORT"
                );
                let places = before.iter().chain(place).collect();
                return Err((&[], at_places(Error::new(OS, message), places)));
            }
        }
        Ok(())
    }

    /// What a UNIX socket takes the place of, unless it does so on purpose: a source that comes later wins.
    fn doubt_tcp_beside_unix(&mut self) {
        let Some(socket) = self.sources.get("unix-socket").filter(|_| self.config.unix_socket.is_some())
        else {
            return;
        };
        let later = |option: &str| self.sources.get(option).is_some_and(|source| source >= socket);
        let mut ignored = Vec::new();
        for (written, is_said, options) in [
            ("-l", later("listen"), &["listen", "unix-socket"]),
            ("-p", later("port") && self.config.tcp_port != Port::Off, &["port", "unix-socket"]),
        ] {
            if is_said {
                let message = format!(
                    "{written} does nothing beside -s: a UNIX socket takes the place of TCP; leave one of them out"
                );
                ignored.push(self.placed((options, Error::new(USAGE, message))));
            }
        }
        self.warnings.extend(ignored.iter().map(|error| Warning::Mistake(error.to_string())));
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

/// The error, with these places, and with the long names of options if they are written there.
pub(super) fn at_places(error: Error, mut places: Vec<&Place>) -> Error {
    places.dedup();
    let long = places.iter().any(|place| place.names != Names::Letters);
    let error = if long { error.in_long_names() } else { error };
    let places: Vec<&str> = places.iter().map(|place| place.text.as_str()).collect();
    if places.is_empty() { error } else { error.at(places.join(" and ")) }
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
