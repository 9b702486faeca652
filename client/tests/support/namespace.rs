//! A network of its own for a server, joined to ours by one link that can be cut.

use super::Peer;
use memcarp_client::Address;
use std::process::{Command, Stdio};

/// The far end's address on the link, known beforehand so that nobody has to ask for it.
const FAR: &str = "02:00:00:00:00:02";

pub struct Namespace {
    name: String,
    link: String,
    subnet: u8,
}

fn ip(arguments: &str) -> bool {
    Command::new("ip")
        .args(arguments.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Namespace {
    /// Whether this user may make namespaces and links on this machine.
    pub fn available() -> bool {
        let name = format!("memcarp-try-{}", std::process::id());
        let link = format!("mct{}", std::process::id() % 100_000);
        let made = ip(&format!("netns add {name}"));
        let linked = made && ip(&format!("link add {link} type veth peer name {link}p"));
        if linked {
            ip(&format!("link del {link}"));
        }
        made && ip(&format!("netns del {name}")) && linked
    }

    pub fn new() -> Namespace {
        let process = std::process::id();
        let name = format!("memcarp-test-{process}");
        let link = format!("mc{}", process % 100_000);
        let subnet = (process % 250) as u8;
        for command in [
            format!("netns add {name}"),
            format!("link add {link} type veth peer name {link}p address {FAR}"),
            format!("link set {link}p netns {name}"),
            format!("addr add 10.203.{subnet}.1/24 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add 10.203.{subnet}.2/24 dev {link}p"),
            format!("-n {name} link set {link}p up"),
            format!("-n {name} link set lo up"),
            format!("neigh replace 10.203.{subnet}.2 lladdr {FAR} dev {link} nud permanent"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        Namespace { name, link, subnet }
    }

    pub fn memcached(&self) -> Peer {
        let host = format!("10.203.{}.2", self.subnet);
        let mut peer = Peer::command("ip", &["netns", "exec", &self.name, "memcached", "-l", &host]);
        let Address::Tcp { port, .. } = peer.address else { unreachable!() };
        peer.address = Address::Tcp { host, port };
        peer
    }

    /// Takes the server's address away or gives it back. While it is away every packet is swallowed, and nobody is told,
    /// as they would be of a link that is down.
    pub fn link(&self, up: bool) {
        let verb = if up { "add" } else { "del" };
        let Namespace { name, link, subnet } = self;
        assert!(ip(&format!("-n {name} addr {verb} 10.203.{subnet}.2/24 dev {link}p")));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.link));
        ip(&format!("netns del {}", self.name));
    }
}
