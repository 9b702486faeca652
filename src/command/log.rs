//! The lines that watchers receive, in memcached's form. Each costs one load when nobody watches its class.

use super::connections::{Address, Connection};
use super::dump::put_encoded;
use super::session::Context;
use super::watch::{Classes, WatchHub};
use crate::store::{EvictionHook, Now, class_of};
use std::fmt::{Display, Formatter};
use std::sync::Arc;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStatus {
    /// An item.
    Found,
    /// Nothing.
    NotFound,
    /// An item that a flush had taken.
    Flushed,
    /// An item whose time was over.
    Expired,
}

/// What came of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreStatus {
    /// It is there.
    Stored,
    /// Another CAS value is.
    Exists,
    /// There was nothing to compare with.
    NotFound,
    /// There was something, or there was nothing, against the command's condition.
    NotStored,
    /// It is larger than items may be.
    TooLarge,
    /// There was no memory.
    NoMemory,
}

/// A key was read: `size` is the length of its value, both numbers 0 if there is none.
pub fn item_get(context: &Context<'_>, key: &[u8], status: FetchStatus, class: usize, size: usize) {
    if context.engine.watch.wants(Classes::FETCHERS) {
        let status = match status {
            FetchStatus::Found => "found",
            FetchStatus::NotFound => "not_found",
            FetchStatus::Flushed => "flushed",
            FetchStatus::Expired => "expired",
        };
        let (key, cfd) = (Encoded(key), context.connection.fd);
        context.engine.watch.log(
            Classes::FETCHERS,
            unix_micros(context.now),
            format_args!("type=item_get key={key} status={status} clsid={class} cfd={cfd} size={size}"),
        );
    }
}

/// A key was to be stored by `command`, for `ttl` seconds (0 is for ever), with a value of `size` bytes.
pub fn item_store(
    context: &Context<'_>,
    key: &[u8],
    status: StoreStatus,
    command: &str,
    ttl: u32,
    class: usize,
    size: usize,
) {
    if context.engine.watch.wants(Classes::MUTATIONS) {
        let status = match status {
            StoreStatus::Stored => "stored",
            StoreStatus::Exists => "exists",
            StoreStatus::NotFound => "not_found",
            StoreStatus::NotStored => "not_stored",
            StoreStatus::TooLarge => "too_large",
            StoreStatus::NoMemory => "no_memory",
        };
        let (key, cfd) = (Encoded(key), context.connection.fd);
        context.engine.watch.log(
            Classes::MUTATIONS,
            unix_micros(context.now),
            format_args!(
                "type=item_store key={key} status={status} cmd={command} ttl={ttl} clsid={class} cfd={cfd} size={size}"
            ),
        );
    }
}

/// A key was deleted by `command` (`delete` or `md`); its value was `size` bytes long.
pub fn deleted(context: &Context<'_>, key: &[u8], command: &str, class: usize, size: usize) {
    if context.engine.watch.wants(Classes::DELETIONS) {
        let key = Encoded(key);
        context.engine.watch.log(
            Classes::DELETIONS,
            unix_micros(context.now),
            format_args!("type=deleted key={key} cmd={command} clsid={class} size={size}"),
        );
    }
}

/// A connection was accepted.
pub fn conn_new(hub: &WatchHub, connection: &Connection, unix_micros: u128) {
    if hub.wants(Classes::CONNEVENTS) {
        let (peer, cfd) = (Remote(&connection.peer), connection.fd);
        hub.log(Classes::CONNEVENTS, unix_micros, format_args!("type=conn_new {peer} cfd={cfd}"));
    }
}

/// A connection is being closed, for the reason it has noted.
pub fn conn_close(hub: &WatchHub, connection: &Connection, unix_micros: u128) {
    if hub.wants(Classes::CONNEVENTS) {
        let reason = connection.close_reason().name();
        let (peer, cfd) = (Remote(&connection.peer), connection.fd);
        hub.log(
            Classes::CONNEVENTS,
            unix_micros,
            format_args!("type=conn_close {peer} reason={reason} cfd={cfd}"),
        );
    }
}

/// The hook that tells watchers of evictions.
pub(super) fn eviction_hook(hub: Arc<WatchHub>) -> Arc<EvictionHook> {
    Arc::new(Box::new(move |evicted| {
        if hub.wants(Classes::EVICTIONS) {
            let key = Encoded(evicted.key);
            let fetched = if evicted.fetched { "yes" } else { "no" };
            let ttl = evicted.remaining.map_or(-1, i64::from);
            let (idle, class, size) = (evicted.idle, class_of(evicted.size), evicted.value_len);
            hub.log(
                Classes::EVICTIONS,
                unix_micros(evicted.now),
                format_args!(
                    "type=eviction key={key} fetch={fetched} ttl={ttl} la={idle} clsid={class} size={size}"
                ),
            );
        }
    }))
}

/// The wall clock's whole seconds, and the fraction of the clock that never goes back: both tick together.
fn unix_micros(now: Now) -> u128 {
    u128::from(now.unix()) * 1_000_000 + u128::from(now.millis() % 1000) * 1000
}

/// A key as log lines show it.
struct Encoded<'k>(&'k [u8]);

impl Display for Encoded<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(self.0.len());
        put_encoded(self.0, &mut text);
        out.write_str(std::str::from_utf8(&text).map_err(|_| std::fmt::Error)?)
    }
}

