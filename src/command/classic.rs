//! What the classic commands mean: get, set and their relatives.

use super::derive::origin_by_rules;
use super::log::StoreStatus;
use super::note;
use super::output::Output;
use super::reply::{expiry, note_absent, put_error, shown_cas};
use super::session::Context;
use crate::protocol::{Arithmetic, Delete, Error, Store, StoreVerb, Touch};
use crate::store::{
    Amend, CasChange, Change, Hash, Item, Key, Lookup, NewItem, NewValue, Origin, Short, class_of,
    memcached_size,
};

/// What the keys of one get have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Getting {
    /// Whether CAS values are shown.
    pub cas: bool,
    /// The new expiry, for gat and gats.
    pub touch: Option<i32>,
}

/// Answers one key of a get: the item, or nothing.
pub(super) fn get(key: Key<'_>, hash: Hash, get: Getting, output: &mut Output, context: &Context<'_>) {
    let counts = &context.counts.general;
    let answer = |lookup: Lookup<'_, '_>, output: &mut Output| match note::lookup(key, lookup, context) {
        Ok(item) => {
            let class = &context.counts.classes[class_of(item.size())];
            if get.touch.is_some() {
                class.touch_hits.increment()
            } else {
                class.get_hits.increment()
            }
            note::asked(key, true, context);
            put_item(key, item, get.cas, output, context);
            item.mark_used(context.now);
            true
        }
        Err(absent) => {
            if get.touch.is_some() {
                counts.touch_misses.increment()
            } else {
                counts.get_misses.increment()
            }
            note::asked(key, false, context);
            note_absent(absent, context);
            false
        }
    };
    let store = &context.engine.store;
    match get.touch {
        None => {
            counts.cmd_get.increment();
            store.read_hashed(key, hash, context.now, |lookup| answer(lookup, output));
        }
        Some(exptime) => {
            counts.cmd_touch.increment();
            store.update(key, context.now, |lookup| {
                let touch = Change::Amend(Amend::expiry(expiry(exptime.into(), context.now)));
                if answer(lookup, output) { (touch, ()) } else { (Change::Keep, ()) }
            });
        }
    }
}

fn put_item(key: Key<'_>, item: &mut Item<'_>, cas: bool, output: &mut Output, context: &Context<'_>) {
    output.put(b"VALUE ");
    output.put(key.as_bytes());
    match item.client_flags() {
        0 => output.put(b" 0 "),
        flags => {
            output.put(b" ");
            output.put_number(flags);
            output.put(b" ");
        }
    }
    output.put_number(item.value().len());
    if cas {
        output.put(b" ");
        output.put_number(shown_cas(item, context));
    }
    output.put(b"\r\n");
    output.put_value(item.value());
    output.put(b"\r\n");
}

enum Outcome {
    Stored,
    NotStored,
    Exists,
    NotFound,
}

/// set, add, replace, append, prepend, cas, once their data block is there.
pub(super) fn store(request: &Store<'_>, value: NewValue<'_>, output: &mut Output, context: &Context<'_>) {
    let Some(key) = Key::new(request.key) else { return };
    let class = store_class(request, context);
    let len = value.len();
    let item_limit = context.engine.store.item_limit();
    let origin = origin_by_rules(key, context);
    let updated = context.engine.store.update(key, context.now, |lookup| {
        let outcome = decide(request, note::lookup(key, lookup, context), len, item_limit, context);
        let change = match (&outcome, request.verb) {
            (Outcome::Stored, StoreVerb::Append) => Change::Append(value, CasChange::Next, origin),
            (Outcome::Stored, StoreVerb::Prepend) => Change::Prepend(value, CasChange::Next, origin),
            (Outcome::Stored, verb) => Change::Put(NewItem {
                origin,
                drop_old_if_refused: verb == StoreVerb::Set,
                updates_source: verb != StoreVerb::Add,
                ..NewItem::plain(value, request.client_flags, expiry(request.exptime, context.now))
            }),
            _ => Change::Keep,
        };
        (change, outcome)
    });
    let status = match updated.answer {
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
    match (updated.answer, request.verb) {
        (Outcome::Stored, verb) => {
            general.total_items.increment();
            if verb == StoreVerb::Cas {
                class.cas_hits.increment();
            }
            output.put(b"STORED\r\n");
        }
        (Outcome::NotStored, _) => output.put(b"NOT_STORED\r\n"),
        (Outcome::Exists, _) => {
            class.cas_badval.increment();
            output.put(b"EXISTS\r\n");
        }
        (Outcome::NotFound, _) => {
            general.cas_misses.increment();
            output.put(b"NOT_FOUND\r\n");
        }
    }
}

fn decide(
    request: &Store<'_>,
    lookup: Lookup<'_, '_>,
    len: usize,
    item_limit: usize,
    context: &Context<'_>,
) -> Outcome {
    let item = match lookup {
        Ok(item) => item,
        Err(absent) => {
            note_absent(absent, context);
            return match request.verb {
                StoreVerb::Set | StoreVerb::Add => Outcome::Stored,
                StoreVerb::Cas => Outcome::NotFound,
                StoreVerb::Replace | StoreVerb::Append | StoreVerb::Prepend => Outcome::NotStored,
            };
        }
    };
    match request.verb {
        StoreVerb::Set | StoreVerb::Replace => Outcome::Stored,
        StoreVerb::Add => {
            item.mark_used(context.now);
            Outcome::NotStored
        }
        StoreVerb::Append | StoreVerb::Prepend if item.size() + len > item_limit => Outcome::NotStored,
        StoreVerb::Append | StoreVerb::Prepend => Outcome::Stored,
        StoreVerb::Cas if request.unique != 0 && request.unique == shown_cas(item, context) => {
            Outcome::Stored
        }
        StoreVerb::Cas => Outcome::Exists,
    }
}

/// Tells what came of a store.
pub(super) fn note_stored(request: &Store<'_>, status: StoreStatus, context: &Context<'_>) {
    let Some(key) = Key::new(request.key) else { return };
    note::stored(key, status, context, || note::Storing {
        command: request.verb.name(),
        expiry: expiry(request.exptime, context.now),
        size: memcached_size(request.key.len(), request.len, request.client_flags != 0),
        len: request.len,
    });
}

/// Counts and carries out what a store means whose data block did not end as it should.
pub(super) fn note_bad_chunk(request: &Store<'_>, context: &Context<'_>) {
    store_class(request, context).cmd_set.increment();
}

fn store_class<'c>(request: &Store<'_>, context: &'c Context<'_>) -> &'c super::counts::ClassCounts {
    let size = memcached_size(request.key.len(), request.len, request.client_flags != 0);
    &context.counts.classes[class_of(size)]
}

