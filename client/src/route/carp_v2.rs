//! The default routing function: a 64-bit score per key and member, weighted by `-w / ln u`.
//! Knows members' names and weights. Its rules are numbered as in [`crate::spec`].

use crate::members::Members;
use std::cmp::Ordering;
use std::hint::select_unpredictable;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Members scored between two looks at the best of them; see [`argmax`].
const BLOCK: usize = 16;

/// Members by falling weight, then rising name: equal weights lie together, ties fall to the first.
#[derive(Clone, Debug)]
pub(super) struct Table {
    seeds: Vec<u64>,
    member: Vec<usize>,
    classes: Vec<Class>,
}

/// A run of members of one weight, for which the highest hash is the highest score.
#[derive(Clone, Debug)]
struct Class {
    start: usize,
    end: usize,
    weight: f64,
}

/// What a key contributes to every score (rule 2).
#[derive(Clone, Copy)]
struct KeyHash {
    flip: u64,
    factor: u64,
}

impl Table {
    pub(super) fn new(members: &Members) -> Table {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&members[a], &members[b]);
            b.weight().total_cmp(&a.weight()).then_with(|| a.name().cmp(b.name()))
        });
        let mut classes: Vec<Class> = Vec::new();
        for (place, &index) in order.iter().enumerate() {
            let weight = members[index].weight();
            match classes.last_mut() {
                Some(class) if class.weight == weight => class.end = place + 1,
                _ => classes.push(Class { start: place, end: place + 1, weight }),
            }
        }
        let seeds = order.iter().map(|&i| xxh3_64(members[i].name().as_bytes())).collect();
        Table { seeds, member: order, classes }
    }

    pub(super) fn owner(&self, key: &[u8]) -> usize {
        let key = KeyHash::new(key);
        if let [_] = self.classes[..] {
            return self.member[argmax(&self.seeds, key).0];
        }
        let mut best = Scored { wait: f64::INFINITY, hash: 0, place: 0 };
        for class in &self.classes {
            let (place, hash) = argmax(&self.seeds[class.start..class.end], key);
            // -ln u >= 1 - u, so a class too far behind needs no logarithm. The slack is far above
            // the rounding of both sides.
            if (1.0 - unit(hash)) > best.wait * class.weight * (1.0 + 1e-9) {
                continue;
            }
            let scored = Scored::new(hash, class.weight, class.start + place);
            if self.compare(&scored, &best) == Ordering::Less {
                best = scored;
            }
        }
        self.member[best.place]
    }

    pub(super) fn rank(&self, key: &[u8]) -> Vec<(usize, f64)> {
        let key = KeyHash::new(key);
        let mut scored: Vec<Scored> = self
            .classes
            .iter()
            .flat_map(|class| {
                (class.start..class.end)
                    .map(|place| Scored::new(key.mix(self.seeds[place]), class.weight, place))
            })
            .collect();
        scored.sort_by(|a, b| self.compare(a, b));
        scored.into_iter().map(|s| (self.member[s.place], 1.0 / s.wait)).collect()
    }

    /// Rule 5: the shorter wait, then the higher hash, then (equal seeds only) the earlier place.
    fn compare(&self, a: &Scored, b: &Scored) -> Ordering {
        a.wait.total_cmp(&b.wait).then(b.hash.cmp(&a.hash)).then(a.place.cmp(&b.place))
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
}

impl KeyHash {
    fn new(key: &[u8]) -> KeyHash {
        let hash = xxh3_128(key);
        KeyHash { flip: hash as u64, factor: (hash >> 64) as u64 | 1 }
    }

    /// Rule 3. An odd factor makes it a permutation of the seeds: two members never tie.
    #[inline(always)]
    fn mix(self, seed: u64) -> u64 {
        (seed ^ self.flip).wrapping_mul(self.factor)
    }
}

/// The place of the highest hash and that hash; the first of equals.
///
/// Blocks keep four independent maxima in registers and remember only which block won, which costs
/// about a third of carrying the place along with every comparison.
#[inline]
fn argmax(seeds: &[u64], key: KeyHash) -> (usize, u64) {
    let (blocks, rest) = seeds.as_chunks::<BLOCK>();
    if blocks.is_empty() {
        return search(rest, key);
    }
    let (mut best, mut best_block) = (0, 0);
    for (number, block) in blocks.iter().enumerate() {
        let mut top = [0u64; 4];
        for lanes in block.as_chunks::<4>().0 {
            for lane in 0..4 {
                top[lane] = top[lane].max(key.mix(lanes[lane]));
            }
        }
        let top = top[0].max(top[1]).max(top[2].max(top[3]));
        if top > best {
            (best, best_block) = (top, number);
        }
    }
    if !rest.is_empty() {
        let (place, hash) = search(rest, key);
        if hash > best {
            return (blocks.len() * BLOCK + place, hash);
        }
    }
    let within = blocks[best_block].iter().position(|&seed| key.mix(seed) == best);
    (best_block * BLOCK + within.unwrap_or(0), best)
}

/// The same for a few members, without branches on who is ahead: nobody can predict those.
#[inline(always)]
fn search(seeds: &[u64], key: KeyHash) -> (usize, u64) {
    let mut best = key.mix(seeds[0]);
    let mut best_place = 0;
    for (place, &seed) in seeds.iter().enumerate().skip(1) {
        let hash = key.mix(seed);
        let better = hash > best;
        best = select_unpredictable(better, hash, best);
        best_place = select_unpredictable(better, place, best_place);
    }
    (best_place, best)
}

/// Rule 4: the top 52 bits of a hash as a number strictly between 0 and 1, exact in binary64.
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

    /// Lines of `tests/data/carp-v2.tsv`: `<set> <name*weight,...> <key, hex> <flip> <factor> <ranking,...> <scores,...>`
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
            assert_eq!(format!("{:016x}", hash.flip), field[3]);
            assert_eq!(format!("{:016x}", hash.factor), field[4]);
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
        for count in [1usize, 2, 3, 15, 16, 17, 31, 32, 33, 48, 100] {
            for weights in [1, 2, 7, 1000] {
                let members = (0..count)
                    .map(|i| Member::new(format!("m{i}")).with_weight(1.0 + (i % weights) as f64))
                    .collect();
                let table = Table::new(&Members::new(members).unwrap());
                for key in 0..500 {
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
