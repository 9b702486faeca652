//! Pieces that the commands' answers share.

use super::output::Output;
use super::session::Context;
use crate::protocol::Error;
use crate::store::{Absent, Expiry, Item, Now};
use std::io::Write;

/// Longest exptime that counts seconds from now; longer ones are Unix times. 30 days, as in memcached.
const MAX_RELATIVE: i64 = 60 * 60 * 24 * 30;

/// When an item with this exptime stops being served.
pub(super) fn expiry(exptime: i64, now: Now) -> Expiry {
    match exptime {
        0 => Expiry::NEVER,
        ..0 => Expiry::PAST,
        1..=MAX_RELATIVE => Expiry::after(exptime as u32, now),
        _ => Expiry::at_unix(exptime as u64, now),
    }
}

/// The error's line.
pub(super) fn put_error(error: Error, output: &mut Output) {
    // Writing to memory does not fail.
    let _ = write!(output.bytes(), "{error}\r\n");
}

/// An item's CAS value as clients see it: 0 when there are none (`-C`).
pub(super) fn shown_cas(item: &mut Item<'_>, context: &Context<'_>) -> u64 {
    if context.engine.config.cas { item.cas() } else { 0 }
}

/// Counts why a key that was looked up is not there.
pub(super) fn note_absent(absent: Absent, context: &Context<'_>) {
    match absent {
        Absent::NotFound => {}
        Absent::Expired => context.counts.general.get_expired.increment(),
        Absent::Flushed => context.counts.general.get_flushed.increment(),
        Absent::Outdated => {
            context.counts.general.get_expired.increment();
            context.counts.general.outdated.increment();
        }
    }
}
