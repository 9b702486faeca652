//! What the commands tell those who watch, and statistics by key and item. Costs next to nothing when nobody listens.

use super::log::{self, FetchStatus, StoreStatus};
use super::session::Context;
use super::watch::Classes;
use crate::store::{Absent, Expiry, Key, Lookup, class_of};

/// Tells of a lookup, whatever it is for, and passes it on. Every command looks up each of its keys once.
#[inline]
pub(super) fn lookup<'a, 'i>(key: Key<'_>, lookup: Lookup<'a, 'i>, context: &Context<'_>) -> Lookup<'a, 'i> {
    context.counts.hot_keys.asked(key.as_bytes());
    if context.engine.watch.wants(Classes::FETCHERS) {
        let (status, class, size) = match &lookup {
            Ok(item) => (FetchStatus::Found, class_of(item.size()), item.value().len()),
            Err(Absent::Expired | Absent::Outdated) => (FetchStatus::Expired, 0, 0),
            Err(Absent::Flushed) => (FetchStatus::Flushed, 0, 0),
            Err(_) => (FetchStatus::NotFound, 0, 0),
        };
        log::item_get(context, key.as_bytes(), status, class, size);
    }
    lookup
}

/// Tells of a key that a client asked for.
pub(super) fn asked(key: Key<'_>, hit: bool, context: &Context<'_>) {
    if context.engine.detail.is_on() {
        context.engine.detail.record_get(key.as_bytes(), hit);
    }
}

/// A value that was to be stored.
pub(super) struct Storing<'c> {
    /// By which command.
    pub command: &'c str,
    /// For how long.
    pub expiry: Expiry,
    /// The item's size as memcached counts it.
    pub size: usize,
    /// The value's length.
    pub len: usize,
}

/// Tells what came of a store, and counts what was stored.
pub(super) fn stored<'c>(
    key: Key<'_>,
    status: StoreStatus,
    context: &Context<'_>,
    storing: impl FnOnce() -> Storing<'c>,
) {
    if context.engine.detail.is_on() {
        context.engine.detail.record_set(key.as_bytes());
    }
    let watched = context.engine.watch.wants(Classes::MUTATIONS);
    if !watched && status != StoreStatus::Stored {
        return;
    }
    let storing = storing();
    let ttl = storing.expiry.remaining(context.now);
    // What is added to an item is no item.
    if status == StoreStatus::Stored && !matches!(storing.command, "append" | "prepend") {
        let distributions = &context.counts.distributions;
        distributions.item_size.record(storing.size as u64);
        if let Some(ttl) = ttl {
            distributions.item_ttl.record(ttl.into());
        }
    }
    if watched {
        let ttl = ttl.unwrap_or(0);
        let class = class_of(storing.size);
        log::item_store(context, key.as_bytes(), status, storing.command, ttl, class, storing.len);
    }
}

