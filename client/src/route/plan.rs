//! How many keys move when a member list changes. Knows no command line.

use super::Carp;
use super::explain::quote;
use std::collections::BTreeMap;
use std::fmt;

/// What a change of the list does to a set of keys. `Display` is a small table for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Movement {
    /// Keys looked at.
    pub keys: u64,
    /// Keys whose owner changes.
    pub moved: u64,
    /// Those of `moved` whose old and new owner are both in both lists with the same weight: the
    /// ones that moved for nothing. Zero under `carp-v2`.
    pub needless: u64,
    /// By member name: keys it owned before and owns after.
    pub members: BTreeMap<String, Share>,
}

/// One member's keys before and after the change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Keys owned under the old list.
    pub before: u64,
    /// Keys owned under the new list.
    pub after: u64,
    /// Keys it owns under both.
    pub kept: u64,
}

/// Compares two routings over `keys`.
///
/// ```
/// use memcarp_client::{Carp, Members, movement, sample_keys};
/// let old = Carp::new("a,b,c".parse::<Members>()?)?;
/// let new = Carp::new("a,b,c,d".parse::<Members>()?)?;
/// let change = movement(&old, &new, sample_keys(10_000));
/// assert_eq!(change.needless, 0);
/// assert_eq!(change.moved, change.members["d"].after);
/// # Ok::<(), memcarp_client::MembersError>(())
/// ```
pub fn movement<K: AsRef<[u8]>>(old: &Carp, new: &Carp, keys: impl IntoIterator<Item = K>) -> Movement {
    let weight = |carp: &Carp, name: &str| {
        carp.members().iter().find(|member| member.name() == name).map(|member| member.weight())
    };
    let unchanged: Vec<bool> =
        old.members().iter().map(|member| weight(new, member.name()) == Some(member.weight())).collect();
    let unchanged_in_new: Vec<bool> =
        new.members().iter().map(|member| weight(old, member.name()) == Some(member.weight())).collect();
    let mut before = vec![0; old.members().len()];
    let mut after = vec![0; new.members().len()];
    let mut kept = vec![0; old.members().len()];
    let mut movement = Movement::default();
    for key in keys {
        let (from, to) = (old.owner_index(key.as_ref()), new.owner_index(key.as_ref()));
        movement.keys += 1;
        before[from] += 1;
        after[to] += 1;
        if old.members()[from].name() == new.members()[to].name() {
            kept[from] += 1;
        } else {
            movement.moved += 1;
            movement.needless += u64::from(unchanged[from] && unchanged_in_new[to]);
        }
    }
    for (index, member) in old.members().iter().enumerate() {
        let share = movement.members.entry(member.name().to_owned()).or_default();
        (share.before, share.kept) = (before[index], kept[index]);
    }
    for (index, member) in new.members().iter().enumerate() {
        movement.members.entry(member.name().to_owned()).or_default().after = after[index];
    }
    movement
}

/// `count` evenly spread keys, the same ones every time: 16 hexadecimal digits each.
pub fn sample_keys(count: u64) -> impl Iterator<Item = [u8; 16]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    (0..count).map(|number| {
        // An odd multiplier keeps the keys distinct.
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        std::array::from_fn(|place| DIGITS[(spread >> (60 - 4 * place)) as usize & 15])
    })
}

impl Movement {
    /// The share of keys that move, 0 to 1.
    pub fn moved_share(&self) -> f64 {
        self.moved as f64 / self.keys.max(1) as f64
    }

    /// The same as one JSON object.
    pub fn to_json(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, share)| {
                format!(
                    "{{\"member\":{},\"before\":{},\"after\":{},\"kept\":{}}}",
                    quote(name),
                    share.before,
                    share.after,
                    share.kept
                )
            })
            .collect();
        format!(
            "{{\"keys\":{},\"moved\":{},\"needless\":{},\"members\":[{}]}}",
            self.keys,
            self.moved,
            self.needless,
            members.join(",")
        )
    }
}

impl fmt::Display for Movement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} keys move ({:.2} %), {} of them between members that do not change",
            self.moved,
            self.keys,
            self.moved_share() * 100.0,
            self.needless
        )?;
        self.members.iter().try_for_each(|(name, share)| {
            write!(
                f,
                "\n{name}\t{} -> {}\tgains {}\tloses {}",
                share.before,
                share.after,
                share.after - share.kept.min(share.after),
                share.before - share.kept
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Members, Scheme};

    fn carp(list: &str) -> Carp {
        Carp::new(list.parse::<Members>().unwrap()).unwrap()
    }

    #[test]
    fn only_the_keys_of_what_changed_move() {
        let change = movement(&carp("a,b*3,c,d"), &carp("d,e*2,b*3,a"), sample_keys(50_000));
        assert_eq!(change.needless, 0);
        assert_eq!(change.members["c"].after, 0);
        assert!(change.members["e"].after > 0);
        let lost: u64 = change.members.values().map(|s| s.before - s.kept).sum();
        assert_eq!(lost, change.moved);
        assert!(change.to_string().contains("of 50000 keys move"));
        assert!(change.to_json().contains("\"needless\":0"));
    }

    #[test]
    fn the_old_scheme_moves_keys_for_nothing_and_says_so() {
        let old = |list: &str| Carp::with_scheme(list.parse::<Members>().unwrap(), Scheme::CarpV1).unwrap();
        let change = movement(&old("a,b*2,c*3,d*4"), &old("a,b*2,c*3,d*4,e*5"), sample_keys(50_000));
        assert!(change.needless > 0);
    }

    #[test]
    fn sample_keys_are_distinct() {
        let keys: std::collections::HashSet<_> = sample_keys(10_000).collect();
        assert_eq!(keys.len(), 10_000);
    }
}
