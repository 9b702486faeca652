//! How a member that failed comes up to date again: probes, and the changes it missed carried out.

use super::Node;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::health::chance;
use crate::key::{Key, Ttl};
use crate::net::Work;
use crate::protocol::{Delete, Get, Mode, Request, Store};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Missed keys deleted in one go when a member returns.
const REPLAY_BATCH: usize = 500;
/// Written and read back to see whether a member works.
const PROBE_KEY: &str = "memcarp-client:probe";
/// Stored when a member has been emptied because a client had forgotten what it missed. Its age, which the member
/// tells, is all that counts: clients' clocks need not agree.
const EMPTIED_KEY: &str = "memcarp-client:emptied";
const EMPTIED_TTL: Duration = Duration::from_secs(86_400);
/// The mark is this much younger than the emptying at most: members count in seconds, and a client may be slow to leave
/// it.
const EMPTIED_SLACK: Duration = Duration::from_secs(10);

impl Node {
    /// Makes sure that none of the keys is used while the member may hold a value it should have lost.
    pub(super) async fn settle_first(self: &Arc<Self>, keys: &[Key], deadline: Instant) -> Result<(), Error> {
        if !self.doubtful.load(Ordering::Acquire) {
            return Ok(());
        }
        let (doubted, overflowed) = {
            let state = self.state();
            if keys.iter().any(|key| state.journal.is_held(key)) {
                return Err(self.unsettled());
            }
            let doubted: Vec<Key> = keys.iter().filter(|key| state.journal.doubts(key)).cloned().collect();
            (doubted, state.journal.has_overflowed())
        };
        if doubted.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let settled = match overflowed {
            true => self.empty_member(deadline).await,
            false => self.delete_missed(doubted, deadline).await,
        };
        settled.inspect_err(|error| self.request_failed(error, began))
    }

    async fn delete_missed(self: &Arc<Self>, keys: Vec<Key>, deadline: Instant) -> Result<(), Error> {
        for lane in 0..self.lanes.len() {
            let keys: Vec<&Key> = keys.iter().filter(|key| self.lane(key) == lane).collect();
            if !keys.is_empty() {
                self.delete_missed_by(lane, &keys, deadline).await?;
            }
        }
        Ok(())
    }

    async fn delete_missed_by(
        self: &Arc<Self>,
        lane: usize,
        keys: &[&Key],
        deadline: Instant,
    ) -> Result<(), Error> {
        let sent = self.state().journal.now();
        let delete = |&key: &&Key| Request::Delete(Delete { key: key.clone(), compare: None, stale: None });
        let requests = keys.iter().map(delete).collect();
        let work = |reply| Work::Many { requests, quiet: false, reply };
        let asked = self.lanes[lane].ask(work, deadline).await;
        let replies = asked.map_err(|error| error.at(&self.name))?;
        for (key, reply) in keys.iter().zip(replies) {
            match reply {
                Ok(Some(reply)) => drop(self.judge(reply, None)?),
                Ok(None) => {}
                // The protocol that is spoken cannot name this key: nothing is read under it either.
                Err(error) if !error.is_member_fault() => {}
                Err(error) => return Err(error.at(&self.name)),
            }
            self.settled(key, sent);
        }
        Ok(())
    }

    pub(super) fn settled(&self, key: &Key, sent: u64) {
        let mut state = self.state();
        state.journal.settled(key, sent);
        self.doubtful.store(!state.journal.is_empty(), Ordering::Release);
    }

    /// Drops everything the member holds, unless another client has done so since our last missed change.
    async fn empty_member(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        let (sent, last_missed) = {
            let state = self.state();
            (state.journal.now(), state.last_missed)
        };
        let mark = self.exchange(0, read(EMPTIED_KEY), deadline).await?;
        if !was_emptied_since(last_missed.elapsed(), mark.attributes.ttl) {
            // Each lane may still hold changes from before.
            for lane in 0..self.lanes.len() {
                self.exchange(lane, Request::Flush, deadline).await.map_err(|error| match error.kind() {
                    // It may hold anything, and cannot be emptied.
                    ErrorKind::Refused(_) => Error::caused(ErrorKind::Unsettled, error).at(&self.name),
                    _ => error,
                })?;
            }
            self.exchange(0, write(EMPTIED_KEY, Bytes::new(), EMPTIED_TTL), deadline).await?;
            self.events.send(Event::Emptied { member: self.name.clone() });
        }
        let mut state = self.state();
        state.journal.all_settled(sent);
        self.doubtful.store(!state.journal.is_empty(), Ordering::Release);
        Ok(())
    }

