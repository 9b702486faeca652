//! All commands of one key, of both dialects and in all their forms, by many clients on few keys: each key on its own
//! behaves as if its commands came one after the other, with these outcomes. And a server that did not is found out.

use super::client::Random;
use super::common::{Connection, Server};
use super::history::{History, Op, Span};
use super::register::{self, Compared, Step};
use super::setting;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Few, so that clients meet all the time.
const KEYS: usize = 4;

struct Client {
    connection: Connection,
    random: Random,
    epoch: Instant,
    number: usize,
    names: usize,
    /// The last CAS value seen of each key.
    seen: [Option<u64>; KEYS],
    ops: Vec<Op>,
    /// How often each form of a command was answered each way.
    outcomes: BTreeMap<String, usize>,
}

/// A request, and what its reply makes of it.
struct Request {
    /// Name and form, for the account of outcomes.
    form: &'static str,
    bytes: String,
    /// What is read: one line, a line and perhaps a value, or lines to END.
    reads: Reads,
    step: Box<Judge>,
}

/// What a reply says was done; `None` if there is no such reply.
type Judge = dyn FnOnce(&Reply) -> Option<Step>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Line,
    Meta,
    Values,
    /// Nothing; what came of it is not known, but it has happened when the next command is answered.
    Nothing,
}

#[derive(Debug, Default)]
struct Reply {
    line: String,
    value: Option<String>,
}

impl Reply {
    fn is(&self, word: &str) -> bool {
        self.line.split(' ').next() == Some(word)
    }

    fn cas(&self) -> Option<u64> {
        let meta = self.line.split(' ').find_map(|field| field.strip_prefix('c')?.parse().ok());
        meta.or_else(|| self.line.strip_prefix("VALUE ")?.split(' ').nth(3)?.parse().ok())
    }

    /// With the CAS value the reply shows, if it does.
    fn showing(&self, step: Step) -> Step {
        match self.cas() {
            Some(cas) => Step::Showing(Box::new(step), cas),
            None => step,
        }
    }
}

impl Client {
    fn step(&mut self) {
        let at = self.random.below(KEYS as u64) as usize;
        let key = format!("k{at}");
        let request = self.request(&key, at);
        let end = if request.reads == Reads::Nothing { "mn\r\n" } else { "" };
        let invoked = self.now();
        self.connection.send(request.bytes.clone() + end);
        let reply = self.read(request.reads);
        let returned = self.now();
        let word = reply.line.split(' ').next().unwrap_or_default();
        let word = if word.parse::<u64>().is_ok() { "number" } else { word };
        *self.outcomes.entry(format!("{} {word}", request.form)).or_default() += 1;
        if let Some(cas) = reply.cas() {
            self.seen[at] = Some(cas);
        }
        let bytes = request.bytes;
        let step = (request.step)(&reply).unwrap_or_else(|| panic!("{bytes:?} was answered {reply:?}"));
        self.ops.push(Op { key, span: Span { invoked, returned }, step, updates: false });
    }

