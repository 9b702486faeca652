//! Generated requests: valid, nearly valid, hostile. Few keys, so that they meet; what memcached 1.6.18 cannot do at
//! all is left out (`tests/differences.md` lists it, the transcripts have it).

use std::collections::HashMap;
use std::fmt;

use proptest::prelude::*;

use super::faults::{hostile, nearly};
use super::script::Dialect;

/// Requests sent without waiting in between.
pub type Batch = Vec<Request>;

/// One request: a line of words, and a data block for some.
#[derive(Clone, Debug)]
pub struct Request {
    pub words: Vec<Word>,
    pub end: &'static str,
    pub block: Option<Vec<u8>>,
    /// memcached 1.6.18 does not pass over the block of a request it refuses for this reason, so it gets none.
    pub block_for_both: bool,
}

#[derive(Clone, Debug)]
pub enum Word {
    Text(String),
    Bytes(Vec<u8>),
    Key(u8),
    /// The key in base64.
    Key64(u8),
    /// A key one byte too long.
    LongKey,
    /// A prefix, then the CAS number last seen for this key by the side it is sent to.
    Cas(&'static str, u8),
}

/// Keys under this number hold numbers, the others do not: a number padded with blanks and then appended to is read
/// differently by the two (see `tests/differences.md`).
pub const NUMERIC: u8 = 2;
/// Keys from [`NUMERIC`] up to this number are written in base64 now and then, those from here on are appended to:
/// 1.6.18 forgets that a key was in base64 when its item is appended to, or counted to a longer number.
pub const BASE64: u8 = 3;
const KEYS: u8 = 5;

pub fn batch() -> impl Strategy<Value = Batch> {
    prop::collection::vec(request(), 1..10).prop_map(|mut batch| {
        // As long as a reply with an item waits to be written, memcached counts in a copy, without the padding.
        let counted =
            |key, rest: &[Request]| rest.iter().any(|request| request.has(&["incr", "decr", "ma"], key));
        let mut index = 0;
        while index < batch.len() {
            let (request, rest) = (&batch[index], &batch[index + 1..]);
            let reads = |key| request.has(&["get", "get  ", "gets", "gat", "gats", "mg"], key);
            if (0..NUMERIC).any(|key| reads(key) && counted(key, rest)) {
                batch.remove(index);
            } else {
                index += 1;
            }
        }
        batch
    })
}

pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => storage(),
        3 => classic_cas(),
        5 => retrieval(),
        3 => arithmetic(),
        2 => touch(),
        2 => delete(),
        6 => meta_get(),
        6 => meta_set(),
        3 => meta_delete(),
        4 => meta_arithmetic(),
        1 => meta_debug(),
        1 => Just(line(vec![text("mn")])),
        3 => nearly(),
        2 => hostile(),
    ]
}

impl Request {
    /// The bytes for conversation `number`, for a server of this dialect that has shown these CAS numbers.
    pub fn render(&self, number: u32, cas: &HashMap<Vec<u8>, u64>, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            word.render(number, cas, &mut out);
        }
        out.extend(self.end.bytes());
        if let Some(block) = &self.block
            && (self.block_for_both || dialect == Dialect::Current)
        {
            out.extend(block);
            out.extend(b"\r\n");
        }
        out
    }
}

impl Request {
    /// Whether it is one of these verbs and names this key.
    fn has(&self, verbs: &[&str], key: u8) -> bool {
        let is_key = |word: &Word| matches!(word, Word::Key(k) | Word::Key64(k) if *k == key);
        matches!(&self.words[0], Word::Text(verb) if verbs.contains(&verb.as_str()))
            && self.words.iter().any(is_key)
    }

    /// This request with one word less.
    pub fn simpler(&self) -> Vec<Request> {
        // The verb, the key and, before a block, what says its length stay.
        let fixed = match (&self.block, &self.words[0]) {
            (Some(_), Word::Text(verb)) if verb == "ms" => 3,
            (Some(_), _) => 5,
            (None, _) => 2,
        };
        let without = |index: usize| {
            let mut shorter = self.clone();
            shorter.words.remove(index);
            shorter
        };
        (fixed..self.words.len()).map(without).collect()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.render(0, &HashMap::new(), Dialect::Current);
        write!(f, "> {}", bytes.escape_ascii())
    }
}

impl Word {
    fn render(&self, number: u32, cas: &HashMap<Vec<u8>, u64>, out: &mut Vec<u8>) {
        match self {
            Word::Text(text) => out.extend(text.bytes()),
            Word::Bytes(bytes) => out.extend(bytes),
            Word::Key(key) => out.extend(key_name(number, *key)),
            Word::Key64(key) => {
                out.extend(base64_simd::STANDARD.encode_to_string(key_name(number, *key)).bytes());
            }
            Word::LongKey => out.extend([b'k'; 251]),
            Word::Cas(prefix, key) => {
                let seen = cas.get(&key_name(number, *key));
                // A number that no item has, if none was seen.
                out.extend(format!("{prefix}{}", seen.copied().unwrap_or(u64::MAX - 1)).bytes());
            }
        }
    }
}

