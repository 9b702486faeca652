//! The default routing function: a 64-bit score per key and member, weighted by `-w / ln u`.
//! Knows members' names and weights. Its rules are numbered as in [`crate::spec`].

use crate::members::Members;
use std::cmp::Ordering;
use std::hint::select_unpredictable;
use xxhash_rust::xxh3::xxh3_64;

/// Members scored at a time, each in a running maximum of its own.
const LANES: usize = 4;

/// The bits of a hash that rule 3 leaves empty; the number of a member's group travels in them.
const GROUP: u64 = (1 << 12) - 1;

/// As many groups of [`LANES`] members as [`GROUP`] can count.
const GROUPS: usize = GROUP as usize + 1;

/// Members by falling weight, then rising name: equal weights lie together, ties fall to the first.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// By place: the index in the member list.
    member: Vec<usize>,
    classes: Vec<Class>,
}

/// A run of members of one weight, for which the highest hash is the highest score.
#[derive(Clone, Debug)]
struct Class {
    weight: f64,
    start: usize,
    end: usize,
    /// The seeds, shifted up by 12 bits, in order. The last group is filled up with copies of its last seed, which
    /// cannot win: they tie with the original and come after it.
    seeds: Vec<[u64; LANES]>,
}

/// What a key contributes to every score (rule 2). Only 52 bits of either count.
#[derive(Clone, Copy)]
struct KeyHash {
    /// Shifted up by 12 bits, as the seeds are.
    offset: u64,
    factor: u64,
}

impl Table {
    pub(super) fn new(members: &Members) -> Table {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&members[a], &members[b]);
            b.weight().total_cmp(&a.weight()).then_with(|| a.name().cmp(b.name()))
        });
        let mut classes = Vec::new();
        let mut start = 0;
        for run in order.chunk_by(|&a, &b| members[a].weight() == members[b].weight()) {
            let seeds: Vec<u64> = run.iter().map(|&i| seed(members[i].name())).collect();
            let fill = |group: &[u64]| std::array::from_fn(|lane| group[lane.min(group.len() - 1)]);
            classes.push(Class {
                weight: members[run[0]].weight(),
                start,
                end: start + run.len(),
                seeds: seeds.chunks(LANES).map(fill).collect(),
            });
            start += run.len();
        }
        Table { member: order, classes }
    }

    pub(super) fn owner(&self, key: &[u8]) -> usize {
        let key = KeyHash::new(key);
        if let [class] = &self.classes[..] {
            return self.member[key.best(&class.seeds).0];
        }
        let mut best = Scored { wait: f64::INFINITY, hash: 0, place: 0 };
        for class in &self.classes {
            let (place, hash) = key.best(&class.seeds);
            // -ln u >= 1 - u, so a class too far behind needs no logarithm. The slack is far above
            // the rounding of both sides.
            if (1.0 - unit(hash)) > best.wait * class.weight * (1.0 + 1e-9) {
                continue;
            }
            let scored = Scored::new(hash, class.weight, class.start + place);
            if scored.cmp(&best) == Ordering::Less {
                best = scored;
            }
        }
        self.member[best.place]
    }

    pub(super) fn rank(&self, key: &[u8]) -> Vec<(usize, f64)> {
        let key = KeyHash::new(key);
        let scored = |class: &Class| {
            let weight = class.weight;
            let hashes = class.seeds.iter().flatten().map(move |&seed| key.mix(seed));
            (class.start..class.end)
                .zip(hashes.collect::<Vec<_>>())
                .map(move |(place, hash)| Scored::new(hash, weight, place))
        };
        let mut all: Vec<Scored> = self.classes.iter().flat_map(scored).collect();
        all.sort_by(Scored::cmp);
        all.into_iter().map(|s| (self.member[s.place], 1.0 / s.wait)).collect()
    }
}

struct Scored {
    /// `-ln u / w`: the reciprocal of the score, so the lowest wins.
    wait: f64,
    hash: u64,
    place: usize,
}

impl Scored {
    fn new(hash: u64, weight: f64, place: usize) -> Scored {
        Scored { wait: minus_ln(unit(hash)) / weight, hash, place }
    }

    /// Rule 5: the shorter wait, then the higher hash, then the earlier name. Members of different weights do not
    /// tie in practice; if they did, the heavier would come first.
    fn cmp(&self, other: &Scored) -> Ordering {
        self.wait.total_cmp(&other.wait).then(other.hash.cmp(&self.hash)).then(self.place.cmp(&other.place))
    }
}

/// Rule 1, shifted up by 12 bits.
fn seed(name: &str) -> u64 {
    xxh3_64(name.as_bytes()) & !GROUP
}

