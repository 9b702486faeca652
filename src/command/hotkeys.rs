//! The keys that are asked for most: a sample of all lookups, counted in a short list. Knows no command.
//!
//! Each worker keeps its own list by the Space-Saving method (Metwally, Agrawal, El Abbadi 2005): a key that is not in
//! a full list takes the place of the one counted least and goes on from its count, which is then the most the new
//! one's count can be too high. A key with more than one in `PLACES` of the lookups is in the list for certain.

use super::counts::Counter;
use crate::store::MAX_KEY_LEN;
use parking_lot::Mutex;

/// Lookups for one that is counted, on average.
pub const ONE_IN: u64 = 128;
/// Keys a worker counts.
const PLACES: usize = 64;
/// Counted lookups after which all counts are halved, so that what was hot long ago is forgotten.
const MEMORY: u64 = 1 << 13;
/// Most keys that are told.
const TOLD: usize = 20;

/// One worker's list.
#[derive(Debug, Default)]
pub struct HotKeys {
    /// Lookups that are not counted before the next one that is.
    skip: Counter,
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    entries: Vec<Entry>,
    /// Counted lookups, halved with the counts.
    counted: u64,
    /// What the pauses between counted lookups are made of: no pattern of keys keeps step with it.
    random: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Vec<u8>,
    count: u64,
    /// By how much `count` may be too high.
    error: u64,
}

/// The lists of all workers as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hottest {
    /// How many lookups the shares are of: those that were counted and are not forgotten.
    pub counted: u64,
    /// The keys, the one asked for most first.
    pub keys: Vec<HotKey>,
}

/// One key, by how much it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Its share of all lookups.
    pub share: f64,
    /// By how much the share may be too high.
    pub error: f64,
}

impl Default for List {
    fn default() -> List {
        List { entries: Vec::new(), counted: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl HotKeys {
    /// Takes note of a lookup. Only the owning worker calls this.
    pub fn asked(&self, key: &[u8]) {
        match self.skip.value() {
            0 => self.count(key),
            left => self.skip.set(left - 1),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut list = self.list.lock();
        list.entries.clear();
        list.counted = 0;
    }

    #[cold]
    fn count(&self, key: &[u8]) {
        let mut list = self.list.lock();
        list.count(key);
        self.skip.set(list.random() % (2 * ONE_IN - 1));
    }
}

impl List {
    fn count(&mut self, key: &[u8]) {
        if self.counted >= MEMORY {
            self.halve();
        }
        self.counted += 1;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) {
            entry.count += 1;
        } else if self.entries.len() < PLACES {
            // Room for any key that takes its place.
            let mut owned = Vec::with_capacity(MAX_KEY_LEN);
            owned.extend_from_slice(key);
            self.entries.push(Entry { key: owned, count: 1, error: 0 });
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| entry.count) {
            least.error = least.count;
            least.count += 1;
            least.key.clear();
            least.key.extend_from_slice(key);
        }
    }

    fn halve(&mut self) {
        self.counted /= 2;
        for entry in &mut self.entries {
            entry.count /= 2;
            entry.error /= 2;
        }
        self.entries.retain(|entry| entry.count > 0);
    }

    /// Xorshift: quick, and good enough for pauses.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The lists as one. Only keys that were counted more than once for certain are told.
pub(super) fn hottest<'l>(lists: impl Iterator<Item = &'l HotKeys>) -> Hottest {
    let mut sum = 0;
    let mut entries: Vec<Entry> = Vec::new();
    for list in lists {
        let list = list.list.lock();
        sum += list.counted;
        for entry in &list.entries {
            match entries.iter_mut().find(|other| other.key == entry.key) {
                Some(other) => {
                    other.count += entry.count;
                    other.error += entry.error;
                }
                None => entries.push(entry.clone()),
            }
        }
    }
    entries.retain(|entry| entry.count - entry.error > 1);
    entries.sort_by(|one, other| (other.count, &one.key).cmp(&(one.count, &other.key)));
    entries.truncate(TOLD);
    let share = |count: u64| count as f64 / sum.max(1) as f64;
    let keys = entries.into_iter().map(|Entry { key, count, error }| HotKey {
        key,
        share: share(count),
        error: share(error),
    });
    Hottest { counted: sum, keys: keys.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A third of the lookups are of `hot`, a tenth of `warm`, the rest each of its own key.
    fn ask(list: &HotKeys, count: u32) {
        for number in 0..count {
            match number % 30 {
                0..10 => list.asked(b"hot"),
                10..13 => list.asked(b"warm"),
                _ => list.asked(format!("cold{number}").as_bytes()),
            }
        }
    }

    #[test]
    fn hot_keys_stand_out_of_any_number_of_others() {
        let lists = [HotKeys::default(), HotKeys::default()];
        ask(&lists[0], 1_000_000);
        ask(&lists[1], 500_000);
        let hottest = hottest(lists.iter());
        assert!(hottest.counted > 5_000 && hottest.counted <= 2 * MEMORY, "{}", hottest.counted);
        let found: Vec<_> = hottest.keys.iter().map(|hot| hot.key.as_slice()).collect();
        assert_eq!(&found[..2], [b"hot".as_slice(), b"warm"]);
        for (hot, share) in hottest.keys.iter().zip([1.0 / 3.0, 0.1]) {
            assert!(hot.share - hot.error < share + 0.02 && hot.share > share - 0.02, "{hot:?}");
            assert!(hot.error < 0.02, "{hot:?}");
        }
        assert!(lists[0].list.lock().entries.len() <= PLACES);
    }

    #[test]
    fn what_was_hot_is_forgotten() {
        let list = HotKeys::default();
        (0..2_000_000).for_each(|_| list.asked(b"old"));
        (0..8_000_000).for_each(|_| list.asked(b"new"));
        let hottest = hottest(std::iter::once(&list));
        assert_eq!(hottest.keys[0].key, b"new");
        assert!(hottest.keys[0].share > 0.95, "{hottest:?}");
        list.clear();
        assert_eq!(super::hottest(std::iter::once(&list)), Hottest::default());
    }
}
