//! A session in memory: however its bytes are cut, the answers are the same, and what is pending stays bounded.

use memcarp::command::auth::Users;
use memcarp::command::{Address, Connection, Context, Counts, Engine, Output, Session, Step};
use memcarp::config::Config;
use memcarp::store::Now;
use std::io::IoSlice;
use std::sync::Arc;

struct Client {
    engine: Engine,
    counts: Arc<Counts>,
    connection: Connection,
    session: Session,
    /// Sent and not consumed yet.
    input: Vec<u8>,
    closed: bool,
}

impl Client {
    fn new(config: Config) -> Client {
        let engine = Engine::new(Arc::new(config));
        let counts = engine.add_worker();
        let address = Address::Unix("test".into());
        let connection = Connection::new(7, address.clone(), Arc::new(address), 10);
        Client { engine, counts, connection, session: Session::new(), input: Vec::new(), closed: false }
    }

    /// Sends bytes the way a socket would: into the session's own space if it wants that, else through the input.
    fn send(&mut self, mut bytes: &[u8], replies: &mut Vec<u8>) {
        while !bytes.is_empty() && !self.closed {
            if self.input.is_empty()
                && let Some(space) = self.session.space()
            {
                let count = space.len().min(bytes.len());
                space[..count].copy_from_slice(&bytes[..count]);
                self.session.received(count);
                bytes = &bytes[count..];
            } else {
                let room = Session::INPUT_LIMIT - self.input.len();
                assert!(room > 0, "the session leaves a full buffer");
                let count = room.min(bytes.len());
                self.input.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
            }
            self.run(replies);
        }
    }

    fn run(&mut self, replies: &mut Vec<u8>) {
        let mut output = Output::default();
        loop {
            let context = Context {
                engine: &self.engine,
                counts: &self.counts,
                connection: &self.connection,
                now: Now::new(Now::EARLIEST, 1_700_000_000),
                waker: &|| Box::new(|| {}),
            };
            let progress = self.session.on_bytes(&self.input, &mut output, &context);
            self.input.drain(..progress.consumed);
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = output.slices(&mut slices);
                let written: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
                slices[..filled].iter().for_each(|slice| replies.extend_from_slice(slice));
                output.advance(written);
            }
            match progress.step {
                Step::Read => return,
                Step::Yield => {}
                _ => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

fn replies(pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = Client::new(Config::default());
    let mut replies = Vec::new();
    for piece in pieces {
        client.send(piece, &mut replies);
    }
    replies
}

fn conversation() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(
        b"set a 5 0 3\r\nabc\r\nget a b a\r\nset b 0 0 2 noreply\r\nxyz\r\nmg a v t f k\r\n",
    );
    let long = vec![b'v'; 20_000];
    bytes.extend_from_slice(b"set long 0 0 20000\r\n");
    bytes.extend_from_slice(&long);
    bytes.extend_from_slice(b"\r\nget long a\r\nincr a 1\r\nset n 0 0 1\n9\r\nincr n 2\r\ndecr n 5\r\n");
    bytes.extend_from_slice(
        b"ms bin 3 s MA N0\r\nxxx\r\nms bin 2 MA s\r\nyy\r\nmg bin v s\r\nbogus\r\nmn\r\n",
    );
    bytes.extend_from_slice(b"set big 0 0 2000000\r\n");
    bytes.extend_from_slice(&vec![b'w'; 2_000_000]);
    bytes.extend_from_slice(b"\r\nget big\r\nversion\r\n");
    bytes
}

#[test]
fn a_whole_conversation_is_answered() {
    let text = String::from_utf8(replies(&[&conversation()])).unwrap();
    let text = text.replace(&"v".repeat(20_000), "<long>");
    assert_eq!(
        text.replace("\r\n", "|"),
        "STORED|VALUE a 5 3|abc|VALUE a 5 3|abc|END|CLIENT_ERROR bad command line format|VA 3 t-1 f5 ka|abc|\
         STORED|VALUE long 0 20000|<long>|VALUE a 5 3|abc|END|\
         CLIENT_ERROR cannot increment or decrement non-numeric value|STORED|11|6|HD s3|HD s5|VA 5 s5|xxxyy|\
         ERROR|MN|SERVER_ERROR object too large for cache|END|VERSION 1.6.45|"
    );
}

#[test]
fn cuts_do_not_matter() {
    let bytes = conversation();
    let whole = replies(&[&bytes]);
    for cut in (0..600).chain([20_100, 20_300, 20_400, bytes.len() - 20]) {
        let (head, tail) = bytes.split_at(cut);
        assert!(replies(&[head, tail]) == whole, "cut at {cut}");
    }
    let singly: Vec<&[u8]> = bytes[..21_000].chunks(1).chain([&bytes[21_000..]]).collect();
    assert!(replies(&singly) == whole, "byte by byte");
}

/// Ten thousand keys on one line, far beyond what is buffered of any other line.
#[test]
fn a_get_of_any_length_is_answered_as_it_comes() {
    let mut bytes = b"set k 0 0 1\r\n1\r\nget".to_vec();
    for number in 0..10_000 {
        bytes.extend_from_slice(format!(" missing-{number:05} k").as_bytes());
    }
    bytes.extend_from_slice(b"\r\nmn\r\n");
    let expected = format!("STORED\r\n{}END\r\nMN\r\n", "VALUE k 0 1\r\n1\r\n".repeat(10_000));
    assert!(replies(&[&bytes]) == expected.as_bytes());
}

#[test]
fn a_long_line_that_is_no_get_closes() {
    let mut client = Client::new(Config::default());
    client.send(&[b'x'; 2049], &mut Vec::new());
    assert!(client.closed);
}

/// The longest key there is, last on a line that is answered as it comes, cut anywhere: also between CR and LF.
#[test]
fn the_last_key_of_a_long_get_may_be_as_long_as_any() {
    let key = "k".repeat(250);
    let head = format!("set {key} 0 0 1\r\n1\r\nget{}", " missing".repeat(5000));
    let expected = format!("STORED\r\nVALUE {key} 0 1\r\n1\r\nEND\r\nMN\r\n");
    let tail = format!(" {key}\r\nmn\r\n");
    for cut in 0..=tail.len() {
        let (one, other) = tail.as_bytes().split_at(cut);
        assert!(replies(&[head.as_bytes(), one, other]) == expected.as_bytes(), "cut at {cut}");
    }
    let too_long = format!("{head} {key}k\r\nmn\r\n");
    let error = "STORED\r\nCLIENT_ERROR bad command line format\r\nMN\r\n";
    assert!(replies(&[too_long.as_bytes()]) == error.as_bytes());
}

/// A line and the block of a login are waited for in one buffer: together they may not be longer than it is.
#[test]
fn a_login_that_would_fill_the_input_closes() {
    let path = std::env::temp_dir().join(format!("memcarp-session-{}", std::process::id()));
    std::fs::write(&path, "u:p\n").expect("a file for the test");
    let users = Users::read(&path).expect("it has just been written");
    std::fs::remove_file(&path).expect("it has just been written");
    let mut client = Client::new(Config::default());
    client.engine.set_users(Some(users));
    let line = format!("set k 0 0 16000{}\r\n", " ".repeat(60_000));
    client.send(line.as_bytes(), &mut Vec::new());
    client.send(&[b'x'; 16_000], &mut Vec::new());
    assert!(client.closed);
}
