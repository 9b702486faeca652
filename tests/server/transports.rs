//! What must hold whichever way the server waits for its clients: over epoll, and over io_uring where it can be had.

use super::started::{PATIENCE, Started, wait_until};
use memcarp::command::Output;
use memcarp_uring::Ring;
use nix::libc::SYS_io_uring_setup;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

const BOTH: [&str; 2] = ["epoll", "io_uring"];

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % most
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client's commands, and what is to come back.
fn script(client: usize, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let (mut commands, mut replies) = (Vec::new(), Vec::new());
    let mut stored: Vec<Option<Vec<u8>>> = vec![None; 8];
    while commands.len() + replies.len() < 3 << 20 {
        let key = random.below(stored.len());
        match random.below(10) {
            0..3 => {
                let most = [10, 1000, 20_000, 300_000][random.below(40).min(39) / 11];
                let value = vec![b'a' + random.below(26) as u8; random.below(most)];
                let noreply = random.below(3) == 0;
                let noreply_word = if noreply { " noreply" } else { "" };
                commands.extend(format!("set k{client}:{key} 0 0 {}{noreply_word}\r\n", value.len()).bytes());
                commands.extend(&value);
                commands.extend(b"\r\n");
                if !noreply {
                    replies.extend(b"STORED\r\n");
                }
                stored[key] = Some(value);
            }
            3..9 => {
                commands.extend(b"get");
                for _ in 0..1 + random.below(4) {
                    let key = random.below(stored.len());
                    commands.extend(format!(" k{client}:{key}").bytes());
                    if let Some(value) = &stored[key] {
                        replies.extend(format!("VALUE k{client}:{key} 0 {}\r\n", value.len()).bytes());
                        replies.extend(value);
                        replies.extend(b"\r\n");
                    }
                }
                commands.extend(b"\r\n");
                replies.extend(b"END\r\n");
            }
            _ => {
                commands.extend(b"mn\r\n");
                replies.extend(b"MN\r\n");
            }
        }
    }
    (commands, replies)
}

/// Says a script in pieces, and reads what comes back in other pieces, now and then long after it has come.
fn converse(address: SocketAddr, client: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((client as u64 + 1) << 20));
    let (commands, replies) = script(client, &mut random);
    let mut stream = connect(address);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut random = Random(client as u64 + 77);
        let mut rest = &commands[..];
        while !rest.is_empty() {
            let most = [3, 100, 5000, 200_000][random.below(4)];
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(most)));
            writer.write_all(piece).unwrap();
            rest = after;
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut at = 0;
    let mut piece = vec![0; 300_000];
    loop {
        let most = [10, 2000, piece.len()][random.below(3)];
        if client % 2 == 1 && random.below(50) == 0 {
            // A slow reader: what is sent meanwhile piles up.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let count = stream.read(&mut piece[..most]).unwrap();
        if count == 0 {
            break;
        }
        assert!(replies[at..].starts_with(&piece[..count]), "client {client} at byte {at}");
        at += count;
    }
    assert_eq!(at, replies.len(), "client {client}: the end comes after the last reply");
    sender.join().unwrap();
}

#[test]
fn each_client_gets_its_replies_however_bytes_are_cut() {
    for transport in BOTH {
        let server = Started::with(&["-t", "2", "-m", "256", "--transport", transport]);
        let address = server.address();
        let to_be_had = Ring::<Output, ()>::new(8, 4096).is_ok();
        let expected = if to_be_had { transport } else { "epoll" };
        assert_eq!(server.connect().own_stat("transport"), expected);
        let clients: Vec<_> =
            (0..12).map(|client| std::thread::spawn(move || converse(address, client))).collect();
        for client in clients {
            client.join().unwrap();
        }
    }
}

