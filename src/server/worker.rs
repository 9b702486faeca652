//! One worker: a thread that waits for its own connections, which never leave it, and serves those that are ready.

use super::accept::Accepted;
use super::connection::{Connection, Went};
use super::desk::Desks;
use super::error::Error;
use super::shared::Server;
use super::transport::Transport;
use crate::command::{CloseReason, Counts, Output};
use memcarp_uring::Completion;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::warn;

/// What the connections of a worker share.
pub(super) struct Worker {
    pub(super) server: Arc<Server>,
    pub(super) index: u16,
    pub(super) counts: Arc<Counts>,
    pub(super) desks: Desks,
    pub(super) transport: Transport,
}

/// What a worker is told to do.
pub(super) enum Order {
    /// Serve this connection.
    Serve(Accepted),
    /// Go on with this connection: log lines wait for it.
    GoOn(Token),
    /// Say that this worker goes on.
    Answer,
    /// Answer what has been received, then close.
    Drain,
    /// Stop, whatever is open.
    End,
}

/// Where a worker is told what to do. Its queue is bounded by the limit on connections and by the few watchers.
#[derive(Clone)]
pub(super) struct Inbox {
    orders: Sender<Order>,
    waker: Arc<Waker>,
}

/// A worker that has not started: its end of an [`Inbox`].
pub(super) struct Outset {
    orders: Receiver<Order>,
    poll: Poll,
}

/// Seconds a client has to agree on TLS.
const HANDSHAKE: u32 = 10;

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// Completions handled before those who gave way have their turn.
const COMPLETIONS: usize = 4096;

/// The poll's token for orders; connections have those of their places in the slab.
const ORDERS: Token = Token(usize::MAX);

impl Inbox {
    /// The two ends.
    pub(super) fn new() -> Result<(Inbox, Outset), Error> {
        let failed = |source| Error::system("wait for sockets", source);
        let (sender, orders) = channel();
        let poll = Poll::new().map_err(failed)?;
        let waker = Arc::new(Waker::new(poll.registry(), ORDERS).map_err(failed)?);
        Ok((Inbox { orders: sender, waker }, Outset { orders, poll }))
    }

    /// Gives an order, from any thread. Once the worker has ended nothing happens.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        self.wake();
    }

    /// Lets the worker see for itself what there is to do.
    pub(super) fn wake(&self) {
        let _ = self.waker.wake();
    }
}

/// Starts a worker; it runs until told to end.
///
/// It waits with a ring if `uring` says so; should it get none after all, without.
pub(super) fn start(
    server: Arc<Server>,
    index: u16,
    outset: Outset,
    uring: bool,
) -> Result<JoinHandle<()>, Error> {
    let counts = server.engine.add_worker();
    let work = move || {
        let transport = Transport::new(outset.poll, uring);
        if uring && transport.ring.is_none() {
            server.engine.rings.fetch_sub(1, Ordering::Relaxed);
        }
        let worker = Worker { server, index, counts, desks: Desks::default(), transport };
        Shift { worker, connections: Slab::new(), aside: VecDeque::new() }.run(&outset.orders);
    };
    std::thread::Builder::new()
        .name(format!("worker {index}"))
        .spawn(work)
        .map_err(|source| Error::system(format!("start worker {index}"), source))
}

impl Worker {
    /// Bytes by which values that were replaced or deleted while clients read them are more than they may be.
    pub(super) fn detached_excess(&self) -> usize {
        self.server.engine.store.detached_excess()
    }

    /// What makes this worker go on with a connection, from any thread.
    pub(super) fn waker(&self, token: Token) -> Box<dyn Fn() + Send + Sync> {
        let inbox = self.server.workers[usize::from(self.index)].clone();
        Box::new(move || inbox.order(Order::GoOn(token)))
    }

    /// Whether comings and goings are logged.
    pub(super) fn is_verbose(&self) -> bool {
        self.server.engine.verbosity.load(Ordering::Relaxed) > 1
    }

    /// Whether there is a reason to look through the connections now and then.
    fn sweeps(&self) -> bool {
        self.server.engine.config.idle_timeout > 0 || self.server.tls.is_some()
    }
}

/// A worker at work.
struct Shift {
    worker: Worker,
    connections: Slab<Connection>,
    /// Connections that gave way, to be gone on with after the others: each one that says so, once.
    aside: VecDeque<Token>,
}

