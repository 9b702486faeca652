//! `--allow`: networks whose members may connect. Resolves no names.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::error::{Error, USAGE};

/// Networks whose members may connect; with none written, everybody may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks and single addresses, separated by `separator`. At least one has to be written.
    pub fn read(list: &str, separator: char) -> Result<Networks, Error> {
        let written = list.split(separator).map(str::trim).filter(|one| !one.is_empty());
        let networks = written.map(network).collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() {
            return Err(Error::new(USAGE, "no network; write 10.0.0.0/8, or 127.0.0.1 for one address"));
        }
        Ok(Networks(networks))
    }

    /// Adds those of another list.
    pub fn extend(&mut self, more: Networks) {
        self.0.extend(more.0);
    }

    /// Whether none was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address may connect. An IPv4 address written as IPv6 is the IPv4 address.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.is_empty() || self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(written: &str) -> Result<IpNet, Error> {
    if let Ok(address) = written.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = written.parse().map_err(|_| {
        let message =
            format!("{written} is no network; write ADDRESS/BITS, 10.0.0.0/8 or fd00::/8 for example");
        Error::new(USAGE, message)
    })?;
    if network.addr() != network.network() {
        let message =
            format!("{written} is an address within {}; write that, or the address alone", network.trunc());
        return Err(Error::new(USAGE, message));
    }
    Ok(as_ipv4(network).unwrap_or(network))
}

/// A network of IPv4 addresses written as IPv6.
fn as_ipv4(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(network) = network else { return None };
    let bits = network.prefix_len().checked_sub(96)?;
    Ipv4Net::new(network.addr().to_ipv4_mapped()?, bits).ok().map(IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_admitted_and_nobody_else() {
        let networks = Networks::read("10.0.0.0/8, 192.168.1.7,fd00::/8", ',').unwrap();
        let admits = |address: &str| networks.admit(address.parse().unwrap());
        for member in ["10.0.0.0", "10.255.255.255", "192.168.1.7", "fd00::1", "::ffff:10.1.2.3"] {
            assert!(admits(member), "{member}");
        }
        for other in ["9.255.255.255", "11.0.0.0", "192.168.1.8", "fe80::1", "::1", "::ffff:11.0.0.0"] {
            assert!(!admits(other), "{other}");
        }
        let written_as_ipv6 = Networks::read("::ffff:10.1.2.3,::ffff:192.168.0.0/112", ',').unwrap();
        for (address, admitted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.168.9.9", true), ("192.169.0.0", false)]
        {
            assert_eq!(written_as_ipv6.admit(address.parse().unwrap()), admitted, "{address}");
        }
        assert!(Networks::default().admit("1.2.3.4".parse().unwrap()));
        assert!(Networks::read("0.0.0.0/0", ',').unwrap().admit("1.2.3.4".parse().unwrap()));
        assert!(!Networks::read("0.0.0.0/0", ',').unwrap().admit("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_says_what_to_write() {
        let said = |list: &str| Networks::read(list, ',').unwrap_err().to_string();
        for empty in ["", ",", " , "] {
            assert!(said(empty).starts_with("no network; write 10.0.0.0/8"), "{empty}");
        }
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "1.1.1.1-2.2.2.2"] {
            assert!(
                said(wrong).starts_with(&format!("{wrong} is no network; write ADDRESS/BITS")),
                "{wrong}"
            );
        }
        assert_eq!(
            said("10.1.2.3/8"),
            "10.1.2.3/8 is an address within 10.0.0.0/8; write that, or the address alone"
        );
    }
}
