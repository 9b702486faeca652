//! A ring over pairs of connected sockets: what it owns, what it says, and what is left when things end early.
//!
//! Where the system permits no ring there is nothing to test, and each test says so.

use memcarp_uring::{Arrival, Completion, Payload, Ring};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What tests send; counts itself when it is dropped.
struct Parts {
    parts: Vec<Vec<u8>>,
    dropped: Rc<Cell<usize>>,
}

/// Counts itself when its socket is closed.
struct Guard(Rc<Cell<usize>>);

type TestRing = Ring<Parts, Option<Guard>>;

const PATIENCE: Duration = Duration::from_secs(20);

impl Payload for Parts {
    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = self.parts.len().min(slices.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        count
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn ring(buffers: u16, buffer_len: u32) -> Option<TestRing> {
    match Ring::new(buffers, buffer_len) {
        Ok(ring) => Some(ring),
        Err(error) => {
            println!("not tested: no ring here: {error}");
            None
        }
    }
}

fn parts(parts: &[&[u8]], dropped: &Rc<Cell<usize>>) -> Parts {
    Parts { parts: parts.iter().map(|part| part.to_vec()).collect(), dropped: dropped.clone() }
}

/// The next completion; panics if there is none in time.
fn next(ring: &mut TestRing) -> Completion<Parts> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(completion) = ring.completion() {
            return completion;
        }
        assert!(Instant::now() < deadline, "nothing happens");
        ring.wait(Some(Duration::from_millis(100))).unwrap();
    }
}

/// The next thing received, and by whom.
fn received(ring: &mut TestRing) -> (usize, Arrival) {
    match next(ring) {
        Completion::Received { token, arrival } => (token, arrival),
        _ => panic!("something else"),
    }
}

fn counter() -> Rc<Cell<usize>> {
    Rc::default()
}

#[test]
fn bytes_come_in_go_out_and_end() {
    let Some(mut ring) = ring(4, 4096) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let dropped = counter();
    let socket = ring.add(ours.into(), 7, None);
    ring.receive(socket);
    for round in 0..100 {
        let message = vec![b'a' + (round % 26) as u8; 1 + 40 * round];
        theirs.write_all(&message).unwrap();
        let (token, Arrival::Bytes(bytes)) = received(&mut ring) else { panic!("no bytes") };
        assert_eq!((token, &*bytes), (7, &*message));
        drop(bytes);
        assert!(ring.send(socket, parts(&[&message, b"", b"+", b"end"], &dropped)).is_ok());
        assert!(ring.is_sending(socket));
        let Completion::Sent { token, payload, count } = next(&mut ring) else { panic!("not sent") };
        assert_eq!((token, count.unwrap()), (7, message.len() + 4));
        assert!(!ring.is_sending(socket));
        assert_eq!(payload.parts[0], message);
        let mut back = vec![0; message.len() + 4];
        theirs.read_exact(&mut back).unwrap();
        assert_eq!(back, [&message, &b"+end"[..]].concat());
    }
    assert_eq!(dropped.get(), 100);
    drop(theirs);
    assert!(matches!(received(&mut ring), (7, Arrival::End)));
    assert!(!ring.is_receiving(socket));
}

#[test]
fn one_send_at_a_time_and_none_of_nothing() {
    let Some(mut ring) = ring(1, 4096) else { return };
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let dropped = counter();
    let socket = ring.add(ours.into(), 0, None);
    assert!(ring.send(socket, parts(&[], &dropped)).is_err());
    assert!(ring.send(socket, parts(&[b"one"], &dropped)).is_ok());
    assert!(ring.send(socket, parts(&[b"two"], &dropped)).is_err());
    assert_eq!(dropped.get(), 2);
}

#[test]
fn a_socket_that_is_told_to_stop_receives_no_more_until_told() {
    let Some(mut ring) = ring(8, 4096) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = ring.add(ours.into(), 0, None);
    for _ in 0..50 {
        ring.receive(socket);
        theirs.write_all(b"first").unwrap();
        assert!(matches!(received(&mut ring), (_, Arrival::Bytes(bytes)) if *bytes == *b"first"));
        ring.stop_receiving(socket);
        assert!(matches!(received(&mut ring), (_, Arrival::Nothing)));
        assert!(!ring.is_receiving(socket));
        theirs.write_all(b"second").unwrap();
        ring.wait(Some(Duration::ZERO)).unwrap();
        assert!(ring.completion().is_none());
        ring.receive(socket);
        assert!(matches!(received(&mut ring), (_, Arrival::Bytes(bytes)) if *bytes == *b"second"));
        ring.stop_receiving(socket);
        assert!(matches!(received(&mut ring), (_, Arrival::Nothing)));
    }
}

/// Two buffers for a hundred sockets: some are told that there is none, and get their bytes when there is.
#[test]
fn nothing_is_lost_when_buffers_run_out() {
    let Some(mut ring) = ring(2, 64) else { return };
    let mut theirs = Vec::new();
    let mut sockets = Vec::new();
    for token in 0..100 {
        let (ours, mut other) = UnixStream::pair().unwrap();
        let socket = ring.add(ours.into(), token, None);
        ring.receive(socket);
        other.write_all(&[token as u8; 200]).unwrap();
        theirs.push(other);
        sockets.push(socket);
    }
    let mut got = vec![0; 100];
    let mut held = Vec::new();
    let mut without = 0;
    while got.iter().any(|count| *count < 200) {
        match received(&mut ring) {
            (token, Arrival::Bytes(bytes)) => {
                assert!(bytes.iter().all(|byte| *byte == token as u8));
                got[token] += bytes.len();
                held.push(bytes);
            }
            (_, Arrival::Nothing) => {
                without += 1;
                held.clear();
                sockets.iter().for_each(|socket| ring.receive(*socket));
            }
            _ => panic!("no bytes"),
        }
    }
    assert_eq!(got, [200; 100]);
    assert_ne!(without, 0);
}

