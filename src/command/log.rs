//! The lines that watchers receive, in memcached's form. Each costs one load when nobody watches its class.

use super::connections::{Address, CloseReason, Connection};
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
pub fn conn_new(hub: &WatchHub, connection: &Connection, now: Now) {
    if hub.wants(Classes::CONNEVENTS) {
        let (peer, cfd) = (Remote(&connection.peer), connection.fd);
        hub.log(Classes::CONNEVENTS, unix_micros(now), format_args!("type=conn_new {peer} cfd={cfd}"));
    }
}

/// A connection was closed.
pub fn conn_close(hub: &WatchHub, connection: &Connection, now: Now, reason: CloseReason) {
    if hub.wants(Classes::CONNEVENTS) {
        let reason = reason.name();
        let (peer, cfd) = (Remote(&connection.peer), connection.fd);
        hub.log(
            Classes::CONNEVENTS,
            unix_micros(now),
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
