//! Resident memory of a server that is filled again and again: containers with a limit of 1.2 times -m live.

use super::started::Started;

const LIMIT: u64 = 128 << 20;

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