impl Shift {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut swept = self.worker.server.clock.now().seconds();
        loop {
            let wait = self.wait();
            if let Err(error) = self.worker.transport.wait(&mut events, wait) {
                let failure = Error::system("wait for sockets", error);
                self.worker.server.fail(failure);
                break;
            }
            // Those who gave way come after those who are ready now, and once.
            let aside = self.aside.len();
            let mut ordered = self.notice(&events);
            for _ in 0..COMPLETIONS {
                let Some(completion) = self.worker.transport.completion() else { break };
                ordered |= self.complete(completion, &mut events);
            }
            for _ in 0..aside {
                if let Some(token) = self.aside.pop_front()
                    && let Some(connection) = self.connections.get_mut(token.0)
                {
                    connection.aside = false;
                    self.go_on(token);
                }
            }
            self.end_stalled();
            if ordered && !orders.try_iter().all(|order| self.obey(order)) {
                break;
            }
            if self.worker.sweeps() {
                let second = self.worker.server.clock.now().seconds();
                if second != swept {
                    swept = second;
                    self.sweep(second);
                }
            }
        }
        for connection in self.connections.drain() {
            connection.set_close_reason(CloseReason::Shutdown);
            connection.close(&mut self.worker);
        }
    }

    /// Goes on with those whose sockets are ready. True if there are orders.
    fn notice(&mut self, events: &Events) -> bool {
        let mut ordered = false;
        for event in events {
            match event.token() {
                ORDERS => ordered = true,
                token => {
                    if let Some(connection) = self.connections.get_mut(token.0) {
                        connection.note(event);
                    }
                    self.go_on(token);
                }
            }
        }
        ordered
    }

    /// Goes on with the one that the ring has something for. True if there are orders.
    fn complete(&mut self, completion: Completion<Output>, events: &mut Events) -> bool {
        let token = match completion {
            Completion::Received { token, arrival } => {
                if let Some(connection) = self.connections.get_mut(token) {
                    connection.arrived(arrival);
                }
                token
            }
            Completion::Sent { token, payload, count } => {
                if let Some(connection) = self.connections.get_mut(token) {
                    connection.sent(payload, count, &mut self.worker);
                }
                token
            }
            Completion::Watched => {
                self.worker.transport.watched(events);
                return self.notice(events);
            }
        };
        self.go_on(Token(token));
        false
    }

    /// How long to wait for events: not at all while somebody is aside, to the clock's next second if connections are
    /// to be looked through then.
    fn wait(&self) -> Option<Duration> {
        if !self.aside.is_empty() {
            return Some(Duration::ZERO);
        }
        let worker = &self.worker;
        worker.sweeps().then(|| Duration::from_millis(1001 - worker.server.clock.now().millis() % 1000))
    }

    /// Looks for connections whose time is over.
    fn sweep(&mut self, second: u32) {
        let worker = &self.worker;
        if worker.server.tls.is_some() {
            for (_, connection) in &self.connections {
                if connection
                    .handshaking_since()
                    .is_some_and(|since| second.saturating_sub(since) > HANDSHAKE)
                {
                    connection.end(CloseReason::Error);
                }
            }
        }
        let idle_timeout = worker.server.engine.config.idle_timeout;
        if idle_timeout > 0 {
            for (_, connection) in &self.connections {
                if connection.is_idle(second, idle_timeout) {
                    worker.counts.general.idle_kicks.increment();
                    connection.end(CloseReason::IdleTimeout);
                }
            }
        }
    }

    /// If clients that do not read hold too many bytes of values that are in the store no longer, ends connections of
    /// those until they are few enough: first the one that has read nothing for longest. True if there are too many
    /// still, with other workers.
    fn end_stalled(&mut self) -> bool {
        if self.worker.detached_excess() == 0 {
            return false;
        }
        let stalled = self.connections.iter().filter_map(|(token, connection)| {
            connection.holds_detached().map(|(bytes, second)| (second, token, bytes))
        });
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_unstable();
        // What the ring is sending is given up a little after its connection.
        let mut to_come = 0;
        for (_, token, bytes) in stalled {
            let before = self.worker.detached_excess();
            if before <= to_come {
                return false;
            }
            let connection = self.connections.remove(token);
            if connection.aside {
                self.aside.retain(|other| other.0 != token);
            }
            connection.set_close_reason(CloseReason::Error);
            connection.close(&mut self.worker);
            self.worker.counts.general.stalled_kicks.increment();
            if self.worker.detached_excess() == before {
                to_come += bytes;
            }
        }
        self.worker.detached_excess() > to_come
    }

    /// Ends the receiving side of each connection: what has arrived can still be read and is answered, then comes the
    /// end.
    fn drain(&self) {
        for (_, connection) in &self.connections {
            connection.end_receiving();
        }
    }

    /// False if the worker is to end.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Serve(accepted) => self.serve(accepted),
            Order::GoOn(token) => self.go_on(token),
            Order::Answer => self.worker.server.answer_roll_call(),
            Order::Drain => self.drain(),
            Order::End => return false,
        }
        true
    }

    fn serve(&mut self, accepted: Accepted) {
        let place = self.connections.vacant_entry();
        match Connection::open(accepted, Token(place.key()), &mut self.worker) {
            Ok(connection) => drop(place.insert(connection)),
            Err(error) => warn!("a connection could not be served: {error}"),
        }
    }

    /// Lets a connection do its share, unless it has to wait for its turn. A panic meanwhile ends that connection.
    fn go_on(&mut self, token: Token) {
        self.take_turn(token);
        if self.end_stalled() {
            self.worker.server.wake_workers();
        }
    }

    fn take_turn(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token.0) else { return };
        let worker = &mut self.worker;
        if connection.aside {
            return connection.settle(worker);
        }
        match catch_unwind(AssertUnwindSafe(|| connection.go_on(token, worker))) {
            Ok(Went::Waiting) => return connection.settle(worker),
            Ok(Went::Aside) => {
                connection.aside = true;
                connection.settle(worker);
                return self.aside.push_back(token);
            }
            Ok(Went::Ended) => {}
            Err(_) => connection.set_close_reason(CloseReason::Error),
        }
        self.connections.remove(token.0).close(&mut self.worker);
    }
}
