//! Replies that walk the whole store, written piece by piece so that nobody waits long: key dumps and histograms.

use super::output::Output;
use super::session::Context;
use super::tuning::ClassSet;
use crate::store::{Cursor, Expiry, Item, Now, class_of};
use std::collections::BTreeMap;
use std::io::Write;

/// Items looked at under one lock.
const SLICE: usize = 64;

/// Slices in one call.
const SLICES: usize = 64;

/// Most bytes `stats cachedump` answers, as in memcached.
const CACHEDUMP_BYTES: usize = 2 << 20;

/// Width of a bucket of `stats sizes`, in bytes.
const BUCKET: usize = 32;

/// A walk through the store that answers a command.
#[derive(Debug)]
pub struct Dump {
    cursor: Cursor,
    started: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `lru_crawler metadump`: what is known of each item.
    Metadump(ClassSet),
    /// `lru_crawler mgdump`: each key, as a command that reads it.
    Mgdump(ClassSet),
    /// `stats cachedump`: some keys of a class, and what is left of each bound.
    Cachedump { class: usize, items: usize, bytes: usize },
    /// `stats sizes`: how many items by size rounded up to [`BUCKET`].
    Sizes(BTreeMap<usize, u64>),
}

impl Dump {
    pub(super) fn metadump(classes: ClassSet) -> Dump {
        Dump::new(Kind::Metadump(classes))
    }

    pub(super) fn mgdump(classes: ClassSet) -> Dump {
        Dump::new(Kind::Mgdump(classes))
    }

    /// At most `limit` items; 0 is as many as go into the reply.
    pub(super) fn cachedump(class: usize, limit: usize) -> Dump {
        let items = if limit == 0 { usize::MAX } else { limit };
        Dump::new(Kind::Cachedump { class, items, bytes: CACHEDUMP_BYTES })
    }

    pub(super) fn sizes() -> Dump {
        Dump::new(Kind::Sizes(BTreeMap::new()))
    }

    fn new(kind: Kind) -> Dump {
        Dump { cursor: Cursor::default(), started: false, kind }
    }

    /// Writes the next piece. True when that was the last; otherwise let others have a turn, and call again when the
    /// output is no longer full.
    pub(super) fn advance(&mut self, output: &mut Output, context: &Context<'_>) -> bool {
        if !self.started {
            self.started = true;
            if matches!(self.kind, Kind::Metadump(_) | Kind::Mgdump(_)) {
                output.put(b"OK\r\n");
            }
        }
        for _ in 0..SLICES {
            if output.is_full() {
                return false;
            }
            let Dump { cursor, kind, .. } = self;
            let more = context
                .engine
                .store
                .scan(cursor, SLICE, context.now, |item| kind.visit(item, output.bytes(), context));
            if !more || kind.is_satisfied() {
                self.kind.end(output);
                return true;
            }
        }
        false
    }
}

impl Kind {
    fn visit(&mut self, item: &mut Item<'_>, into: &mut Vec<u8>, context: &Context<'_>) {
        let now = context.now;
        let size = item.size();
        let class = class_of(size);
        match self {
            Kind::Metadump(classes) if classes.contains(class) => {
                into.extend_from_slice(b"key=");
                put_encoded(item.key(), into);
                let cas = if context.engine.config.cas { item.cas() } else { 0 };
                let used = now.unix().saturating_sub(u64::from(item.idle(now)));
                let fetched = if item.fetched() { "yes" } else { "no" };
                let flags = item.client_flags();
                match unix(item.expiry(), now) {
                    Some(deadline) => put(into, format_args!(" exp={deadline}")),
                    None => put(into, format_args!(" exp=-1")),
                }
                put(
                    into,
                    format_args!(
                        " la={used} cas={cas} fetch={fetched} cls={class} size={size} flags={flags} \n"
                    ),
                );
            }
            Kind::Mgdump(classes) if classes.contains(class) => {
                into.extend_from_slice(b"mg ");
                if item.binary_key() {
                    base64_simd::STANDARD.encode_append(item.key(), into);
                    into.extend_from_slice(b" b");
                } else {
                    into.extend_from_slice(item.key());
                }
                into.extend_from_slice(b"\r\n");
            }
            Kind::Cachedump { class: wanted, items, bytes } if class == *wanted && *items > 0 => {
                let start = into.len();
                into.extend_from_slice(b"ITEM ");
                if item.binary_key() {
                    base64_simd::STANDARD.encode_append(item.key(), into);
                } else {
                    into.extend_from_slice(item.key());
                }
                let deadline = unix(item.expiry(), now).unwrap_or(0);
                put(into, format_args!(" [{} b; {deadline} s]\r\n", item.value().len()));
                let written = into.len() - start;
                if written > *bytes {
                    into.truncate(start);
                    *items = 0;
                } else {
                    *bytes -= written;
                    *items -= 1;
                }
            }
            Kind::Sizes(histogram) => *histogram.entry(size.next_multiple_of(BUCKET)).or_default() += 1,
            Kind::Metadump(_) | Kind::Mgdump(_) | Kind::Cachedump { .. } => {}
        }
    }

    /// Whether no further item can change the reply.
    fn is_satisfied(&self) -> bool {
        matches!(self, Kind::Cachedump { items: 0, .. })
    }

    fn end(&self, output: &mut Output) {
        if let Kind::Sizes(histogram) = self {
            for (size, count) in histogram {
                put(output.bytes(), format_args!("STAT {size} {count}\r\n"));
            }
        }
        output.put(if matches!(self, Kind::Mgdump(_)) { b"EN\r\n" } else { b"END\r\n" });
    }
}

