//! Thumbnails of pictures that are replaced, as applications make them: whoever finds one missing gets the lease (`N`,
//! `W`, `Z`), draws it from the picture as it is and stores it naming that (`D`, `U`). However many ask at once, every
//! size of every picture is drawn once, and nobody is shown the old one.

mod common;

use common::{Connection, PATIENCE, Server};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const CLIENTS: usize = 8;
const SIZES: usize = 3;
const VERSIONS: usize = 30;

/// A hit of mg with `v c`: the first line and the value.
fn get(client: &mut Connection, command: &str) -> Option<(String, String)> {
    let line = client.ask(command);
    line.starts_with("VA ").then(|| (line, client.read_line()))
}

/// The CAS value in the line of a hit.
fn cas(line: &str) -> &str {
    line.split(' ').find_map(|field| field.strip_prefix('c')).expect("c was asked for")
}

/// The thumbnail, by whatever it takes; `draw` is told of each drawing.
fn thumbnail(client: &mut Connection, size: usize, draw: impl Fn(&str) -> String) -> String {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "nobody draws the thumbnail");
        let (line, small) = get(client, &format!("mg thumb:{size} v c N30")).expect("N makes one");
        if line.ends_with(" W") {
            break;
        }
        if !line.ends_with(" Z") {
            return small;
        }
        // Somebody else is drawing it.
        std::thread::yield_now();
    }
    loop {
        assert!(begun.elapsed() < PATIENCE, "the picture changes all the time");
        let (line, picture) = get(client, "mg photo v c").expect("the picture is there");
        let small = draw(&picture);
        let store = format!("ms thumb:{size} {} Dphoto U{}\r\n{small}", small.len(), cas(&line));
        match client.ask(&store).as_str() {
            "HD" => return small,
            // The picture has been replaced meanwhile, and the lease is still ours.
            "EX" => {}
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_size_is_drawn_once_for_every_picture() {
    let server = Server::memcarp(&[]);
    let drawn: [[AtomicUsize; SIZES]; VERSIONS] = Default::default();
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, drawn, barrier) = (&server, &drawn, &barrier);
            scope.spawn(move || {
                let mut client = server.connect();
                for (version, drawn) in drawn.iter().enumerate() {
                    if number == 0 {
                        let picture = format!("picture {version}");
                        let set = format!("set photo 0 0 {}\r\n{picture}", picture.len());
                        assert_eq!(client.ask(&set), "STORED");
                    }
                    barrier.wait();
                    for turn in 0..SIZES {
                        let size = (number + turn) % SIZES;
                        let small = thumbnail(&mut client, size, |picture| {
                            drawn[size].fetch_add(1, Ordering::Relaxed);
                            format!("{picture} in size {size}")
                        });
                        assert_eq!(small, format!("picture {version} in size {size}"));
                    }
                    barrier.wait();
                }
            });
        }
    });
    for (version, drawn) in drawn.iter().enumerate() {
        for (size, count) in drawn.iter().enumerate() {
            assert_eq!(count.load(Ordering::Relaxed), 1, "version {version} in size {size}");
        }
    }
}

/// Replaced while others draw: what was drawn of the old picture is refused, and nobody is shown one that is older
/// than the picture was when he asked.
#[test]
fn no_old_picture_is_shown_while_it_is_replaced() {
    let server = Server::memcarp(&[]);
    let replaced = AtomicUsize::new(0);
    let shown = AtomicUsize::new(0);
    assert_eq!(server.connect().ask("set photo 0 0 1\r\n0"), "STORED");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect();
            for version in 1..=500 {
                let text = version.to_string();
                assert_eq!(client.ask(&format!("set photo 0 0 {}\r\n{text}", text.len())), "STORED");
                replaced.store(version, Ordering::SeqCst);
                // Now and then soon after, now and then when some have seen it.
                let enough = shown.load(Ordering::SeqCst) + version % 3;
                let deadline = Instant::now() + PATIENCE;
                while shown.load(Ordering::SeqCst) < enough {
                    assert!(Instant::now() < deadline, "nobody is shown anything");
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.connect();
                let begun = Instant::now();
                while replaced.load(Ordering::SeqCst) < 500 {
                    assert!(begun.elapsed() < 2 * PATIENCE, "the picture is no longer replaced");
                    let before = replaced.load(Ordering::SeqCst);
                    let small = thumbnail(&mut client, 1, str::to_owned);
                    assert!(
                        small.parse::<usize>().is_ok_and(|version| version >= before),
                        "{small} < {before}"
                    );
                    shown.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(shown.load(Ordering::SeqCst) > 300);
}
