//! Who the process is and what it may take, once it serves: what `/proc` says of each of its threads.

use super::client::Client;
use super::started::{Started, command};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A line of `status` or `limits`, without its name.
fn line(server: &Started, file: &str, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", server.process.id())).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn root_is_given_up_before_anybody_is_served() {
    // A port that needs root, if any does here.
    let taken = (600..1024).rev().find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let port = match taken {
        Some(listener) if is_root() => listener.local_addr().unwrap().port().to_string(),
        _ => "-1".to_owned(),
    };
    let (ours, directory) = command(&["-u", "nobody", "-t", "3", "-p", &port]);
    // Groups of root that nobody has, to be given up as well.
    let mut under = Command::new(if is_root() { "setpriv" } else { "env" });
    under.args(is_root().then_some(["--groups", "1,2,3"]).iter().flatten());
    under.arg(ours.get_program()).args(ours.get_args());
    under.env("MEMCACHED_PORT_FILENAME", "/dev/null").current_dir(&directory).stdin(Stdio::null());
    let server = Started::from((under, directory));
    assert_eq!(server.connect().say("version\r\n"), "VERSION 1.6.45\r\n");
    let nobody = match nix::unistd::User::from_name("nobody").unwrap() {
        Some(user) if is_root() => (user.uid.as_raw(), user.gid.as_raw()),
        // For anybody but root, -u does nothing.
        _ => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
    };
    let mut threads = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap() {
        let task = task.unwrap().path();
        let text = std::fs::read_to_string(task.join("status")).unwrap();
        let ids = |name: &str| -> Vec<u32> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(|id| id.parse().unwrap()).collect()
        };
        // Real, effective, saved, and that of files.
        assert_eq!(ids("Uid:"), [nobody.0; 4]);
        assert_eq!(ids("Gid:"), [nobody.1; 4]);
        if is_root() {
            let groups = ids("Groups:");
            assert!(groups.iter().all(|&group| group == nobody.1), "{groups:?}");
            for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
                let capabilities = text.lines().find_map(|line| line.strip_prefix(set)).unwrap();
                assert_eq!(capabilities.trim().trim_start_matches('0'), "", "{set}");
            }
        }
        threads += 1;
    }
    // Workers, maintenance, and the one that accepts.
    assert!(threads >= 5, "{threads}");
}

#[test]
fn a_unix_socket_belongs_to_who_serves_it() {
    let (mut command, directory) = command(&["-u", "nobody", "-s", "socket"]);
    if is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("every system has a nobody");
        nix::unistd::chown(&directory, Some(nobody.uid), Some(nobody.gid)).unwrap();
    }
    command.env("MEMCACHED_PORT_FILENAME", "/dev/null");
    let server = Started::from((command, directory));
    assert_eq!(server.connect_unix().say("version\r\n"), "VERSION 1.6.45\r\n");
    let of_socket = std::fs::metadata(server.directory.join("socket")).unwrap().uid();
    let expected: u32 = line(&server, "status", "Uid:")[0].parse().unwrap();
    assert_eq!(of_socket, expected);
}

#[test]
fn core_dumps_are_left_where_they_are_asked_for() {
    let (mut command, directory) = command(&["-u", "nobody", "-r"]);
    command.env("MEMCACHED_PORT_FILENAME", "/dev/null");
    let server = Started::from((command, directory));
    let limits = line(&server, "limits", "Max core file size");
    // As much as the system lets us have.
    assert_eq!(limits[0], limits[1]);
    // Not the directory, which is its user's in any case.
    let of_file = std::fs::metadata(format!("/proc/{}/status", server.process.id())).unwrap().uid();
    let user: u32 = line(&server, "status", "Uid:")[0].parse().unwrap();
    assert_eq!(of_file, user, "what is told of a process that may be dumped belongs to its user");
}

#[test]
fn enough_files_may_be_open_for_all_connections() {
    let (ours, directory) = command(&["-c", "3000", "-t", "4"]);
    // From less than that, of which it may have more.
    let mut under = Command::new("prlimit");
    under.arg("--nofile=300:8192").arg(ours.get_program()).args(ours.get_args());
    under.current_dir(&directory).stdin(Stdio::null());
    let server = Started::from((under, directory));
    let limits = line(&server, "limits", "Max open files");
    let (soft, served): (u64, u64) =
        (limits[0].parse().unwrap(), server.connect().stat("max_connections").parse().unwrap());
    assert_eq!(served, 3000);
    assert!(soft >= served + 64, "{soft} files for {served} connections");
}

#[test]
fn memory_is_locked_where_that_is_asked_for_and_allowed() {
    let (command, directory) = command(&["-k", "-m", "8", "-t", "1"]);
    let mut server = Started::from((command, directory));
    let locked: u64 = line(&server, "status", "VmLck:")[0].parse().unwrap();
    if locked == 0 {
        // Not allowed: then it says so and serves.
        server.signal("-TERM");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut server.process.stderr.take().unwrap(), &mut said).unwrap();
        assert!(said.contains("-k: not locking memory"), "{said}");
    } else {
        let mut client: Client<TcpStream> = server.connect();
        assert_eq!(client.say("mn\r\n"), "MN\r\n");
        assert!(locked > 4096, "{locked} kB");
    }
}
