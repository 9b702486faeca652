//! What the meta commands mean: mg, md, ma, me; ms is in `meta_store`.

use super::classic::count;
use super::derive::origin_by_rules;
use super::log::StoreStatus;
use super::note;
use super::output::Output;
use super::reply::{expiry, note_absent, put_error, shown_cas};
use super::session::Context;
use crate::protocol::{Error, Flags, Meta, MetaArithmetic, MetaKey};
use crate::store::{
    Absent, Amend, CasChange, Change, Expiry, Item, Key, NewItem, NewValue, Now, Origin, Short, class_of,
    memcached_size,
};

/// Room for a decoded key.
pub(super) type Scratch = [u8; MetaKey::MAX_DECODED];

/// mg.
pub(super) fn get(request: &Meta<'_>, output: &mut Output, context: &Context<'_>) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.key.bytes(&mut scratch)) else { return };
    let (flags, store, now) = (&request.flags, &context.engine.store, context.now);
    if flags.ttl().is_none() && flags.vivify().is_none() {
        return store.read(key, now, |lookup| match note::lookup(key, lookup, context) {
            Ok(item) => put_hit(request, key, item, output, context),
            Err(absent) => put_miss(request, key, absent, output, context),
        });
    }
    let origin = origin_by_rules(key, context);
    let start = output.mark();
    let updated =
        store.update(key, now, |lookup| match (note::lookup(key, lookup, context), flags.vivify()) {
            (Ok(item), _) => {
                put_hit(request, key, item, output, context);
                let touch = flags.ttl().map(|ttl| Change::Amend(Amend::expiry(expiry(ttl.into(), now))));
                (touch.unwrap_or(Change::Keep), false)
            }
            (Err(absent), None) => {
                put_miss(request, key, absent, output, context);
                (Change::Keep, false)
            }
            (Err(absent), Some(_)) => {
                note_absent(absent, context);
                // Flags take effect in the order they were written, so the last one that sets a time is right.
                let expiry = flags.iter().filter_map(|flag| time_set_by(flag.letter, flags, now)).last();
                let item = NewItem {
                    origin,
                    cas: new_cas(request),
                    binary_key: request.key.base64,
                    lease_granted: true,
                    updates_source: false,
                    ..NewItem::plain(NewValue::Bytes(b""), 0, expiry.unwrap_or(Expiry::NEVER))
                };
                (Change::Put(item), true)
            }
        });
    if updated.refused {
        output.truncate(start);
        put_error(Error::NoMemory, output);
    } else if updated.answer {
        put_vivified(request, key, updated.cas, output, context);
        // Being made for a reader counts as being read.
        if !flags.has(b'u') {
            store.read(key, now, |lookup| lookup.map(|item| item.mark_used(now)).unwrap_or_default());
        }
    }
}

fn put_hit(
    request: &Meta<'_>,
    key: Key<'_>,
    item: &mut Item<'_>,
    output: &mut Output,
    context: &Context<'_>,
) {
    let (flags, now) = (&request.flags, context.now);
    note::asked(key, true, context);
    let class = &context.counts.classes[class_of(item.size())];
    if flags.ttl().is_some() {
        context.counts.general.cmd_touch.increment();
        class.touch_hits.increment();
    } else {
        context.counts.general.cmd_get.increment();
        class.get_hits.increment();
    }
    let (granted, stale) = (item.lease_granted(), item.stale());
    let soon_over = |limit: i32| {
        // A new time that is written before the R is what it looks at.
        let touched = flags.iter().take_while(|flag| flag.letter != b'R').any(|flag| flag.letter == b'T');
        let new = if touched { time_set_by(b'T', flags, now) } else { None };
        new.unwrap_or(item.expiry()).remaining(now).is_some_and(|left| i64::from(left) < limit.into())
    };
    let won = !granted && (stale || flags.recache().is_some_and(soon_over));
    if won {
        item.grant_lease();
    }
    let unchanged = flags.compare().is_some_and(|cas| cas == shown_cas(item, context));
    let with_value = flags.has(b'v') && !unchanged;
    if with_value {
        output.put(b"VA ");
        output.put_number(item.value().len());
    } else {
        output.put(b"HD");
    }
    let mut shown_expiry = item.expiry();
    for flag in flags.iter() {
        match flag.letter {
            b'c' => put_field(b'c', shown_cas(item, context), output),
            b'f' => put_field(b'f', u64::from(item.client_flags()), output),
            b's' => put_field(b's', item.value().len() as u64, output),
            b'h' => put_field(b'h', u64::from(item.fetched()), output),
            b'l' => put_field(b'l', u64::from(item.idle(now)), output),
            b't' => put_ttl(shown_expiry, output, context),
            b'T' => shown_expiry = flags.ttl().map_or(shown_expiry, |ttl| expiry(ttl.into(), now)),
            b'O' => put_opaque(flag.argument, output),
            b'k' => put_item_key(item, output),
            _ => {}
        }
    }
    if granted {
        output.put(b" Z");
    }
    if stale {
        output.put(b" X");
    }
    if won {
        output.put(b" W");
    }
    output.put(b"\r\n");
    if with_value {
        output.put_value(item.value());
        output.put(b"\r\n");
    }
    if !flags.has(b'u') {
        item.mark_used(now);
    }
}

