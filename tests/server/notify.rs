//! What a service manager is told, over a socket like systemd's.

use super::started::{PATIENCE, Started, command};
use std::os::unix::net::UnixDatagram;

/// A server under a service manager whose watchdog waits this many microseconds, if it has one.
fn under_manager(watchdog: Option<&str>) -> (Started, UnixDatagram) {
    let (mut command, directory) = command(&["-A", "-Y", "users"]);
    std::fs::write(directory.join("users"), "name:password\n").unwrap();
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
    if let Some(microseconds) = watchdog {
        command.env("WATCHDOG_USEC", microseconds);
    }
    (Started::from((command, directory)), socket)
}

fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("something is told in time");
    String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
}

#[test]
fn start_reload_and_stop_are_told() {
    let (mut server, socket) = under_manager(None);
    assert_eq!(told(&socket), "READY=1");
    server.signal("-HUP");
    let reloading = told(&socket);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(&socket), "READY=1");
    server.signal("-TERM");
    assert_eq!(told(&socket), "STOPPING=1");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_stop_by_command_is_told() {
    let (mut server, socket) = under_manager(None);
    assert_eq!(told(&socket), "READY=1");
    let mut client = server.connect();
    assert_eq!(client.say("set a 0 0 13\r\nname password\r\n"), "STORED\r\n");
    client.send("shutdown\r\n");
    assert_eq!(told(&socket), "STOPPING=1");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn a_watchdog_hears_again_and_again_that_all_goes_on() {
    let (_server, socket) = under_manager(Some("30000"));
    assert_eq!(told(&socket), "READY=1");
    for _ in 0..5 {
        assert_eq!(told(&socket), "WATCHDOG=1");
    }
}
