//! `-e`: items kept over a restart, and when they are not.

use super::started::{Started, command, output};
use std::os::unix::fs::PermissionsExt;

const OPTIONS: &[&str] = &["-e", "items", "-I", "2m"];

#[test]
fn items_survive_a_stop_in_order() {
    let mut server = Started::with(OPTIONS);
    let long = "x".repeat(1_500_000);
    for signal in ["-USR1", "-TERM"] {
        let mut client = server.connect();
        assert_eq!(client.say("set short 7 0 3\r\nabc\r\n"), "STORED\r\n");
        assert_eq!(client.say("set timed 0 1000 3\r\nabc\r\n"), "STORED\r\n");
        assert_eq!(client.say(&format!("set long 0 0 1500000\r\n{long}\r\n")), "STORED\r\n");
        assert_eq!(client.say("set gone 0 -1 3\r\nabc\r\n"), "STORED\r\n");
        let cas = client.say("mg short c\r\n");
        server.signal(signal);
        assert_eq!(server.end().code(), Some(0));

        server = server.again(OPTIONS);
        let mut client = server.connect();
        assert_eq!(client.say("mg short c\r\n"), cas, "{signal}");
        assert_eq!(client.say("mg short f\r\n"), "HD f7\r\n");
        assert!(["HD t1000\r\n", "HD t999\r\n"].contains(&client.say("mg timed t\r\n").as_str()));
        assert_eq!(client.say("get long\r\n"), "VALUE long 0 1500000\r\n");
        assert_eq!(client.line().trim_end(), long);
        assert_eq!(client.line(), "END\r\n");
        assert_eq!(client.say("mg gone\r\n"), "EN\r\n");
    }
}

#[test]
fn items_of_a_server_that_was_killed_are_not_served() {
    let mut server = Started::with(OPTIONS);
    assert_eq!(server.connect().say("set k 0 0 3\r\nold\r\n"), "STORED\r\n");
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));

    let mut server = server.again(OPTIONS);
    let mut client = server.connect();
    assert_eq!(client.say("mg k\r\n"), "HD\r\n");
    assert_eq!(client.say("set k 0 0 3\r\nnew\r\n"), "STORED\r\n");
    server.signal("-KILL");
    server.end();
    assert_eq!(server.again(OPTIONS).connect().say("mg k\r\n"), "EN\r\n");
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_start() {
    let output = super::started::run(&["-e", "/nonexistent/directory/items"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/directory/items"));
}

#[test]
fn two_servers_do_not_share_a_file() {
    let mut first = Started::with(OPTIONS);
    assert_eq!(first.connect().say("set k 0 0 5\r\nfirst\r\n"), "STORED\r\n");
    let second = || {
        let (mut second, unused) = command(OPTIONS);
        std::fs::remove_dir(unused).unwrap();
        second.current_dir(&first.directory);
        output(&mut second)
    };
    let refused = second();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("items: another server uses it; end that one, or give -e another file"), "{said}");

    first.signal("-TERM");
    assert_eq!(first.end().code(), Some(0));
    let mut next = first.again(OPTIONS);
    assert_eq!(next.connect().say("mg k v\r\n"), "VA 5\r\n", "the items of the first are there");
    // Nobody has to clear away after a server that was killed.
    next.signal("-KILL");
    next.end();
    assert_eq!(next.again(OPTIONS).connect().say("mg k\r\n"), "EN\r\n");
}

/// What is said beside them of items that were there does not make it the server's.
#[test]
fn a_file_of_somebody_else_is_not_written_over() {
    let (mut command, directory) = command(OPTIONS);
    let file = directory.join("items");
    let meta = "memory_limit 67108864\nitem_max 2097152\ncas 1\nitems 1\ncas_ceiling 1\n";
    std::fs::write(directory.join("items.meta"), meta).unwrap();
    std::fs::write(&file, "to be kept").unwrap();
    let refused = output(&mut command);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("holds something else than memcarp's items; give -e another file, or remove it"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "to be kept");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_check_names_a_file_that_could_not_be_used_and_takes_none() {
    let server = Started::with(OPTIONS);
    let check = |options: &[&str]| {
        let (mut check, unused) = command(&[&["--check-config"], options].concat());
        std::fs::remove_dir(unused).unwrap();
        let output = output(check.current_dir(&server.directory));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check(&["-e", "none/items"]);
    assert_eq!(code, Some(1), "{said}");
    let advice = "give -e a file in a directory that is there and can be written";
    assert!(said.contains("none/items: No such file or directory") && said.contains(advice), "{said}");
    std::fs::write(server.directory.join("notes"), "to be kept").unwrap();
    let (code, said) = check(&["-e", "notes"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("holds something else than memcarp's items"), "{said}");
    // As root for somebody who may do less; that somebody finds out alone.
    let closed = server.directory.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let (code, said) = check(&["-e", "closed/items", "-u", "nobody"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("closed/items: Permission denied") && said.contains(advice), "{said}");

    // One that is in use will do once that server has ended.
    assert_eq!(check(OPTIONS), (Some(0), String::new()));
    assert_eq!(check(&["-e", "new"]), (Some(0), String::new()));
    assert!(!server.directory.join("new").exists());
}
