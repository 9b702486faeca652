//! Made-up traces, after published statistics of key-value caches; the same every time.

use super::trace::{Op, Request};
use std::collections::{HashSet, VecDeque};

/// How the requests of a family are made.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    keys: u32,
    zipf: f64,
    key_len: u8,
    value_mean: f64,
    value_sigma: f64,
    blind_sets: f64,
    deletes: f64,
    /// Share of requests for keys that never come again.
    wonders: f64,
    /// Keys replaced by new ones, a request.
    churn: f64,
    /// Seconds and share; the rest has none.
    ttls: &'static [(u32, f64)],
    special: Special,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Special {
    None,
    /// So many keys, never used again, once in every so many requests.
    Scan {
        keys: u32,
        every: u32,
    },
    /// A share of gets repeats one of the last distinct keys.
    Recent {
        share: f64,
        among: usize,
    },
    /// Values get this many times longer in the second half.
    Grow(u32),
    /// A share of requests goes round and round so many other keys.
    Loop {
        keys: u32,
        share: f64,
    },
    /// The keys in use move on by one in so many requests.
    Drift {
        every: u32,
    },
    /// Values are this power of the popularity longer than the mean, which is that of the most popular.
    LengthByRank(f64),
    /// A share of requests repeats an earlier one, the more likely the later that was.
    Again {
        share: f64,
        among: usize,
    },
    /// A tenth of the keys has values this many times longer.
    TwoLengths(u32),
}

/// The first of the keys in a loop.
const LOOP_NAMES: u32 = 1 << 31;

const DAY: u32 = 86_400;
const HOUR: u32 = 3600;

const PLAIN: Family = Family {
    name: "zipf10",
    keys: 1_000_000,
    zipf: 1.0,
    key_len: 30,
    value_mean: 230.0,
    value_sigma: 1.0,
    blind_sets: 0.0,
    deletes: 0.0,
    wonders: 0.0,
    churn: 0.0,
    ttls: &[],
    special: Special::None,
};

/// The families that were looked at when the policy was chosen.
pub const CHOSEN_WITH: [Family; 10] = [
    PLAIN,
    Family {
        name: "small-values",
        zipf: 0.9,
        key_len: 25,
        value_mean: 22.0,
        value_sigma: 0.5,
        blind_sets: 0.01,
        wonders: 0.01,
        churn: 0.01,
        ttls: &[(30 * DAY, 1.0)],
        ..PLAIN
    },
    Family {
        name: "mixed-ttl",
        keys: 300_000,
        key_len: 32,
        value_mean: 699.0,
        value_sigma: 1.2,
        blind_sets: 0.01,
        wonders: 0.003,
        churn: 0.005,
        ttls: &[(14 * DAY, 0.71), (60, 0.19), (30 * DAY, 0.05), (DAY, 0.03), (HOUR, 0.02)],
        ..PLAIN
    },
    Family {
        name: "hourly",
        keys: 500_000,
        zipf: 0.9,
        key_len: 36,
        value_mean: 799.0,
        blind_sets: 0.13,
        wonders: 0.02,
        churn: 0.03,
        ttls: &[(HOUR, 0.67), (2 * HOUR, 0.33)],
        ..PLAIN
    },
    Family {
        name: "invalidated",
        keys: 500_000,
        zipf: 0.9,
        key_len: 96,
        value_mean: 414.0,
        value_sigma: 0.8,
        blind_sets: 0.13,
        deletes: 0.22,
        wonders: 0.003,
        churn: 0.02,
        ttls: &[(DAY, 1.0)],
        ..PLAIN
    },
    Family {
        name: "write-heavy",
        keys: 600_000,
        zipf: 0.8,
        key_len: 44,
        value_mean: 928.0,
        value_sigma: 0.8,
        blind_sets: 0.32,
        churn: 0.10,
        ttls: &[(12 * HOUR, 0.58), (HOUR, 0.42)],
        ..PLAIN
    },
    Family {
        name: "scans",
        keys: 500_000,
        zipf: 0.95,
        value_mean: 300.0,
        churn: 0.01,
        special: Special::Scan { keys: 80_000, every: 400_000 },
        ..PLAIN
    },
    Family {
        name: "recency",
        keys: 1_500_000,
        zipf: 0.7,
        churn: 0.10,
        special: Special::Recent { share: 0.45, among: 2000 },
        ..PLAIN
    },
    Family {
        name: "overwrites",
        keys: 500_000,
        zipf: 0.9,
        value_mean: 300.0,
        blind_sets: 0.60,
        churn: 0.01,
        ..PLAIN
    },
    Family {
        name: "size-drift",
        keys: 600_000,
        zipf: 0.95,
        value_mean: 150.0,
        value_sigma: 0.6,
        blind_sets: 0.05,
        churn: 0.05,
        special: Special::Grow(6),
        ..PLAIN
    },
];

