//! The cases: what is asked of the servers, as bytes to send and the very bytes that have to come back.

use std::ops::Range;

/// One case.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub connections: usize,
    /// Requests sent together.
    pub depth: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Keys asked for.
    pub keys: usize,
    pub kind: Kind,
    /// `-t` and `-m` of the servers.
    pub threads: usize,
    pub memory: usize,
    pub tls: bool,
    /// Send at half the rate the peer can serve, whether replies come or not.
    pub half_load: bool,
}

/// What a batch is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ten gets to a set.
    Mixed,
    /// One get of 100 keys.
    MultiGet,
    /// `mg` and `ms` with `q`, ten to one, closed by `mn`.
    QuietMeta,
    /// Sets of keys that were never there, each asked for at once.
    NewKeys,
}

/// Requests sent together, and what has to come back.
pub struct Batch {
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
    /// Commands, or keys of a multiget.
    pub gets: u32,
    pub sets: u32,
    /// Where a number that has never been used goes, in `request` twice and in `reply`.
    pub fresh: Vec<Fresh>,
}

/// The places of a new key's number: where it is stored, where it is asked for, and where it comes back.
pub struct Fresh {
    set: Range<usize>,
    get: Range<usize>,
    reply: Range<usize>,
}

/// What is sent in a case.
pub struct Deck {
    /// Stores every key once.
    pub fill: Vec<Batch>,
    /// What the connections pick from at random.
    pub batches: Vec<Batch>,
}

/// Digits of a key's number; a key is `key:` and these.
const DIGITS: usize = 16;

/// Most bytes of a deck's batches.
const DECK: usize = 48 << 20;

const BASE: Case = Case {
    name: "small",
    about: "32 B, one at a time, 50 connections",
    connections: 50,
    depth: 1,
    value: 32,
    keys: 100_000,
    kind: Kind::Mixed,
    threads: 1,
    memory: 1024,
    tls: false,
    half_load: false,
};

/// All cases, in the order they run.
pub fn cases() -> Vec<Case> {
    vec![
        BASE,
        Case { name: "small-32", about: "32 B, 32 deep", depth: 32, ..BASE },
        Case { name: "kib", about: "1 KiB, one at a time", value: 1024, ..BASE },
        Case { name: "kib-32", about: "1 KiB, 32 deep", value: 1024, depth: 32, ..BASE },
        Case { name: "multiget", about: "get of 100 keys, 32 B (per key)", kind: Kind::MultiGet, ..BASE },
        Case { name: "meta", about: "mg/ms quiet, 32 deep, 32 B", kind: Kind::QuietMeta, depth: 32, ..BASE },
        Case {
            name: "evicting",
            about: "new 500 B items set and got, 32 deep, -m 64",
            kind: Kind::NewKeys,
            depth: 32,
            value: 500,
            keys: 150_000,
            memory: 64,
            ..BASE
        },
        Case { name: "64k", about: "64 KiB values", value: 64 << 10, keys: 1000, ..BASE },
        Case { name: "1m", about: "1 MiB values", value: 1 << 20, keys: 100, ..BASE },
        Case { name: "conns-1k", about: "32 B, 1,000 connections", connections: 1000, ..BASE },
        Case { name: "conns-10k", about: "32 B, 10,000 connections", connections: 10_000, ..BASE },
        Case { name: "tls", about: "32 B over TLS", tls: true, ..BASE },
        Case { name: "tls-32", about: "32 B over TLS, 32 deep", tls: true, depth: 32, ..BASE },
        Case { name: "half-load", about: "32 B, half the peer's maximum", half_load: true, ..BASE },
        Case { name: "t2", about: "32 B, -t 2", threads: 2, ..BASE },
        Case { name: "t2-32", about: "32 B, 32 deep, -t 2", threads: 2, depth: 32, ..BASE },
        Case { name: "hot-key", about: "one key, 32 deep, -t 2", threads: 2, depth: 32, keys: 1, ..BASE },
    ]
}

impl Case {
    /// What to send.
    pub fn deck(&self) -> Deck {
        let mut random = Random(0x5eed);
        let mut fill = Vec::new();
        for first in (0..self.keys).step_by(100) {
            let mut batch = Batch::new();
            for number in first..self.keys.min(first + 100) {
                batch.set(number, self.value);
            }
            fill.push(batch);
        }
        let mut batches = Vec::new();
        let mut size = 0;
        let mut turn = 0;
        while batches.len() < 20_000 && (size < DECK || batches.len() < 22) {
            let batch = self.batch(&mut random, &mut turn);
            size += batch.request.len() + batch.reply.len();
            batches.push(batch);
        }
        Deck { fill, batches }
    }