/// Tells that a client wanted a key deleted; `found` is the item's size as memcached counts it, and its value's length.
pub(super) fn deleted(key: Key<'_>, command: &str, found: Option<(usize, usize)>, context: &Context<'_>) {
    if context.engine.detail.is_on() {
        context.engine.detail.record_delete(key.as_bytes());
    }
    if let Some((size, len)) = found {
        log::deleted(context, key.as_bytes(), command, class_of(size), len);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Client;
    use super::*;
    use crate::config::Config;

    /// What watchers of the classes see of a conversation, without time, number and connection.
    fn seen(classes: Classes, conversation: &[&str]) -> Vec<String> {
        let mut client = Client::new(Config { item_max: 4096, ..Config::default() });
        let watcher = client.engine.watch(classes, Box::new(|| {})).expect("there is room for a watcher");
        for line in conversation {
            client.say(line);
        }
        let mut bytes = Vec::new();
        watcher.take_lines(&mut bytes);
        let text = String::from_utf8(bytes).expect("keys are encoded");
        let without_ends =
            |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ").replace(" cfd=30", "");
        text.lines().map(without_ends).collect()
    }

    #[test]
    fn every_lookup_is_told() {
        let got = "type=item_get key=a status=found clsid=1 size=1";
        let missed = "type=item_get key=a status=not_found clsid=0 size=0";
        let expired = "type=item_get key=e status=expired clsid=0 size=0";
        assert_eq!(
            seen(
                Classes::FETCHERS,
                &[
                    "set a 0 0 1\r\n1",
                    "get a",
                    "gat 0 a",
                    "touch a 0",
                    "incr a 1",
                    "mg a v",
                    "ma a",
                    "me a",
                    "mg a T0",
                    "ms a 1\r\n1",
                    "md a I",
                    "delete a",
                    "get a"
                ]
            ),
            [&[missed][..], &[got; 11], &[missed]].concat()
        );
        let missed = "type=item_get key=e status=not_found clsid=0 size=0";
        assert_eq!(seen(Classes::FETCHERS, &["set e 0 -1 1\r\n1", "get e"]), [missed, expired]);
    }

    #[test]
    fn every_store_is_told_with_what_came_of_it() {
        let value = "x".repeat(5000);
        let lines = seen(
            Classes::MUTATIONS,
            &[
                "set a%1 0 100 1\r\n1",
                "add a%1 0 0 2\r\n11",
                "append no 0 0 1\r\n1",
                "append a%1 0 0 1\r\n1",
                "cas a%1 0 0 1 1\r\n1",
                "cas no 0 0 1 1\r\n1",
                &format!("set big 0 0 5000\r\n{value}"),
                "ms YiBj 1 b T60 MR\r\n1",
                "ms m 1 T60\r\n1",
                "ms no 1 C5\r\n1",
                &format!("ms big 5000\r\n{value}"),
                "ma count N9 J55",
                "ma count",
            ],
        );
        assert_eq!(
            lines.join("\n").replace("type=item_store ", ""),
            "key=a%251 status=stored cmd=set ttl=100 clsid=1 size=1\n\
             key=a%251 status=not_stored cmd=add ttl=0 clsid=1 size=2\n\
             key=no status=not_stored cmd=append ttl=0 clsid=1 size=1\n\
             key=a%251 status=stored cmd=append ttl=0 clsid=1 size=1\n\
             key=a%251 status=exists cmd=cas ttl=0 clsid=1 size=1\n\
             key=no status=not_found cmd=cas ttl=0 clsid=1 size=1\n\
             key=big status=too_large cmd=set ttl=0 clsid=19 size=5000\n\
             key=b%20c status=not_stored cmd=replace ttl=60 clsid=1 size=1\n\
             key=m status=stored cmd=set ttl=60 clsid=1 size=1\n\
             key=no status=not_found cmd=cas ttl=0 clsid=1 size=1\n\
             key=big status=too_large cmd=set ttl=0 clsid=19 size=5000\n\
             key=count status=stored cmd=add ttl=9 clsid=1 size=2"
        );
    }

    #[test]
    fn deletes_of_something_are_told() {
        assert_eq!(
            seen(
                Classes::DELETIONS,
                &["delete no", "md no", "set a 0 0 1\r\n1", "delete a", "set b 0 0 2\r\n11", "md b"]
            ),
            ["type=deleted key=a cmd=delete clsid=1 size=1", "type=deleted key=b cmd=md clsid=1 size=2"]
        );
    }

    #[test]
    fn prefixes_are_counted_by_what_clients_ask_for() {
        let mut client = Client::new(Config { detail: true, ..Config::default() });
        for line in [
            "set p:a 0 0 1\r\n1",
            "add p:a 0 0 1\r\n1",
            "get p:a p:b",
            "gat 0 p:a",
            "mg p:a",
            "mg p:c",
            "incr p:a 1",
            "touch p:a 0",
            "delete p:a",
            "md p:a",
            "get none",
        ] {
            client.say(line);
        }
        assert_eq!(client.say("stats detail dump"), "PREFIX p get 5 hit 3 set 2 del 2|END|");
        client.say("stats detail off");
        client.say("get p:a");
        assert_eq!(client.say("stats detail dump"), "PREFIX p get 5 hit 3 set 2 del 2|END|");
    }
}
