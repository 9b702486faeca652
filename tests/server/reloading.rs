//! The configuration file of a running server, read again at SIGHUP.

use super::client::Client;
use super::started::{Started, command, lines, next_line, run};
use super::tls::{Authority, FILES};
use std::net::TcpStream;
use std::sync::mpsc::Receiver;

/// A server with a configuration file, and what it says on stderr.
struct Configured {
    server: Started,
    lines: Receiver<String>,
}

const RULE: &str = "[[expire_on_update]]\nsource = \"photo:{id}\"\nderived = [\"thumb:{id}\"]\n";

impl Configured {
    fn new(text: &str, options: &[&str]) -> Configured {
        let (mut command, directory) = command(options);
        std::fs::write(directory.join("memcarp.toml"), text).unwrap();
        command.args(["--config", "memcarp.toml"]);
        let mut server = Started::from((command, directory));
        let lines = lines(server.process.stderr.take().unwrap());
        Configured { server, lines }
    }

    /// Writes the file anew, and returns the line said when it has been read.
    fn change(&mut self, text: &str) -> String {
        std::fs::write(self.server.directory.join("memcarp.toml"), text).unwrap();
        self.reload()
    }

    /// Has the file read again, and returns the line said about it, without time and level.
    fn reload(&mut self) -> String {
        self.server.signal("-HUP");
        next_line(&self.lines).splitn(3, ' ').nth(2).unwrap().to_owned()
    }
}

/// These values of `stats settings`, in the server's order.
fn settings(client: &mut Client<TcpStream>, names: &str) -> String {
    client.send("stats settings\r\n");
    let mut values = Vec::new();
    loop {
        let line = client.line();
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["STAT", name, value] if names.split(' ').any(|other| other == name) => {
                values.push(value.to_owned())
            }
            ["END"] => return values.join(" "),
            _ => {}
        }
    }
}

#[test]
fn what_can_change_does_and_the_rest_is_named() {
    let mut configured = Configured::new("threads = 2\nmemory-limit = 64\n", &[]);
    let mut client = configured.server.connect();
    assert_eq!(client.say("set a 0 0 1\r\n1\r\n"), "STORED\r\n");
    assert_eq!(settings(&mut client, "verbosity num_threads"), "0 2");

    let said = configured.change(&format!("threads = 3\nmemory-limit = 128\nverbose = 1\n{RULE}"));
    assert_eq!(
        said,
        "configuration read again: 1 expire_on_update rule; changed at the next start only: memory-limit, threads"
    );
    assert_eq!(settings(&mut client, "verbosity num_threads"), "1 2");

    // What the command sets stays, as long as the file says what it said.
    assert_eq!(client.say("verbosity 0\r\n"), "OK\r\n");
    let said = configured.change("threads = 2\nmemory-limit = 64\nverbose = 1\n");
    assert_eq!(said, "configuration read again: 0 expire_on_update rules");
    assert_eq!(settings(&mut client, "verbosity"), "0");
    assert_eq!(client.say("incr a 1\r\n"), "2\r\n", "the connection and its items have stayed");
}