    /// Brings the member up to date with everything it had missed when this began. More may be missed meanwhile, faster
    /// than it can be made good.
    async fn replay(self: &Arc<Self>) -> Result<(), Error> {
        let until = self.state().journal.now();
        loop {
            let deadline = Instant::now() + self.patience;
            let (keys, overflowed) = {
                let state = self.state();
                (state.journal.some(REPLAY_BATCH, until), state.journal.had_overflowed(until))
            };
            match keys.is_empty() {
                _ if overflowed => self.empty_member(deadline).await?,
                true => return Ok(()),
                false => self.delete_missed(keys, deadline).await?,
            }
        }
    }

    /// For a member that is up but has missed something, such as a change that timed out.
    pub(super) fn replay_soon(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.replaying.swap(true, Ordering::AcqRel) {
            return;
        }
        let (mark, pause) = (Replaying(Arc::downgrade(self)), self.policy.first_probe);
        runtime.spawn(async move {
            while let Some(node) = mark.0.upgrade() {
                let began = Instant::now();
                let result = node.replay().await;
                if let Err(error) = &result {
                    node.request_failed(error, began);
                }
                // If it is down, its return replays.
                if result.is_ok() || node.is_down() {
                    drop(mark);
                    // Something may have been missed after the last look.
                    if result.is_ok() && node.state().journal.owes() {
                        node.replay_soon();
                    }
                    return;
                }
                drop(node);
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// A real write and a real read under the usual deadline: a server may accept connections and answer to its name
    /// while no real request gets through.
    async fn works(self: &Arc<Self>) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        let token = Bytes::from(format!("{:016x}", chance().to_bits()));
        self.exchange(0, write(PROBE_KEY, token, Duration::from_secs(60)), deadline).await?;
        self.exchange(0, read(PROBE_KEY), deadline).await?;
        Ok(())
    }
}

/// Whether the member was emptied after a change was missed, `missed` ago, going by the seconds its mark has left.
fn was_emptied_since(missed: Duration, left: Option<i64>) -> bool {
    let left = left.and_then(|seconds| u64::try_from(seconds).ok());
    left.is_some_and(|left| EMPTIED_TTL.saturating_sub(Duration::from_secs(left)) + EMPTIED_SLACK <= missed)
}

/// Tries a member that is down until it works and is up to date, or nobody has it in a list any longer.
pub(super) async fn probe(node: Weak<Node>) {
    loop {
        let wait = match node.upgrade() {
            Some(node) => node.state().health.probe_wait(chance(), &node.policy),
            None => return,
        };
        tokio::time::sleep(wait).await;
        let Some(node) = node.upgrade() else { return };
        if node.works().await.is_err() || node.replay().await.is_err() {
            continue;
        }
        {
            let mut state = node.state();
            state.health.came_back(Instant::now().into_std());
            node.down.store(false, Ordering::Relaxed);
        }
        node.events.send(Event::Up { member: node.name.clone() });
        // Callers add to what is missed until they see that it is up, so it has to be up first. Each key is made good
        // before it is used.
        if node.state().journal.owes() {
            node.replay_soon();
        }
        return;
    }
}

/// Says that a task replays, until it ends in whatever way.
struct Replaying(Weak<Node>);

impl Drop for Replaying {
    fn drop(&mut self) {
        if let Some(node) = self.0.upgrade() {
            node.replaying.store(false, Ordering::Release);
        }
    }
}

fn read(key: &'static str) -> Request {
    Request::Get(Get { details: true, ..Get::new(key.into()) })
}

fn write(key: &'static str, value: Bytes, ttl: Duration) -> Request {
    let store = Store { ttl: Ttl::After(ttl), ..Store::new(key.into(), Mode::Set, value, 0) };
    Request::Store(Box::new(store))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_only_if_it_is_surely_younger_than_the_miss() {
        let missed = |seconds| Duration::from_secs(seconds);
        assert!(was_emptied_since(missed(60), Some(86_400)), "emptied just now");
        assert!(was_emptied_since(missed(60), Some(86_400 - 50)));
        assert!(!was_emptied_since(missed(60), Some(86_400 - 51)), "too close to tell");
        assert!(!was_emptied_since(missed(0), Some(86_400)));
        assert!(!was_emptied_since(missed(60), Some(-1)), "not our mark: it never ends");
        assert!(!was_emptied_since(missed(60), None), "no mark, or a protocol without ages");
    }
}