    fn request(&mut self, key: &str, at: usize) -> Request {
        self.names += 1;
        // Numbers and names: every command meets both, and names say who wrote them. A stale CAS value now and then.
        let value = match self.random.below(3) {
            0 => self.random.below(50).to_string(),
            _ => format!("c{}n{}", self.number, self.names),
        };
        let cas = self.seen[at].unwrap_or(1);
        match self.random.below(24) {
            0 => self.store("set", key, "", value, |v, _| Some(Step::Put(v))),
            1 => self.store("add", key, "", value, |v, stored| Some(Step::Add(v, stored))),
            2 => self.store("replace", key, "", value, |v, stored| Some(Step::Replace(v, stored))),
            3 => self.store("append", key, "", value, |v, stored| Some(Step::Append(v, stored))),
            4 => self.store("prepend", key, "", value, |v, stored| Some(Step::Prepend(v, stored))),
            5 => self.classic_cas(key, value, cas),
            6 => self.quiet_set(key, value),
            7 => Self::counting("incr", format!("incr {key} 3\r\n"), 3, None),
            8 => Self::counting("decr", format!("decr {key} 2\r\n"), -2, None),
            9 => Self::counting("ma", format!("ma {key} v c D4\r\n"), 4, None),
            10 => Self::counting("ma MD", format!("ma {key} v MD\r\n"), -1, None),
            11 => Self::counting("ma N", format!("ma {key} v c N0 J7\r\n"), 1, Some(7)),
            12 => {
                Self::plain("delete", format!("delete {key}\r\n"), Reads::Line, |reply| match &*reply.line {
                    "DELETED" => Some(Step::Delete(true)),
                    "NOT_FOUND" => Some(Step::Delete(false)),
                    _ => None,
                })
            }
            13 => Self::plain("md", format!("md {key}\r\n"), Reads::Line, |reply| match &*reply.line {
                "HD" => Some(Step::Delete(true)),
                "NF" => Some(Step::Delete(false)),
                _ => None,
            }),
            14 => Self::compared_delete(key, cas),
            15 => Self::plain("touch", format!("touch {key} 100\r\n"), Reads::Line, |reply| {
                match &*reply.line {
                    "TOUCHED" => Some(Step::Touch(true)),
                    "NOT_FOUND" => Some(Step::Touch(false)),
                    _ => None,
                }
            }),
            16 => {
                let verb = ["get", "gets", "gat 100", "gats 0"][self.random.below(4) as usize];
                Self::plain("get", format!("{verb} {key}\r\n"), Reads::Values, |reply| {
                    match reply.value.clone() {
                        Some(value) => Some(Step::Read(Some((value, reply.cas())))),
                        None => Some(Step::Read(None)),
                    }
                })
            }
            17 => self.meta_get(key),
            18 => self.meta_store("ms", key, " c", value, Step::Put),
            19 => {
                let (form, mode, step): (_, _, fn(String, bool) -> Step) = match self.random.below(4) {
                    0 => ("ms ME", " ME c", Step::Add),
                    1 => ("ms MR", " MR c", Step::Replace),
                    2 => ("ms MA", " MA c", Step::Append),
                    _ => ("ms MP", " MP", Step::Prepend),
                };
                self.meta_mode(form, key, mode, value, step)
            }
            20 => self.meta_store("ms MA N", key, " MA N0 c", value, |value| {
                Step::Either(Box::new(Step::Append(value.clone(), true)), Box::new(Step::Add(value, true)))
            }),
            21 => self.meta_cas(key, value, cas),
            22 => Self::lease(key),
            _ => Self::plain("md I", format!("md {key} I\r\n"), Reads::Line, |reply| match &*reply.line {
                "HD" => Some(Step::MarkStale(true)),
                "NF" => Some(Step::MarkStale(false)),
                _ => None,
            }),
        }
    }

    fn store(
        &mut self,
        verb: &'static str,
        key: &str,
        rest: &str,
        value: String,
        step: impl FnOnce(String, bool) -> Option<Step> + 'static,
    ) -> Request {
        let bytes = format!("{verb} {key} 0 0 {}{rest}\r\n{value}\r\n", value.len());
        Self::plain(verb, bytes, Reads::Line, move |reply| match &*reply.line {
            "STORED" => step(value, true),
            "NOT_STORED" => step(value, false),
            _ => None,
        })
    }

    fn classic_cas(&mut self, key: &str, value: String, cas: u64) -> Request {
        let bytes = format!("cas {key} 0 0 {} {cas}\r\n{value}\r\n", value.len());
        Self::plain("cas", bytes, Reads::Line, move |reply| {
            let compared = match &*reply.line {
                "STORED" => Compared::Stored,
                "EXISTS" => Compared::Exists,
                "NOT_FOUND" => Compared::NotFound,
                _ => return None,
            };
            Some(Step::Cas(value, cas, compared))
        })
    }

    fn quiet_set(&mut self, key: &str, value: String) -> Request {
        let bytes = match self.random.below(2) {
            0 => format!("set {key} 0 0 {} noreply\r\n{value}\r\n", value.len()),
            _ => format!("ms {key} {} q\r\n{value}\r\n", value.len()),
        };
        Self::plain("set noreply", bytes, Reads::Nothing, |_| Some(Step::Put(value)))
    }

