//! What ms means: every way to store, with CAS values of the client's choice and stale items.

use super::derive::origin;
use super::log::StoreStatus;
use super::meta::{Scratch, new_cas, put_field, put_opaque, put_request_key};
use super::note;
use super::output::Output;
use super::reply::{expiry, note_absent, put_error, shown_cas};
use super::session::Context;
use crate::protocol::{Error, MetaKey, MetaStore, Mode};
use crate::store::{Change, Item, Key, Lookup, NewItem, NewValue, Origin, class_of, memcached_size};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stored,
    NotStored,
    Exists,
    NotFound,
}

/// ms, once its data block is there.
pub(super) fn store(
    request: &MetaStore<'_>,
    value: NewValue<'_>,
    output: &mut Output,
    context: &Context<'_>,
) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.meta.key.bytes(&mut scratch)) else { return };
    let class = store_class(request, key, context);
    let len = value.len();
    let compares = compares(request);
    let Ok(origin) = origin(key, request.sources(), context) else {
        class.cmd_set.increment();
        note_stored(request, StoreStatus::Exists, context);
        return put_outcome(request, Outcome::Exists, 0, len, output);
    };
    let updated = context.engine.store.update(key, context.now, |lookup| {
        // Since the sources were looked at, somebody may have updated one.
        if matches!(&origin, Origin::Derived(derivation) if derivation.has_lost()) {
            context.counts.general.outdated_stores.increment();
            return (Change::Keep, (Outcome::Exists, len));
        }
        let (change, outcome, final_len) =
            decide(request, note::lookup(key, lookup, context), value, origin, context);
        (change, (outcome, final_len))
    });
    let status = match updated.answer.0 {
        _ if updated.refused => StoreStatus::NoMemory,
        Outcome::Stored => StoreStatus::Stored,
        Outcome::NotStored => StoreStatus::NotStored,
        Outcome::Exists => StoreStatus::Exists,
        Outcome::NotFound => StoreStatus::NotFound,
    };
    note_stored(request, status, context);
    let general = &context.counts.general;
    if updated.refused {
        general.store_no_memory.increment();
        return put_error(Error::NoMemory, output);
    }
    class.cmd_set.increment();
    let (outcome, final_len) = updated.answer;
    match outcome {
        Outcome::Stored => {
            general.total_items.increment();
            if compares {
                class.cas_hits.increment();
            }
        }
        Outcome::Exists if compares => class.cas_badval.increment(),
        Outcome::NotFound => general.cas_misses.increment(),
        Outcome::NotStored | Outcome::Exists => {}
    }
    let stored = outcome == Outcome::Stored;
    if stored && request.meta.flags.has(b'q') {
        return;
    }
    let cas = if stored && context.engine.config.cas { updated.cas } else { 0 };
    put_outcome(request, outcome, cas, if stored { final_len } else { len }, output);
}

fn put_outcome(request: &MetaStore<'_>, outcome: Outcome, cas: u64, len: usize, output: &mut Output) {
    output.put(match outcome {
        Outcome::Stored => b"HD",
        Outcome::NotStored => b"NS",
        Outcome::Exists => b"EX",
        Outcome::NotFound => b"NF",
    });
    for flag in request.meta.flags.iter() {
        match flag.letter {
            b'c' => put_field(b'c', cas, output),
            b's' => put_field(b's', len as u64, output),
            b'O' => put_opaque(flag.argument, output),
            b'k' => put_request_key(&request.meta, output),
            _ => {}
        }
    }
    output.put(b"\r\n");
}

/// Tells what came of a store.
pub(super) fn note_stored(request: &MetaStore<'_>, status: StoreStatus, context: &Context<'_>) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.meta.key.bytes(&mut scratch)) else { return };
    let flags = &request.meta.flags;
    note::stored(key, status, context, || note::Storing {
        command: match request.mode {
            _ if compares(request) => "cas",
            Mode::Set => "set",
            Mode::Add => "add",
            Mode::Append => "append",
            Mode::Prepend => "prepend",
            Mode::Replace => "replace",
        },
        expiry: expiry(flags.ttl().unwrap_or(0).into(), context.now),
        size: memcached_size(key.as_bytes().len(), request.len, flags.client_flags() != 0),
        len: request.len,
    });
}

