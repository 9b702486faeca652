//! A connection between its task and a caller that is alone on it, who need not wait for the task's turn: neither to
//! send nor to be told. Knows no protocol.

use super::connection::Connection;
use super::work::Work;
use crate::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot::error::{RecvError, TryRecvError};
use tokio::sync::{mpsc, oneshot};

/// Where a lane's task leaves its connection between turns.
#[derive(Default)]
pub(super) struct Shared(Mutex<Place>);

#[derive(Default)]
struct Place {
    connection: Option<Connection>,
    /// The task that serves the connection.
    task: Option<Waker>,
    /// The caller whose turn it is, once it waits.
    caller: Option<Waker>,
    /// The number of the present turn: a caller's as long as it holds that number, else the task's.
    turn: u64,
}

/// A caller's turn. It lasts until the caller has its answer or goes away, or the task has something to do itself. The
/// line in the connection knows nothing of it, so that it does not matter who reads whose answer.
pub(super) struct Turn {
    shared: Arc<Shared>,
    number: u64,
}

impl Shared {
    /// Serves until every sender is gone and every reply has come, or the connection fails; then it is returned, for
    /// everybody in line to be told why.
    pub(super) async fn serve(
        &self,
        mut connection: Connection,
        first: Work,
        work: &mut mpsc::Receiver<Work>,
    ) -> Option<(Connection, Error)> {
        connection.accept(first);
        self.place().connection = Some(connection);
        let serving = Serving(self);
        let served = poll_fn(|cx| self.poll(cx, work)).await;
        match (served, serving.end()) {
            (Err(error), Some(connection)) => Some((connection, error)),
            _ => None,
        }
    }

    fn poll(&self, cx: &mut Context<'_>, work: &mut mpsc::Receiver<Work>) -> Poll<Result<(), Error>> {
        let mut place = self.place();
        place.next_turn();
        remember(&mut place.task, cx.waker());
        match &mut place.connection {
            Some(connection) => connection.poll(cx, work),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The connection, for a caller that is alone on it. Others have to queue.
    pub(super) fn free(self: &Arc<Self>, queue: &mpsc::Sender<Work>) -> Option<Free<'_>> {
        // What has been queued comes first. The task takes it into the line while it holds the lock.
        let queue_is_empty = || queue.capacity() == queue.max_capacity();
        if !queue_is_empty() {
            return None;
        }
        // Whoever holds it is at work for somebody.
        let mut place = self.0.try_lock().ok()?;
        let Place { connection: Some(connection), task: Some(task), .. } = &mut *place else { return None };
        let free = queue_is_empty() && connection.is_free(&mut Context::from_waker(task));
        free.then_some(Free { shared: self, place })
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The connection in the hands of a caller that is alone.
pub(super) struct Free<'s> {
    shared: &'s Arc<Shared>,
    place: MutexGuard<'s, Place>,
}

impl Free<'_> {
    pub(super) fn take(mut self, work: Work) -> Turn {
        if let Some(connection) = &mut self.place.connection {
            connection.accept(work);
        }
        self.place.next_turn();
        Turn { shared: self.shared.clone(), number: self.place.turn }
    }
}

impl Place {
    /// Ends the present turn. If it is a caller's, that one is to wait as others do.
    fn next_turn(&mut self) {
        self.turn += 1;
        if let Some(caller) = self.caller.take() {
            caller.wake();
        }
    }

    fn wake_task(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

fn remember(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}

/// Takes the connection away when the task ends in whatever way.
struct Serving<'s>(&'s Shared);

impl Serving<'_> {
    fn end(&self) -> Option<Connection> {
        let mut place = self.0.place();
        place.next_turn();
        place.connection.take()
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl Turn {
    /// Moves the connection on; false once the turn is over.
    fn drive(&self, cx: &mut Context<'_>) -> bool {
        let mut place = self.shared.place();
        if place.turn != self.number {
            return false;
        }
        let Place { connection: Some(connection), caller, .. } = &mut *place else { return false };
        remember(caller, cx.waker());
        if connection.drive(cx) {
            return true;
        }
        place.next_turn();
        place.wake_task();
        false
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut place = self.shared.place();
        if place.turn == self.number {
            place.caller = None;
            place.turn += 1;
            if place.connection.as_ref().is_some_and(|connection| !connection.is_at_rest()) {
                place.wake_task();
            }
        }
    }
}

/// Waits for the outcome of work, and has the connection move on as long as that is this caller's turn.
pub(super) async fn outcome<T>(
    mut turn: Option<Turn>,
    mut receiver: oneshot::Receiver<T>,
) -> Result<T, RecvError> {
    poll_fn(|cx| {
        if turn.as_ref().is_some_and(|turn| turn.drive(cx)) {
            // It hands out the answer itself, and need not be told.
            match receiver.try_recv() {
                Ok(outcome) => return Poll::Ready(Ok(outcome)),
                Err(TryRecvError::Empty) => return Poll::Pending,
                Err(TryRecvError::Closed) => {}
            }
        }
        turn = None;
        Pin::new(&mut receiver).poll(cx)
    })
    .await
}
