//! The routing function of draft-vinod-carp-v1-03 (1998), bit for bit. Knows members' names and load factors.

use crate::members::{Members, MembersError};

#[derive(Clone, Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// Sorted by name, so that the first of two equal scores is the one the tie rule wants.
#[derive(Clone, Debug)]
struct Entry {
    hash: u32,
    multiplier: f64,
    member: usize,
}

impl Table {
    pub(super) fn new(members: &Members) -> Result<Table, MembersError> {
        let mut loads = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let load = member.weight();
            if load.fract() != 0.0 || load > f64::from(u32::MAX) {
                return Err(MembersError::new(format!(
                    "member {}: carp-v1 knows whole load factors up to 4294967295 only, not {load}",
                    member.name()
                )));
            }
            loads.push((index, load));
        }
        let mut entries: Vec<Entry> = multipliers(members, loads)
            .into_iter()
            .map(|(member, multiplier)| Entry {
                hash: member_hash(&members[member].name().to_ascii_lowercase()),
                multiplier,
                member,
            })
            .collect();
        entries.sort_by(|a, b| members[a.member].name().cmp(members[b.member].name()));
        Ok(Table { entries })
    }

    pub(super) fn owner(&self, key: &[u8]) -> usize {
        let hash = string_hash(key);
        let mut best = (f64::NEG_INFINITY, 0);
        for entry in &self.entries {
            let score = entry.score(hash);
            if score > best.0 {
                best = (score, entry.member);
            }
        }
        best.1
    }

    pub(super) fn rank(&self, key: &[u8]) -> Vec<(usize, f64)> {
        let hash = string_hash(key);
        let mut ranked: Vec<(usize, f64)> =
            self.entries.iter().map(|entry| (entry.member, entry.score(hash))).collect();
        // Stable, over entries sorted by name: equal scores keep the tie rule's order.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

impl Entry {
    fn score(&self, key_hash: u32) -> f64 {
        f64::from(combine(key_hash, self.hash)) * self.multiplier
    }
}

/// Section 3.1 of the draft, over bytes taken as unsigned.
fn string_hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |h, &byte| h.wrapping_add(h.rotate_left(19)).wrapping_add(u32::from(byte)))
}

fn member_hash(name: &str) -> u32 {
    scramble(string_hash(name.as_bytes()))
}

fn combine(key_hash: u32, member_hash: u32) -> u32 {
    scramble(key_hash ^ member_hash)
}

fn scramble(x: u32) -> u32 {
    x.wrapping_add(x.wrapping_mul(0x6253_1965)).rotate_left(21)
}