fn key_name(number: u32, key: u8) -> Vec<u8> {
    let name = format!("{number:07}:{key}");
    // One key of the greatest length that is one.
    if key == KEYS - 1 { format!("{name:-<250}").into_bytes() } else { name.into_bytes() }
}

fn storage() -> impl Strategy<Value = Request> {
    let verb = prop::sample::select(vec!["set", "set", "add", "replace", "append", "prepend"]);
    (verb, key(), flags(), exptime(), any::<prop::sample::Index>(), noreply()).prop_map(
        |(verb, key, flags, exptime, value, noreply)| {
            let verb = if key < BASE64 && verb.ends_with("pend") { "replace" } else { verb };
            let value = value_for(key, value);
            let mut words = vec![text(verb), Word::Key(key), text(flags), text(exptime), text(value.len())];
            words.extend(noreply);
            with_block(words, value)
        },
    )
}

fn classic_cas() -> impl Strategy<Value = Request> {
    (key(), flags(), exptime(), any::<prop::sample::Index>(), cas(""), noreply()).prop_map(
        |(key, flags, exptime, value, cas, noreply)| {
            let value = value_for(key, value);
            let mut words = vec![text("cas"), Word::Key(key), text(flags), text(exptime), text(value.len())];
            words.push(cas(key));
            words.extend(noreply);
            with_block(words, value)
        },
    )
}

fn retrieval() -> impl Strategy<Value = Request> {
    let verb = prop_oneof![
        4 => prop::sample::select(vec![vec!["get"], vec!["gets"], vec!["gets"]]),
        1 => prop::sample::select(vec![vec!["gat", "0"], vec!["gats", "1000"], vec!["gats", "-1"], vec!["gat", "x"]]),
    ];
    (verb, prop::collection::vec(key(), 1..5)).prop_map(|(verb, keys)| {
        let mut words: Vec<Word> = verb.into_iter().map(text).collect();
        words.extend(keys.into_iter().map(Word::Key));
        line(words)
    })
}

fn arithmetic() -> impl Strategy<Value = Request> {
    let verb = prop::sample::select(vec!["incr", "decr"]);
    (verb, key(), amount(), noreply()).prop_map(|(verb, key, amount, noreply)| {
        let mut words = vec![text(verb), Word::Key(key), text(amount)];
        words.extend(noreply);
        line(words)
    })
}

fn touch() -> impl Strategy<Value = Request> {
    (key(), exptime(), noreply()).prop_map(|(key, exptime, noreply)| {
        let mut words = vec![text("touch"), Word::Key(key), text(exptime)];
        words.extend(noreply);
        line(words)
    })
}

fn delete() -> impl Strategy<Value = Request> {
    (key(), prop::option::weighted(0.2, Just(text("0"))), noreply()).prop_map(|(key, zero, noreply)| {
        let mut words = vec![text("delete"), Word::Key(key)];
        words.extend(zero);
        words.extend(noreply);
        line(words)
    })
}

fn meta_get() -> impl Strategy<Value = Request> {
    let flags = vec![
        "v", "s", "f", "c", "t", "k", "h", "l", "u", "q", "T0", "T1000", "T-1", "N2000", "R500", "R1500",
    ];
    (meta_key(), meta_flags(flags)).prop_map(|((key, word, b), flags)| {
        let mut flags = flags;
        // A number made out of nothing belongs to the keys that have one.
        // Counting makes a new item, which nobody has read yet, and which is as stale as the old one; memcached
        // may count within the old one, and otherwise forgets that it was stale.
        flags.retain(|flag| !(key < NUMERIC && "hlR".contains(&flag[..1])));
        // 1.6.18 forgets that the key of an item it makes was in base64.
        flags.retain(|flag| !((key < NUMERIC || b) && flag.starts_with('N')));
        meta("mg", word, b, flags.into_iter().map(text).collect())
    })
}

fn meta_set() -> impl Strategy<Value = Request> {
    let flags = vec!["c", "k", "q", "F7", "F0", "T0", "T1000", "I", "MS", "ME", "MR", "MA", "MP"];
    let cas = prop::option::weighted(0.3, cas("C"));
    (meta_key(), meta_flags(flags), any::<prop::sample::Index>(), cas).prop_map(
        |((key, word, b), flags, value, cas)| {
            let value = value_for(key, value);
            let keeps = |flag: &String| {
                !(key < BASE64 && (flag == "MA" || flag == "MP") || key < NUMERIC && flag == "I")
            };
            let mut flags: Vec<Word> = flags.into_iter().filter(keeps).map(text).collect();
            flags.extend(cas.map(|cas| cas(key)));
            let mut request = meta("ms", word, b, flags);
            request.words.insert(2, text(value.len()));
            request.block = Some(value);
            request
        },
    )
}

fn meta_delete() -> impl Strategy<Value = Request> {
    let cas = prop::option::weighted(0.3, cas("C"));
    (meta_key(), meta_flags(vec!["k", "q", "I", "T1000", "T0"]), cas).prop_map(
        |((key, word, b), flags, cas)| {
            let keeps = |flag: &String| !(key < NUMERIC && flag == "I");
            let mut flags: Vec<Word> = flags.into_iter().filter(keeps).map(text).collect();
            flags.extend(cas.map(|cas| cas(key)));
            meta("md", word, b, flags)
        },
    )
}