fn put_miss(request: &Meta<'_>, key: Key<'_>, absent: Absent, output: &mut Output, context: &Context<'_>) {
    note::asked(key, false, context);
    note_absent(absent, context);
    context.counts.general.cmd_get.increment();
    context.counts.general.get_misses.increment();
    if !request.flags.has(b'q') {
        put_status(b"EN", request, output);
    }
}

/// The empty item that was just made for a client that is to fill it.
fn put_vivified(request: &Meta<'_>, key: Key<'_>, cas: u64, output: &mut Output, context: &Context<'_>) {
    let flags = &request.flags;
    note::asked(key, true, context);
    context.counts.general.cmd_get.increment();
    context.counts.general.total_items.increment();
    let class = class_of(memcached_size(key.as_bytes().len(), 0, false));
    context.counts.classes[class].get_hits.increment();
    output.put(if flags.has(b'v') { b"VA 0" } else { b"HD" });
    let now = context.now;
    let mut shown_expiry = Expiry::NEVER;
    for flag in flags.iter() {
        shown_expiry = time_set_by(flag.letter, flags, now).unwrap_or(shown_expiry);
        match flag.letter {
            b'c' => put_field(b'c', if context.engine.config.cas { cas } else { 0 }, output),
            b'f' | b's' | b'h' | b'l' => put_field(flag.letter, 0, output),
            b't' => put_ttl(shown_expiry, output, context),
            b'O' => put_opaque(flag.argument, output),
            b'k' => put_request_key(request, output),
            _ => {}
        }
    }
    output.put(if flags.has(b'v') { b" W\r\n\r\n" } else { b" W\r\n" });
}

/// What the flag of this letter makes the expiry of an item that was just made.
fn time_set_by(letter: u8, flags: &Flags<'_>, now: Now) -> Option<Expiry> {
    let ttl = match letter {
        b'T' => flags.ttl(),
        b'N' => flags.vivify(),
        _ => None,
    };
    ttl.map(|ttl| expiry(ttl.into(), now))
}

/// md.
pub(super) fn delete(request: &Meta<'_>, output: &mut Output, context: &Context<'_>) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.key.bytes(&mut scratch)) else { return };
    let (flags, general) = (&request.flags, &context.counts.general);
    let updated = context.engine.store.update(key, context.now, |lookup| {
        let item = match note::lookup(key, lookup, context) {
            Ok(item) => item,
            Err(absent) => {
                note::deleted(key, "md", None, context);
                note_absent(absent, context);
                general.delete_misses.increment();
                return (Change::Delete, b"NF");
            }
        };
        if flags.compare().is_some_and(|cas| cas != shown_cas(item, context)) {
            note::deleted(key, "md", None, context);
            general.delete_misses.increment();
            return (Change::Keep, b"EX");
        }
        note::deleted(key, "md", Some((item.size(), item.value().len())), context);
        (delete_change(request, item, context), b"HD")
    });
    if updated.refused {
        put_error(Error::NoMemory, output);
    } else if !(flags.has(b'q') && updated.answer == b"HD") {
        put_status(updated.answer, request, output);
    }
}

