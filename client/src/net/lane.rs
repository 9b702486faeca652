//! A connection that comes back: a task that connects when there is something to send, serves until the
//! connection ends, and waits for the next request. Tells of failures, and knows nothing of what follows from them.

use super::connection::{Connection, Work};
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
    sender: Mutex<Option<mpsc::Sender<Work>>>,
}

impl Lane {
    pub(crate) fn new(address: Address, config: SharedConfig, on_failure: OnFailure) -> Lane {
        Lane { address, config, on_failure, sender: Mutex::new(None) }
    }

    /// Has work done and waits for what comes of it, at most until `deadline`.
    pub(crate) async fn ask<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<T>) -> Work,
        deadline: Instant,
    ) -> Result<T, Error> {
        let (reply, receiver) = oneshot::channel();
        self.send(work(reply), deadline).await?;
        match timeout_at(deadline, receiver).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
            Err(_) => Err(Error::new(ErrorKind::Timeout)),
        }
    }

    async fn send(&self, work: Work, deadline: Instant) -> Result<(), Error> {
        let sender = self.sender();
        // Mostly there is room, and nothing to wait for.
        let work = match sender.try_send(work) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(work)) => work,
            Err(TrySendError::Closed(_)) => return Err(Error::new(ErrorKind::ConnectionLost)),
        };
        match timeout_at(deadline, sender.send(work)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::new(ErrorKind::ConnectionLost)),
            Err(_) => Err(Error::new(ErrorKind::Overloaded)),
        }
    }

    /// Where to put work. Must be called within a runtime, which then runs the lane; if that runtime has gone, the
    /// present one takes over.
    fn sender(&self) -> mpsc::Sender<Work> {
        let mut sender = self.sender.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*sender {
            Some(sender) if !sender.is_closed() => sender.clone(),
            _ => {
                let (fresh, work) = mpsc::channel(self.config.queue);
                tokio::spawn(serve(self.address.clone(), self.config.clone(), self.on_failure.clone(), work));
                sender.insert(fresh).clone()
            }
        }
    }
}

async fn serve(
    address: Address,
    config: SharedConfig,
    on_failure: OnFailure,
    mut work: mpsc::Receiver<Work>,
) {
    while let Some(first) = work.recv().await {
        if first.is_abandoned() {
            continue;
        }
        match transport::connect(&address, &config).await {
            Ok((stream, dialect)) => {
                // Everybody in line has been told; those still in the queue get a new connection.
                if let Err(error) = Connection::new(stream, dialect, &config).run(first, &mut work).await {
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