/// delete.
pub(super) fn delete(request: &Delete<'_>, output: &mut Output, context: &Context<'_>) {
    let Some(key) = Key::new(request.key) else { return };
    let deleted =
        context.engine.store.update(key, context.now, |lookup| match note::lookup(key, lookup, context) {
            Ok(item) => {
                context.counts.classes[class_of(item.size())].delete_hits.increment();
                note::deleted(key, "delete", Some((item.size(), item.value().len())), context);
                (Change::Delete, true)
            }
            Err(absent) => {
                note::deleted(key, "delete", None, context);
                note_absent(absent, context);
                context.counts.general.delete_misses.increment();
                (Change::Delete, false)
            }
        });
    output.put(if deleted.answer { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
}

/// touch.
pub(super) fn touch(request: &Touch<'_>, output: &mut Output, context: &Context<'_>) {
    let Some(key) = Key::new(request.key) else { return };
    context.counts.general.cmd_touch.increment();
    let touched =
        context.engine.store.update(key, context.now, |lookup| match note::lookup(key, lookup, context) {
            Ok(item) => {
                context.counts.classes[class_of(item.size())].touch_hits.increment();
                item.mark_used(context.now);
                (Change::Amend(Amend::expiry(expiry(request.exptime.into(), context.now))), true)
            }
            Err(absent) => {
                note_absent(absent, context);
                context.counts.general.touch_misses.increment();
                (Change::Keep, false)
            }
        });
    match touched.answer {
        _ if touched.refused => put_error(Error::NoMemory, output),
        true => output.put(b"TOUCHED\r\n"),
        false => output.put(b"NOT_FOUND\r\n"),
    }
}

/// incr, decr.
pub(super) fn arithmetic(request: &Arithmetic<'_>, output: &mut Output, context: &Context<'_>) {
    let Some(key) = Key::new(request.key) else { return };
    let updated =
        context.engine.store.update(key, context.now, |lookup| match note::lookup(key, lookup, context) {
            Ok(item) => match count(item, request.delta, request.increment) {
                Some(counted) => {
                    let class = &context.counts.classes[class_of(item.size())];
                    if request.increment {
                        class.incr_hits.increment()
                    } else {
                        class.decr_hits.increment()
                    }
                    (Change::Put(counted.item), Ok(Some(counted.number)))
                }
                None => (Change::Keep, Err(Error::NotANumber)),
            },
            Err(absent) => {
                note_absent(absent, context);
                let general = &context.counts.general;
                if request.increment {
                    general.incr_misses.increment()
                } else {
                    general.decr_misses.increment()
                }
                (Change::Keep, Ok(None))
            }
        });
    match updated.answer {
        _ if updated.refused => put_error(Error::NoMemoryArithmetic, output),
        Err(error) => put_error(error, output),
        Ok(None) => output.put(b"NOT_FOUND\r\n"),
        Ok(Some(number)) => {
            output.put_number(number);
            output.put(b"\r\n");
        }
    }
}

/// What counting makes of an item.
pub(super) struct Counted {
    /// The new number.
    pub number: u64,
    /// The item that takes its place: the same but for value and CAS value.
    pub item: NewItem<'static>,
}

/// Counts up, around 2^64, or down, not below 0. A shorter number is padded with blanks to the old length. `None` if
/// the value is not a number: blanks, digits, blanks, below 2^64.
pub(super) fn count(item: &Item<'_>, delta: u64, increment: bool) -> Option<Counted> {
    let (None, [value, rest]) = item.value().parts() else { return None };
    // Blanks before or after a number may be many.
    let joined;
    let value = if rest.is_empty() {
        value
    } else {
        joined = [value, rest].concat();
        &joined
    };
    let digits = value.trim_ascii();
    let digits = &digits[digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len())..];
    let old = match digits {
        [] if value.contains(&b'0') => 0,
        _ => crate::protocol::parse_u64(digits)?,
    };
    let number = if increment { old.wrapping_add(delta) } else { old.saturating_sub(delta) };
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    // A value padded beyond what fits in place loses its padding, not its meaning.
    let short = Short::padded(text, value.len()).or_else(|| Short::padded(text, 0))?;
    let item = NewItem {
        origin: Origin::Kept,
        binary_key: item.binary_key(),
        stale: item.stale(),
        lease_granted: item.lease_granted(),
        ..NewItem::plain(NewValue::Short(short), item.client_flags(), item.expiry())
    };
    Some(Counted { number, item })
}
