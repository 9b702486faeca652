//! The limit on client connections: places to take, and the account of the time when there was none.

use crate::command::Connections;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Places for client connections, exactly as many as `-c` allows.
#[derive(Debug)]
pub(super) struct Limit {
    free: Arc<Semaphore>,
    size: usize,
    closed: Mutex<Closed>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Semaphore>);

/// How many listeners have stopped accepting, and since when at least one has.
#[derive(Debug, Default)]
struct Closed {
    listeners: usize,
    since: Option<Instant>,
}

impl Limit {
    /// `size` free places.
    pub(super) fn new(size: usize) -> Limit {
        let size = size.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Limit { free: Arc::new(Semaphore::new(size)), size, closed: Mutex::default() }
    }

    /// A place, if one is free.
    pub(super) fn take(&self) -> Option<Slot> {
        self.free.try_acquire().ok()?.forget();
        Some(Slot(self.free.clone()))
    }

    /// A place, as soon as one is free. While nothing is, `connections` is told that accepting has stopped.
    pub(super) async fn wait(&self, connections: &Connections) -> Slot {
        if let Some(slot) = self.take() {
            return slot;
        }
        let _stopped = self.stop_accepting(connections);
        match self.free.acquire().await {
            Ok(place) => place.forget(),
            Err(_) => std::future::pending().await,
        }
        Slot(self.free.clone())
    }

    /// Tells `connections` that a listener has stopped accepting, until what is returned is dropped.
    pub(super) fn stop_accepting<'a>(&'a self, connections: &'a Connections) -> Stopped<'a> {
        let mut closed = self.closed.lock();
        closed.listeners += 1;
        if closed.listeners == 1 {
            closed.since = Some(Instant::now());
            connections.listen_disabled.fetch_add(1, Ordering::Relaxed);
            connections.accepting.store(0, Ordering::Relaxed);
        }
        Stopped { limit: self, connections }
    }

    /// Whether all connections are gone, or are before `grace` is over.
    pub(super) async fn all_free(&self, grace: Duration) -> bool {
        tokio::time::timeout(grace, self.free.acquire_many(self.size as u32)).await.is_ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A listener that does not accept, until dropped.
pub(super) struct Stopped<'a> {
    limit: &'a Limit,
    connections: &'a Connections,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let mut closed = self.limit.closed.lock();
        closed.listeners -= 1;
        if closed.listeners == 0
            && let Some(since) = closed.since.take()
        {
            let micros = since.elapsed().as_micros() as u64;
            self.connections.listen_disabled_micros.fetch_add(micros, Ordering::Relaxed);
            self.connections.accepting.store(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_exactly_as_many_and_come_back() {
        let limit = Limit::new(2);
        let first = limit.take();
        let _second = limit.take().expect("two places");
        assert!(limit.take().is_none());
        drop(first);
        assert!(limit.take().is_some());
    }

    #[test]
    fn accepting_is_off_until_the_last_listener_goes_on() {
        let (limit, connections) = (Limit::new(1), Connections::default());
        connections.accepting.store(1, Ordering::Relaxed);
        let one = limit.stop_accepting(&connections);
        let other = limit.stop_accepting(&connections);
        drop(one);
        assert_eq!(connections.accepting.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(connections.accepting.load(Ordering::Relaxed), 1);
        assert_eq!(connections.listen_disabled.load(Ordering::Relaxed), 1);
    }
}
