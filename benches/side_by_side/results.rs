//! What the rounds of a case say together: medians, and ratios with their spread.

use crate::case::Case;
use crate::load::Seen;
use crate::server::Time;

/// What one round says of one server.
#[derive(Clone, Copy)]
pub struct Round {
    /// Operations a second.
    pub rate: f64,
    /// Microseconds of the server's processor time an operation, in user space and in the system.
    pub user: f64,
    pub system: f64,
    /// Processors the server kept busy.
    pub busy: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// One server in one case.
pub struct Side {
    pub name: String,
    pub rounds: Vec<Round>,
    /// Resident bytes at the end.
    pub resident: u64,
    /// Resident bytes a connection, idle after one batch; `None` if there are too few to tell.
    pub per_connection: Option<f64>,
}

/// One case: memcached, unless it cannot take part, and memcarp.
pub struct Outcome {
    pub case: Case,
    pub sides: Vec<Side>,
}

/// How memcarp's figure relates to memcached's: the median over the rounds, the least and the most.
#[derive(Clone, Copy)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Round {
    /// What was seen, and the processor time it took.
    pub fn new(seen: &Seen, time: Time) -> Round {
        let operations = seen.operations.max(1) as f64;
        let micros = |quantile: f64| seen.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Round {
            rate: operations / seen.elapsed.as_secs_f64(),
            user: time.user / operations / 1000.0,
            system: time.system / operations / 1000.0,
            busy: time.total() / seen.elapsed.as_nanos() as f64,
            p50: micros(0.5),
            p99: micros(0.99),
            p999: micros(0.999),
        }
    }

    /// Microseconds of processor time an operation.
    pub fn time(&self) -> f64 {
        self.user + self.system
    }
}

impl Side {
    /// The median of a figure over the rounds.
    pub fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

impl Outcome {
    /// The ratio of a figure, round by round.
    pub fn ratio(&self, figure: impl Fn(&Round) -> f64) -> Option<Ratio> {
        let [theirs, ours] = &self.sides[..] else { return None };
        let both = ours.rounds.iter().zip(&theirs.rounds);
        let ratios: Vec<f64> = both.map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
        Some(Ratio {
            least: ratios.iter().copied().fold(f64::MAX, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
            median: median(ratios),
        })
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[middle],
        _ => (figures[middle - 1] + figures[middle]) / 2.0,
    }
}
