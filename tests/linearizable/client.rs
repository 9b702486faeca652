//! A client that does what applications do with derived data, at random, and writes down what it did and saw.

use super::common::{Connection, Server};
use super::history::{Claim, History, Op, Span, Stored};
use super::register::{Compared, Step};
use std::time::Instant;

pub const TEXTS: usize = 5;
pub const COUNTERS: usize = 2;
pub const TAGS: usize = 2;
const LEVELS: [(&str, u64); 3] = [("thumb", 7), ("page", 5), ("home", 2)];

/// Numbers that depend on nothing but the seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<'o>(&mut self, options: &[&'o str]) -> &'o str {
        options[self.below(options.len() as u64) as usize]
    }
}

pub struct Client {
    number: usize,
    connection: Connection,
    random: Random,
    epoch: Instant,
    names: usize,
    /// Length of the longest values.
    longest: u64,
    pub history: History,
    /// Stores refused because a source had changed.
    pub refused: usize,
}

/// A source that was looked at.
struct Source {
    key: String,
    /// Its value and CAS value, and when they were there.
    seen: Option<(String, u64, u64)>,
}

impl Client {
    pub fn new(server: &Server, number: usize, seed: u64, longest: u64, epoch: Instant) -> Client {
        let random = Random(seed ^ (number as u64) << 32);
        let connection = server.connect();
        let history = History::default();
        Client { number, connection, random, epoch, names: 0, longest, history, refused: 0 }
    }

    pub fn step(&mut self) {
        match self.random.below(100) {
            0..22 => self.update_source(),
            22..32 => self.handle_source(),
            32..60 => self.read_dependents(),
            60..94 => self.derive(),
            _ => self.handle_dependent(),
        }
    }

    fn update_source(&mut self) {
        match self.random.below((TEXTS + COUNTERS + TAGS) as u64) as usize {
            number if number < TEXTS => self.update_text(&format!("photo{number}")),
            number if number < TEXTS + COUNTERS => self.update_counter(&format!("count{}", number - TEXTS)),
            number => {
                let command = self.random.pick(&["delete", "md"]);
                self.ask(&format!("tag{}", number - TEXTS - COUNTERS), command, "", Step::Delete(false));
            }
        }
    }

    fn update_text(&mut self, key: &str) {
        let value = self.name();
        match self.random.below(12) {
            0..2 => self.store(&format!("set {key} 0 0 {}", value.len()), key, Step::Put(value)),
            2 => self.store(&format!("ms {key} {}", value.len()), key, Step::Put(value)),
            3 => self.store(&format!("replace {key} 0 0 {}", value.len()), key, Step::Replace(value, true)),
            4 => self.store(&format!("ms {key} {} MR", value.len()), key, Step::Replace(value, true)),
            5 => self.store(&format!("append {key} 0 0 {}", value.len()), key, Step::Append(value, true)),
            6 => self.store(&format!("ms {key} {} MP", value.len()), key, Step::Prepend(value, true)),
            7 => {
                let Some((_, cas, _)) = self.look(key) else { return };
                let step = Step::Cas(value.clone(), cas, Compared::Stored);
                match self.random.one_in(2) {
                    true => self.store(&format!("cas {key} 0 0 {} {cas}", value.len()), key, step),
                    false => self.store(&format!("ms {key} {} C{cas}", value.len()), key, step),
                }
            }
            8 => self.ask(key, "delete", "", Step::Delete(true)),
            9 => self.ask(key, "md", " q", Step::Delete(true)),
            10 => self.ask(key, "md", " I T30", Step::MarkStale(true)),
            _ => self.store(&format!("set {key} 0 0 {} noreply", value.len()), key, Step::Put(value)),
        }
    }

    fn update_counter(&mut self, key: &str) {
        match self.random.below(6) {
            0 => self.store(&format!("set {key} 0 0 3"), key, Step::Put("500".to_owned())),
            1 => self.ask(key, "incr", " 3", Step::Count(3, None)),
            2 => self.ask(key, "decr", " 2", Step::Count(-2, None)),
            3 => self.ask(key, "ma", " v D4", Step::Count(4, None)),
            4 => self.ask(key, "ma", " v MD", Step::Count(-1, None)),
            _ => self.ask(key, "delete", "", Step::Delete(true)),
        }
    }

    /// What is no update.
    fn handle_source(&mut self) {
        let number = self.random.below(TEXTS as u64);
        let key = format!("photo{number}");
        let value = self.name();
        match self.random.below(6) {
            0 => self.store(&format!("add {key} 0 0 {}", value.len()), &key, Step::Add(value, true)),
            1 => self.store(&format!("ms {key} {} ME", value.len()), &key, Step::Add(value, true)),
            2 => self.ask(&key, "touch", " 0", Step::Touch(true)),
            3 => self.get(&["gat 0", &key]),
            4 => self.get(&["gets", &key]),
            _ => drop(self.look(&key)),
        }
    }