/// The item goes; or its value goes (`x`), or it is served as stale until somebody renews it (`I`), or both.
fn delete_change(request: &Meta<'_>, item: &Item<'_>, context: &Context<'_>) -> Change<'static> {
    let flags = &request.flags;
    let ttl = flags.ttl().map(|ttl| expiry(ttl.into(), context.now));
    let cas = flags.explicit_cas().map_or(CasChange::Next, CasChange::Set);
    if flags.has(b'x') {
        return Change::Put(NewItem {
            origin: Origin::Kept,
            cas,
            binary_key: item.binary_key(),
            stale: flags.has(b'I'),
            ..NewItem::plain(NewValue::Bytes(b""), flags.client_flags(), ttl.unwrap_or(Expiry::NEVER))
        });
    }
    if flags.has(b'I') {
        return Change::Amend(Amend {
            expiry: ttl,
            stale: Some(true),
            lease_granted: Some(false),
            cas,
            updates_source: true,
        });
    }
    context.counts.classes[class_of(item.size())].delete_hits.increment();
    Change::Delete
}

enum Counting {
    Counted { number: u64, expiry: Expiry },
    Created { number: u64, expiry: Expiry },
    NotANumber,
    Changed,
    NotFound,
}

/// ma.
pub(super) fn arithmetic(request: &MetaArithmetic<'_>, output: &mut Output, context: &Context<'_>) {
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.meta.key.bytes(&mut scratch)) else { return };
    let (meta, flags, now) = (&request.meta, &request.meta.flags, context.now);
    let origin = origin_by_rules(key, context);
    let updated = context.engine.store.update(key, now, |lookup| match note::lookup(key, lookup, context) {
        Ok(item) => count_item(request, item, context),
        Err(absent) => {
            note_absent(absent, context);
            let Some(ttl) = flags.vivify() else { return (Change::Keep, Counting::NotFound) };
            let number = flags.initial();
            let Some(value) = Short::padded(itoa::Buffer::new().format(number).as_bytes(), 0) else {
                return (Change::Keep, Counting::NotANumber);
            };
            let made = expiry(ttl.into(), now);
            let lasting = flags.iter().filter_map(|flag| time_set_by(flag.letter, flags, now)).last();
            let item = NewItem {
                origin,
                cas: new_cas(meta),
                binary_key: meta.key.base64,
                ..NewItem::plain(NewValue::Short(value), 0, lasting.unwrap_or(made))
            };
            (Change::Put(item), Counting::Created { number, expiry: made })
        }
    });
    let general = &context.counts.general;
    match updated.answer {
        _ if updated.refused => put_error(Error::NoMemoryArithmetic, output),
        Counting::NotANumber => put_error(Error::NotANumber, output),
        Counting::Changed => put_status(b"EX", meta, output),
        Counting::NotFound => {
            if request.increment {
                general.incr_misses.increment()
            } else {
                general.decr_misses.increment()
            }
            put_status(b"NF", meta, output);
        }
        Counting::Created { number, expiry } => {
            general.total_items.increment();
            note::stored(key, StoreStatus::Stored, context, || {
                let len = itoa::Buffer::new().format(number).len();
                note::Storing {
                    command: "add",
                    expiry,
                    size: memcached_size(key.as_bytes().len(), len, false),
                    len,
                }
            });
            put_number(meta, number, expiry, true, updated.cas, output, context);
        }
        Counting::Counted { number, expiry } => {
            put_number(meta, number, expiry, false, updated.cas, output, context);
        }
    }
}

fn count_item(
    request: &MetaArithmetic<'_>,
    item: &mut Item<'_>,
    context: &Context<'_>,
) -> (Change<'static>, Counting) {
    let flags = &request.meta.flags;
    // An empty value is refused before its CAS value is looked at, any other that is no number after.
    if item.value().is_empty() {
        return (Change::Keep, Counting::NotANumber);
    }
    // 0 compares with nothing here.
    if flags.compare().is_some_and(|cas| cas != 0 && cas != shown_cas(item, context)) {
        return (Change::Keep, Counting::Changed);
    }
    let Some(counted) = count(item, flags.delta(), request.increment) else {
        return (Change::Keep, Counting::NotANumber);
    };
    let class = &context.counts.classes[class_of(item.size())];
    if request.increment {
        class.incr_hits.increment()
    } else {
        class.decr_hits.increment()
    }
    let new = NewItem {
        cas: new_cas(&request.meta),
        expiry: flags.ttl().map_or(item.expiry(), |ttl| expiry(ttl.into(), context.now)),
        ..counted.item
    };
    (Change::Put(new), Counting::Counted { number: counted.number, expiry: item.expiry() })
}

