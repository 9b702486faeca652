//! The places for connections over HTTP. Whoever comes gets one: when all are taken, somebody else's ends. So clients
//! that say nothing, however many, keep nobody from asking.

use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The places.
#[derive(Default)]
pub(super) struct Places(Mutex<Taken>);

/// A connection's place, free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
}

#[derive(Default)]
struct Taken {
    /// In the order in which they came, at most [`PLACES`].
    guests: Vec<Guest>,
    /// The number of the next.
    next: u64,
}

struct Guest {
    number: u64,
    peer: IpAddr,
    /// Its request has been received.
    has_asked: bool,
    /// What serves it.
    task: JoinHandle<()>,
}

/// Connections at once.
const PLACES: usize = 32;

impl Places {
    /// Serves a client in a place of its own, if need be in one that is taken away from another, who is gone before
    /// this returns. The address with the most places loses one: that of its oldest connection that has not asked yet,
    /// or else of its oldest.
    pub(super) async fn take<S>(self: &Arc<Places>, peer: IpAddr, serve: impl FnOnce(Place) -> S)
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let unlucky = {
            let mut taken = self.0.lock();
            let unlucky = taken.unlucky().map(|index| taken.guests.remove(index).task);
            let number = taken.next;
            taken.next += 1;
            let task = tokio::spawn(serve(Place { places: self.clone(), number }));
            taken.guests.push(Guest { number, peer, has_asked: false, task });
            unlucky
        };
        if let Some(task) = unlucky {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Taken {
    /// Whose place is to be given to another; nobody's while one is free.
    fn unlucky(&self) -> Option<usize> {
        if self.guests.len() < PLACES {
            return None;
        }
        let places_of = |peer| self.guests.iter().filter(|guest| guest.peer == peer).count();
        // The last of equals is taken, so the oldest has to come last.
        let guests = self.guests.iter().enumerate().rev();
        let (index, _) = guests.max_by_key(|(_, guest)| (places_of(guest.peer), !guest.has_asked))?;
        Some(index)
    }
}

impl Place {
    /// The request has been received.
    pub(super) fn has_asked(&self) {
        let mut taken = self.places.0.lock();
        if let Some(guest) = taken.guests.iter_mut().find(|guest| guest.number == self.number) {
            guest.has_asked = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().guests.retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    /// Takes places for these, in this order, and tells who has lost theirs; who asks does so at once.
    async fn losers(guests: &[(u8, bool)]) -> Vec<usize> {
        /// Tells that a connection has ended.
        struct Ends(usize, tokio::sync::mpsc::UnboundedSender<usize>);
        impl Drop for Ends {
            fn drop(&mut self) {
                let _ = self.1.send(self.0);
            }
        }
        let (sender, mut ended): (_, UnboundedReceiver<usize>) = unbounded_channel();
        let places = Arc::new(Places::default());
        for (index, &(last, asks)) in guests.iter().enumerate() {
            let ends = Ends(index, sender.clone());
            let serve = move |place: Place| async move {
                let _ends = ends;
                if asks {
                    place.has_asked();
                }
                pending::<()>().await;
            };
            places.take([127, 0, 0, last].into(), serve).await;
            // It is served as far as that goes.
            tokio::task::yield_now().await;
        }
        assert_eq!(places.0.lock().guests.len(), guests.len().min(PLACES));
        let mut losers = Vec::new();
        while let Ok(index) = ended.try_recv() {
            losers.push(index);
        }
        losers
    }

    #[tokio::test]
    async fn the_oldest_that_has_not_asked_goes_first() {
        let mut guests = vec![(1, true), (1, false), (1, true), (1, false)];
        guests.resize(PLACES, (1, true));
        assert!(losers(&guests).await.is_empty());
        guests.extend([(1, true); 4]);
        assert_eq!(losers(&guests).await, [1, 3, 0, 2]);
    }

    #[tokio::test]
    async fn who_has_most_places_loses_one() {
        let mut guests = vec![(1, false), (2, false), (2, true)];
        guests.resize(PLACES, (3, true));
        guests.extend([(4, false), (3, false), (3, true), (1, true)]);
        assert_eq!(losers(&guests).await, [3, 4, PLACES + 1, 5]);
    }

    #[tokio::test]
    async fn who_has_ended_has_no_place() {
        let places = Arc::new(Places::default());
        for _ in 0..2 * PLACES {
            places.take([127, 0, 0, 1].into(), |place| async move { drop(place) }).await;
            tokio::task::yield_now().await;
            assert!(places.0.lock().guests.is_empty());
        }
    }
}