/// Whether this is a compare-and-swap: a set or replace with `C`.
fn compares(request: &MetaStore<'_>) -> bool {
    request.meta.flags.has(b'C') && matches!(request.mode, Mode::Set | Mode::Replace)
}

fn decide<'v>(
    request: &MetaStore<'_>,
    lookup: Lookup<'_, '_>,
    value: NewValue<'v>,
    origin: Origin,
    context: &Context<'_>,
) -> (Change<'v>, Outcome, usize) {
    let flags = &request.meta.flags;
    let len = value.len();
    let plain = |value, origin, ttl: i32| NewItem {
        origin,
        cas: new_cas(&request.meta),
        binary_key: request.meta.key.base64,
        drop_old_if_refused: true,
        updates_source: request.mode != Mode::Add,
        ..NewItem::plain(value, flags.client_flags(), expiry(ttl.into(), context.now))
    };
    let ttl = flags.ttl().unwrap_or(0);
    let keep = |outcome| (Change::Keep, outcome, len);
    let item = match lookup {
        Ok(item) => item,
        Err(absent) => {
            note_absent(absent, context);
            return match (request.mode, flags.vivify()) {
                (Mode::Set | Mode::Replace, _) if compares(request) => keep(Outcome::NotFound),
                (Mode::Set | Mode::Add, _) => (Change::Put(plain(value, origin, ttl)), Outcome::Stored, len),
                (Mode::Append | Mode::Prepend, Some(vivify)) => {
                    (Change::Put(plain(value, origin, vivify)), Outcome::Stored, len)
                }
                (Mode::Append | Mode::Prepend | Mode::Replace, _) => keep(Outcome::NotStored),
            };
        }
    };
    match request.mode {
        Mode::Add => {
            item.mark_used(context.now);
            keep(Outcome::NotStored)
        }
        Mode::Append | Mode::Prepend => {
            if flags.compare().is_some_and(|cas| cas != 0 && cas != shown_cas(item, context)) {
                return keep(Outcome::Exists);
            }
            if item.size() + len > context.engine.store.item_limit() {
                return keep(Outcome::NotStored);
            }
            let final_len = item.value().len() + len;
            let change = if request.mode == Mode::Append { Change::Append } else { Change::Prepend };
            (change(value, new_cas(&request.meta), origin), Outcome::Stored, final_len)
        }
        Mode::Set | Mode::Replace => match compare(request, item, context) {
            Comparison::Equal => (Change::Put(plain(value, origin, ttl)), Outcome::Stored, len),
            Comparison::Older => {
                let stale = NewItem {
                    expiry: item.expiry(),
                    stale: true,
                    lease_granted: item.lease_granted(),
                    ..plain(value, origin, ttl)
                };
                (Change::Put(stale), Outcome::Stored, len)
            }
            Comparison::Different => keep(Outcome::Exists),
        },
    }
}

enum Comparison {
    /// Equal, or nothing to compare.
    Equal,
    /// The client's is lower, and it said that a stale value is welcome (`I`).
    Older,
    Different,
}

/// 0 equals nothing.
fn compare(request: &MetaStore<'_>, item: &mut Item<'_>, context: &Context<'_>) -> Comparison {
    let Some(wanted) = request.meta.flags.compare() else { return Comparison::Equal };
    let found = shown_cas(item, context);
    match wanted {
        0 => Comparison::Different,
        _ if wanted == found => Comparison::Equal,
        _ if wanted < found && request.meta.flags.has(b'I') => Comparison::Older,
        _ => Comparison::Different,
    }
}

/// Counts what an ms means whose data block did not end as it should.
pub(super) fn note_bad_chunk(request: &MetaStore<'_>, context: &Context<'_>) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    if let Some(key) = Key::new(request.meta.key.bytes(&mut scratch)) {
        store_class(request, key, context).cmd_set.increment();
    }
}

fn store_class<'c>(
    request: &MetaStore<'_>,
    key: Key<'_>,
    context: &'c Context<'_>,
) -> &'c super::counts::ClassCounts {
    let has_flags = request.meta.flags.client_flags() != 0;
    &context.counts.classes[class_of(memcached_size(key.as_bytes().len(), request.len, has_flags))]
}
