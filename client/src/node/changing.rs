//! Changes on their way to a member: those not seen to be carried out are missed.

use super::Node;
use crate::error::Error;
use crate::key::Key;
use crate::protocol::{Code, Reply, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Node {
    /// Watches over changes that are about to be sent, if there are any: those not seen to be carried out are missed.
    pub(super) fn changing<'r>(
        self: &Arc<Self>,
        requests: impl IntoIterator<Item = &'r Request>,
    ) -> Option<Changing> {
        let keys: Vec<Change> = requests
            .into_iter()
            .enumerate()
            .filter(|(_, request)| request.is_change())
            .map(|(number, request)| Change {
                number,
                key: request.key().cloned(),
                overwrites: request.is_overwrite(),
            })
            .collect();
        if keys.is_empty() {
            return None;
        }
        let sent = {
            let mut state = self.state();
            for change in &keys {
                match &change.key {
                    Some(key) => drop(state.journal.changing(key)),
                    None => state.journal.changing_all(),
                }
            }
            state.journal.now()
        };
        Some(Changing { node: self.clone(), keys, sent })
    }
}

/// Changes on their way. Those whose fate is unknown when this is dropped, because the member failed or because
/// the caller went away, count as missed.
pub(super) struct Changing {
    node: Arc<Node>,
    keys: Vec<Change>,
    sent: u64,
}

struct Change {
    number: usize,
    /// None if it is everything that changes.
    key: Option<Key>,
    overwrites: bool,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Unknown,
    /// It was answered, but the item is still what it was.
    Refused,
    Done,
}

impl Fate {
    /// No reply is the silence of a quiet request that went as usual.
    pub(super) fn of(result: Result<Option<&Reply>, &Error>) -> Fate {
        match result {
            Err(error) if error.is_member_fault() => Fate::Unknown,
            Ok(None) => Fate::Done,
            Ok(Some(reply)) if matches!(reply.code, Code::Done | Code::NotFound | Code::Miss) => Fate::Done,
            Ok(Some(_)) | Err(_) => Fate::Refused,
        }
    }
}

impl Changing {
    /// `fate` says by number what became of a request.
    pub(super) fn settle(mut self, fate: impl Fn(usize) -> Fate) {
        let doubtful = self.node.doubtful.load(Ordering::Acquire);
        self.keys.retain(|change| {
            let fate = fate(change.number);
            if let (true, true, Fate::Done, Some(key)) = (doubtful, change.overwrites, fate, &change.key) {
                self.node.settled(key, self.sent);
            }
            fate == Fate::Unknown
        });
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        for change in &self.keys {
            self.node.missed(change.key.as_ref());
        }
    }
}
