//! Users and passwords over real sockets: files of hashes, who waits for them, and files that are read again.

use super::started::{Started, command, lines, next_line, output, run, wait_until};
use socket2::SockRef;
use std::io::{BufRead, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A line for a user with this password, as `memcarp hash-password` makes it.
fn hashed(user: &str, password: &str) -> String {
    let mut process = Command::new(env!("CARGO_BIN_EXE_memcarp"))
        .args(["hash-password", user])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn start(users: &str, options: &[&str]) -> Started {
    let mut all = vec!["-Y", "users"];
    all.extend(options);
    let (command, directory) = command(&all);
    std::fs::write(directory.join("users"), users).unwrap();
    Started::from((command, directory))
}

fn log_in(user: &str, password: &str) -> String {
    let token = format!("{user} {password}");
    format!("set a 0 0 {}\r\n{token}\r\n", token.len())
}

const FAILURE: &str = "CLIENT_ERROR authentication failure\r\n";

#[test]
fn a_hash_lets_in_who_has_the_password() {
    let server = start(&(hashed("ann", "secret") + "bob:plain\n"), &["-t", "1"]);
    assert!(!std::fs::read_to_string(server.directory.join("users")).unwrap().contains("secret"));
    let mut client = server.connect();
    assert_eq!(client.say(&log_in("ann", "wrong")), FAILURE);
    assert_eq!(client.say(&log_in("eve", "secret")), FAILURE);
    assert_eq!(client.say("get abc\r\n"), "CLIENT_ERROR unauthenticated\r\n");
    // What is sent behind it waits with it.
    client.send(log_in("ann", "secret") + "set k 0 0 1\r\n1\r\nget k\r\n");
    assert_eq!([client.line(), client.line(), client.line()].concat(), "STORED\r\nSTORED\r\nVALUE k 0 1\r\n");
    assert_eq!(server.connect().say(&log_in("bob", "plain")), "STORED\r\n");
}

/// Many connections of one user cost one computation, and nobody else's.
#[test]
fn many_may_come_at_once() {
    let server = start(&hashed("ann", "secret"), &["-t", "2"]);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(log_in("ann", "secret"));
    }
    for client in &mut clients {
        assert_eq!(client.line(), "STORED\r\n");
    }
    assert_eq!(clients[0].stat("auth_errors"), "0");
}

/// A line for a user whose password is checked in many milliseconds, as are those of all who are unknown.
const SLOW: &str =
    "slow:$argon2id$v=19$m=65536,t=2,p=1$c2FsdHNhbHRzYWx0$Sco+PyWo9EHG/q2z71SS5BbVLkBzuEAHkIvicdoQX+A\n";

/// How a client may go away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    /// It closes, and is told nothing any more.
    WithAnEnd,
    /// As when it crashes, or closes with something unread.
    WithAReset,
}