impl KeyHash {
    #[inline(always)]
    fn new(key: &[u8]) -> KeyHash {
        let hash = xxh3_64(key);
        KeyHash {
            offset: hash & !GROUP,
            factor: hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) | 1,
        }
    }

    /// Rule 3, shifted up by 12 bits, so that arithmetic modulo 2^52 is what a processor does anyway. The low
    /// bits stay empty.
    #[inline(always)]
    fn mix(self, seed: u64) -> u64 {
        seed.wrapping_mul(self.factor).wrapping_add(self.offset)
    }

    /// The place of the highest hash and that hash; the first of equals.
    #[inline(always)]
    fn best(self, seeds: &[[u64; LANES]]) -> (usize, u64) {
        if seeds.len() <= GROUPS {
            return self.best_of_few(seeds);
        }
        let mut best = (0, 0);
        for (number, part) in seeds.chunks(GROUPS).enumerate() {
            let (place, hash) = self.best_of_few(part);
            if number == 0 || hash > best.1 {
                best = (number * GROUPS * LANES + place, hash);
            }
        }
        best
    }

    /// One pass without a branch on who is ahead, which nobody can predict. The group counts down in the empty
    /// bits below the hash, added with it at no cost, so a plain maximum finds both and the first of equals.
    #[inline(always)]
    fn best_of_few(self, seeds: &[[u64; LANES]]) -> (usize, u64) {
        let mut top = [0; LANES];
        let mut offset = self.offset | GROUP;
        for group in seeds {
            for lane in 0..LANES {
                top[lane] = top[lane].max(group[lane].wrapping_mul(self.factor).wrapping_add(offset));
            }
            offset = offset.wrapping_sub(1);
        }
        let (mut lane, mut best) = (0, top[0]);
        for (number, &top) in top.iter().enumerate().skip(1) {
            lane = select_unpredictable(top > best, number, lane);
            best = best.max(top);
        }
        ((GROUP - (best & GROUP)) as usize * LANES + lane, best & !GROUP)
    }
}

/// Rule 4: a hash as a number strictly between 0 and 1, exact in binary64.
fn unit(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// `-ln(u)` for `0 < u < 1` by a fixed series of IEEE 754 operations, so that every machine gets the
/// same bits; a platform's own `ln` may differ in the last one.
fn minus_ln(u: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    const ONE: u64 = 1023 << 52;
    let bits = u.to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut m = f64::from_bits((bits & FRACTION) | ONE);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 atanh s = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.1716.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = 0.0;
    for j in (0..=9).rev() {
        series = series * z + 1.0 / f64::from(2 * j + 1);
    }
    -(f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Member;

    /// Lines of `tests/data/carp-v2.tsv`: `<set> <name*weight,...> <key, hex> <offset> <factor> <ranking,...> <scores,...>`
    const VECTORS: &str = include_str!("../../tests/data/carp-v2.tsv");

    #[test]
    fn every_published_vector_is_reproduced() {
        let mut count = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let field: Vec<&str> = line.split('\t').collect();
            let members: Members = field[1].parse().unwrap();
            let key: Vec<u8> = (0..field[2].len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&field[2][i..i + 2], 16).unwrap())
                .collect();
            let hash = KeyHash::new(&key);
            assert_eq!(format!("{:013x}", hash.offset >> 12), field[3]);
            assert_eq!(format!("{:013x}", hash.factor & (u64::MAX >> 12)), field[4]);
            let table = Table::new(&members);
            let ranked = table.rank(&key);
            let names: Vec<&str> = ranked.iter().map(|r| members[r.0].name()).collect();
            assert_eq!(names.join(","), field[5], "{line}");
            for (ranked, text) in ranked.iter().zip(field[6].split(',')) {
                assert_eq!(ranked.1.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{line}");
            }
            assert_eq!(table.owner(&key), ranked[0].0);
            count += 1;
        }
        assert!(count >= 60, "{count} vectors");
    }

    #[test]
    fn the_fast_search_agrees_with_the_whole_ranking() {
        for count in [1usize, 2, 3, 4, 5, 15, 16, 17, 100, 16_383, 16_384, 16_385, 40_001] {
            for weights in [1, 2, 7, 1000] {
                let members = (0..count)
                    .map(|i| Member::new(format!("m{i}")).with_weight(1.0 + (i % weights) as f64))
                    .collect();
                let table = Table::new(&Members::new(members).unwrap());
                for key in 0..if count > 100 { 9 } else { 500 } {
                    let key = format!("key:{key}");
                    assert_eq!(table.owner(key.as_bytes()), table.rank(key.as_bytes())[0].0);
                }
            }
        }
    }

    /// The fast search compares hashes where the rule compares logarithms, which is the same thing
    /// only while the computed logarithm never rises with u.
    #[test]
    fn the_logarithm_is_exact_enough_and_never_rises() {
        let check = |top: u64| {
            let step = 1 << 12;
            for i in 0..2000u64 {
                let hash = (top.saturating_sub(1000 * step) & !0xfff).saturating_add(i * step);
                let (low, high) = (unit(hash), unit(hash.saturating_add(step)));
                assert!(minus_ln(low) >= minus_ln(high), "{hash:x}");
                let reference = -low.ln();
                let error = (minus_ln(low) - reference).abs();
                assert!(error <= reference * 1e-15, "{hash:x}: {error}");
            }
        };
        check(u64::MAX - (2000 << 12));
        for shift in 0..40 {
            check(u64::MAX >> shift);
            check(((std::f64::consts::FRAC_1_SQRT_2 * 2f64.powi(63)) as u64) >> shift << 1);
        }
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_open() {
        assert!(unit(0) > 0.0);
        assert!(unit(u64::MAX) < 1.0);
        assert!(minus_ln(unit(u64::MAX)) > 0.0);
        assert!(minus_ln(unit(0)).is_finite());
    }
}