/// Families that the policy's choice owes nothing to: run when it is made, never before.
pub const HELD_OUT: [Family; 12] = [
    Family { name: "steep", zipf: 1.2, keys: 3_000_000, value_mean: 350.0, value_sigma: 0.7, ..PLAIN },
    Family { name: "flat", zipf: 0.55, keys: 450_000, value_mean: 420.0, value_sigma: 1.1, ..PLAIN },
    Family { name: "long-tail", zipf: 0.95, keys: 250_000, value_mean: 1500.0, value_sigma: 2.0, ..PLAIN },
    Family {
        name: "two-lengths",
        zipf: 0.85,
        keys: 600_000,
        value_mean: 60.0,
        value_sigma: 0.2,
        special: Special::TwoLengths(120),
        ..PLAIN
    },
    Family {
        name: "popular-long",
        zipf: 0.9,
        keys: 800_000,
        value_mean: 4000.0,
        value_sigma: 0.4,
        special: Special::LengthByRank(-0.25),
        ..PLAIN
    },
    Family {
        name: "popular-short",
        zipf: 0.9,
        keys: 800_000,
        value_mean: 30.0,
        value_sigma: 0.4,
        special: Special::LengthByRank(0.22),
        ..PLAIN
    },
    Family {
        name: "loop",
        zipf: 0.8,
        keys: 400_000,
        value_mean: 280.0,
        special: Special::Loop { keys: 200_000, share: 0.4 },
        ..PLAIN
    },
    Family {
        name: "blocks",
        zipf: 0.3,
        keys: 500_000,
        key_len: 16,
        value_mean: 4096.0,
        value_sigma: 0.01,
        blind_sets: 0.2,
        special: Special::Again { share: 0.75, among: 300_000 },
        ..PLAIN
    },
    Family {
        name: "drift",
        zipf: 0.65,
        keys: 350_000,
        value_mean: 250.0,
        special: Special::Drift { every: 25 },
        ..PLAIN
    },
    Family { name: "wonders", zipf: 0.95, keys: 500_000, value_mean: 320.0, wonders: 0.4, ..PLAIN },
    Family {
        name: "sessions",
        zipf: 0.5,
        keys: 700_000,
        value_mean: 500.0,
        value_sigma: 0.6,
        blind_sets: 0.3,
        churn: 0.05,
        ttls: &[(1800, 1.0)],
        special: Special::Again { share: 0.6, among: 100_000 },
        ..PLAIN
    },
    Family {
        name: "short-ttl",
        zipf: 0.9,
        keys: 900_000,
        value_mean: 260.0,
        deletes: 0.02,
        ttls: &[(30, 0.15), (300, 0.25), (900, 0.3), (DAY, 0.2)],
        ..PLAIN
    },
];

/// Requests a second of trace time.
const RATE: u32 = 1000;

