//! What happens to members, for whoever listens. Knows no connections.

use crate::error::Error;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Events kept for a listener that is slow to read them.
const KEPT: usize = 256;

/// Something that happened to the array as this client sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A member is taken for down; requests to it are no longer sent.
    Down {
        /// Its name.
        member: Arc<str>,
        /// The failure that decided it.
        error: Error,
    },
    /// A member works again. What it has missed is made good before it is used.
    Up {
        /// Its name.
        member: Arc<str>,
    },
    /// A member had missed more changes than were remembered, so everything it held was dropped.
    Emptied {
        /// Its name.
        member: Arc<str>,
    },
    /// The member list was replaced.
    Members {
        /// The number of the new list, rising.
        epoch: u64,
    },
}

#[derive(Clone)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(crate) fn new() -> Events {
        Events(broadcast::channel(KEPT).0)
    }

    pub(crate) fn send(&self, event: Event) {
        crate::observe::event(&event);
        let _ = self.0.send(event); // Nobody needs to listen.
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