/// The client's end of a connection as log lines show it.
struct Remote<'c>(&'c Address);

impl Display for Remote<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Address::Tcp(peer) => write!(out, "rip={} rport={} transport=tcp", peer.ip(), peer.port()),
            Address::Unix(_) => write!(out, "rip=unix rport=0 transport=local"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, START};
    use super::super::{CloseReason, Engine};
    use super::*;
    use crate::config::Config;
    use std::sync::atomic::Ordering;

    const ALL: [Classes; 5] =
        [Classes::FETCHERS, Classes::MUTATIONS, Classes::EVICTIONS, Classes::CONNEVENTS, Classes::DELETIONS];

    fn watch(engine: &Engine, classes: &[Classes]) -> Arc<super::super::watch::Watcher> {
        let classes = classes.iter().fold(Classes::default(), |all, &class| all.with(class));
        engine.watch(classes, Box::new(|| {})).expect("there is room for a watcher")
    }

    fn lines(watcher: &super::super::watch::Watcher) -> String {
        let mut bytes = Vec::new();
        watcher.take_lines(&mut bytes);
        String::from_utf8(bytes).expect("keys are encoded")
    }

    #[test]
    fn lines_are_memcacheds() {
        let mut client = Client::new(Config::default());
        let watcher = watch(&client.engine, &ALL);
        client.pass(3);
        client.with_context(|context, _| {
            item_get(context, b"a b\xff~", FetchStatus::Found, 1, 5);
            item_get(context, b"a", FetchStatus::Expired, 0, 0);
            item_store(context, b"a", StoreStatus::NotStored, "add", 60, 1, 5);
            deleted(context, b"a", "md", 1, 5);
            conn_new(&context.engine.watch, context.connection, 1_500_000);
            context.connection.set_close_reason(CloseReason::IdleTimeout);
            conn_close(&context.engine.watch, context.connection, 1_500_001);
            let socket = Arc::new(Address::Unix("/s".into()));
            let local = Connection::new(31, Address::Unix("".into()), socket, 10);
            conn_new(&context.engine.watch, &local, 1_500_002);
        });
        let second = START + 3;
        assert_eq!(
            lines(&watcher),
            format!(
                "ts={second}.000000 gid=1 type=item_get key=a%20b%FF~ status=found clsid=1 cfd=30 size=5\n\
                 ts={second}.000000 gid=2 type=item_get key=a status=expired clsid=0 cfd=30 size=0\n\
                 ts={second}.000000 gid=3 type=item_store key=a status=not_stored cmd=add ttl=60 clsid=1 cfd=30 size=5\n\
                 ts={second}.000000 gid=4 type=deleted key=a cmd=md clsid=1 size=5\n\
                 ts=1.500000 gid=5 type=conn_new rip=1.2.3.4 rport=5678 transport=tcp cfd=30\n\
                 ts=1.500001 gid=6 type=conn_close rip=1.2.3.4 rport=5678 transport=tcp reason=idle_timeout cfd=30\n\
                 ts=1.500002 gid=7 type=conn_new rip=unix rport=0 transport=local cfd=31\n"
            )
        );
    }

    #[test]
    fn only_what_is_watched_is_logged() {
        let mut client = Client::new(Config::default());
        let watcher = watch(&client.engine, &[Classes::DELETIONS]);
        client.with_context(|context, _| {
            item_get(context, b"a", FetchStatus::NotFound, 0, 0);
            item_store(context, b"a", StoreStatus::Stored, "set", 0, 1, 5);
            conn_new(&context.engine.watch, context.connection, 0);
        });
        assert_eq!(
            (lines(&watcher), client.engine.watch.written.load(Ordering::Relaxed)),
            (String::new(), 0)
        );
        client.engine.unwatch(&watcher);
        client.with_context(|context, _| deleted(context, b"a", "delete", 1, 5));
        assert_eq!(
            (lines(&watcher), client.engine.watch.written.load(Ordering::Relaxed)),
            (String::new(), 0)
        );
    }

    #[test]
    fn evictions_are_told_while_somebody_watches_them() {
        let mut client = Client::new(Config { memory_limit: 8 << 20, threads: 1, ..Config::default() });
        let value = "x".repeat(10_000);
        let fill = |client: &mut Client, name: &str| {
            for number in 0..1000 {
                assert_eq!(client.say(&format!("set {name}{number} 1 1000 10000\r\n{value}")), "STORED|");
            }
        };
        fill(&mut client, "unwatched");
        assert_eq!(client.engine.watch.written.load(Ordering::Relaxed), 0);
        let watcher = watch(&client.engine, &[Classes::EVICTIONS]);
        fill(&mut client, "watched");
        let evicted = client.engine.store_stats(client.now()).sum(|class| class.evicted);
        assert!(evicted > 500, "{evicted}");
        let text = lines(&watcher);
        let first = text.lines().next().expect("something was evicted");
        assert!(first.contains(" type=eviction key=unwatched"), "{first}");
        assert!(first.ends_with(" fetch=no ttl=1000 la=0 clsid=22 size=10000"), "{first}");
        client.engine.unwatch(&watcher);
        let written = client.engine.watch.written.load(Ordering::Relaxed);
        fill(&mut client, "again");
        assert_eq!(client.engine.watch.written.load(Ordering::Relaxed), written);
        assert_eq!(client.woken.load(Ordering::Relaxed), 0, "this client does not watch");
    }
}
