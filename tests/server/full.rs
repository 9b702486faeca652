//! Memory that is full, or that clients would fill without ever storing anything.

use super::client::Client;
use super::started::{Started, wait_until};
use std::net::TcpStream;
use std::ops::Range;

/// Replies to this command for each of these keys, sent as one.
fn each(
    client: &mut Client<TcpStream>,
    numbers: Range<usize>,
    command: impl Fn(usize) -> String,
) -> Vec<String> {
    client.send(numbers.clone().map(command).collect::<String>());
    numbers.map(|_| client.line()).collect()
}

#[test]
fn without_room_items_can_still_be_changed_and_each_command_has_one_reply() {
    let server = Started::with(&["-m", "8", "-t", "1", "-M"]);
    let mut client = server.connect();
    let store = |number| format!("set k{number} 0 0 20\r\n1{}\r\n", " ".repeat(19));
    let mut count = 0;
    while each(&mut client, count..count + 100, store).iter().all(|reply| reply == "STORED\r\n") {
        count += 100;
    }
    let before = server.resident();
    for start in (0..count).step_by(100) {
        let numbers = start..start + 100;
        let mut all = |command: &dyn Fn(usize) -> String, reply: &str| {
            for line in each(&mut client, numbers.clone(), command) {
                assert_eq!(line, reply);
            }
        };
        all(&|number| format!("mg k{number} T1000\r\n"), "HD\r\n");
        all(&|number| format!("touch k{number} 20000\r\n"), "TOUCHED\r\n");
        all(&|number| format!("incr k{number} 5\r\n"), "6\r\n");
        all(&|number| format!("md k{number} I\r\n"), "HD\r\n");
        all(&|number| format!("set k{number} 0 20000 20\r\n{}\r\n", "2".repeat(20)), "STORED\r\n");
    }
    for line in each(&mut client, 0..count, |number| format!("mg k{number} t s\r\n")) {
        assert!(
            (line.starts_with("HD t19") || line.starts_with("HD t20000")) && line.ends_with(" s20\r\n"),
            "{line}"
        );
    }
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 3 << 20, "{grown} bytes");
}

/// Clients that have announced a value of a million bytes each, and have sent `sent` of them.
fn announced(server: &Started, sent: &str) -> Vec<impl Sized + use<>> {
    let mut other = server.connect();
    let begun = format!("set big 0 0 1000000\r\n{sent}");
    let mut read = || other.stat("bytes_read").parse::<usize>().unwrap();
    let before = read();
    let clients: Vec<_> = (0..300)
        .map(|_| {
            let mut client = server.connect();
            client.send(&begun);
            client
        })
        .collect();
    wait_until("all to be waited for", || read() >= before + 300 * begun.len());
    clients
}

#[test]
fn values_that_are_announced_and_never_sent_cost_no_memory() {
    let server = Started::with(&["-m", "64", "-t", "1"]);
    let mut client = server.connect();
    for number in 0..500 {
        let value = "x".repeat(100_000);
        assert_eq!(client.say(&format!("set k{number} 0 0 100000\r\n{value}\r\n")), "STORED\r\n");
    }
    let _waiting = announced(&server, "");
    assert_eq!((client.stat("curr_items"), client.stat("evictions")), ("500".into(), "0".into()));
}

#[test]
fn values_that_are_begun_and_never_finished_leave_half_of_the_memory() {
    let server = Started::with(&["-m", "16", "-t", "1"]);
    let mut client = server.connect();
    for number in 0..1000 {
        let value = "x".repeat(10_000);
        assert_eq!(client.say(&format!("set k{number} 0 0 10000\r\n{value}\r\n")), "STORED\r\n");
    }
    let _waiting = announced(&server, &"y".repeat(100_000));
    let items: usize = client.stat("curr_items").parse().unwrap();
    assert!(items > 500, "{items}");
    assert_eq!(client.say("set new 0 0 1\r\n1\r\n"), "STORED\r\n");
}
