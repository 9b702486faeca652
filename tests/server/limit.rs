//! `-c`: exactly as many clients, and what happens to those over it.

use super::started::{Started, wait_until};

#[test]
fn a_client_over_the_limit_reads_why_and_the_end() {
    let server = Started::with(&["-c", "2"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    assert_eq!(first.say("version\r\n"), "VERSION 1.6.45\r\n");
    assert_eq!(second.say("version\r\n"), "VERSION 1.6.45\r\n");
    for asks_first in [false, true] {
        let mut third = server.connect();
        if asks_first {
            third.send("get a\r\n");
        }
        assert_eq!(third.rest(), b"ERROR Too many open connections\r\n");
    }
    assert_eq!(first.stat("rejected_connections"), "2");
    assert_eq!(first.stat("max_connections"), "2");

    drop(second);
    wait_until("the place to be free", || server.connect().say("version\r\n").starts_with("VERSION"));
}

#[test]
fn without_maxconns_fast_a_client_over_the_limit_waits_for_a_place() {
    let server = Started::with(&["-c", "1", "-o", "no_maxconns_fast"]);
    let mut first = server.connect();
    assert_eq!(first.stat("accepting_conns"), "1");
    let mut second = server.connect();
    second.send("version\r\n");
    wait_until("accepting to stop", || first.stat("accepting_conns") == "0");
    assert_eq!(first.stat("listen_disabled_num"), "1");

    drop(first);
    assert_eq!(second.line(), "VERSION 1.6.45\r\n");
    assert_eq!(second.stat("accepting_conns"), "1");
    assert_ne!(second.stat("time_in_listen_disabled_us"), "0");
}

#[test]
fn a_limit_on_open_files_lowers_the_limit_on_connections() {
    let (memcarp, directory) = super::started::command(&["-c", "5000", "-t", "1"]);
    let mut command = std::process::Command::new("setpriv");
    // Without the capability to raise it, as anybody but root.
    command.args([
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--",
        "sh",
        "-c",
        "ulimit -n 200; exec \"$@\"",
        "sh",
    ]);
    if !nix::unistd::geteuid().is_root() {
        command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 200; exec \"$@\"", "sh"]);
    }
    command.arg(memcarp.get_program()).args(memcarp.get_args()).current_dir(&directory);
    let server = Started::from((command, directory));
    let limit: usize = server.connect().stat("max_connections").parse().unwrap();
    assert!((100..200).contains(&limit), "{limit}");
}