    fn read_dependents(&mut self) {
        let keys: Vec<String> = (0..1 + self.random.below(3)).map(|_| self.dependent().1).collect();
        if self.random.one_in(2) {
            return drop(self.look(&keys[0]));
        }
        let command = self.random.pick(&["get", "gets", "gat 0", "gats 0"]);
        let words: Vec<&str> = std::iter::once(command).chain(keys.iter().map(String::as_str)).collect();
        self.get(&words);
    }

    fn handle_dependent(&mut self) {
        let (_, key) = self.dependent();
        let value = format!("+{}", self.name());
        match self.random.below(7) {
            0 => self.store(&format!("set {key} 0 0 {}", value.len()), &key, Step::Put(value)),
            1..3 => self.store(&format!("append {key} 0 0 {}", value.len()), &key, Step::Append(value, true)),
            3 => self.ask(&key, "md", " I", Step::MarkStale(true)),
            4 => self.ask(&key, "touch", " 0", Step::Touch(true)),
            5 => self.get(&["gat 0", &key]),
            _ => self.ask(&key, "delete", "", Step::Delete(true)),
        }
    }

    /// Looks at sources, takes a while, and stores what was made of them.
    fn derive(&mut self) {
        let (level, key) = self.dependent();
        let mut sources = Vec::new();
        let count = if self.random.one_in(20) { 16 } else { 1 + self.random.below(3) };
        for _ in 0..count {
            let source = match self.random.below(10) {
                // Itself.
                0 => key.clone(),
                1..8 if level > 0 => {
                    format!("{}{}", LEVELS[level - 1].0, self.random.below(LEVELS[level - 1].1))
                }
                1 => format!("tag{}", self.random.below(TAGS as u64)),
                2 => format!("count{}", self.random.below(COUNTERS as u64)),
                _ => format!("photo{}", self.random.below(TEXTS as u64)),
            };
            if !sources.iter().any(|known: &Source| known.key == source) {
                let seen = if self.random.one_in(5) { None } else { self.look(&source) };
                sources.push(Source { key: source, seen });
            }
        }
        for _ in 0..self.random.below(20) {
            std::thread::yield_now();
        }
        self.store_derived(&key, &sources);
    }

    fn store_derived(&mut self, key: &str, sources: &[Source]) {
        let name = self.name();
        let padding = match self.random.below(12) {
            0 => self.random.below(self.longest),
            1..3 => self.random.below(2000),
            _ => 0,
        };
        let mut value = match padding {
            0 => name.clone(),
            len => format!("{name}+{}", "x".repeat(len as usize)),
        };
        let (mode, step): (_, fn(String, bool) -> Step) = match self.random.below(10) {
            0 => (" ME", Step::Add),
            1 => (" MA", Step::Append),
            _ => ("", |value, _| Step::Put(value)),
        };
        if mode == " MA" {
            value.insert(0, '+');
        }
        let named: String = sources
            .iter()
            .map(|source| match source.seen {
                Some((_, cas, _)) => format!(" D{} U{cas}", source.key),
                None => format!(" D{}", source.key),
            })
            .collect();
        let extra = self.random.pick(&["", "", "", " T1", " T30", " c"]);
        let line = format!("ms {key} {}{mode}{named}{extra}", value.len());
        let invoked = self.now();
        self.connection.send(format!("{line}\r\n{value}\r\n"));
        let reply = self.connection.read_line();
        let span = Span { invoked, returned: self.now() };
        let stored = match reply.get(..2) {
            Some("HD") => true,
            Some("NS") => false,
            Some("EX") => return self.refused += 1,
            _ if reply.starts_with("SERVER_ERROR out of memory") => return,
            _ => panic!("{line}: {reply}"),
        };
        let own = sources.iter().find(|source| source.key == key).and_then(|source| source.seen.as_ref());
        let step = match own {
            // What compares itself is a compare-and-swap.
            Some((_, cas, _)) if stored && mode.is_empty() => {
                Step::Cas(recorded(&value), *cas, Compared::Stored)
            }
            _ => step(recorded(&value), stored),
        };
        let swapped = matches!(step, Step::Cas(..));
        self.note(key, span, step, stored && mode != " ME");
        if !stored {
            return;
        }
        let (mut claims, mut through) = (Vec::new(), Vec::new());
        for source in sources {
            let since = source.seen.as_ref().map_or(span.returned, |seen| seen.2);
            claims.push(Claim { source: source.key.clone(), since });
            if let Some((value, cas, _)) = &source.seen {
                through.extend(value.split('+').map(str::to_owned));
                if source.key != key || !swapped {
                    self.note(&source.key, span, Step::Had(*cas), false);
                }
            }
        }
        self.history.stored.push(Stored { name, key: key.to_owned(), span, claims, through });
    }

    /// The item of a key with its CAS value, and when both were there.
    fn look(&mut self, key: &str) -> Option<(String, u64, u64)> {
        let touch = self.random.pick(&["", "", "", " T0"]);
        let invoked = self.now();
        let reply = self.connection.ask(&format!("mg {key} v c{touch}"));
        let seen = reply.strip_prefix("VA ").map(|rest| {
            let cas = rest.split(' ').nth(1).and_then(|field| field.strip_prefix('c'));
            let cas: u64 = cas.and_then(|cas| cas.parse().ok()).unwrap_or_else(|| panic!("{reply}"));
            (recorded(&self.connection.read_line()), cas)
        });
        assert!(seen.is_some() || reply == "EN", "{reply}");
        let span = Span { invoked, returned: self.now() };
        let step = Step::Read(seen.clone().map(|(value, cas)| (value, Some(cas))));
        self.note(key, span, step, false);
        seen.map(|(value, cas)| (value, cas, span.returned))
    }