/// They leave in the middle of a command, of a value, of a reply, with replies unread, one way or the other.
#[test]
fn clients_that_vanish_leave_no_socket_and_disturb_nobody() {
    for transport in BOTH {
        let server = Started::with(&["-t", "2", "-m", "256", "--transport", transport]);
        let mut other = server.connect();
        let value = "x".repeat(300_000);
        assert_eq!(other.say(&format!("set big 0 0 300000\r\n{value}\r\n")), "STORED\r\n");
        let sockets = || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", server.process.id())).unwrap();
            open.filter(|entry| {
                let target = std::fs::read_link(entry.as_ref().unwrap().path()).unwrap_or_default();
                target.to_string_lossy().starts_with("socket:")
            })
            .count()
        };
        let (before, places) = (sockets(), other.stat("curr_connections"));
        let mut random = Random(4711);
        for _ in 0..10 {
            let mut open: Vec<_> = (0..40).map(|_| connect(server.address())).collect();
            for stream in &mut open {
                let said = [
                    "",
                    "get b",
                    "get big\r\n",
                    "set a 0 0 10\r\nabc",
                    "set a 0 0 500000\r\nabc",
                    "get big big big big big big big big big big big big\r\nget big\r\nge",
                    "mn\r\nmn\r\nquit\r\nmn\r\n",
                ][random.below(7)];
                stream.write_all(said.as_bytes()).unwrap();
                match random.below(4) {
                    0 => stream.shutdown(Shutdown::Write).unwrap(),
                    1 => nix::sys::socket::setsockopt(
                        stream,
                        nix::sys::socket::sockopt::Linger,
                        &nix::libc::linger { l_onoff: 1, l_linger: 0 },
                    )
                    .unwrap(),
                    2 if said.ends_with('\n') => {
                        stream.read_exact(&mut [0; 2]).unwrap();
                    }
                    _ => {}
                }
            }
            assert_eq!(other.say("mn\r\n"), "MN\r\n");
            while !open.is_empty() {
                open.swap_remove(random.below(open.len()));
            }
            assert_eq!(other.say("mn\r\n"), "MN\r\n");
        }
        wait_until("all sockets to be closed", || sockets() == before);
        wait_until("all places to be free", || other.stat("curr_connections") == places);
    }
}

/// As many at once as the ring's queues and buffers do not hold.
#[test]
fn thousands_of_clients_are_all_answered() {
    for transport in BOTH {
        let server = Started::with(&["-t", "1", "--transport", transport]);
        let mut clients: Vec<_> = (0..900).map(|_| connect(server.address())).collect();
        let value = "y".repeat(5000);
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                let command = format!("set k{number} 0 0 5000\r\n{value}\r\nget k{number}\r\n");
                client.write_all(command.as_bytes()).unwrap();
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let expected = format!("STORED\r\nVALUE k{number} 0 5000\r\n{value}\r\nEND\r\n");
                let mut reply = vec![0; expected.len()];
                client.read_exact(&mut reply).unwrap();
                assert!(reply == expected.as_bytes(), "client {number} in round {round}");
            }
        }
    }
}

/// As in a container whose filter of system calls does not let it have a ring.
#[test]
fn a_system_that_refuses_io_uring_is_served_over_epoll_with_one_line_in_the_log() {
    let refused = std::thread::spawn(|| {
        let filter = SeccompFilter::new(
            [(SYS_io_uring_setup, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(nix::libc::EPERM as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        // Holds for this thread and what it starts.
        apply_filter(&BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
        Started::with(&["--transport", "io_uring"])
    });
    let mut server = refused.join().unwrap();
    let mut client = server.connect();
    assert_eq!(client.say("mn\r\n"), "MN\r\n");
    assert_eq!(client.own_stat("transport"), "epoll");
    drop(client);
    server.signal("-TERM");
    assert_eq!(server.end().code(), Some(0));
    let mut log = String::new();
    server.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let about: Vec<_> = log.lines().filter(|line| line.contains("io_uring")).collect();
    let [line] = about[..] else { panic!("not one line: {about:?}") };
    let said = "io_uring is not to be had here (Operation not permitted (os error 1)): serving over epoll";
    assert!(line.ends_with(said), "{line}");
}
