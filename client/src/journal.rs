//! Keys whose change a member may have missed. Synchronous; knows no connections.

use crate::key::Key;
use std::collections::HashMap;

/// Bounded: when full it stops remembering keys and remembers that it did.
///
/// Every miss gets a number. What settles a key says up to which number it does: a change that was under way
/// when the key was missed again must not make that be forgotten.
#[derive(Debug)]
pub(crate) struct Journal {
    keys: HashMap<Key, u64>,
    limit: usize,
    overflowed: Option<u64>,
    last: u64,
}

impl Journal {
    pub(crate) fn new(limit: usize) -> Journal {
        Journal { keys: HashMap::new(), limit, overflowed: None, last: 0 }
    }

    pub(crate) fn missed(&mut self, key: &Key) {
        self.last += 1;
        if self.keys.len() < self.limit || self.keys.contains_key(key) {
            // A copy: the caller's may be a piece of something large.
            self.keys.insert(key.as_bytes().into(), self.last);
        } else {
            self.overflowed = Some(self.last);
        }
    }

    /// A change of everything was missed.
    pub(crate) fn missed_all(&mut self) {
        self.last += 1;
        self.overflowed = Some(self.last);
    }

    /// The number of the last miss: what is sent now settles up to here.
    pub(crate) fn now(&self) -> u64 {
        self.last
    }

    /// The member has carried out a change of this key that was sent at `sent`.
    pub(crate) fn settled(&mut self, key: &Key, sent: u64) {
        if self.keys.get(key).is_some_and(|&missed| missed <= sent) {
            self.keys.remove(key);
        }
    }

    /// The member has dropped everything it held at `sent`.
    pub(crate) fn all_settled(&mut self, sent: u64) {
        self.keys.retain(|_, missed| *missed > sent);
        self.overflowed = self.overflowed.filter(|&missed| missed > sent);
    }

    /// Whether what the member holds under `key` may be stale.
    pub(crate) fn doubts(&self, key: &Key) -> bool {
        self.overflowed.is_some() || self.keys.contains_key(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.overflowed.is_none()
    }

    /// Up to `count` of the keys missed by `until`, which stay in the journal until [`settled`](Journal::settled).
    pub(crate) fn some(&self, count: usize, until: u64) -> Vec<Key> {
        let due = self.keys.iter().filter(|&(_, &missed)| missed <= until);
        due.map(|(key, _)| key.clone()).take(count).collect()
    }

    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed.is_some()
    }

    /// Whether it had by `until`, and has not been settled since.
    pub(crate) fn had_overflowed(&self, until: u64) -> bool {
        self.overflowed.is_some_and(|missed| missed <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_knows_that_it_forgot() {
        let mut journal = Journal::new(2);
        for key in ["a", "b", "a"] {
            journal.missed(&key.into());
        }
        assert!(!journal.has_overflowed() && journal.doubts(&"a".into()) && !journal.doubts(&"c".into()));
        journal.missed(&"c".into());
        assert!(journal.has_overflowed() && journal.doubts(&"d".into()));
        let now = journal.now();
        journal.settled(&"a".into(), now);
        journal.settled(&"b".into(), now);
        assert!(!journal.is_empty());
        journal.all_settled(now);
        assert!(journal.is_empty());
    }

    #[test]
    fn a_change_under_way_does_not_settle_a_later_miss() {
        let mut journal = Journal::new(2);
        journal.missed(&"a".into());
        let sent = journal.now();
        journal.missed(&"a".into());
        journal.settled(&"a".into(), sent);
        journal.all_settled(sent);
        assert!(journal.doubts(&"a".into()));
        journal.settled(&"a".into(), journal.now());
        assert!(journal.is_empty());
    }
}
