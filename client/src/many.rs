//! Many keys read at once.

use crate::batch::Batch;
use crate::client::Client;
use crate::error::Error;
use crate::key::Key;
use crate::op::{Get, Outcome};
use crate::value::Item;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

impl Client {
    /// Reads many keys with one round trip to each of their owners, misses left out on the wire.
    ///
    /// ```no_run
    /// # async fn run(client: memcarp_client::Client) {
    /// let found = client.get_many(["user:1", "user:2", "user:3"]).await;
    /// for item in found.hits() {
    ///     println!("{} has {} bytes", item.key, item.size);
    /// }
    /// for failure in &found.failures {
    ///     eprintln!("{} keys not asked for: {}", failure.places.len(), failure.error);
    /// }
    /// # }
    /// ```
    pub fn get_many<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> GetMany<'_> {
        GetMany(self.batch().extend(keys.into_iter().map(Get::new)).quiet())
    }
}

/// A read of many keys that has not been sent yet: `.await` it.
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct GetMany<'c>(Batch<'c>);

impl<'c> GetMany<'c> {
    /// Waits this long at most, instead of the client's usual time ([`Builder::timeout`](crate::Builder::timeout)).
    pub fn timeout(self, timeout: Duration) -> GetMany<'c> {
        GetMany(self.0.timeout(timeout))
    }

    /// Sends it and waits for what comes of it.
    pub async fn send(self) -> Found {
        let results = self.0.send().await;
        let mut found = Found { items: Vec::with_capacity(results.len()), failures: Vec::new() };
        for (place, result) in results.into_iter().enumerate() {
            match result {
                Ok(Outcome::Get(item)) => found.items.push(item),
                Ok(_) => found.items.push(None),
                Err(error) => {
                    found.items.push(None);
                    found.failed(place, error);
                }
            }
        }
        found
    }
}

impl<'c> IntoFuture for GetMany<'c> {
    type Output = Found;
    type IntoFuture = Pin<Box<dyn Future<Output = Found> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// What a read of many keys found, and which of them could not be asked for.
#[derive(Clone, Debug)]
#[must_use = "some keys may not have been asked for"]
#[non_exhaustive]
pub struct Found {
    /// By key asked for, in order: its item, if it was found.
    pub items: Vec<Option<Item>>,
    /// What kept other keys from being asked for. Their items are `None` too, but that is no miss.
    pub failures: Vec<Failure>,
}

/// Keys that could not be asked for, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Why, and by [`Error::member`] where.
    pub error: Error,
    /// The places of the keys in the list that was asked for.
    pub places: Vec<usize>,
}

impl Found {
    /// Whether every key could be asked for.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// The items that were found.
    pub fn hits(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().flatten()
    }
}

impl Found {
    /// One failure per member and kind, not one per key.
    fn failed(&mut self, place: usize, error: Error) {
        let same = |failure: &&mut Failure| {
            failure.error.kind() == error.kind() && failure.error.member() == error.member()
        };
        match self.failures.iter_mut().find(same) {
            Some(failure) => failure.places.push(place),
            None => self.failures.push(Failure { error, places: vec![place] }),
        }
    }
}