/// A client that goes away while its password is checked takes nobody's time.
#[test]
fn who_does_not_wait_is_forgotten() {
    for leaves in [Leaves::WithAnEnd, Leaves::WithAReset] {
        let server = start(&(SLOW.to_owned() + &hashed("ann", "secret")), &[]);
        let gone: Vec<_> = (0..40)
            .map(|number| {
                let mut client = server.connect();
                client.send(log_in("eve", &number.to_string()));
                client
            })
            .collect();
        let mut client = server.connect();
        assert_eq!(client.say("get abc\r\n"), "CLIENT_ERROR unauthenticated\r\n");
        for client in gone {
            if leaves == Leaves::WithAReset {
                SockRef::from(client.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        assert_eq!(client.say(&log_in("ann", "secret")), "STORED\r\n", "{leaves:?}");
        let checked: u32 = client.stat("auth_errors").parse().unwrap();
        assert!(checked < 20, "{checked} come before who waits: {leaves:?}");
        if leaves == Leaves::WithAReset {
            wait_until("the others to be gone", || client.stat("curr_connections") == "1");
        }
    }
}

/// Whoever sends all it has to say and closes its side is answered all the same.
#[test]
fn who_only_listens_is_answered() {
    let server = start(&hashed("ann", "secret"), &[]);
    let mut client = server.connect();
    client.send(log_in("ann", "secret") + "mn\r\n");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"STORED\r\nMN\r\n");
}

/// One address has all places in the queue; another comes before its second.
#[test]
fn who_guesses_keeps_itself_waiting() {
    let server = start(&(SLOW.to_owned() + &hashed("ann", "secret") + "bob:plain\n"), &[]);
    let mut bob = server.connect();
    assert_eq!(bob.say(&log_in("bob", "plain")), "STORED\r\n");
    let guessing: Vec<_> = (0..100)
        .map(|number| {
            let mut client = server.connect_from(2);
            client.send(log_in("eve", &number.to_string()));
            client
        })
        .collect();
    wait_until("all to have asked", || bob.stat("auth_cmds") == "101");
    let mut answered = || bob.stat("auth_errors").parse::<u32>().unwrap();
    let before = answered();
    assert!(before > 20, "some were told to try again");
    let mut client = server.connect();
    assert_eq!(client.say(&log_in("ann", "wrong")), FAILURE);
    assert_eq!(client.say(&log_in("ann", "secret")), "STORED\r\n");
    let meanwhile = answered() - before;
    assert!(meanwhile < 20, "{meanwhile} of another address come before");
    drop(guessing);
}

#[test]
fn who_fails_too_often_is_closed() {
    let server = start("ann:secret\n", &[]);
    let mut failures = 0;
    let mut guessing = server.connect();
    loop {
        // Whoever says something to a connection that has just been closed is told so by a write, a read or the end.
        let sent = guessing.stream.get_mut().write_all(log_in("ann", "guess").as_bytes());
        let mut line = String::new();
        match sent.and_then(|()| guessing.stream.read_line(&mut line)) {
            Ok(_) if line == FAILURE => failures += 1,
            Ok(0) | Err(_) => break,
            Ok(_) => panic!("{line}"),
        }
        assert!(failures < 1000, "nobody stops it");
    }
    assert!(failures > 16, "{failures}");
}

/// They have no address by which to tell the one who guesses from the others.
#[test]
fn over_a_unix_socket_nobody_is_closed_for_failing() {
    let server = start("ann:secret\n", &["-s", "socket"]);
    let mut client = server.connect_unix();
    for _ in 0..100 {
        assert_eq!(client.say(&log_in("ann", "guess")), FAILURE);
    }
    assert_eq!(client.say(&log_in("ann", "secret")), "STORED\r\n");
}

#[test]
fn users_are_read_again() {
    let mut server = start("ann:secret\n", &[]);
    let lines = lines(server.process.stderr.take().unwrap());
    let file = server.directory.join("users");
    let mut inside = server.connect();
    assert_eq!(inside.say(&log_in("ann", "secret")), "STORED\r\n");

    std::fs::write(&file, "ann:$2y$05$abcdefghijklmnopqrstuv\n").unwrap();
    server.signal("-HUP");
    let said = next_line(&lines);
    let message = "WARN -Y users: users line 1: this is no argon2 hash; memcarp hash-password makes them; \
        the users stay as they were";
    assert!(said.ends_with(message), "{said}");
    assert_eq!(server.connect().say(&log_in("ann", "secret")), "STORED\r\n");

    std::fs::write(&file, hashed("bob", "other")).unwrap();
    server.signal("-HUP");
    wait_until("the new users", || server.connect().say(&log_in("bob", "other")) == "STORED\r\n");
    assert_eq!(server.connect().say(&log_in("ann", "secret")), FAILURE);
    assert_eq!(inside.say("mn\r\n"), "MN\r\n", "who is in stays in");
}

#[test]
fn a_hash_nobody_can_check_stops_the_start() {
    let (mut command, directory) = command(&["-Y", "users"]);
    std::fs::write(directory.join("users"), "ann:$6$salt$hash\n").unwrap();
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("users line 1: this is no argon2 hash"), "{stderr}");
    std::fs::remove_dir_all(directory).unwrap();
    assert_eq!(run(&["-Y", "missing"]).status.code(), Some(1));
}

/// What waits is answered before the server ends.
#[test]
fn a_stop_waits_for_verdicts() {
    let mut server = start(&(hashed("ann", "secret") + "bob:plain\n"), &["-t", "1"]);
    let mut bob = server.connect();
    assert_eq!(bob.say(&log_in("bob", "plain")), "STORED\r\n");
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(log_in("ann", &number.to_string()));
    }
    wait_until("all to be in the queue", || bob.stat("auth_cmds") == "11");
    server.signal("-TERM");
    for client in &mut clients {
        assert_eq!(String::from_utf8(client.rest()).unwrap(), FAILURE);
    }
    assert_eq!(server.end().code(), Some(0));
}