fn put_number(
    meta: &Meta<'_>,
    number: u64,
    mut shown_expiry: Expiry,
    created: bool,
    cas: u64,
    output: &mut Output,
    context: &Context<'_>,
) {
    let flags = &meta.flags;
    if flags.has(b'q') {
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    if flags.has(b'v') {
        output.put(b"VA ");
        output.put_number(text.len());
    } else {
        output.put(b"HD");
    }
    for flag in flags.iter() {
        match flag.letter {
            b'c' => put_field(b'c', if context.engine.config.cas { cas } else { 0 }, output),
            b't' => put_ttl(shown_expiry, output, context),
            // A time that is written before the t is the one it shows; N's only for a number that was just made.
            b'T' | b'N' if flag.letter == b'T' || created => {
                shown_expiry = time_set_by(flag.letter, flags, context.now).unwrap_or(shown_expiry);
            }
            b'O' => put_opaque(flag.argument, output),
            b'k' => put_request_key(meta, output),
            _ => {}
        }
    }
    output.put(b"\r\n");
    if flags.has(b'v') {
        output.put(text);
        output.put(b"\r\n");
    }
}

/// me.
pub(super) fn debug(request: &Meta<'_>, output: &mut Output, context: &Context<'_>) {
    context.counts.general.cmd_meta.increment();
    let mut scratch: Scratch = [0; MetaKey::MAX_DECODED];
    let Some(key) = Key::new(request.key.bytes(&mut scratch)) else { return };
    context.engine.store.read(key, context.now, |lookup| match note::lookup(key, lookup, context) {
        Ok(item) => {
            output.put(b"ME ");
            put_key(item.key(), item.binary_key(), output);
            output.put(b" exp=");
            // Seconds since its end, so below 0 while it lives; -1 also stands for no end.
            match item.expiry().remaining(context.now) {
                None => output.put(b"-1"),
                Some(left) => output.put_number(-i64::from(left)),
            }
            output.put(b" la=");
            output.put_number(item.idle(context.now));
            output.put(b" cas=");
            output.put_number(shown_cas(item, context));
            output.put(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
            output.put(b" cls=");
            output.put_number(class_of(item.size()));
            output.put(b" size=");
            output.put_number(item.size());
            if item.source_count() > 0 {
                output.put(b" src=");
                output.put_number(item.source_count());
            }
            output.put(b"\r\n");
        }
        Err(absent) => {
            note_absent(absent, context);
            output.put(b"EN\r\n");
        }
    });
}

/// A new CAS value: the client's own (`E`), or the next one, which is shown if asked for (`c`).
pub(super) fn new_cas(request: &Meta<'_>) -> CasChange {
    match request.flags.explicit_cas() {
        Some(cas) => CasChange::Set(cas),
        None if request.flags.has(b'c') => CasChange::NextShown,
        None => CasChange::Next,
    }
}

/// A two-letter answer with what the request wants echoed.
pub(super) fn put_status(code: &[u8; 2], request: &Meta<'_>, output: &mut Output) {
    output.put(code);
    for flag in request.flags.iter() {
        match flag.letter {
            b'O' => put_opaque(flag.argument, output),
            b'k' => put_request_key(request, output),
            _ => {}
        }
    }
    output.put(b"\r\n");
}

pub(super) fn put_opaque(token: &[u8], output: &mut Output) {
    output.put(b" O");
    output.put(token);
}

pub(super) fn put_field(letter: u8, number: u64, output: &mut Output) {
    output.put(&[b' ', letter]);
    output.put_number(number);
}

/// The key as the request wrote it.
pub(super) fn put_request_key(request: &Meta<'_>, output: &mut Output) {
    output.put(b" k");
    output.put(request.key.written);
    if request.key.base64 {
        output.put(b" b");
    }
}

fn put_item_key(item: &Item<'_>, output: &mut Output) {
    output.put(b" k");
    put_key(item.key(), item.binary_key(), output);
    if item.binary_key() {
        output.put(b" b");
    }
}

/// A key in the form it was stored under.
fn put_key(key: &[u8], base64: bool, output: &mut Output) {
    if base64 {
        base64_simd::STANDARD.encode_append(key, output.bytes());
    } else {
        output.put(key);
    }
}

fn put_ttl(expiry: Expiry, output: &mut Output, context: &Context<'_>) {
    match expiry.remaining(context.now) {
        Some(left) => put_field(b't', left.into(), output),
        None => output.put(b" t-1"),
    }
}