/// The Unix time of a deadline.
fn unix(expiry: Expiry, now: Now) -> Option<u64> {
    expiry.deadline().map(|deadline| now.unix_at(deadline.get()))
}

fn put(into: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = into.write_fmt(text);
}

/// Appends a key with all but letters, digits and `-._~` as `%` and two hexadecimal digits.
pub(super) fn put_encoded(key: &[u8], into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(byte);
        } else {
            into.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, START};
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn a_metadump_tells_all_of_each_item() {
        let mut client = Client::new(Config::default());
        client.say("set a%b 7 100 1\r\n1");
        client.pass(5);
        client.say("get a%b");
        client.pass(2);
        let deadline = START + 100;
        let used = START + 5;
        let cas = client.say("gets a%b").split([' ', '|']).nth(4).expect("a CAS value").to_owned();
        assert_eq!(
            client.say("lru_crawler metadump all"),
            format!(
                "OK|key=a%25b exp={deadline} la={} cas={cas} fetch=yes cls=1 size=67 flags=7 \nEND|",
                used + 2
            )
        );
        assert_eq!(client.say("lru_crawler metadump 2"), "OK|END|");
        client.say("delete a%b");
        client.say("set n 0 0 1\r\n1");
        let line = client.say("lru_crawler metadump hash");
        assert!(line.starts_with(&format!("OK|key=n exp=-1 la={} cas=", used + 2)), "{line}");
        assert!(line.ends_with(" fetch=no cls=1 size=61 flags=0 \nEND|"), "{line}");
    }

    #[test]
    fn without_cas_a_metadump_shows_none() {
        let mut client = Client::new(Config { cas: false, ..Config::default() });
        client.say("set a 0 0 1\r\n1");
        assert!(client.say("lru_crawler metadump all").contains(" cas=0 "));
    }

    #[test]
    fn an_mgdump_gives_back_keys_as_they_were_written() {
        let mut client = Client::new(Config::default());
        client.say("set a 0 0 1\r\n1");
        client.say("ms YiBj 1 b\r\n1");
        let dump = client.say("lru_crawler mgdump all");
        let lines: BTreeSet<_> = dump.split_terminator('|').collect();
        assert!(dump.starts_with("OK|") && dump.ends_with("|EN|"), "{dump}");
        assert_eq!(lines, BTreeSet::from(["OK", "mg a", "mg YiBj b", "EN"]));
    }

    #[test]
    fn a_long_dump_pauses_and_misses_nothing() {
        let mut client = Client::new(Config::default());
        for number in 0..5000 {
            client.say(&format!("set key-{number:05} 0 0 1 noreply\r\n1"));
        }
        let mut pieces = 0;
        let mut text = Vec::new();
        client.with_context(|context, _| {
            let mut dump = Dump::metadump(ClassSet::parse(b"all").expect("all is a set"));
            loop {
                let mut output = Output::default();
                let last = dump.advance(&mut output, context);
                assert!(output.pending() < Output::FULL + SLICE * 400);
                text.extend_from_slice(output.bytes());
                pieces += 1;
                if last {
                    break;
                }
            }
        });
        assert!(pieces > 2, "{pieces}");
        let text = String::from_utf8(text).unwrap();
        let keys: BTreeSet<_> = text.lines().filter(|line| line.starts_with("key=")).collect();
        assert_eq!(keys.len(), 5000);
    }

    #[test]
    fn a_cachedump_is_bounded_in_items_and_bytes() {
        let mut client = Client::new(Config::default());
        for (line, answer) in [
            ("stats cachedump", "CLIENT_ERROR bad command line"),
            ("stats cachedump 1", "CLIENT_ERROR bad command line"),
            ("stats cachedump a 1", "CLIENT_ERROR bad command line format"),
            ("stats cachedump 1 a", "CLIENT_ERROR bad command line format"),
            ("stats cachedump 64 1", "CLIENT_ERROR Illegal slab id"),
            ("stats cachedump 1 1", "END"),
        ] {
            assert_eq!(client.say(line), format!("{answer}|"), "{line}");
        }
        client.say("set b 0 100 2\r\n12");
        assert_eq!(client.say("stats cachedump 1 0"), format!("ITEM b [2 b; {} s]|END|", START + 100));
        assert_eq!(client.say("stats cachedump 2 0"), "END|");
        client.say("set a 0 0 2\r\n12");
        assert_eq!(client.say("stats cachedump 1 1").matches("ITEM").count(), 1);
        let key = "k".repeat(200);
        for number in 0..10_000 {
            client.say(&format!("set {key}{number} 0 0 0 noreply\r\n"));
        }
        let dump = client.say("stats cachedump 6 0");
        let bytes = dump.len() + dump.matches('|').count() - "END||".len();
        assert!((CACHEDUMP_BYTES - 300..=CACHEDUMP_BYTES).contains(&bytes), "{bytes}");
        assert!(dump.ends_with("|END|"));
    }

    #[test]
    fn sizes_are_rounded_up() {
        let mut client = Client::new(Config { track_sizes: true, ..Config::default() });
        client.say("set a 0 0 1\r\n1");
        client.say("set b 0 0 4\r\n1234");
        client.say("set c 0 0 5\r\n12345");
        assert_eq!(client.say("stats sizes"), "STAT 64 2|STAT 96 1|END|");
        for number in 0..10_000 {
            client.say(&format!("set {number} 0 0 1 noreply\r\n1"));
        }
        client.with_context(|context, _| {
            let mut output = Output::default();
            let last = Dump::sizes().advance(&mut output, context);
            assert!(!last && output.is_empty(), "others have a turn before all is counted");
        });
    }
}
