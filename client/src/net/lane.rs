//! A connection that comes back: a task that connects when there is something to send, serves until the
//! connection ends, and waits for the next request. Tells of failures, and knows nothing of what follows from them.

use super::connection::Connection;
use super::shared::{Shared, outcome};
use super::work::Work;
use super::{SharedConfig, transport};
use crate::error::{Error, ErrorKind};
use crate::members::Address;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Told once for each connection that could not be made or that broke under somebody.
pub(crate) type OnFailure = Arc<dyn Fn(&Error) + Send + Sync>;

/// The way to one server. Its task starts with the first request and ends with the last sender.
pub(crate) struct Lane {
    address: Address,
    config: SharedConfig,
    on_failure: OnFailure,
    entrance: Mutex<Option<Arc<Entrance>>>,
}

struct Entrance {
    queue: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

impl Lane {
    pub(crate) fn new(address: Address, config: SharedConfig, on_failure: OnFailure) -> Lane {
        Lane { address, config, on_failure, entrance: Mutex::new(None) }
    }

    /// Has work done and waits for what comes of it, at most until `deadline`.
    pub(crate) async fn ask<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<T>) -> Work,
        deadline: Instant,
    ) -> Result<T, Error> {
        let (reply, receiver) = oneshot::channel();
        let entrance = self.entrance();
        let turn = if let Some(free) = entrance.shared.free(&entrance.queue) {
            Some(free.take(work(reply)))
        } else {
            entrance.room(deadline).await?.send(work(reply));
            None
        };
        match timeout_at(deadline, outcome(turn, receiver)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
            Err(_) => Err(Error::new(ErrorKind::Timeout)),
        }
    }

    /// Where to put work. Must be called within a runtime, which then runs the lane; if that runtime has gone, the
    /// present one takes over.
    fn entrance(&self) -> Arc<Entrance> {
        let mut entrance = self.entrance.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*entrance {
            Some(entrance) if !entrance.queue.is_closed() => entrance.clone(),
            _ => {
                let (queue, work) = mpsc::channel(self.config.queue);
                let shared = Arc::<Shared>::default();
                tokio::spawn(serve(
                    self.address.clone(),
                    self.config.clone(),
                    self.on_failure.clone(),
                    shared.clone(),
                    work,
                ));
                entrance.insert(Arc::new(Entrance { queue, shared })).clone()
            }
        }
    }
}

impl Entrance {
    /// A place in the queue.
    async fn room(&self, deadline: Instant) -> Result<mpsc::Permit<'_, Work>, Error> {
        // Mostly there is some, and nothing to wait for.
        match self.queue.try_reserve() {
            Ok(permit) => return Ok(permit),
            Err(TrySendError::Full(())) => {}
            Err(TrySendError::Closed(())) => return Err(Error::new(ErrorKind::ConnectionLost)),
        }
        match timeout_at(deadline, self.queue.reserve()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
            Err(_) => Err(Error::new(ErrorKind::Overloaded)),
        }
    }
}

async fn serve(
    address: Address,
    config: SharedConfig,
    on_failure: OnFailure,
    shared: Arc<Shared>,
    mut work: mpsc::Receiver<Work>,
) {
    while let Some(first) = work.recv().await {
        if first.is_abandoned() {
            continue;
        }
        match transport::connect(&address, &config).await {
            Ok((stream, dialect)) => {
                // Everybody in line has been told; those still in the queue get a new connection.
                let connection = Connection::new(stream, dialect, &config);
                if let Err(error) = shared.serve(connection, first, &mut work).await {
                    on_failure(&error);
                }
            }
            Err(error) => {
                on_failure(&error);
                first.fail(&error);
                // Whoever came while we tried gets the same answer, not another full wait each.
                while let Ok(queued) = work.try_recv() {
                    queued.fail(&error);
                }
            }
        }
    }
}
