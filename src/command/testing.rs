//! One client of a server in memory, for the tests of this layer.

use super::{Address, Connection, Context, Counts, Engine, Output, Session, Step};
use crate::config::Config;
use crate::store::Now;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The Unix time at which tests begin.
pub(super) const START: u64 = 1_700_000_000;

pub(super) struct Client {
    pub engine: Engine,
    pub session: Session,
    /// How often log lines have asked to be written.
    pub woken: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    connection: Connection,
    millis: u64,
}

impl Client {
    pub fn new(config: Config) -> Client {
        let engine = Engine::new(Arc::new(config));
        let counts = engine.add_worker();
        let peer = Address::Tcp("1.2.3.4:5678".parse().expect("an address"));
        let listener = Address::Tcp("1.2.3.4:11211".parse().expect("an address"));
        let connection = Connection::new(30, peer, Arc::new(listener), 10);
        Client {
            engine,
            session: Session::new(),
            woken: Arc::default(),
            counts,
            connection,
            millis: Now::EARLIEST,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: u64) {
        self.millis += seconds * 1000;
    }

    pub fn now(&self) -> Now {
        Now::new(self.millis, START + (self.millis - Now::EARLIEST) / 1000)
    }

    /// Gives `look` the context a worker would.
    pub fn with_context<R>(&mut self, look: impl FnOnce(&Context<'_>, &mut Session) -> R) -> R {
        let now = self.now();
        let woken = self.woken.clone();
        let waker = move || -> Box<dyn Fn() + Send + Sync> {
            let woken = woken.clone();
            Box::new(move || {
                woken.fetch_add(1, Ordering::Relaxed);
            })
        };
        let Client { engine, counts, connection, session, .. } = self;
        look(&Context { engine, counts, connection, now, waker: &waker }, session)
    }

    /// Sends a line (its end is added) and gives back the whole answer, each CR LF as `|`.
    pub fn say(&mut self, line: &str) -> String {
        self.steps(line).0
    }

    /// As [`Client::say`], and the last step.
    pub fn steps(&mut self, line: &str) -> (String, Step) {
        let input = format!("{line}\r\n");
        let mut input = input.as_bytes();
        let mut answer = Vec::new();
        let step = self.with_context(|context, session| {
            loop {
                let mut output = Output::default();
                let progress = session.on_bytes(input, &mut output, context);
                input = &input[progress.consumed..];
                answer.extend_from_slice(output.bytes());
                if !matches!(progress.step, Step::Yield) {
                    return progress.step;
                }
            }
        });
        let answer = String::from_utf8(answer).expect("tests use readable keys and short values");
        (answer.replace("\r\n", "|"), step)
    }
}
