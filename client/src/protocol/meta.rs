//! Requests in the meta protocol. Knows how they are written, not how they are answered.

use super::base64;
use super::request::{Count, Delete, Get, Mode, Output, Request, Source, Store};
use crate::key::{Key, Ttl};

/// The end of a request line.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// Nothing more: for commands whose answers carry no opaque.
    Plain,
    /// An opaque, which comes back with the answer.
    Opaque(u32),
    /// An opaque, and the usual answer left out.
    Quiet(u32),
}

/// Appends `request`.
pub(super) fn encode(request: &Request, ending: Ending, now: u64, out: &mut Output) {
    match request {
        Request::Get(get) => encode_get(get, now, out),
        Request::Store(store) => return encode_store(store, ending, now, out),
        Request::Delete(delete) => encode_delete(delete, now, out),
        Request::Count(count) => encode_count(count, now, out),
        Request::Touch { key, ttl } => {
            start(b"mg ", key, out);
            signed_flag(out, b" T", ttl.wire(now));
        }
        Request::Flush => out.text(b"flush_all"),
        Request::Version => out.text(b"version"),
        Request::Stats(argument) if argument.is_empty() => out.text(b"stats"),
        Request::Stats(argument) => {
            out.text(b"stats ");
            out.text(argument.as_bytes());
        }
    }
    finish(ending, out);
}

fn encode_get(get: &Get, now: u64, out: &mut Output) {
    start(b"mg ", &get.key, out);
    if !get.no_value {
        out.text(b" v");
    }
    out.text(b" f c s");
    if get.details {
        out.text(b" t h l");
    }
    if get.no_bump {
        out.text(b" u");
    }
    ttl(out, b" T", get.touch, now);
    ttl(out, b" N", get.vivify, now);
    if let Some(seconds) = get.refresh_below {
        flag(out, b" R", seconds.into());
    }
}

fn encode_store(store: &Store, ending: Ending, now: u64, out: &mut Output) {
    let is_binary = write_key(b"ms ", &store.key, out);
    flag(out, b" ", store.value.len() as u64);
    base64_flag(is_binary, out);
    out.text(b" c");
    if store.flags != 0 {
        flag(out, b" F", store.flags.into());
    }
    if store.ttl != Ttl::Never {
        signed_flag(out, b" T", store.ttl.wire(now));
    }
    if let Some(cas) = store.compare {
        flag(out, b" C", cas);
    }
    if store.even_if_stale {
        out.text(b" I");
    }
    match store.mode {
        Mode::Set => {}
        Mode::Add => out.text(b" ME"),
        Mode::Replace => out.text(b" MR"),
        Mode::Append => out.text(b" MA"),
        Mode::Prepend => out.text(b" MP"),
    }
    ttl(out, b" N", store.vivify, now);
    for source in &store.sources {
        encode_source(source, is_binary, out);
    }
    // memcached takes a number for the delta of a counter, and stores all the same. It refuses two.
    if let [source @ Source { cas: None, .. }] = &store.sources[..] {
        let mut is_number = true;
        written(&source.key, is_binary, |byte| is_number &= byte.is_ascii_digit() || b"+-".contains(&byte));
        if is_number {
            encode_source(source, is_binary, out);
        }
    }
    finish(ending, out);
    out.value(&store.value);
    out.text(b"\r\n");
}

fn encode_source(source: &Source, is_binary: bool, out: &mut Output) {
    out.text(b" D");
    // Under `b` a source is base64 like the key, whether it needs it or not.
    written(&source.key, is_binary, |byte| out.text(&[byte]));
    if let Some(cas) = source.cas {
        flag(out, b" U", cas);
    }
}

fn written(key: &Key, is_binary: bool, mut each: impl FnMut(u8)) {
    if is_binary {
        base64::encode(key.as_bytes(), each);
    } else {
        key.as_bytes().iter().for_each(|&byte| each(byte));
    }
}

fn encode_delete(delete: &Delete, now: u64, out: &mut Output) {
    start(b"md ", &delete.key, out);
    if let Some(cas) = delete.compare {
        flag(out, b" C", cas);
    }
    if let Some(stale) = delete.stale {
        out.text(b" I");
        ttl(out, b" T", stale, now);
    }
}

fn encode_count(count: &Count, now: u64, out: &mut Output) {
    start(b"ma ", &count.key, out);
    out.text(b" v c");
    if count.decrement {
        out.text(b" MD");
    }
    if count.delta != 1 {
        flag(out, b" D", count.delta);
    }
    if let Some((initial, ttl)) = count.initial {
        signed_flag(out, b" N", ttl.wire(now));
        flag(out, b" J", initial);
    }
    ttl(out, b" T", count.touch, now);
    if let Some(cas) = count.compare {
        flag(out, b" C", cas);
    }
}

fn start(verb: &[u8], key: &Key, out: &mut Output) {
    let is_binary = write_key(verb, key, out);
    base64_flag(is_binary, out);
}

/// Says whether the key is binary, and so wants a [`base64_flag`] after what follows it.
fn write_key(verb: &[u8], key: &Key, out: &mut Output) -> bool {
    out.text(verb);
    let is_binary = key.is_binary();
    if is_binary {
        base64::encode(key.as_bytes(), |byte| out.text(&[byte]));
    } else {
        out.text(key.as_bytes());
    }
    is_binary
}

fn base64_flag(is_binary: bool, out: &mut Output) {
    if is_binary {
        out.text(b" b");
    }
}

fn flag(out: &mut Output, name: &[u8], value: u64) {
    out.text(name);
    out.number(value);
}

fn signed_flag(out: &mut Output, name: &[u8], value: i64) {
    out.text(name);
    out.signed(value);
}

fn ttl(out: &mut Output, name: &[u8], ttl: Option<Ttl>, now: u64) {
    if let Some(ttl) = ttl {
        signed_flag(out, name, ttl.wire(now));
    }
}

fn finish(ending: Ending, out: &mut Output) {
    match ending {
        Ending::Plain => {}
        Ending::Opaque(opaque) => flag(out, b" O", opaque.into()),
        Ending::Quiet(opaque) => flag(out, b" q O", opaque.into()),
    }
    out.text(b"\r\n");
}
