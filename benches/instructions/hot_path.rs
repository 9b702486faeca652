//! The commands of the hot path, each as batches to a session in memory: no sockets, no clock.

use memcarp::command::{Address, Connection, Context, Counts, Engine, Output, Session, Step};
use memcarp::config::Config;
use memcarp::store::Now;
use std::sync::Arc;
use std::time::Instant;

/// One kind of traffic.
pub struct Case {
    pub name: &'static str,
    /// What comes to the server together.
    pub batches: Vec<Vec<u8>>,
    /// Commands of a batch, or keys of a multiget.
    pub operations: u64,
    /// Whether service times are counted, as they are with metrics.
    pub timed: bool,
}

/// A server without sockets, with one connection.
pub struct Server {
    engine: Engine,
    counts: Arc<Counts>,
    connection: Connection,
    session: Session,
    output: Output,
    /// When the batch has begun that is to be timed.
    begun: Option<Instant>,
}

/// Keys that are there.
const KEYS: usize = 4000;
/// Commands of a batch, below memcached's share of 20.
const TOGETHER: usize = 16;
/// Batches of a case, which are sent in turn.
const BATCHES: usize = 250;

/// All kinds of traffic.
pub fn cases() -> Vec<Case> {
    let value = "v".repeat(32);
    vec![
        case("get, alone", 1, &mut |number| format!("get {}\r\n", key(number))),
        timed(case("get, alone, timed", 1, &mut |number| format!("get {}\r\n", key(number)))),
        case("get", TOGETHER, &mut |number| format!("get {}\r\n", key(number))),
        timed(case("get, timed", TOGETHER, &mut |number| format!("get {}\r\n", key(number)))),
        case("get, missed", TOGETHER, &mut |number| format!("get no:{}\r\n", key(number))),
        case("set", TOGETHER, &mut |number| format!("set {} 0 0 32\r\n{value}\r\n", key(number))),
        case("mg, quiet", TOGETHER, &mut |number| format!("mg {} k v q\r\n", key(number))),
        case("ms, quiet", TOGETHER, &mut |number| format!("ms {} 32 q\r\n{value}\r\n", key(number))),
        case("incr", TOGETHER, &mut |number| format!("incr count:{} 1\r\n", number % 500)),
        case("set and delete", TOGETHER, &mut |number| match number % 2 {
            0 => format!("set gone:{} 0 0 32\r\n{value}\r\n", number / 2),
            _ => format!("delete gone:{}\r\n", number / 2),
        }),
        Case {
            name: "get of 100 keys, a key",
            batches: (0..BATCHES)
                .map(|batch| {
                    let keys: Vec<_> = (0..100).map(|at| key(batch * 100 + at * 7)).collect();
                    format!("get {}\r\n", keys.join(" ")).into_bytes()
                })
                .collect(),
            operations: 100,
            timed: false,
        },
    ]
}

fn case(name: &'static str, together: usize, command: &mut dyn FnMut(usize) -> String) -> Case {
    let mut batch = |batch: usize| {
        (0..together).map(|at| command(batch * together + at)).collect::<String>().into_bytes()
    };
    Case { name, batches: (0..BATCHES).map(&mut batch).collect(), operations: together as u64, timed: false }
}

fn timed(case: Case) -> Case {
    Case { timed: true, ..case }
}

/// A key of 20 bytes.
fn key(number: usize) -> String {
    format!("key:{:016}", number % KEYS)
}

impl Server {
    /// A server that has what the cases ask for.
    pub fn new(timed: bool) -> Server {
        let engine = Engine::new(Arc::new(Config::default()));
        let counts = engine.add_worker();
        let address = Address::Unix("hot path".into());
        let connection = Connection::new(7, address.clone(), Arc::new(address), 10);
        let mut server = Server {
            engine,
            counts,
            connection,
            session: Session::new(),
            output: Output::default(),
            begun: None,
        };
        for number in 0..KEYS {
            let value = "v".repeat(32);
            server.batch(format!("set {} 0 0 32\r\n{value}\r\n", key(number)).as_bytes());
        }
        for number in 0..500 {
            // Ten digits now and after: a count that does not get longer.
            server.batch(format!("set count:{number} 0 0 10\r\n1000000000\r\n").as_bytes());
        }
        // What comes before a batch is read with metrics and without: what is timed here has all begun now.
        server.begun = timed.then(Instant::now);
        server
    }

    /// Has one batch answered; how long the answer was.
    pub fn batch(&mut self, batch: &[u8]) -> usize {
        let context = Context {
            engine: &self.engine,
            counts: &self.counts,
            connection: &self.connection,
            now: Now::new(Now::EARLIEST, 1_700_000_000),
            waker: &|| Box::new(|| {}),
        };
        let progress = self.session.on_bytes(batch, &mut self.output, &context);
        if let Some(begun) = self.begun {
            self.counts.distributions.served(&progress.served, begun.elapsed());
        }
        assert!(progress.consumed == batch.len() && matches!(progress.step, Step::Read));
        let answered = self.output.pending();
        self.output.advance(answered);
        answered
    }
}