#[test]
fn more_sockets_than_fit_the_queues() {
    let Some(mut ring) = ring(256, 64) else { return };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < 13_000 {
        setrlimit(Resource::RLIMIT_NOFILE, 13_000, hard.max(13_000))
            .expect("this test opens 12,000 sockets: raise the limit with ulimit -n");
    }
    let (dropped, closed) = (counter(), counter());
    let mut theirs = Vec::new();
    for token in 0..6000 {
        let (ours, mut other) = UnixStream::pair().unwrap();
        let socket = ring.add(ours.into(), token, Some(Guard(closed.clone())));
        ring.receive(socket);
        other.write_all(&token.to_be_bytes()).unwrap();
        theirs.push((socket, other));
    }
    let (mut answered, mut sent) = (0, 0);
    while sent < theirs.len() {
        match next(&mut ring) {
            Completion::Received { token, arrival: Arrival::Bytes(bytes) } => {
                assert_eq!(*bytes, token.to_be_bytes());
                answered += 1;
                assert!(ring.send(theirs[token].0, parts(&[&bytes, b"!"], &dropped)).is_ok());
            }
            Completion::Received { token, arrival: Arrival::Nothing } => ring.receive(theirs[token].0),
            Completion::Sent { count, .. } => {
                assert_eq!(count.unwrap(), 9);
                sent += 1;
            }
            _ => panic!("something else"),
        }
    }
    assert_eq!((answered, dropped.get()), (6000, 6000));
    for (token, (socket, other)) in theirs.iter_mut().enumerate() {
        let mut back = [0; 9];
        other.read_exact(&mut back).unwrap();
        assert_eq!(back[..8], token.to_be_bytes());
        ring.close(*socket);
    }
    let deadline = Instant::now() + PATIENCE;
    while closed.get() < 6000 {
        assert!(Instant::now() < deadline, "{} closed", closed.get());
        ring.wait(Some(Duration::from_millis(10))).unwrap();
        assert!(ring.completion().is_none(), "nothing is said of closed sockets");
    }
}

/// The other side does not read: most of it is still to be sent.
fn stuck(ring: &mut TestRing, dropped: &Rc<Cell<usize>>, closed: &Rc<Cell<usize>>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let socket = ring.add(ours.into(), 0, Some(Guard(closed.clone())));
    ring.receive(socket);
    let many = vec![b'x'; 1 << 20];
    assert!(ring.send(socket, parts(&[&many], dropped)).is_ok());
    // A part goes out at once; the rest does not.
    let Completion::Sent { count, payload, .. } = next(ring) else { panic!("not sent") };
    assert!(count.unwrap() < many.len());
    assert!(ring.send(socket, payload).is_ok());
    ring.wait(Some(Duration::ZERO)).unwrap();
    assert!(ring.is_sending(socket));
    ring.close(socket);
    theirs
}

#[test]
fn what_is_being_sent_when_a_socket_is_closed_is_kept_until_it_is_not() {
    let Some(mut ring) = ring(4, 4096) else { return };
    let (dropped, closed) = (counter(), counter());
    let theirs: Vec<_> = (0..50).map(|_| stuck(&mut ring, &dropped, &closed)).collect();
    let deadline = Instant::now() + PATIENCE;
    while closed.get() < 50 {
        assert!(Instant::now() < deadline, "{} closed", closed.get());
        ring.wait(Some(Duration::from_millis(10))).unwrap();
        assert!(ring.completion().is_none(), "nothing is said of closed sockets");
    }
    assert_eq!(dropped.get(), 50);
    for mut other in theirs {
        let mut rest = Vec::new();
        other.read_to_end(&mut rest).unwrap();
        assert!(!rest.is_empty() && rest.iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn a_ring_that_is_dropped_waits_for_what_is_in_flight() {
    let Some(mut ring) = ring(4, 4096) else { return };
    let (dropped, closed) = (counter(), counter());
    let theirs: Vec<_> = (0..50).map(|_| stuck(&mut ring, &dropped, &closed)).collect();
    drop(ring);
    assert_eq!((dropped.get(), closed.get()), (50, 50));
    for mut other in theirs {
        let mut rest = Vec::new();
        other.read_to_end(&mut rest).unwrap();
        assert!(rest.iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn what_was_received_outlives_the_ring() {
    let Some(mut ring) = ring(4, 4096) else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = ring.add(ours.into(), 0, None);
    ring.receive(socket);
    theirs.write_all(b"kept").unwrap();
    let (_, Arrival::Bytes(bytes)) = received(&mut ring) else { panic!("no bytes") };
    drop(ring);
    assert_eq!(*bytes, *b"kept");
}

#[test]
fn a_poll_is_told_of_each_time_it_has_something_to_tell() {
    let Some(mut ring) = ring(1, 64) else { return };
    let mut poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(1)).unwrap();
    ring.watch(&poll).unwrap();
    let mut events = mio::Events::with_capacity(4);
    for _ in 0..10 {
        waker.wake().unwrap();
        assert!(matches!(next(&mut ring), Completion::Watched));
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 1);
        ring.watch_on();
        ring.wait(Some(Duration::ZERO)).unwrap();
        assert!(ring.completion().is_none());
    }
    // What happens before it is watched on is told as well.
    waker.wake().unwrap();
    assert!(matches!(next(&mut ring), Completion::Watched));
    ring.watch_on();
    assert!(matches!(next(&mut ring), Completion::Watched));
}