impl Family {
    /// The first `count` requests.
    pub fn requests(self, count: u32) -> impl Iterator<Item = Request> {
        let mut random = Random(self.name.bytes().fold(1, |seed, byte| seed * 31 + u64::from(byte)));
        let popularity = Popularity::zipf(self.keys as usize, self.zipf);
        let mut names: Vec<u32> = (0..self.keys).collect();
        // Popular keys are spread over the names.
        for at in (1..names.len()).rev() {
            names.swap(at, random.below(at as u64 + 1) as usize);
        }
        let mut next_name = self.keys;
        let mut fresh = move || {
            next_name += 1;
            next_name - 1
        };
        let (mut recent, mut known) = (VecDeque::new(), HashSet::new());
        let rank_of = match self.special {
            Special::LengthByRank(_) => {
                let mut ranks = vec![0; names.len()];
                (0..).zip(&names).for_each(|(rank, &name)| ranks[name as usize] = rank);
                ranks
            }
            _ => Vec::new(),
        };
        let mut history: Vec<u32> = Vec::new();
        let (mut left_of_scan, mut at_in_loop) = (0, 0);
        (0..count).map(move |number| {
            if random.chance(self.churn) {
                let rank = popularity.pick(&mut random);
                names[rank] = fresh();
            }
            let mut op = Op::Get;
            let mut key = names[popularity.pick(&mut random)];
            match self.special {
                Special::Scan { keys, every } => {
                    if number % every == every / 2 {
                        left_of_scan = keys;
                    }
                    if left_of_scan > 0 && random.chance(0.5) {
                        left_of_scan -= 1;
                        key = fresh();
                    }
                }
                Special::Recent { share, among } => {
                    if !recent.is_empty() && random.chance(share) {
                        key = recent[random.below(recent.len() as u64) as usize];
                    } else if known.insert(key) {
                        recent.push_back(key);
                        if recent.len() > among {
                            known.remove(&recent.pop_front().expect("it is longer than that"));
                        }
                    }
                }
                Special::Loop { keys, share } => {
                    if random.chance(share) {
                        at_in_loop = (at_in_loop + 1) % keys;
                        key = LOOP_NAMES + at_in_loop;
                    }
                }
                Special::Drift { every } => key = number / every + popularity.pick(&mut random) as u32,
                Special::Again { share, among } => {
                    if !history.is_empty() && random.chance(share) {
                        let back = (history.len().min(among) as f64).powf(random.unit()) as usize;
                        key = history[history.len() - back];
                    }
                    history.push(key);
                }
                Special::None | Special::Grow(_) | Special::LengthByRank(_) | Special::TwoLengths(_) => {}
            }
            if random.chance(self.wonders) {
                key = fresh();
            } else if random.chance(self.blind_sets) {
                op = Op::Set;
            } else if random.chance(self.deletes / (1.0 - self.blind_sets)) {
                op = Op::Delete;
            }
            let mut value_len = self.value_len(key);
            match self.special {
                Special::Grow(times) if number >= count / 2 => value_len *= times,
                Special::LengthByRank(power) => {
                    let rank = rank_of.get(key as usize).copied().unwrap_or(self.keys);
                    value_len = (f64::from(value_len) * f64::from(rank + 1).powf(power)).max(1.0) as u32;
                }
                Special::TwoLengths(times) if Random(u64::from(key) + 0x3333).unit() < 0.1 => {
                    value_len *= times
                }
                _ => {}
            }
            Request { time: number / RATE, key, value_len, ttl: self.ttl(key), key_len: self.key_len, op }
        })
    }

    /// Lognormal around the mean; always the same for a key.
    fn value_len(&self, key: u32) -> u32 {
        let mut random = Random(u64::from(key) + 0x5151_5151);
        let normal = (-2.0 * random.unit().ln()).sqrt() * (random.unit() * std::f64::consts::TAU).cos();
        let median = self.value_mean.ln() - self.value_sigma * self.value_sigma / 2.0;
        ((median + self.value_sigma * normal).exp() as u32).clamp(1, 500_000)
    }

    fn ttl(&self, key: u32) -> u32 {
        let mut share = Random(u64::from(key) + 0x7272_7272).unit();
        for &(ttl, of_all) in self.ttls {
            if share < of_all {
                return ttl;
            }
            share -= of_all;
        }
        0
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Between 0 and 1, never 0.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() <= share
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// Draws a rank as often as it is popular, by the alias method.
struct Popularity {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Popularity {
    fn zipf(count: usize, exponent: f64) -> Popularity {
        let mut weights: Vec<f64> = (1..=count).map(|rank| (rank as f64).powf(-exponent)).collect();
        let scale = count as f64 / weights.iter().sum::<f64>();
        weights.iter_mut().for_each(|weight| *weight *= scale);
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count as u32).partition(|&rank| weights[rank as usize] < 1.0);
        let mut alias: Vec<u32> = (0..count as u32).collect();
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            alias[poor as usize] = rich;
            weights[rich as usize] -= 1.0 - weights[poor as usize];
            if weights[rich as usize] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        for rank in small.into_iter().chain(large) {
            weights[rank as usize] = 1.0;
        }
        Popularity { keep: weights, alias }
    }

    fn pick(&self, random: &mut Random) -> usize {
        let rank = random.below(self.keep.len() as u64) as usize;
        if random.unit() <= self.keep[rank] { rank } else { self.alias[rank] as usize }
    }
}
