//! Resident memory of a server that is filled again and again: containers with a limit of 1.2 times -m live.

use super::started::{Started, wait_until};

/// What the released program itself takes, which is larger with debugging information and so not counted here.
const PROGRAM: u64 = 5 << 20;

/// A process's own resident memory, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn resident_memory_stays_under_its_limit_whatever_sizes_follow_each_other() {
    const LIMIT: u64 = 128 << 20;
    let server = Started::with(&["-m", "128"]);
    let mut client = server.connect();
    let mut number = 0;
    // Each fills the memory once and a half.
    for value_len in [150_000, 300, 4000, 900_000, 40, 20_000] {
        let value = "v".repeat(value_len);
        let mut left = LIMIT as usize * 3 / 2;
        // Of the smallest fewer, to save time.
        if value_len == 40 {
            left /= 4;
        }
        while left > 0 {
            let mut batch = String::new();
            while batch.len() < 1 << 20 {
                batch += &format!("set key:{number} 0 0 {value_len} noreply\r\n{value}\r\n");
                number += 1;
                left = left.saturating_sub(value_len + 70);
            }
            client.send(batch);
        }
        assert_eq!(client.say("mn\r\n"), "MN\r\n");
        let now = resident(server.process.id());
        println!("values of {value_len} bytes: {now} bytes resident");
        assert!(now + PROGRAM <= LIMIT + LIMIT / 5, "values of {value_len} bytes: {now} bytes resident");
    }
    assert!(client.stat("evictions").parse::<u64>().unwrap() > 100_000);
}

/// Items that each name a source of their own, then plain ones in their place, then none. With `-m 64` what the limit
/// allows beside `-m`, and the program, is under a fifth of it.
#[test]
fn what_is_kept_of_sources_counts_and_comes_back() {
    const LIMIT: u64 = 16 << 20;
    const MOST: u64 = LIMIT + LIMIT / 50 + (3 << 20);
    // A ring has buffers of its own.
    let server = Started::with(&["-m", "16", "--transport", "epoll"]);
    let mut client = server.connect();
    let value = "v".repeat(400);
    let kinds: [(usize, &dyn Fn(usize) -> String); 2] = [
        (225_000, &|number| format!("ms k{number} 1 q Dsource:{number}\r\nv\r\n")),
        (50_000, &|number| format!("ms p{number} 400 q\r\n{value}\r\n")),
    ];
    for (items, command) in kinds {
        for first in (0..items).step_by(5000) {
            let batch: String = (first..first + 5000).map(command).collect();
            assert_eq!(client.say(&(batch + "mn\r\n")), "MN\r\n");
            let now = resident(server.process.id());
            assert!(now <= MOST, "after {first} items: {now} bytes resident");
        }
        let sources: u64 = client.own_stat("expire_on_update_sources").parse().unwrap();
        println!("{sources} sources, {} bytes resident", resident(server.process.id()));
        assert_eq!(sources > 125_000, items == 225_000, "{sources} sources");
    }
    assert_eq!(client.say("flush_all\r\n"), "OK\r\n");
    let mut counted = || client.own_stat("memory_bytes").parse::<u64>().unwrap();
    loop {
        let before = counted();
        if before <= LIMIT / 8 {
            break;
        }
        wait_until("more to be given back", || counted() < before);
    }
    let left = resident(server.process.id());
    assert!(left < LIMIT / 4, "{left} bytes resident");
}
