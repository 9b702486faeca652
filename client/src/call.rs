//! One operation on its way: options, and the future that sends it.

use crate::client::Client;
use crate::error::Error;
use crate::op::Operation;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

/// An operation that has not been sent yet: add options, then `.await` it (or call [`send`](Call::send), which is the
/// same without an allocation).
///
/// Dropping the future at any point is safe: no later request sees its answer. A change that was under way may
/// or may not have happened; as nobody knows, the item is then deleted, soon and before anybody here reads it.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Call<'c, O> {
    client: &'c Client,
    op: O,
    options: CallOptions,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) strict: bool,
}

impl<'c, O> Call<'c, O> {
    pub(crate) fn new(client: &'c Client, op: O) -> Call<'c, O> {
        Call { client, op, options: CallOptions::default() }
    }

    pub(crate) fn map(mut self, change: impl FnOnce(O) -> O) -> Call<'c, O> {
        self.op = change(self.op);
        self
    }

    /// Waits this long for the outcome at most, instead of the client's usual time
    /// ([`Builder::timeout`](crate::Builder::timeout)). Then it is an [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// or a miss.
    pub fn timeout(mut self, timeout: Duration) -> Call<'c, O> {
        self.options.timeout = Some(timeout);
        self
    }

    /// Makes a member that cannot be reached an error where it would be a miss.
    pub fn strict(mut self) -> Call<'c, O> {
        self.options.strict = true;
        self
    }
}

impl<'c, O: Operation + 'c> Call<'c, O> {
    /// Sends it and waits for what comes of it.
    pub async fn send(self) -> Result<O::Outcome, Error> {
        self.client.run(self.op, self.options).await
    }
}

impl<'c, O: Operation + 'c> IntoFuture for Call<'c, O> {
    type Output = Result<O::Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