fn meta_arithmetic() -> impl Strategy<Value = Request> {
    // No T: memcached gives it to the old item, which a longer number replaces.
    let flags = vec![
        "v",
        "t",
        "c",
        "k",
        "q",
        "MI",
        "M+",
        "MD",
        "M-",
        "D0",
        "D5",
        "D18446744073709551615",
        "N0",
        "J7",
    ];
    let cas = prop::option::weighted(0.2, cas("C"));
    (meta_key(), meta_flags(flags), cas).prop_map(|((key, word, b), flags, cas)| {
        let made = flags.iter().any(|flag| flag == "N0");
        // 1.6.18 shows a number it has made even under q.
        let keeps = |flag: &String| match flag.as_bytes()[0] {
            b'N' | b'J' => key < NUMERIC && !b,
            b'q' => !made,
            _ => true,
        };
        let mut flags: Vec<Word> = flags.into_iter().filter(keeps).map(text).collect();
        flags.extend(cas.map(|cas| cas(key)));
        meta("ma", word, b, flags)
    })
}

fn meta_debug() -> impl Strategy<Value = Request> {
    (NUMERIC..KEYS).prop_map(|key| line(vec![text("me"), Word::Key(key)]))
}

pub fn key() -> impl Strategy<Value = u8> {
    0..KEYS
}

/// A key for a meta command: plain, or in base64 with the flag that says so.
fn meta_key() -> impl Strategy<Value = (u8, Word, bool)> {
    (key(), prop::bool::weighted(0.2)).prop_map(|(key, base64)| {
        let base64 = base64 && (NUMERIC..BASE64).contains(&key);
        (key, if base64 { Word::Key64(key) } else { Word::Key(key) }, base64)
    })
}

/// Some of these flags, in any order, now and then one twice; often with an opaque.
fn meta_flags(flags: Vec<&'static str>) -> impl Strategy<Value = Vec<String>> {
    let some = prop::collection::vec(prop::sample::select(flags), 0..6);
    (some, prop::option::weighted(0.3, 0..100_u8), prop::bool::weighted(0.03)).prop_map(
        |(some, opaque, twice)| {
            let mut flags: Vec<String> = Vec::new();
            for flag in some {
                // Different values of one flag are that flag twice, which is for `nearly` to try.
                if !flags.iter().any(|other| other.as_bytes()[0] == flag.as_bytes()[0]) {
                    flags.push(flag.into());
                }
            }
            flags.extend(opaque.map(|opaque| format!("O{opaque}")));
            if twice {
                flags.extend(flags.first().cloned());
            }
            flags
        },
    )
}

fn flags() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["0", "0", "0", "5", "4294967295", "4294967296", "00012"])
}

fn exptime() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["0", "0", "0", "0", "1000", "2592000", "-1"])
}

fn amount() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "0",
        "1",
        "9",
        "100",
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "x",
        "1.5",
    ])
}

fn noreply() -> impl Strategy<Value = Option<Word>> {
    prop::option::weighted(0.15, Just(text("noreply")))
}

/// A CAS number: mostly the right one.
fn cas(prefix: &'static str) -> impl Strategy<Value = fn(u8) -> Word> {
    let classic: [fn(u8) -> Word; 3] =
        [|key| Word::Cas("", key), |_| text("0"), |_| text("18446744073709551615")];
    let meta: [fn(u8) -> Word; 3] =
        [|key| Word::Cas("C", key), |_| text("C1"), |_| text("C18446744073709551615")];
    let [right, low, high] = if prefix.is_empty() { classic } else { meta };
    prop_oneof![4 => Just(right), 1 => Just(low), 1 => Just(high)]
}

fn value_for(key: u8, index: prop::sample::Index) -> Vec<u8> {
    let numbers: &[&[u8]] =
        &[b"0", b"5", b"10", b"007", b"99999", b"18446744073709551615", b"-1", b"12ab", b""];
    let texts: &[&[u8]] = &[b"abc", b"", b"x", b"\r\n.", b"a\r\nEND\r\nb", b"\0\xff\x80", b"get a", b"{big}"];
    if key < NUMERIC {
        return index.get(numbers).to_vec();
    }
    match *index.get(texts) {
        b"{big}" => vec![b'v'; 20_000],
        text => text.to_vec(),
    }
}

pub fn text(text: impl ToString) -> Word {
    Word::Text(text.to_string())
}

pub fn line(words: Vec<Word>) -> Request {
    Request { words, end: "\r\n", block: None, block_for_both: true }
}

pub fn with_block(words: Vec<Word>, block: Vec<u8>) -> Request {
    Request { block: Some(block), ..line(words) }
}

fn meta(verb: &str, key: Word, base64: bool, mut flags: Vec<Word>) -> Request {
    if base64 {
        // The flag may stand anywhere.
        flags.insert(flags.len() / 2, text("b"));
    }
    let mut words = vec![text(verb), key];
    words.extend(flags);
    line(words)
}
