//! The process as scripts and service managers know it: files, sockets, background, users, exit codes.

use super::client::Client;
use super::started::{Started, command, output, run, signal, wait_until};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

#[test]
fn the_first_line_says_where_and_how_to_try_it() {
    let server = Started::with(&[]);
    let port = server.address().port();
    let expected = format!(
        "memcarp serves on 127.0.0.1:{port} (64 MiB). Try: printf 'version\\r\\n' | nc -q1 127.0.0.1 {port}\n"
    );
    assert_eq!(server.line, expected);
}

#[test]
fn nothing_is_to_be_tried_that_cannot_work() {
    let (command, directory) = command(&["-Y", "users"]);
    std::fs::write(directory.join("users"), "alice:secret\n").unwrap();
    let server = Started::from((command, directory));
    let expected = format!("memcarp serves on {} (64 MiB).\n", server.address());
    assert_eq!(server.line, expected);
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["-p", &port]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{stderr}");
    assert!(stderr.contains("choose another port with -p PORT"), "{stderr}");
}

#[test]
fn every_address_asked_for_is_served_and_its_port_written() {
    let (mut command, directory) = command(&["-l", "127.0.0.1,*"]);
    command.env("MEMCACHED_PORT_FILENAME", "ports");
    let server = Started::from((command, directory));
    let ports = std::fs::read_to_string(server.directory.join("ports")).unwrap();
    let lines: Vec<_> = ports.lines().collect();
    assert!(lines[0].starts_with("TCP INET: ") && lines[1].starts_with("TCP INET: "), "{ports}");
    for line in lines {
        let (family, port) = line.split_once(": ").unwrap();
        let host = if family == "TCP INET6" { "[::1]" } else { "127.0.0.1" };
        let mut client = Client::new(TcpStream::connect(format!("{host}:{port}")).unwrap());
        assert_eq!(client.say("version\r\n"), "VERSION 1.6.45\r\n");
    }
    assert!(!server.directory.join("ports.lck").exists());
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    let mut server = Started::with(&["-s", "socket", "-a", "750"]);
    let path = server.directory.join("socket");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(server.connect_unix().say("version\r\n"), "VERSION 1.6.45\r\n");

    // A second server does not take the first one's place.
    let output = run(&["-s", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(71));
    assert_eq!(server.connect_unix().say("version\r\n"), "VERSION 1.6.45\r\n");

    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let (command, directory) = command(&["-s", "socket"]);
    drop(UnixListener::bind(directory.join("socket")).unwrap());
    let server = Started::from((command, directory));
    assert_eq!(server.connect_unix().say("version\r\n"), "VERSION 1.6.45\r\n");
}

#[test]
fn a_unix_socket_that_took_the_servers_place_is_left_alone() {
    let mut server = Started::with(&["-s", "socket"]);
    let path = server.directory.join("socket");
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
    UnixStream::connect(&path).unwrap();
    drop(other);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (mut command, directory) = command(&["-s", "socket"]);
    std::fs::write(directory.join("socket"), "precious").unwrap();
    let output = output(&mut command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{stderr}");
    assert!(stderr.contains("socket: a file that is no socket is there; remove it, or"), "{stderr}");
    assert_eq!(std::fs::read_to_string(directory.join("socket")).unwrap(), "precious");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_pid_file_is_there_while_the_server_is() {
    let mut server = Started::with(&["-P", "pid"]);
    let path = server.directory.join("pid");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", server.process.id()));
    assert!(!server.directory.join("pid.tmp").exists());
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn in_the_background_it_serves_when_the_command_returns() {
    let (mut command, directory) = command(&["-d", "-s", "socket", "-P", "pid"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    let process: u32 = std::fs::read_to_string(directory.join("pid")).unwrap().trim().parse().unwrap();
    let mut client = Client::new(UnixStream::connect(directory.join("socket")).unwrap());
    assert_eq!(client.say("version\r\n"), "VERSION 1.6.45\r\n");

    // A session of its own, no terminal, no directory held.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[3], process.to_string(), "session");
    assert_eq!(std::fs::read_link(format!("/proc/{process}/cwd")).unwrap().to_str(), Some("/"));
    for descriptor in 0..3 {
        let target = std::fs::read_link(format!("/proc/{process}/fd/{descriptor}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "{descriptor}");
    }

    signal(process, "-TERM");
    assert!(client.rest().is_empty());
    wait_until("its files to be gone", || {
        !directory.join("pid").exists() && !directory.join("socket").exists()
    });
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn in_the_background_names_of_files_mean_what_they_meant() {
    let (mut command, directory) = command(&["-d", "-v", "-s", "socket", "-P", "pid", "-Y", "users"]);
    std::fs::write(directory.join("users"), "alice:secret\n").unwrap();
    command.stderr(std::fs::File::create(directory.join("log")).unwrap());
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let process: u32 = std::fs::read_to_string(directory.join("pid")).unwrap().trim().parse().unwrap();
    let socket = directory.join("socket");
    let connect = || Client::new(UnixStream::connect(&socket).unwrap());
    std::fs::write(directory.join("users"), "carol:word\n").unwrap();
    signal(process, "-HUP");
    wait_until("the new user", || connect().say("set auth 0 0 10\r\ncarol word\r\n") == "STORED\r\n");
    // With -v standard error is kept, as memcached keeps it.
    let log = || std::fs::read_to_string(directory.join("log")).unwrap();
    wait_until("the log", || log().contains(" INFO -Y ") && log().contains("/users read again: 1 user\n"));
    signal(process, "-TERM");
    wait_until("its files to be gone", || !directory.join("pid").exists() && !socket.exists());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn in_the_background_a_failure_is_the_commands_own() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&["-d", "-p", &port]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(71), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{stderr}");
}

#[test]
fn root_becomes_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let output = run(&["-u", "no-such-user"]);
    assert_eq!(output.status.code(), Some(67));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("can't find the user no-such-user to switch to")
    );

    let server = Started::with(&["-u", "nobody"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(line("Uid:").split_whitespace().nth(2), Some(nobody.uid.to_string().as_str()));
    assert_eq!(line("Gid:").split_whitespace().nth(2), Some(nobody.gid.to_string().as_str()));
    assert_eq!(line("Groups:").split_whitespace().nth(1), Some(nobody.gid.to_string().as_str()));
}

#[test]
fn udp_is_asked_for_and_told_not_to_be_served() {
    let mut server = Started::with(&["-U", "11211"]);
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
    let mut said = String::new();
    std::io::Read::read_to_string(server.process.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(said.contains("UDP port 11211 is not served"), "{said}");
}

#[test]
fn a_stderr_that_is_gone_stops_nobody() {
    let mut server = Started::with(&[]);
    drop(server.process.stderr.take());
    let mut client = server.connect();
    assert_eq!(client.say("verbosity 2\r\n"), "OK\r\n");
    for _ in 0..3 {
        assert_eq!(client.say("get a\r\n"), "END\r\n");
        assert_eq!(server.connect().say("get a\r\n"), "END\r\n");
    }
}
