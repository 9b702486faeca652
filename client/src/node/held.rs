//! Keys that a connection which has been given up may still change: nothing the member holds under them counts until
//! that connection has come to its end.

use super::Node;
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::protocol::Request;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// Until it is dropped, the member may still change some keys.
pub(super) struct Held {
    node: Weak<Node>,
    number: u64,
}

impl Node {
    pub(super) fn hold(self: &Arc<Self>, keys: Vec<Key>) -> Held {
        let number = self.state().journal.hold(keys);
        self.doubtful.store(true, Ordering::Release);
        Held { node: Arc::downgrade(self), number }
    }

    /// What to tell those who would use an item that cannot be made good yet.
    pub(super) fn unsettled(&self) -> Error {
        Error::new(ErrorKind::Unsettled).at(&self.name)
    }

    /// Splits requests into those that can be sent and, by request, why it cannot.
    pub(super) fn set_aside(&self, requests: Vec<Request>) -> (Vec<Request>, Vec<Option<Error>>) {
        let held: Vec<Option<Error>> = {
            let state = self.state();
            let is_held = |request: &Request| {
                !request.is_overwrite() && request.key().is_some_and(|key| state.journal.is_held(key))
            };
            requests.iter().map(|request| is_held(request).then(|| self.unsettled())).collect()
        };
        let free = requests.into_iter().zip(&held).filter(|(_, held)| held.is_none());
        (free.map(|(request, _)| request).collect(), held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(node) = self.node.upgrade() else { return };
        let owes = {
            let mut state = node.state();
            state.journal.release(self.number);
            state.last_missed = Instant::now(); // What was emptied before may have been filled with something old.
            node.doubtful.store(!state.journal.is_empty(), Ordering::Release);
            state.journal.owes() && !state.health.is_down()
        };
        // If it is down, its return replays.
        if owes {
            node.replay_soon();
        }
    }
}
