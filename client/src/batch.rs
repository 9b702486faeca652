//! Many operations at once: scattered to their owners, gathered in order, each with its own outcome.

use crate::client::{Client, capped, without_foreign_version};
use crate::error::{Error, ErrorKind};
use crate::fleet::Fleet;
use crate::flight::Changed;
use crate::key::Key;
use crate::node::Node;
use crate::observe::{self, Tally};
use crate::op::{Op, OpKind, Outcome};
use crate::protocol::{Reply, Request};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Operations that are sent together, one group per member, and answered together. Their order is kept for each
/// key, not between keys.
///
/// ```no_run
/// # async fn run(client: memcarp_client::Client) -> Result<(), memcarp_client::Error> {
/// use memcarp_client::op::{Count, Delete, Store};
/// use std::time::Duration;
/// let results = client
///     .batch()
///     .add(Store::set("user:1", "Ada").ttl(Duration::from_secs(60)))
///     .add(Count::up("logins", 1))
///     .add(Delete::new("user:2"))
///     .send()
///     .await; // one Result per operation, in this order
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until send"]
pub struct Batch<'c> {
    client: &'c Client,
    ops: Vec<Op>,
    quiet: bool,
    timeout: Option<Duration>,
}

impl<'c> Batch<'c> {
    pub(crate) fn new(client: &'c Client) -> Batch<'c> {
        Batch { client, ops: Vec::new(), quiet: false, timeout: None }
    }

    /// Adds an operation.
    #[allow(clippy::should_implement_trait)] // `a + b` would say less.
    pub fn add(mut self, op: impl Into<Op>) -> Batch<'c> {
        self.ops.push(op.into());
        self
    }

    /// Adds many.
    pub fn extend(mut self, ops: impl IntoIterator<Item = impl Into<Op>>) -> Batch<'c> {
        self.ops.extend(ops.into_iter().map(Into::into));
        self
    }

    /// Lets servers leave out the usual answers (success of a write, a miss of a read), which saves most of what
    /// they send. Then a store's new version and a counter's new value are not known, and an error that could
    /// belong to several operations is reported for each of them.
    pub fn quiet(mut self) -> Batch<'c> {
        self.quiet = true;
        self
    }

    /// Waits this long at most, instead of the client's usual time ([`Builder::timeout`](crate::Builder::timeout)).
    pub fn timeout(mut self, timeout: Duration) -> Batch<'c> {
        self.timeout = Some(timeout);
        self
    }

    /// Sends everything and waits for everything: one result per operation, in the order they were added.
    ///
    /// A member that fails fails its own operations only. An operation that is wrong in itself (its key is too
    /// long, say) is not sent and does not stop the others.
    pub async fn send(self) -> Vec<Result<Outcome, Error>> {
        let client = self.client;
        let fleet = client.fleet();
        let deadline = client.deadline(self.timeout);
        let mut results: Vec<Option<Result<Outcome, Error>>> = Vec::with_capacity(self.ops.len());
        #[cfg(feature = "near-cache")]
        let mut watched = Vec::new();
        let mut changed = Vec::new();
        // By member and lane.
        let mut groups: HashMap<(usize, usize), Group> = HashMap::new();
        for (place, op) in self.ops.into_iter().enumerate() {
            let kind = op.kind();
            match op.into_request().and_then(|request| client.prepare(&fleet, request)) {
                Ok(request) => {
                    #[cfg(feature = "near-cache")]
                    watched.extend(client.inner.near.as_ref().map(|near| near.watch(&request)));
                    let key = request.key().cloned().unwrap_or_else(|| Key::from(""));
                    if request.is_change() {
                        changed.push(key.clone());
                    }
                    let (member, request, by_stand_in) = client.assign(&fleet, &key, request);
                    if let Err(error) = fleet.nodes[member].check(&request) {
                        results.push(Some(Err(error)));
                        continue;
                    }
                    let group = groups.entry((member, fleet.nodes[member].lane(&key))).or_default();
                    group.sent.push(Sent { place, kind, key, by_stand_in });
                    group.requests.push(request);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let changed = if changed.is_empty() { Changed::Nothing } else { Changed::Keys(changed) };
        let _change = client.inner.flights.changing(changed);
        let quiet = self.quiet;
        let calls = groups.into_iter().map(|((member, lane), group)| {
            let node = &fleet.nodes[member];
            let admitted = fleet.admits(node, &client.inner.config.health);
            Box::pin(async move {
                let replies = if admitted {
                    node.call_many(lane, group.requests, quiet, deadline).await
                } else {
                    refuse(node, &group.requests)
                };
                (node.name(), group.sent, replies)
            })
        });
        let limit = client.inner.config.max_value_bytes;
        for (name, sent, replies) in crate::join::join_all(calls.collect()).await {
            for (sent, reply) in sent.into_iter().zip(replies) {
                let outcome = reply.and_then(|reply| {
                    let reply = reply.map(|reply| without_foreign_version(reply, sent.by_stand_in));
                    sent.kind.outcome(sent.key, reply, limit).map_err(|error| error.at(name))
                });
                tally(&outcome);
                results[sent.place] = Some(outcome);
            }
        }
        let unanswered = || Err(Error::new(ErrorKind::ConnectionLost));
        results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect()
    }
}

#[derive(Default)]
struct Group {
    sent: Vec<Sent>,
    requests: Vec<Request>,
}

/// What is still to be known of an operation once it is on its way.
struct Sent {
    place: usize,
    kind: OpKind,
    key: Key,
    by_stand_in: bool,
}

impl Client {
    /// The place of the member that is to get a request of a batch: the owner, or its stand-in if the owner is down and
    /// that is allowed.
    fn assign(&self, fleet: &Fleet, key: &Key, request: Request) -> (usize, Request, bool) {
        let owner = fleet.carp.owner_index(key.as_bytes());
        let node = &fleet.nodes[owner];
        if let Some(cap) = self.inner.config.fallback
            && !fleet.admits(node, &self.inner.config.health)
            && let Some(stand_in) = fleet.stand_in(key.as_bytes())
        {
            if request.is_change() {
                node.missed(Some(key));
            }
            observe::request(Tally::Fallback);
            return (stand_in, capped(request, cap), true);
        }
        (owner, request, false)
    }
}

fn refuse(node: &Arc<Node>, requests: &[Request]) -> Vec<Result<Option<Reply>, Error>> {
    requests
        .iter()
        .map(|request| {
            if request.is_change() {
                node.missed(request.key());
            }
            Err(node.down_error())
        })
        .collect()
}

fn tally(outcome: &Result<Outcome, Error>) {
    match outcome {
        Ok(Outcome::Get(Some(_))) => observe::request(Tally::Hit),
        Ok(Outcome::Get(None)) => observe::request(Tally::Miss),
        Ok(_) => observe::request(Tally::Done),
        Err(error) => observe::error(error),
    }
}