    fn batch(&self, random: &mut Random, turn: &mut usize) -> Batch {
        let mut batch = Batch::new();
        match self.kind {
            Kind::MultiGet => batch.multiget((0..100).map(|_| random.below(self.keys)), self.value),
            Kind::Mixed | Kind::QuietMeta | Kind::NewKeys => {
                let each = if self.kind == Kind::NewKeys { 2 } else { 1 };
                for _ in 0..self.depth / each {
                    *turn += 1;
                    let number = random.below(self.keys);
                    let eleventh = turn.is_multiple_of(11);
                    match self.kind {
                        Kind::NewKeys => batch.set_and_get_fresh(self.value),
                        Kind::QuietMeta if eleventh => batch.quiet_set(number, self.value),
                        Kind::QuietMeta => batch.quiet_get(number, self.value),
                        _ if eleventh => batch.set(number, self.value),
                        _ => batch.get(number, self.value),
                    }
                }
            }
        }
        if self.kind == Kind::QuietMeta {
            batch.request.extend_from_slice(b"mn\r\n");
            batch.reply.extend_from_slice(b"MN\r\n");
        }
        batch
    }
}

impl Batch {
    fn new() -> Batch {
        Batch { request: Vec::new(), reply: Vec::new(), gets: 0, sets: 0, fresh: Vec::new() }
    }

    /// Commands, or keys of a multiget.
    pub fn operations(&self) -> u32 {
        self.gets + self.sets
    }

    fn get(&mut self, number: usize, len: usize) {
        self.multiget([number].into_iter(), len);
    }

    fn multiget(&mut self, numbers: impl Iterator<Item = usize>, len: usize) {
        self.request.extend_from_slice(b"get");
        for number in numbers {
            self.request.push(b' ');
            self.request.extend_from_slice(key(number).as_bytes());
            self.reply.extend_from_slice(format!("VALUE {} 0 {len}\r\n", key(number)).as_bytes());
            put_value(&mut self.reply, number, len);
            self.gets += 1;
        }
        self.request.extend_from_slice(b"\r\n");
        self.reply.extend_from_slice(b"END\r\n");
    }

    fn set(&mut self, number: usize, len: usize) {
        self.request.extend_from_slice(format!("set {} 0 0 {len}\r\n", key(number)).as_bytes());
        put_value(&mut self.request, number, len);
        self.reply.extend_from_slice(b"STORED\r\n");
        self.sets += 1;
    }

    fn quiet_get(&mut self, number: usize, len: usize) {
        self.request.extend_from_slice(format!("mg {} k v q\r\n", key(number)).as_bytes());
        self.reply.extend_from_slice(format!("VA {len} k{}\r\n", key(number)).as_bytes());
        put_value(&mut self.reply, number, len);
        self.gets += 1;
    }

    fn quiet_set(&mut self, number: usize, len: usize) {
        self.request.extend_from_slice(format!("ms {} {len} q\r\n", key(number)).as_bytes());
        put_value(&mut self.request, number, len);
        self.sets += 1;
    }

    fn set_and_get_fresh(&mut self, len: usize) {
        let set = digits(self.request.len() + "set key:".len());
        self.set(0, len);
        let get = digits(self.request.len() + "get key:".len());
        let reply = digits(self.reply.len() + "VALUE key:".len());
        self.get(0, len);
        self.fresh.push(Fresh { set, get, reply });
    }

    /// Writes numbers that have never been used to where they go, counting `last` up.
    pub fn freshen(&self, request: &mut [u8], reply: &mut [u8], last: &mut u64) {
        for place in &self.fresh {
            *last += 1;
            write_digits(&mut request[place.set.clone()], *last);
            write_digits(&mut request[place.get.clone()], *last);
            write_digits(&mut reply[place.reply.clone()], *last);
        }
    }
}

/// The place of a key's number that begins here.
fn digits(start: usize) -> Range<usize> {
    start..start + DIGITS
}

fn key(number: usize) -> String {
    format!("key:{number:0DIGITS$}")
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The value of a key, which nobody can know without its number.
fn put_value(to: &mut Vec<u8>, number: usize, len: usize) {
    let mut random = Random(number as u64 + 1);
    let start = to.len();
    while to.len() < start + len {
        to.extend_from_slice(&random.next().to_le_bytes());
    }
    to.truncate(start + len);
    to.extend_from_slice(b"\r\n");
}

/// Numbers that look random (xorshift*), the same in each run.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}