/// Section 3.3: the load factor multipliers, by member, computed in binary64 throughout.
fn multipliers(members: &Members, mut loads: Vec<(usize, f64)>) -> Vec<(usize, f64)> {
    loads.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| members[a.0].name().cmp(members[b.0].name())));
    let sum: f64 = loads.iter().map(|&(_, load)| load).sum();
    let count = loads.len();
    let mut product = 1.0;
    let mut previous = (0.0, 0.0);
    let mut result = Vec::with_capacity(count);
    for (k, &(member, load)) in loads.iter().enumerate() {
        let p = load / sum;
        let remaining = (count - k) as f64;
        let multiplier = if k == 0 {
            (remaining * p).powf(1.0 / remaining)
        } else {
            let (p_before, x_before): (f64, f64) = previous;
            (remaining * (p - p_before) / product + x_before.powf(remaining)).powf(1.0 / remaining)
        };
        product *= multiplier;
        previous = (p, multiplier);
        result.push((member, multiplier));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Member;

    /// Lines of `tests/data/carp-v1.tsv`:
    /// `member <set> <name> <load> <member hash> <multiplier>` and
    /// `key <set> <key, hex> <key hash> <combined,...> <score,...> <ranking,...>`.
    const VECTORS: &str = include_str!("../../tests/data/carp-v1.tsv");

    #[test]
    fn every_published_vector_is_reproduced() {
        let mut sets: Vec<(String, Vec<Member>)> = Vec::new();
        let mut keys = 0;
        for line in VECTORS.lines() {
            let field: Vec<&str> = line.split('\t').collect();
            match field[0] {
                "member" => {
                    if sets.last().is_none_or(|(name, _)| name != field[1]) {
                        sets.push((field[1].to_owned(), Vec::new()));
                    }
                    let member = Member::new(field[2]).with_weight(field[3].parse().unwrap());
                    sets.last_mut().unwrap().1.push(member);
                }
                "key" => {
                    let (_, list) = sets.iter().find(|(name, _)| name == field[1]).unwrap();
                    check_key(&Members::new(list.clone()).unwrap(), &field);
                    keys += 1;
                }
                _ => assert!(line.starts_with('#'), "{line}"),
            }
        }
        for (set, list) in &sets {
            check_members(set, &Members::new(list.clone()).unwrap());
        }
        assert_eq!((sets.len(), keys), (5, 110));
    }

    fn check_key(members: &Members, field: &[&str]) {
        let table = Table::new(members).unwrap();
        let key = unhex(field[2]);
        let hash = string_hash(&key);
        assert_eq!(hash.to_string(), field[3]);
        let combined: Vec<u32> = members.iter().map(|m| combine(hash, member_hash(m.name()))).collect();
        let expected: Vec<u32> = field[4].split(',').map(|n| n.parse().unwrap()).collect();
        assert_eq!(combined, expected);
        let ranked = table.rank(&key);
        for (score, (name, text)) in
            members.iter().map(|m| m.name()).zip(field[5].split(',')).map(|(name, text)| {
                let score = ranked.iter().find(|r| members[r.0].name() == name).unwrap().1;
                (score, (name, text))
            })
        {
            assert_eq!(score.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{name}");
        }
        let names: Vec<&str> = ranked.iter().map(|r| members[r.0].name()).collect();
        assert_eq!(names.join(","), field[6]);
        assert_eq!(members[table.owner(&key)].name(), names[0]);
    }

    fn check_members(set: &str, members: &Members) {
        let table = Table::new(members).unwrap();
        for entry in &table.entries {
            let name = members[entry.member].name();
            let line = VECTORS
                .lines()
                .map(|line| line.split('\t').collect::<Vec<_>>())
                .find(|f| f[0] == "member" && f[1] == set && f[2] == name)
                .unwrap();
            assert_eq!(entry.hash.to_string(), line[4], "{set} {name}");
            let multiplier: f64 = line[5].parse().unwrap();
            assert_eq!(entry.multiplier.to_bits(), multiplier.to_bits(), "{set} {name}");
        }
    }

    #[test]
    fn the_multipliers_printed_in_the_book_of_2001_come_out() {
        let members = Members::new(vec![
            Member::new("test1.ircache.net"),
            Member::new("test2.web-cache.com"),
            Member::new("test3.squid-cache.org").with_weight(2.0),
            Member::new("test4.packet-pushers.com").with_weight(3.0),
        ])
        .unwrap();
        let expected = [
            (0x9601_0320, 0.869_442),
            (0x8496_5f0f, 0.869_442),
            (0x4f5d_7332, 1.064_844),
            (0xa79a_f670, 1.242_318),
        ];
        for (entry, (hash, multiplier)) in Table::new(&members).unwrap().entries.iter().zip(expected) {
            assert_eq!(entry.hash, hash);
            assert!((entry.multiplier - multiplier).abs() < 1e-6);
        }
    }

    #[test]
    fn member_names_are_hashed_in_lower_case_and_fractions_are_refused() {
        let upper = Members::new(vec![Member::new("CACHE.Example"), Member::new("b")]).unwrap();
        let lower = Members::new(vec![Member::new("cache.example"), Member::new("b")]).unwrap();
        for key in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(
                Table::new(&upper).unwrap().owner(key.as_bytes()),
                Table::new(&lower).unwrap().owner(key.as_bytes())
            );
        }
        let half = Members::new(vec![Member::new("a").with_weight(0.5)]).unwrap();
        assert!(Table::new(&half).unwrap_err().to_string().contains("whole load factors"));
    }

    #[test]
    fn thousands_of_equal_members_keep_multiplier_one() {
        let members = Members::new((0..3000).map(|i| Member::new(format!("m{i}"))).collect()).unwrap();
        let table = Table::new(&members).unwrap();
        assert!(table.entries.iter().all(|e| (e.multiplier - 1.0).abs() < 1e-9));
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }
}
