//! What is logged: quiet unless asked, conversations in memcached's form, JSON, and nothing of clients' data at info.

use super::started::{Started, command, wait_until};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// A server whose log is a file of its own.
struct Logged(Started);

impl Logged {
    fn with(options: &[&str], journal: bool) -> Logged {
        Logged::having(options, journal, &[])
    }

    /// With these files in its directory.
    fn having(options: &[&str], journal: bool, files: &[(&str, &str)]) -> Logged {
        let (mut command, directory) = command(options);
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        let log = File::create(directory.join("log")).unwrap();
        command.env_remove("JOURNAL_STREAM");
        // Only builds with debug assertions know it.
        command.env("MEMCARP_TEST_PANIC", "get panic");
        if journal {
            let file = log.metadata().unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
        }
        Logged(Started::logging_to((command, directory), log))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.0.directory.join("log")).unwrap()
    }

    /// The log of a server that has had its time.
    fn at_end(mut self) -> Vec<String> {
        self.0.signal("-TERM");
        assert_eq!(self.0.end().code(), Some(0));
        self.text().lines().map(str::to_owned).collect()
    }
}

#[test]
fn nothing_is_said_but_what_was_done_to_the_server() {
    for verbose in [&[][..], &["-v"]] {
        let server = Logged::with(verbose, true);
        let mut client = server.0.connect();
        assert_eq!(client.say("set secret 0 0 6\r\nhidden\r\n"), "STORED\r\n");
        assert_eq!(client.say("get none\r\n"), "END\r\n");
        drop(client);
        assert_eq!(server.at_end(), ["INFO Signal handled: Terminated."]);
    }
}

#[test]
fn conversations_are_shown_as_memcached_shows_them() {
    let server = Logged::with(&["-vv"], false);
    let mut client = server.0.connect();
    for (command, end) in [
        ("set a 0 0 5\r\nhello\r\n", "STORED\r\n"),
        ("get a b\r\n", "VALUE a 0 5\r\n"),
        ("incr a 1\r\n", "hello\r\n"),
    ] {
        assert_eq!(client.say(command), end);
    }
    assert_eq!(client.line(), "END\r\n");
    assert_eq!(client.line(), "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    // Of a command that comes in pieces the log speaks once.
    client.send("set big 0 0 200000\r\n");
    client.send("x".repeat(200_000));
    assert_eq!(client.say("\r\n"), "STORED\r\n");
    client.send("get big a\r\nmg a v\r\nset a 0 0 1 noreply\r\n1\r\nbogus \x1b\r\nquit\r\n");
    client.rest();
    wait_until("the connection to be closed", || server.text().contains("connection closed."));
    let text = server.text();
    let fd = text.strip_prefix('<').unwrap().split(' ').next().unwrap();
    let lines: Vec<String> = text.lines().map(|line| line.replacen(fd, "fd", 1)).collect();
    let expected = "<fd new auto-negotiating client connection\n<fd set a 0 0 5\n>fd STORED\n<fd get a b\n\
        >fd sending key a\n>fd END\n<fd incr a 1\n\
        >fd CLIENT_ERROR cannot increment or decrement non-numeric value\n<fd set big 0 0 200000\n>fd STORED\n\
        <fd get big a\n>fd sending key big\n>fd sending key a\n>fd END\n<fd mg a v\n>fd VA 5\n\
        <fd set a 0 0 1 noreply\n<fd bogus \\x1b\n>fd ERROR\n<fd quit\n<fd connection closed.";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn lines_have_their_time_unless_the_journal_notes_it() {
    let lines = Logged::with(&["-U", "11211"], false).at_end();
    for (line, said) in lines.iter().zip(["WARN UDP port", "INFO Signal handled"]) {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert!(rest.starts_with(said), "{line}");
    }
    let lines = Logged::with(&["-U", "11211"], true).at_end();
    assert!(lines[0].starts_with("WARN UDP port 11211 is not served"), "{lines:?}");
}

#[test]
fn json_has_an_object_a_line() {
    let server = Logged::with(&["--log-format", "json", "-vv"], false);
    assert_eq!(server.0.connect().say("get \"\\\r\n"), "END\r\n");
    server.0.connect().send("get panic\r\n");
    wait_until("the panic", || server.text().contains("panicked at"));
    wait_until("the connection to be closed", || server.text().contains("connection closed."));
    let announced = server.0.line.trim_end().to_owned();
    assert!(announced.contains("\"level\":\"INFO\",\"message\":\"memcarp serves on "), "{announced}");
    let lines = server.at_end();
    for line in lines.iter().chain([&announced]) {
        assert!(line.starts_with("{\"timestamp\":\"20") && line.ends_with("\"}"), "{line}");
    }
    let said = |level: &str, message: &str| {
        lines.iter().any(|line| line.contains(&format!("\"level\":\"{level}\"")) && line.contains(message))
    };
    assert!(said("TRACE", "get \\\\\\\"\\\\\\\\"), "{lines:?}");
    assert!(said("ERROR", "panicked at"), "{lines:?}");
    assert!(said("INFO", "\"message\":\"Signal handled: Terminated.\""), "{lines:?}");
}

#[test]
fn failed_connections_are_logged_when_asked() {
    let server = Logged::with(&["-v"], true);
    let client = socket2::Socket::from(std::net::TcpStream::connect(server.0.address()).unwrap());
    wait_until("the connection", || server.0.connect().stat("curr_connections").parse::<u32>().unwrap() >= 2);
    // Closes with a reset.
    client.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    wait_until("the failure", || server.text().contains(" failed: "));
    assert!(server.text().starts_with("DEBUG <"), "{}", server.text());
}

/// By the address, with neither user nor password, which may be each other.
#[test]
fn failed_logins_are_logged_when_asked() {
    for (verbose, told) in [(&["-Y", "users"][..], false), (&["-Y", "users", "-v"], true)] {
        let server = Logged::having(verbose, true, &[("users", "ann:secret\n")]);
        let mut client = server.0.connect();
        let peer = client.stream.get_ref().local_addr().unwrap();
        assert_eq!(client.say("set a 0 0 12\r\nhunter wrong\r\n"), "CLIENT_ERROR authentication failure\r\n");
        assert_eq!(client.say("set a 0 0 10\r\nann secret\r\n"), "STORED\r\n");
        let lines = server.at_end();
        let failure = lines.iter().filter(|line| line.ends_with(" failed to log in")).collect::<Vec<_>>();
        assert_eq!(failure.len(), usize::from(told), "{lines:?}");
        assert!(failure.iter().all(|line| line.starts_with("DEBUG <") && line.contains(&peer.to_string())));
        let text = lines.join("\n");
        assert!(!["hunter", "wrong", "secret"].iter().any(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn what_is_read_again_is_said() {
    let server = Logged::having(&["-Y", "users"], true, &[("users", "ann:secret\nbob:word\n")]);
    server.0.signal("-HUP");
    wait_until("the users", || !server.text().is_empty());
    assert_eq!(server.at_end()[0], "INFO -Y users read again: 2 users");
}
