//! `--metrics-listen`: where metrics are served. Resolves no names.

use super::error::{Error, USAGE};
use super::value::Value;

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// Nothing was asked for: 127.0.0.1:9150, if that is free.
    Default,
    /// There.
    At {
        /// A host name or address; `*` is every address.
        host: String,
        /// 0 is a port the system chooses.
        port: u16,
    },
}

impl MetricsListen {
    /// Where they are served when nothing is asked for: the port of Prometheus' memcached_exporter.
    pub const DEFAULT: (&str, u16) = ("127.0.0.1", 9150);

    /// `off`, `HOST:PORT`, `*:PORT` or `:PORT`.
    pub fn read(value: Value<'_>) -> Result<MetricsListen, Error> {
        let text = value.text();
        if text == "off" {
            return Ok(MetricsListen::Off);
        }
        let wrong = || Error::new(USAGE, "write HOST:PORT, *:PORT for every address, or off");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains([':', '[', ']', ' ', ',']) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let host = if host.is_empty() { "*" } else { bare.unwrap_or(host) };
        Ok(MetricsListen::At { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let read = |text: &str| MetricsListen::read(Value::of_bytes(text.as_bytes()));
        let at = |host: &str, port| MetricsListen::At { host: host.to_owned(), port };
        assert_eq!(read("off").unwrap(), MetricsListen::Off);
        assert_eq!(read("127.0.0.1:9150").unwrap(), at("127.0.0.1", 9150));
        assert_eq!(read("[::1]:0").unwrap(), at("::1", 0));
        assert_eq!(read(":9150").unwrap(), at("*", 9150));
        assert_eq!(read("*:9150").unwrap(), at("*", 9150));
        for wrong in ["", "on", "9150", "127.0.0.1", "::1:9150", "[::1]", "a:b", "a:99999", "a,b:1", "[a:1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
