//! A connection that comes back: a task that connects when there is something to send, serves until the
//! connection ends, and waits for the next request. Tells of failures, and knows nothing of what follows from them.

use super::connection::Connection;
use super::shared::{Shared, outcome};
use super::unended::Hold;
use super::work::Work;
use super::{SharedConfig, transport};
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::members::Address;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Connections that have been given up and not come to their end, beyond which no new one is made.
const MAX_UNENDED: usize = 16;

/// Whose way it is, and what it is told.
pub(crate) trait Owner: Send + Sync {
    /// Told once for each connection that could not be made or that broke under somebody.
    fn failed(&self, error: &Error);

    /// A server that has been given up may still change these keys, until the hold is dropped. Told before those who
    /// asked for the changes are.
    fn hold(&self, keys: Vec<Key>) -> Hold;
}

/// The way to one server. Its task starts with the first request and ends with the last sender.
pub(crate) struct Lane {
    address: Address,
    config: SharedConfig,
    owner: Arc<dyn Owner>,
    entrance: Mutex<Option<Arc<Entrance>>>,
}

struct Entrance {
    queue: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

impl Lane {
    pub(crate) fn new(address: Address, config: SharedConfig, owner: Arc<dyn Owner>) -> Lane {
        Lane { address, config, owner, entrance: Mutex::new(None) }
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
                    self.owner.clone(),
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
    owner: Arc<dyn Owner>,
    shared: Arc<Shared>,
    mut work: mpsc::Receiver<Work>,
) {
    let mut unended = JoinSet::new();
    while let Some(first) = work.recv().await {
        if first.is_abandoned() {
            continue;
        }
        while unended.try_join_next().is_some() {}
        let connected = match unended.len() < MAX_UNENDED {
            true => transport::connect(&address, &config).await,
            false => Err(Error::caused(
                ErrorKind::Connect,
                "it has come to the end of none of many connections that were given up",
            )),
        };
        match connected {
            Ok((stream, dialect)) => {
                // Everybody in line has been told; those still in the queue get a new connection.
                let connection = Connection::new(stream, dialect, &config);
                let served = shared.serve(connection, first, &mut work).await;
                let Some((connection, error)) = served else { continue };
                let ended = connection.end(error, &*owner);
                if let Some(error) = ended.failure {
                    owner.failed(&error);
                }
                let Some(mut rest) = ended.rest else { continue };
                // One that still answers soon comes to its end, and what follows need not be in doubt.
                if !ended.listening || timeout(config.connect_timeout, rest.ended()).await.is_err() {
                    unended.spawn(async move { rest.ended().await });
                }
            }
            Err(error) => {
                owner.failed(&error);
                first.fail(&error);
                // Whoever came while we tried gets the same answer, not another full wait each.
                while let Ok(queued) = work.try_recv() {
                    queued.fail(&error);
                }
            }
        }
    }
}
