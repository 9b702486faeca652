//! What `-l` says: a list of addresses with prefixes and ports. Resolves no names.

use super::error::{Error, OS};
use super::{Listen, ListenTls, Networks};

/// Reads one `-l` value, whose addresses are separated by commas or semicolons.
pub fn read(list: &str) -> Result<Vec<Listen>, Error> {
    let mut listeners = Vec::new();
    for address in list.split([',', ';']).map(str::trim).filter(|address| !address.is_empty()) {
        let alone = address == list.trim();
        listeners.push(one(address).map_err(|error| if alone { error } else { error.at(address) })?);
    }
    if listeners.is_empty() {
        return Err(Error::new(OS, "no address; write -l 127.0.0.1, or -l '*' for every address"));
    }
    Ok(listeners)
}

fn one(address: &str) -> Result<Listen, Error> {
    let mut listen = Listen::default();
    let mut rest = address;
    loop {
        if let Some(after) = rest.strip_prefix("notls:") {
            (listen.tls, rest) = (ListenTls::Off, after);
        } else if let Some(after) = rest.strip_prefix("btls:") {
            (listen.tls, rest) = (ListenTls::Basic, after);
        } else if let Some(after) = rest.strip_prefix("mtls:") {
            (listen.tls, rest) = (ListenTls::Mutual, after);
        } else if let Some((protocol, after)) = bracketed(rest, "proto[", "]:") {
            if !["ascii", "negotiating"].contains(&protocol) {
                return Err(Error::new(OS, "memcarp speaks only the text protocol; write proto[ascii]:"));
            }
            rest = after;
        } else if let Some((networks, after)) = bracketed(rest, "allow[", "]:") {
            (listen.allow, rest) = (Networks::read(networks, '+')?, after);
        } else if let Some((tag, after)) =
            bracketed(rest, "tag[", "]:").or_else(|| bracketed(rest, "tag_", "_:"))
        {
            if !(1..=8).contains(&tag.len()) {
                return Err(Error::new(OS, "a tag has 1 to 8 characters; write tag[web]:127.0.0.1"));
            }
            (listen.tag, rest) = (Some(tag.to_owned()), after);
        } else {
            break;
        }
    }
    let (host, port) = host_and_port(rest)?;
    listen.host = host.to_owned();
    listen.port = port;
    Ok(listen)
}

fn bracketed<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(open)?.split_once(close)
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address, whose colons are its own.
fn host_and_port(address: &str) -> Result<(&str, Option<u16>), Error> {
    let host_and_port = match address.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((host, "")) => Some((host, None)),
            Some((host, after)) => after.strip_prefix(':').map(|port| (host, Some(port))),
            None => None,
        },
        None if address.matches(':').count() > 1 => Some((address, None)),
        None => Some(address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)))),
    };
    // A link-local address names its interface after a percent sign.
    let is_v6 = |host: &str| host.split('%').next().unwrap_or_default().parse::<std::net::Ipv6Addr>().is_ok();
    match host_and_port {
        Some((host, _)) if host.is_empty() || (host.contains(':') && !is_v6(host)) => None,
        Some((host, None)) => Some((host, None)),
        // -1, like 0, is a port the system chooses.
        Some((host, Some("-1"))) => Some((host, Some(0))),
        Some((host, Some(port))) => port.parse().ok().map(|port| (host, Some(port))),
        None => None,
    }
    .ok_or_else(|| {
        Error::new(OS, "not an address; write HOST, HOST:PORT, [IPV6]:PORT or *, with a port from 0 to 65535")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host and port of each address, or the error.
    fn hosts(list: &str) -> String {
        match read(list) {
            Ok(listeners) => {
                let hosts = listeners.iter().map(|listen| match listen.port {
                    Some(port) => format!("{} {port}", listen.host),
                    None => listen.host.clone(),
                });
                hosts.collect::<Vec<_>>().join(" + ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn addresses_and_ports() {
        assert_eq!(hosts("127.0.0.1"), "127.0.0.1");
        assert_eq!(hosts(" 127.0.0.1:12"), "127.0.0.1 12");
        assert_eq!(hosts("::1"), "::1");
        assert_eq!(hosts("[::1]"), "::1");
        assert_eq!(hosts("[::1]:12"), "::1 12");
        assert_eq!(hosts("*:0"), "* 0");
        assert_eq!(hosts("localhost:-1"), "localhost 0");
        assert_eq!(hosts("127.0.0.1,::1;*:5,"), "127.0.0.1 + ::1 + * 5");
    }

    #[test]
    fn prefixes() {
        let one = |text: &str| read(text).unwrap().remove(0);
        assert_eq!(one("notls:127.0.0.1:5").tls, ListenTls::Off);
        assert_eq!(one("btls:[::1]:5").tls, ListenTls::Basic);
        let listen = one("tag[web]:mtls:proto[ascii]:127.0.0.1:5");
        assert_eq!(
            (listen.tls, listen.tag.as_deref(), listen.port),
            (ListenTls::Mutual, Some("web"), Some(5))
        );
        assert_eq!(one("tag_a_b_:127.0.0.1").tag.as_deref(), Some("a_b"));
        assert_eq!(one("tagged").host, "tagged");
        let listen = one("allow[10.0.0.0/8+fd00::/8]:notls:[::1]:5");
        assert_eq!((listen.host.as_str(), listen.port, listen.tls), ("::1", Some(5), ListenTls::Off));
        assert!(listen.allow.admit("fd00::1".parse().unwrap()));
        assert!(!listen.allow.admit("127.0.0.1".parse().unwrap()));
        assert!(one("127.0.0.1").allow.is_empty());
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for wrong in ["a:99999", "a:x", "a:", ":5", "[::1", "[::1]5", "127.0.0.1:1:2", "notls:"] {
            assert!(hosts(wrong).starts_with("not an address; write HOST,"), "{wrong}: {}", hosts(wrong));
        }
        for wrong in ["", ",", " ; "] {
            assert!(hosts(wrong).starts_with("no address; write -l 127.0.0.1"), "{wrong}: {}", hosts(wrong));
        }
        assert!(hosts("127.0.0.1,a:x").starts_with("a:x: not an address"));
        assert!(hosts("proto[binary]:a").contains("only the text protocol"));
        assert!(hosts("allow[]:a").starts_with("no network"));
        assert!(hosts("tag[]:a").contains("1 to 8"));
        assert!(hosts("tag[123456789]:a").contains("1 to 8"));
    }
}