    /// `created` is what a counter begins with if it is made.
    fn counting(form: &'static str, bytes: String, delta: i64, created: Option<u64>) -> Request {
        let reads = if form.starts_with("ma") { Reads::Meta } else { Reads::Line };
        Self::plain(form, bytes, reads, move |reply| {
            if reply.line.starts_with("CLIENT_ERROR cannot increment or decrement non-numeric value") {
                return Some(Step::NoNumber);
            }
            if reply.line == "NOT_FOUND" || reply.line == "NF" {
                return created.is_none().then_some(Step::Count(delta, None));
            }
            let number = reply.value.as_deref().unwrap_or(&reply.line).trim().parse().ok()?;
            let counted = Step::Count(delta, Some(number));
            Some(reply.showing(match created {
                Some(first) if number == first => {
                    Step::Either(Box::new(Step::Add(first.to_string(), true)), Box::new(counted))
                }
                _ => counted,
            }))
        })
    }

    fn compared_delete(key: &str, cas: u64) -> Request {
        Self::plain("md C", format!("md {key} C{cas}\r\n"), Reads::Line, move |reply| {
            let value = String::new();
            Some(match &*reply.line {
                // Deleted what had this CAS value: as if something had been stored in its place and deleted.
                "HD" => Step::Both(Box::new(Step::Had(cas)), Box::new(Step::Delete(true))),
                "EX" => Step::Cas(value, cas, Compared::Exists),
                "NF" => Step::Delete(false),
                _ => return None,
            })
        })
    }

    fn meta_get(&mut self, key: &str) -> Request {
        let flags = ["v c", "v s c", "v", "v c T100", "v t f h"][self.random.below(5) as usize];
        Self::plain("mg", format!("mg {key} {flags}\r\n"), Reads::Meta, |reply| match &reply.value {
            Some(value) => {
                let size = reply.line.split(' ').find_map(|field| field.strip_prefix('s')?.parse().ok());
                assert!(size.is_none_or(|size: usize| size == value.len()), "{reply:?}");
                Some(Step::Read(Some((value.clone(), reply.cas()))))
            }
            None => (reply.line == "EN").then_some(Step::Read(None)),
        })
    }

    /// A get that makes an empty item of a miss. Its maker is told to store: so is the first to read a stale one.
    fn lease(key: &str) -> Request {
        Self::plain("mg N", format!("mg {key} v c N100\r\n"), Reads::Meta, |reply| {
            let has = |flag| reply.line.split(' ').any(|field| field == flag);
            let value = reply.value.clone()?;
            Some(match has("W") && !has("X") {
                true => reply.showing(Step::Add(value, true)),
                false => Step::Read(Some((value, reply.cas()))),
            })
        })
    }

    fn meta_store(
        &mut self,
        form: &'static str,
        key: &str,
        flags: &str,
        value: String,
        step: impl FnOnce(String) -> Step + 'static,
    ) -> Request {
        let bytes = format!("ms {key} {}{flags}\r\n{value}\r\n", value.len());
        Self::plain(form, bytes, Reads::Line, move |reply| reply.is("HD").then(|| reply.showing(step(value))))
    }

    fn meta_mode(
        &mut self,
        form: &'static str,
        key: &str,
        flags: &str,
        value: String,
        step: fn(String, bool) -> Step,
    ) -> Request {
        let bytes = format!("ms {key} {}{flags}\r\n{value}\r\n", value.len());
        Self::plain(form, bytes, Reads::Line, move |reply| match reply.is("HD") {
            true => Some(reply.showing(step(value, true))),
            false => reply.is("NS").then(|| step(value, false)),
        })
    }

    fn meta_cas(&mut self, key: &str, value: String, cas: u64) -> Request {
        let bytes = format!("ms {key} {} C{cas} c\r\n{value}\r\n", value.len());
        Self::plain("ms C", bytes, Reads::Line, move |reply| {
            Some(match reply.line.split(' ').next()? {
                "HD" => reply.showing(Step::Cas(value, cas, Compared::Stored)),
                "EX" => Step::Cas(value, cas, Compared::Exists),
                "NF" => Step::Cas(value, cas, Compared::NotFound),
                _ => return None,
            })
        })
    }

    fn plain(
        form: &'static str,
        bytes: String,
        reads: Reads,
        step: impl FnOnce(&Reply) -> Option<Step> + 'static,
    ) -> Request {
        Request { form, bytes, reads, step: Box::new(step) }
    }

