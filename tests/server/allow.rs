//! Who may connect, by address.

use super::client::Client;
use super::started::{Started, command, from, wait_until};
use std::io::{Read, Write};
use std::net::SocketAddr;

fn is_served(last: u8, to: SocketAddr) -> bool {
    let mut stream = from(last, to);
    let mut reply = [0; 4];
    stream.write_all(b"mn\r\n").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"MN\r\n"
}

/// All addresses the server listens on.
fn addresses(server: &Started) -> Vec<SocketAddr> {
    let words = server.line.trim_start_matches("memcarp serves on ");
    let words = words.split(" (").next().unwrap();
    words.split(", ").map(|address| address.parse().unwrap()).collect()
}

#[test]
fn who_is_not_named_is_closed_and_counted() {
    let server = Started::with(&["--allow", "127.0.0.2,10.0.0.0/8"]);
    let mut client = Client::new(from(2, server.address()));
    assert_eq!(client.say("mn\r\n"), "MN\r\n");
    let total = client.stat("total_connections");
    for count in ["1", "2"] {
        assert!(!is_served(1, server.address()));
        assert_eq!(client.own_stat("connections_not_allowed"), count);
    }
    assert_eq!(client.stat("total_connections"), total, "they have not become connections");
    assert_eq!(client.stat("rejected_connections"), "0");
}

/// Nothing is said to who may not connect, not even why.
#[test]
fn who_is_not_named_reads_the_end() {
    let server = Started::with(&["--allow", "127.0.0.2"]);
    assert!(Client::new(from(1, server.address())).rest().is_empty());
}

#[test]
fn a_listener_says_for_itself() {
    let listen = "allow[127.0.0.2+127.0.0.3]:127.0.0.1,127.0.0.1";
    let server = Started::with(&["-l", listen, "--allow", "127.0.0.1"]);
    let served = addresses(&server)
        .into_iter()
        .map(|address| (1..=4).filter(|&last| is_served(last, address)).collect::<Vec<_>>());
    assert_eq!(served.collect::<Vec<_>>(), [vec![2, 3], vec![1]]);
}

#[test]
fn a_socket_file_is_guarded_by_its_permissions() {
    let server = Started::with(&["-s", "socket", "--allow", "10.0.0.0/8"]);
    assert_eq!(server.connect_unix().say("mn\r\n"), "MN\r\n");
}

#[test]
fn the_list_is_read_again_with_the_file() {
    let (mut command, directory) = command(&["--config", "memcarp.toml"]);
    std::fs::write(directory.join("memcarp.toml"), "allow = [\"127.0.0.1\", \"127.0.0.2\"]\n").unwrap();
    command.stderr(std::process::Stdio::null());
    let server = Started::from((command, directory));
    let mut staying = Client::new(from(2, server.address()));
    assert_eq!(staying.say("mn\r\n"), "MN\r\n");
    std::fs::write(server.directory.join("memcarp.toml"), "allow = \"127.0.0.3\"\n").unwrap();
    server.signal("-HUP");
    wait_until("the new list", || is_served(3, server.address()));
    assert!(!is_served(2, server.address()));
    assert_eq!(staying.say("mn\r\n"), "MN\r\n", "who is connected stays");
}