/// A client that stores with plain commands, on one connection from start to end.
#[test]
fn rules_hold_from_the_start_and_change_with_the_file() {
    let mut configured = Configured::new(RULE, &[]);
    let mut client = configured.server.connect();
    let derived = |client: &mut Client<TcpStream>, key: &str, update: &str| {
        assert_eq!(client.say(&format!("set {key} 0 0 1\r\nx\r\n")), "STORED\r\n");
        assert_eq!(client.say(&format!("mg {key}\r\n")), "HD\r\n");
        client.say(update);
        client.say(&format!("mg {key}\r\n")) == "EN\r\n"
    };
    assert!(derived(&mut client, "thumb:1", "set photo:1 0 0 1\r\nx\r\n"));
    assert!(derived(&mut client, "thumb:1", "delete photo:1\r\n"));
    assert!(!derived(&mut client, "thumb:1", "set photo:2 0 0 1\r\nx\r\n"));
    assert!(!derived(&mut client, "page:1", "delete photo:1\r\n"));

    // Items stored before keep the sources they have.
    assert_eq!(client.say("set thumb:7 0 0 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(
        configured.change(&RULE.replace("thumb", "page")),
        "configuration read again: 1 expire_on_update rule"
    );
    assert!(derived(&mut client, "page:1", "delete photo:1\r\n"));
    assert!(!derived(&mut client, "thumb:1", "delete photo:1\r\n"));
    assert_eq!(client.say("delete photo:7\r\n"), "NOT_FOUND\r\n");
    assert_eq!(client.say("mg thumb:7\r\n"), "EN\r\n");

    let said = configured.change(&RULE.replace("thumb:{id}", "thumb:{id"));
    assert!(said.ends_with("; the configuration stays as it was"), "{said}");
    assert!(derived(&mut client, "page:1", "delete photo:1\r\n"));

    configured.change("");
    assert!(!derived(&mut client, "page:1", "delete photo:1\r\n"));
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let mut configured = Configured::new("verbose = 1\n", &[]);
    let mut client = configured.server.connect();
    let said = configured.change("verbose = 2\nthreads = 0\n");
    assert_eq!(
        said,
        "memcarp.toml line 2: threads = 0: write a number from 1 to 1024; the configuration stays as it was"
    );
    assert_eq!(settings(&mut client, "verbosity"), "1");
    let said = configured.change(&RULE.replace("thumb:{id}", "thumb:{size}"));
    assert_eq!(
        said,
        "memcarp.toml line 3: `thumb:{size}`: write {id} in it too: the source `photo:{id}` needs it; \
         the configuration stays as it was"
    );
    std::fs::remove_file(configured.server.directory.join("memcarp.toml")).unwrap();
    let line = configured.reload();
    assert!(line.starts_with("cannot read memcarp.toml: No such file"), "{line}");
    assert_eq!(client.say("version\r\n"), "VERSION 1.6.45\r\n");
    assert_eq!(configured.change("verbose = 2\n"), "configuration read again: 0 expire_on_update rules");
}

/// Whatever stands where a file was: it is not waited for, nor read without end, and clients are accepted.
#[test]
fn what_is_no_file_is_not_read_again() {
    let (command, directory) = command(&["--config", "memcarp.toml", "-Y", "users", "-Z", "-o", FILES]);
    let authority = Authority::new();
    authority.issue(&directory);
    std::fs::write(directory.join("memcarp.toml"), "").unwrap();
    std::fs::write(directory.join("users"), "ann:secret\n").unwrap();
    let mut server = Started::from((command, directory));
    let lines = lines(server.process.stderr.take().unwrap());
    let comes_in = || {
        let mut client = authority.plain_client(&server);
        assert_eq!(client.say("set a 0 0 10\r\nann secret\r\n"), "STORED\r\n");
    };
    for name in ["memcarp.toml", "users", "chain", "key"] {
        let path = server.directory.join(name);
        let kept = server.directory.join("kept");
        std::fs::rename(&path, &kept).unwrap();
        for kind in ["pipe", "directory", "device", "long file"] {
            match kind {
                "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                "directory" => std::fs::create_dir(&path).unwrap(),
                "device" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap(),
            }
            server.signal("-HUP");
            let why = if kind == "long file" {
                "it is over 16 MiB long"
            } else {
                "only regular files are read again"
            };
            comes_in();
            // Files of TLS are looked at without being told, so more may be said.
            while !{
                let line = next_line(&lines);
                line.contains(why) && line.contains(name) && line.contains(" as ")
            } {}
            comes_in();
            if kind == "directory" {
                std::fs::remove_dir(&path).unwrap()
            } else {
                std::fs::remove_file(&path).unwrap()
            }
        }
        std::fs::rename(&kept, &path).unwrap();
    }
    server.signal("-HUP");
    while !next_line(&lines).contains("configuration read again") {}
    comes_in();
}

/// No client is lost to files being read again and again.
#[test]
fn clients_that_come_while_files_are_read_are_served() {
    let (mut command, directory) = command(&["--config", "memcarp.toml", "-t", "2", "-Z", "-o", FILES]);
    let authority = Authority::new();
    authority.issue(&directory);
    std::fs::write(directory.join("memcarp.toml"), "allow = \"127.0.0.0/8\"\n").unwrap();
    command.stderr(std::process::Stdio::null());
    let server = Started::from((command, directory));
    std::thread::scope(|scope| {
        let come = || {
            for _ in 0..50 {
                let mut client = authority.plain_client(&server);
                assert_eq!(client.say("mn\r\n"), "MN\r\n");
            }
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(come)).collect();
        while !clients.iter().all(|client| client.is_finished()) {
            server.signal("-HUP");
            authority.issue(&server.directory);
        }
    });
}

#[test]
fn the_command_line_still_wins() {
    let mut configured = Configured::new("threads = 3\n", &["-t", "2"]);
    let said = configured.change("threads = 5\nconn-limit = 7\n");
    assert!(said.ends_with("changed at the next start only: conn-limit"), "{said}");
}

#[test]
fn a_check_says_so_or_fails_and_starts_nothing() {
    let (mut first, directory) = command(&["--config", "memcarp.toml", "--check-config"]);
    std::fs::write(directory.join("memcarp.toml"), format!("auth-file = \"users\"\n{RULE}")).unwrap();
    std::fs::write(directory.join("users"), "alice:secret\n").unwrap();
    let output = first.output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"the configuration is good\n"[..])
    );
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    std::fs::remove_file(directory.join("users")).unwrap();
    let output = first.output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .starts_with("memcarp: memcarp.toml line 1: -Y users: No such file")
    );
    std::fs::write(directory.join("memcarp.toml"), "\nthreds = 2\n").unwrap();
    let output = first.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "memcarp: memcarp.toml line 2: there is no option threds; write threads\n"
    );
    // What starts a server, but probably not the one that was meant.
    std::fs::write(directory.join("memcarp.toml"), "").unwrap();
    let output = first.env("MEMCARP_MEMORY_LIMT", "512").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(64), &b""[..]));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "warning: MEMCARP_MEMORY_LIMT says nothing; write MEMCARP_MEMORY_LIMIT\n\
         memcarp: correct what the warnings name, or leave it out: a server would start, but not do all that is written\n"
    );
    let output = first.env_remove("MEMCARP_MEMORY_LIMT").args(["-t", "65"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "many threads may be meant");
    std::fs::remove_dir_all(directory).unwrap();

    assert_eq!(run(&["--check-config", "-p", "0"]).status.code(), Some(64));
}