    /// A classic retrieval of one or more keys.
    fn get(&mut self, words: &[&str]) {
        let invoked = self.now();
        let mut reply = self.connection.ask(&words.join(" "));
        let mut found = Vec::new();
        while let Some(rest) = reply.strip_prefix("VALUE ") {
            let fields: Vec<&str> = rest.split(' ').collect();
            let cas = fields.get(3).map(|cas| cas.parse().expect("a CAS value"));
            let key = fields[0].to_owned();
            found.push((key, (recorded(&self.connection.read_line()), cas)));
            reply = self.connection.read_line();
        }
        assert_eq!(reply, "END");
        let span = Span { invoked, returned: self.now() };
        for (at, key) in words.iter().enumerate().skip(1) {
            if words[1..at].contains(key) {
                continue;
            }
            let seen = found.iter().find(|(found, _)| found == key).map(|(_, seen)| seen.clone());
            self.note(key, span, Step::Read(seen), false);
        }
    }

    /// Sends a store of the step's value, and notes what the reply makes of the step.
    fn store(&mut self, line: &str, key: &str, step: Step) {
        let (Step::Put(value)
        | Step::Add(value, _)
        | Step::Replace(value, _)
        | Step::Append(value, _)
        | Step::Prepend(value, _)
        | Step::Cas(value, ..)) = &step
        else {
            unreachable!("a step that stores");
        };
        let invoked = self.now();
        // What is not answered has been done when the next command is.
        let more = if line.ends_with(" noreply") { "mn\r\n" } else { "" };
        self.connection.send(format!("{line}\r\n{value}\r\n{more}"));
        let reply = self.connection.read_line();
        let span = Span { invoked, returned: self.now() };
        let stored = match reply.as_str() {
            "STORED" | "HD" | "MN" => true,
            "NOT_STORED" | "NS" | "EXISTS" | "EX" | "NOT_FOUND" | "NF" => false,
            _ => panic!("{line}: {reply}"),
        };
        let step = match step {
            Step::Add(value, _) => Step::Add(value, stored),
            Step::Replace(value, _) => Step::Replace(value, stored),
            Step::Append(value, _) => Step::Append(value, stored),
            Step::Prepend(value, _) => Step::Prepend(value, stored),
            Step::Cas(value, cas, _) => Step::Cas(
                value,
                cas,
                match reply.as_str() {
                    "EXISTS" | "EX" => Compared::Exists,
                    "NOT_FOUND" | "NF" => Compared::NotFound,
                    _ => Compared::Stored,
                },
            ),
            other => other,
        };
        let updates = stored && !matches!(step, Step::Add(..));
        self.note(key, span, step, updates);
    }

    /// Sends a command without a value, and notes what the reply makes of the step.
    fn ask(&mut self, key: &str, command: &str, rest: &str, step: Step) {
        let invoked = self.now();
        let quiet = if rest == " q" { "\r\nmn" } else { "" };
        let mut reply = self.connection.ask(&format!("{command} {key}{rest}{quiet}"));
        // A quiet delete answers only a miss.
        if !quiet.is_empty() && reply != "MN" {
            assert_eq!(self.connection.read_line(), "MN");
        }
        if reply.starts_with("VA ") {
            reply = self.connection.read_line();
        }
        let span = Span { invoked, returned: self.now() };
        let hit = !matches!(reply.as_str(), "NOT_FOUND" | "NF");
        let known = hit && matches!(reply.as_str(), "DELETED" | "TOUCHED" | "HD" | "MN");
        let (step, updates) = match step {
            Step::Delete(_) => (Step::Delete(hit), true),
            Step::MarkStale(_) => (Step::MarkStale(hit), true),
            Step::Touch(_) => (Step::Touch(hit), false),
            Step::Count(delta, _) => (Step::Count(delta, reply.trim().parse().ok()), hit),
            _ => unreachable!("a step without a value"),
        };
        let counted = matches!(step, Step::Count(_, Some(_)));
        assert!(!hit || known || counted, "{command} {key}: {reply}");
        self.note(key, span, step, updates);
    }

    fn note(&mut self, key: &str, span: Span, step: Step, updates: bool) {
        self.history.ops.push(Op { key: key.to_owned(), span, step, updates });
    }

    fn dependent(&mut self) -> (usize, String) {
        let level = [0, 0, 0, 1, 1, 2][self.random.below(6) as usize];
        let (name, count) = LEVELS[level];
        (level, format!("{name}{}", self.random.below(count)))
    }

    /// A name nobody else uses.
    fn name(&mut self) -> String {
        self.names += 1;
        format!("c{}n{}", self.number, self.names)
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

/// A value as it is written down: without padding, of which the names in it are free.
fn recorded(value: &str) -> String {
    value.trim().replace('x', "")
}
