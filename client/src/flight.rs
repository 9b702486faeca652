//! Who in this process computes what: one leader per key, whom the others wait for. Knows no cache.

use crate::key::Key;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// What a leader found out, of a type only its callers know.
pub(crate) type Landed = Arc<dyn Any + Send + Sync>;

/// The flights under way that may still be joined. Bounded by the callers waiting in them.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: HashMap<Key, Flight>,
    last: u64,
}

struct Flight {
    number: u64,
    news: watch::Receiver<Option<Landed>>,
}

/// A caller's part in a flight.
pub(crate) enum Part {
    /// It is to find out, and to [`land`](Leader::land).
    Leader(Leader),
    /// Somebody else is finding out.
    Follower(Follower),
}

impl Flights {
    pub(crate) fn join(&self, key: &Key) -> Part {
        let mut state = self.state();
        if let Some(flight) = state.under_way.get(key) {
            return Part::Follower(Follower(flight.news.clone()));
        }
        let (sender, news) = watch::channel(None);
        state.last += 1;
        let number = state.last;
        state.under_way.insert(key.clone(), Flight { number, news });
        Part::Leader(Leader { flights: self.clone(), key: key.clone(), number, sender })
    }

    /// Notes that a key changes, or all do, until the returned value is dropped: who comes after the change must not
    /// join a flight that began before it.
    pub(crate) fn changing<'k>(&self, keys: Changed<'k>) -> Changing<'_, 'k> {
        let changing = Changing { flights: self, keys };
        changing.close();
        changing
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What changes.
pub(crate) enum Changed<'k> {
    Nothing,
    Key(&'k Key),
    Keys(Vec<Key>),
    Everything,
}

/// A change under way.
pub(crate) struct Changing<'f, 'k> {
    flights: &'f Flights,
    keys: Changed<'k>,
}

impl Changing<'_, '_> {
    /// Lets nobody else join the flights of these keys. Those who are in them stay.
    fn close(&self) {
        let keys = match &self.keys {
            Changed::Nothing => return,
            Changed::Key(key) => std::slice::from_ref(*key),
            Changed::Keys(keys) => keys,
            Changed::Everything => return self.flights.state().under_way.clear(),
        };
        let mut state = self.flights.state();
        if !state.under_way.is_empty() {
            keys.iter().for_each(|key| drop(state.under_way.remove(key)));
        }
    }
}

impl Drop for Changing<'_, '_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends its flight when it is dropped, landed or not; those who waited in vain then choose another leader.
pub(crate) struct Leader {
    flights: Flights,
    key: Key,
    number: u64,
    sender: watch::Sender<Option<Landed>>,
}

impl Leader {
    pub(crate) fn land(self, result: Landed) {
        self.sender.send_replace(Some(result));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut state = self.flights.state();
        if state.under_way.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            state.under_way.remove(&self.key);
        }
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

    #[tokio::test]
    async fn who_comes_after_a_change_joins_no_flight_from_before_its_end() {
        let flights = Flights::default();
        let key = Key::from("k");
        let Part::Leader(first) = flights.join(&key) else { panic!("nobody leads") };
        let Part::Follower(follower) = flights.join(&key) else { panic!("two lead") };
        let change = flights.changing(Changed::Key(&key));
        let Part::Leader(second) = flights.join(&key) else { panic!("joined a flight from before") };
        drop(change);
        let Part::Leader(third) = flights.join(&key) else { panic!("joined a flight from during") };
        second.land(Arc::new(2u32));
        assert!(matches!(flights.join(&key), Part::Follower(_)), "an earlier one took the later one's place");
        first.land(Arc::new(1u32));
        assert_eq!(follower.wait().await.unwrap().downcast_ref::<u32>(), Some(&1));
        drop(flights.changing(Changed::Everything));
        assert!(matches!(flights.join(&key), Part::Leader(_)));
        drop(third);
    }
}
