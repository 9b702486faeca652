//! Who in this process computes what: one leader per key, whom the others wait for. Knows no cache.

use crate::key::Key;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What a leader found out, of a type only its callers know.
pub(crate) type Landed = Arc<dyn Any + Send + Sync>;

/// The flights under way. Bounded by the callers waiting in them.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, watch::Receiver<Option<Landed>>>>>);

/// A caller's part in a flight.
pub(crate) enum Part {
    /// It is to find out, and to [`land`](Leader::land).
    Leader(Leader),
    /// Somebody else is finding out.
    Follower(Follower),
}

impl Flights {
    pub(crate) fn join(&self, key: &Key) -> Part {
        let mut flights = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(news) = flights.get(key) {
            return Part::Follower(Follower(news.clone()));
        }
        let (sender, news) = watch::channel(None);
        flights.insert(key.clone(), news);
        Part::Leader(Leader { flights: self.clone(), key: key.clone(), sender })
    }
}

/// Ends its flight when it is dropped, landed or not; those who waited in vain then choose another leader.
pub(crate) struct Leader {
    flights: Flights,
    key: Key,
    sender: watch::Sender<Option<Landed>>,
}

impl Leader {
    pub(crate) fn land(self, result: Landed) {
        self.sender.send_replace(Some(result));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&self.key);
    }
}

pub(crate) struct Follower(watch::Receiver<Option<Landed>>);

impl Follower {
    /// What the leader found out, or nothing if it went away.
    pub(crate) async fn wait(mut self) -> Option<Landed> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_learn_what_the_leader_found_or_that_it_left() {
        let flights = Flights::default();
        let key = Key::from("k");
        let Part::Leader(leader) = flights.join(&key) else { panic!("nobody leads") };
        let Part::Follower(follower) = flights.join(&key) else { panic!("two lead") };
        leader.land(Arc::new(7u32));
        let landed = follower.wait().await.unwrap();
        assert_eq!(landed.downcast_ref::<u32>(), Some(&7));

        let Part::Leader(leader) = flights.join(&key) else { panic!("the flight never ended") };
        let Part::Follower(follower) = flights.join(&key) else { panic!("two lead") };
        drop(leader);
        assert!(follower.wait().await.is_none());
        assert!(matches!(flights.join(&key), Part::Leader(_)));
    }
}
