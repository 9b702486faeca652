//! memcarp without sockets: sessions over one engine, fed bytes by hand, under a clock that the test moves.
//! Also what the fuzz target of sessions is made of.

use std::collections::HashMap;
use std::io::IoSlice;
use std::sync::Arc;

use memcarp::command::{Address, Connection, Context, Counts, Engine, Output, Session, Step};
use memcarp::config::Config;
use memcarp::store::Now;

/// One engine with one worker.
pub struct Memory {
    engine: Engine,
    counts: Arc<Counts>,
    millis: u64,
    unix_seconds: u64,
    conversations: HashMap<String, Conversation>,
}

/// One client.
struct Conversation {
    session: Session,
    connection: Arc<Connection>,
    /// Sent, not consumed by the session yet.
    input: Vec<u8>,
    received: Vec<u8>,
    closed: bool,
}

impl Memory {
    pub fn new(config: Config) -> Memory {
        let engine = Engine::new(Arc::new(config));
        let counts = engine.add_worker();
        // In the middle of a second, so that nothing depends on starting at its edge.
        let millis = Now::EARLIEST + 500;
        Memory { engine, counts, millis, unix_seconds: 1_800_000_000, conversations: HashMap::new() }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn now(&self) -> Now {
        Now::new(self.millis, self.unix_seconds)
    }

    /// Moves the clock, and does once what a server does every second.
    pub fn advance(&mut self, seconds: u64) {
        self.millis += seconds * 1000;
        self.unix_seconds += seconds;
        self.engine.store.maintain(self.now());
    }

    /// What the named client has received.
    pub fn received(&mut self, name: &str) -> &mut Vec<u8> {
        self.conversation(name);
        &mut self.conversations.get_mut(name).expect("just made").received
    }

    pub fn is_closed(&self, name: &str) -> bool {
        self.conversations.get(name).is_some_and(|conversation| conversation.closed)
    }

    /// Sends bytes that arrive in one piece, and collects what is answered.
    pub fn send(&mut self, name: &str, bytes: &[u8]) {
        self.conversation(name);
        let now = self.now();
        let conversation = self.conversations.get_mut(name).expect("just made");
        let context = Context {
            engine: &self.engine,
            counts: &self.counts,
            connection: &conversation.connection,
            now,
            waker: &|| Box::new(|| {}),
        };
        let mut output = Output::default();
        let mut rest = bytes;
        while !conversation.closed {
            // As the worker does: a long value is read straight into its place.
            while conversation.input.is_empty()
                && !rest.is_empty()
                && let Some(space) = conversation.session.space()
            {
                let count = space.len().min(rest.len());
                assert!(count > 0, "space for nothing");
                space[..count].copy_from_slice(&rest[..count]);
                conversation.session.received(count);
                rest = &rest[count..];
            }
            let room = (Session::INPUT_LIMIT - conversation.input.len()).min(rest.len());
            conversation.input.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
            let progress = conversation.session.on_bytes(&conversation.input, &mut output, &context);
            conversation.input.drain(..progress.consumed);
            drain(&mut output, &mut conversation.received);
            match progress.step {
                Step::Yield => {}
                Step::Wait => unreachable!("without a thread for it a password is checked at once"),
                Step::Close | Step::Shutdown { .. } => conversation.closed = true,
                Step::Read | Step::Watch => {
                    assert!(
                        conversation.input.len() < Session::INPUT_LIMIT,
                        "a full buffer, and nothing done with it"
                    );
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
    }

    fn conversation(&mut self, name: &str) -> &mut Conversation {
        let number = self.conversations.len() as u16;
        let second = self.now().seconds();
        self.conversations.entry(name.to_owned()).or_insert_with(|| {
            let listener = Arc::new(Address::Tcp(([127, 0, 0, 1], 11211).into()));
            let peer = Address::Tcp(([127, 0, 0, 1], 40000 + number).into());
            Conversation {
                session: Session::new(),
                connection: Arc::new(Connection::new(30 + u32::from(number), peer, listener, second)),
                input: Vec::new(),
                received: Vec::new(),
                closed: false,
            }
        })
    }
}

/// Moves everything that waits to be written to the end of `received`.
fn drain(output: &mut Output, received: &mut Vec<u8>) {
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = output.slices(&mut slices);
        assert!(filled > 0, "something is pending, but nothing is to be written");
        let count = slices[..filled].iter().map(|slice| slice.len()).sum();
        for slice in &slices[..filled] {
            received.extend_from_slice(slice);
        }
        output.advance(count);
    }
}