    fn read(&mut self, reads: Reads) -> Reply {
        let mut reply = Reply { line: self.connection.read_line(), value: None };
        match reads {
            Reads::Meta if reply.is("VA") => reply.value = Some(self.connection.read_line()),
            Reads::Values if reply.is("VALUE") => {
                reply.value = Some(self.connection.read_line());
                assert_eq!(self.connection.read_line(), "END");
            }
            Reads::Values => assert_eq!(reply.line, "END"),
            Reads::Nothing => assert_eq!(reply.line, "MN"),
            _ => {}
        }
        reply
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

#[test]
fn every_command_of_one_key_is_one_step() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_nanos());
    let seed = setting("SEED", seed as u64);
    println!("MEMCARP_LINEARIZABLE_SEED={seed}");
    let server = Server::memcarp(&["-m", "64", "-t", "4"]);
    let epoch = Instant::now();
    let end = epoch + Duration::from_secs(setting("SECONDS", 2));
    let (mut history, mut outcomes) = (History::default(), BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..setting("CLIENTS", 8) as usize)
            .map(|number| {
                let mut client = Client {
                    connection: server.connect(),
                    random: Random(seed ^ (number as u64) << 40),
                    epoch,
                    number,
                    names: 0,
                    seen: [None; KEYS],
                    ops: Vec::new(),
                    outcomes: BTreeMap::new(),
                };
                scope.spawn(move || {
                    while Instant::now() < end {
                        client.step();
                    }
                    (client.ops, client.outcomes)
                })
            })
            .collect();
        for client in clients {
            let (ops, counts) = client.join().expect("the client's own panic is shown");
            history.ops.extend(ops);
            counts.into_iter().for_each(|(outcome, count)| *outcomes.entry(outcome).or_default() += count);
        }
    });
    println!("{} commands: {outcomes:?}", history.ops.len());
    for outcome in [
        "add NOT_STORED",
        "append STORED",
        "cas EXISTS",
        "cas STORED",
        "cas NOT_FOUND",
        "decr number",
        "delete DELETED",
        "get END",
        "get VALUE",
        "incr CLIENT_ERROR",
        "ma N VA",
        "md C EX",
        "md C HD",
        "md I HD",
        "md I NF",
        "mg EN",
        "mg N VA",
        "mg VA",
        "ms C EX",
        "ms C HD",
        "ms MA HD",
        "ms MA N HD",
        "ms ME NS",
        "prepend NOT_STORED",
        "replace STORED",
        "touch TOUCHED",
    ] {
        assert!(outcomes.get(outcome).is_some_and(|&count| count > 0), "never: {outcome}");
    }
    let made =
        |op: &Op| matches!(&op.step, Step::Showing(step, _) if **step == Step::Add(String::new(), true));
    assert!(history.ops.iter().any(made), "no lease was given");
    history.check_keys(|_| true).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

/// Clients of a register that takes its time: what it does with a value happens between two moments.
fn simulate(seed: u64, takes_a_lock: bool) -> Vec<Op> {
    let mut random = Random(seed);
    let (mut value, mut time, mut ops) = (0u64, 0u64, Vec::new());
    let put = Op {
        key: "k".to_owned(),
        span: Span { invoked: 0, returned: 1 },
        step: Step::Put("0".to_owned()),
        updates: false,
    };
    ops.push(put);
    for _ in 0..50 {
        // Two clients count at once: each reads, then writes.
        let invoked = time + 2;
        let overlap = random.below(2) == 0;
        let (first, second) = match overlap && !takes_a_lock {
            true => (value + 1, value + 1),
            false => (value + 1, value + 2),
        };
        value = second;
        time = invoked + 10;
        for number in [first, second] {
            let span = Span { invoked, returned: time - random.below(3) };
            ops.push(Op { key: "k".to_owned(), span, step: Step::Count(1, Some(number)), updates: false });
        }
    }
    ops
}

#[test]
fn a_server_that_reads_and_writes_without_a_lock_is_found_out() {
    for seed in 0..50 {
        let good = simulate(seed, true);
        register::check(&good.iter().collect::<Vec<_>>(), false).unwrap();
        let bad = simulate(seed, false);
        register::check(&bad.iter().collect::<Vec<_>>(), false).unwrap_err();
    }
}
