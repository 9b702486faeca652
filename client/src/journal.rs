//! Keys whose change a member may have missed, or may yet carry out. Synchronous; knows no connections.

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
    holds: Vec<Hold>,
}

/// What a server that has been given up may still carry out, after what it is sent elsewhere.
#[derive(Debug)]
struct Hold {
    number: u64,
    /// Each with whether it has been missed, or changed elsewhere, since: then nothing the member holds under it counts,
    /// and it will have been missed when the hold ends.
    keys: HashMap<Key, bool>,
    /// There were more keys than are remembered: every key is taken for one that changed.
    all: bool,
}

impl Journal {
    pub(crate) fn new(limit: usize) -> Journal {
        Journal { keys: HashMap::new(), limit, overflowed: None, last: 0, holds: Vec::new() }
    }

    pub(crate) fn missed(&mut self, key: &Key) {
        self.last += 1;
        if self.changing(key) {
            return; // It will have been missed when the hold ends.
        }
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
        self.changing_all();
        self.overflowed = Some(self.last);
    }

    /// The number of the last miss: what is sent now settles up to here.
    pub(crate) fn now(&self) -> u64 {
        self.last
    }

    /// A change of this key is about to be sent. Says whether an earlier one may still be carried out.
    pub(crate) fn changing(&mut self, key: &Key) -> bool {
        let mut is_held = false;
        for changed in self.holds.iter_mut().filter_map(|hold| hold.keys.get_mut(key)) {
            (*changed, is_held) = (true, true);
        }
        is_held
    }

    /// A change of everything is about to be sent.
    pub(crate) fn changing_all(&mut self) {
        self.holds.iter_mut().flat_map(|hold| hold.keys.values_mut()).for_each(|changed| *changed = true);
    }

    /// Changes of these keys may still be carried out until [`release`](Journal::release) of the number returned.
    pub(crate) fn hold(&mut self, keys: Vec<Key>) -> u64 {
        self.last += 1;
        let mut held: HashMap<Key, bool> = HashMap::new();
        for key in &keys {
            // One may be there more than once, and is missed once.
            if !held.contains_key(key) {
                held.insert(key.as_bytes().into(), self.keys.remove(key).is_some());
            }
        }
        let all = held.len() > self.limit;
        if all {
            held.clear();
        }
        self.holds.push(Hold { number: self.last, keys: held, all });
        self.last
    }

    pub(crate) fn release(&mut self, number: u64) {
        let Some(place) = self.holds.iter().position(|hold| hold.number == number) else { return };
        let hold = self.holds.swap_remove(place);
        if hold.all {
            self.missed_all();
        }
        for (key, _) in hold.keys.iter().filter(|(_, changed)| **changed) {
            self.missed(key);
        }
    }

    /// Whether nothing can be done yet about what the member holds under `key`.
    pub(crate) fn is_held(&self, key: &Key) -> bool {
        self.holds.iter().any(|hold| hold.all || hold.keys.get(key) == Some(&true))
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

    /// Whether what the member holds under `key` may be stale, and can be made good.
    pub(crate) fn doubts(&self, key: &Key) -> bool {
        self.overflowed.is_some() || self.keys.contains_key(key)
    }

    /// Whether nothing the member holds is in doubt, nor could be without a miss.
    pub(crate) fn is_empty(&self) -> bool {
        !self.owes() && self.holds.is_empty()
    }

    /// Whether something missed can be made good.
    pub(crate) fn owes(&self) -> bool {
        !self.keys.is_empty() || self.overflowed.is_some()
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
    fn what_may_still_be_carried_out_is_held_and_then_missed() {
        let mut journal = Journal::new(9);
        let (missed, changed, untouched): (Key, Key, Key) =
            ("missed".into(), "changed".into(), "left".into());
        journal.missed(&missed);
        let sent = journal.now();
        let first = journal.hold(vec![missed.clone(), changed.clone(), untouched.clone(), missed.clone()]);
        let second = journal.hold(vec![changed.clone()]);
        assert!(!journal.owes() && !journal.is_empty(), "nothing can be made good yet");
        assert!(journal.is_held(&missed) && !journal.doubts(&changed));
        assert!(journal.changing(&changed) && journal.is_held(&changed));
        assert!(!journal.changing(&"other".into()));
        journal.settled(&missed, sent);
        journal.release(first);
        assert!(journal.doubts(&missed) && !journal.is_held(&missed), "it is to be made good now");
        assert!(journal.is_held(&changed) && !journal.doubts(&untouched));
        journal.release(second);
        let now = journal.now();
        assert_eq!(journal.some(9, now).len(), 2);
        [&missed, &changed].into_iter().for_each(|key| journal.settled(key, now));
        assert!(journal.is_empty());
    }

    #[test]
    fn where_too_much_is_held_everything_is() {
        let mut journal = Journal::new(1);
        let once = journal.hold(vec!["a".into(), "a".into()]);
        assert!(!journal.is_held(&"c".into()), "it is one key");
        journal.release(once);
        let hold = journal.hold(vec!["a".into(), "b".into()]);
        assert!(journal.is_held(&"c".into()) && !journal.owes());
        journal.release(hold);
        assert!(journal.has_overflowed() && !journal.is_held(&"c".into()));
        let hold = journal.hold(vec!["a".into()]);
        journal.missed_all();
        assert!(journal.is_held(&"a".into()), "the member may get it after it is emptied");
        journal.all_settled(journal.now());
        journal.release(hold);
        assert!(journal.doubts(&"a".into()) && !journal.doubts(&"b".into()));
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
