//! One worker: a thread with its own runtime and its own connections, which never leave it.

use super::Server;
use super::accept::Accepted;
use super::connection::Connection;
use super::desk::Desks;
use super::error::Error;
use super::log;
use crate::command::{Address, CloseReason, Counts, State};
use nix::sys::socket::{Shutdown, shutdown};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

/// What a worker's connections share.
pub(super) struct Worker {
    pub(super) server: Arc<Server>,
    pub(super) index: u16,
    pub(super) counts: Arc<Counts>,
    pub(super) desks: RefCell<Desks>,
}

/// What a worker is told to do.
pub(super) enum Order {
    /// Serve this connection.
    Serve(Accepted),
    /// Answer what has been received, then close.
    Drain,
    /// Stop, whatever is open.
    End,
}

/// Orders that may wait for a worker.
pub(super) const ORDERS: usize = 256;

/// Tasks a worker runs before it looks for new events: what a connection that gives way lets others wait, at most.
const TASKS_BETWEEN_EVENTS: u32 = 16;

/// Starts a worker; it runs until told to end.
pub(super) fn start(
    server: Arc<Server>,
    index: u16,
    orders: mpsc::Receiver<Order>,
) -> Result<JoinHandle<()>, Error> {
    let failed = |source: io::Error| Error::system(format!("start worker {index}"), source);
    let counts = server.engine.add_worker();
    std::thread::Builder::new()
        .name(format!("worker {index}"))
        .spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(TASKS_BETWEEN_EVENTS)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let worker = Rc::new(Worker { server, index, counts, desks: RefCell::default() });
                    runtime.block_on(worker.run(orders));
                }
                Err(error) => server.fail(Error::system(format!("start worker {index}"), error)),
            }
        })
        .map_err(failed)
}

impl Worker {
    async fn run(self: Rc<Worker>, mut orders: mpsc::Receiver<Order>) {
        let idle_timeout = self.server.engine.config.idle_timeout;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Serve(accepted)) => self.serve(accepted),
                    Some(Order::Drain) => self.drain(),
                    Some(Order::End) | None => break,
                },
                () = self.next_second(), if idle_timeout > 0 => self.close_idle(idle_timeout),
            }
        }
        self.server.engine.connections.for_each(|connection| {
            if connection.worker == self.index {
                connection.set_close_reason(CloseReason::Shutdown);
            }
        });
    }

    fn serve(self: &Rc<Worker>, accepted: Accepted) {
        match Connection::open(accepted, self.clone()) {
            Ok(connection) => drop(tokio::task::spawn_local(connection)),
            Err(error) => log(format_args!("a connection could not be served: {error}")),
        }
    }

    /// Ends the receiving side of each of the worker's connections: what has arrived can still be read and is
    /// answered, then comes the end.
    fn drain(&self) {
        self.server.engine.connections.for_each(|connection| {
            if connection.worker == self.index {
                connection.set_close_reason(CloseReason::Shutdown);
                // Only this thread closes the descriptor, and takes it from the table before: it is still the same.
                let _ = shutdown(connection.fd as i32, Shutdown::Read);
            }
        });
    }

    /// Ends both sides of TCP connections that have been idle too long; their tasks notice and close.
    fn close_idle(&self, timeout: u32) {
        let second = self.server.clock.now().seconds();
        self.server.engine.connections.for_each(|connection| {
            let idle = second.saturating_sub(connection.last_command()) > timeout;
            let concerned = connection.worker == self.index
                && matches!(connection.peer, Address::Tcp(_))
                && connection.state() != State::Watch
                && connection.close_reason() == CloseReason::Normal;
            if idle && concerned {
                connection.set_close_reason(CloseReason::IdleTimeout);
                self.counts.general.idle_kicks.increment();
                let _ = shutdown(connection.fd as i32, Shutdown::Both);
            }
        });
    }

    /// The start of the clock's next second.
    async fn next_second(&self) {
        let millis = self.server.clock.now().millis();
        tokio::time::sleep(Duration::from_millis(1001 - millis % 1000)).await;
    }
}
