//! What expire-on-update costs: an update by the number of dependents, a read by the number of sources, and what
//! other clients notice of a source with a million dependents that is updated without pause.
//!
//! `cargo bench --bench expire_on_update`

use memcarp::store::{
    Change, Eviction, Expiry, Item, Key, NewItem, NewValue, Now, Options, Origin, Store, Value,
};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DEPENDENTS: usize = 1_000_000;
/// How often each thing is timed; the middle one counts.
const ROUNDS: usize = 15;
const CALLS: usize = 200_000;
/// Requests of the client that looks at its own times, in each of its rounds.
const ASKED: usize = 20_000;
/// Rounds of each kind, by turns: what the machine does meanwhile falls on all kinds alike.
const TURNS: usize = 41;

fn main() {
    in_the_store();
    over_sockets();
}

fn now() -> Now {
    Now::new(Now::EARLIEST + 1000, 1_700_000_000)
}

fn in_the_store() {
    let options = Options {
        limit: 1 << 30,
        item_limit: 1 << 20,
        no_evictions: false,
        workers: 1,
        eviction: Eviction::default(),
    };
    let store = Store::new(&options);
    println!("update (a store of 100 bytes), ns:");
    println!("  on a server where nothing names sources      {:6.0}", update(&store, "plain"));
    derive(&store, "one", &["other"]);
    println!("  of a key that nothing names                  {:6.0}", update(&store, "plain"));
    derive(&store, "lonely", &["single"]);
    println!("  of a source with 1 dependent                 {:6.0}", update(&store, "single"));
    for number in 0..DEPENDENTS {
        derive(&store, &format!("item{number}"), &["source"]);
    }
    println!("  of a source with {DEPENDENTS} dependents          {:6.0}", update(&store, "source"));
    println!("read of 100 bytes, ns:");
    for count in [0, 1, 4, 16] {
        let sources: Vec<String> = (0..count).map(|number| format!("source{number}")).collect();
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        derive(&store, "read", &sources);
        println!("  of an item with {count:2} sources                   {:6.0}", read(&store, "read"));
    }
}

/// Stores an item of 100 bytes.
fn derive(store: &Store, name: &str, sources: &[&str]) {
    let mut derivation = store.derivation();
    for source in sources {
        store.name_source(&mut derivation, key(source), None, now());
    }
    let origin = if sources.is_empty() { Origin::Own } else { Origin::Derived(derivation) };
    let item = NewItem { origin, ..NewItem::plain(NewValue::Bytes(&[7; 100]), 0, Expiry::NEVER) };
    assert!(!store.update(key(name), now(), |_| (Change::Put(item), ())).refused);
}

fn update(store: &Store, name: &str) -> f64 {
    middle(|| derive(store, name, &[]))
}

fn read(store: &Store, name: &str) -> f64 {
    middle(|| {
        let length = |item: &mut Item<'_>| match item.value() {
            Value::Small(bytes) => bytes.len() + usize::from(bytes[0]),
            value @ (Value::Cut(_) | Value::Large(..)) => value.len(),
        };
        assert_eq!(black_box(store.read(key(name), now(), |item| item.map(length))), Ok(107));
    })
}

/// Nanoseconds of one call.
fn middle(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            (0..CALLS).for_each(|_| call());
            begun.elapsed().as_nanos() as f64 / CALLS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn key(name: &str) -> Key<'_> {
    Key::new(name.as_bytes()).expect("a short name")
}

fn over_sockets() {
    let server = Server::start();
    let mut client = server.connect();
    for batch in 0..DEPENDENTS / 1000 {
        let lines: Vec<String> = (0..1000)
            .map(|number| format!("ms item{} 10 Dsource q\r\n0123456789\r\n", batch * 1000 + number))
            .collect();
        client.ask(&(lines.concat() + "mn\r\n"));
    }
    client.ask("set other 0 0 10\r\n0123456789\r\n");
    client.ask("set asked 0 0 10\r\n0123456789\r\n");
    println!(
        "get of another client while a third does as written, microseconds: the middle of {TURNS} rounds by turns,"
    );
    println!("and between which two half of the rounds were:");
    println!(
        "                                            p50                p99              p99.9     updates/s"
    );
    let kinds = [
        ("nothing", None),
        ("updates a key without dependents", Some("other")),
        ("updates the source of a million", Some("source")),
    ];
    // The million are there throughout: nobody asks for them, so nobody clears them away within the minute.
    let mut rounds = kinds.map(|_| Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        for ((_, key), rounds) in kinds.iter().zip(&mut rounds) {
            rounds.push(server.ask_while(*key));
        }
    }
    for ((what, _), rounds) in kinds.iter().zip(&rounds) {
        print!("  {what:34}");
        for share in [0.5, 0.99, 0.999] {
            let at = |(times, _): &(Vec<u64>, f64)| times[(times.len() as f64 * share) as usize] as f64;
            let mut micros: Vec<f64> = rounds.iter().map(|round| at(round) / 1000.0).collect();
            micros.sort_by(f64::total_cmp);
            let [low, middle, high] = [1, 2, 3].map(|quarter| micros[TURNS * quarter / 4]);
            print!("  {middle:5.1} ({low:5.1} {high:5.1})");
        }
        println!("  {:9.0}", rounds.iter().map(|(_, rate)| rate).sum::<f64>() / TURNS as f64);
    }
}

struct Server {
    child: Child,
    socket: std::path::PathBuf,
}

struct Client(BufReader<UnixStream>);

impl Server {
    fn start() -> Server {
        let socket =
            std::env::temp_dir().join(format!("memcarp-expire-on-update-{}.sock", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_memcarp"))
            .args(["-m", "1024", "-t", "4", "-u", "root", "--metrics-listen", "off", "-s"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server was built with this");
        let server = Server { child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn connect(&self) -> Client {
        Client(BufReader::new(UnixStream::connect(&self.socket).expect("it listens")))
    }

    /// The times of a client's requests, sorted, while another updates `key`, and how often that does a second.
    fn ask_while(&self, key: Option<&str>) -> (Vec<u64>, f64) {
        let (done, updates) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut times = Vec::with_capacity(ASKED);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            // Opened in this order, whatever they do, so that the server treats them alike.
            let (mut client, mut other) = (self.connect(), self.connect());
            if let Some(key) = key {
                let (done, updates) = (&done, &updates);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        other.ask(&format!("set {key} 0 0 10\r\n0123456789\r\n"));
                        updates.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..ASKED {
                let asked = Instant::now();
                client.ask("mg asked s\r\n");
                times.push(asked.elapsed().as_nanos() as u64);
            }
            done.store(true, Ordering::Relaxed);
        });
        times.sort_unstable();
        (times, updates.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Client {
    /// Sends what has one line of reply.
    fn ask(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).expect("the server reads");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        assert!(["STORED\r\n", "HD s10\r\n", "MN\r\n"].contains(&line.as_str()), "{line}");
    }
}
