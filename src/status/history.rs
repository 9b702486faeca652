//! The last minutes, as samples at equal times: what the plots show. Reads no clock.

use crate::command::Engine;
use crate::metrics::process::Process;
use crate::store::Now;
use std::collections::VecDeque;
use std::time::Duration;

/// Time between two samples.
pub const STEP: Duration = Duration::from_secs(2);
/// Samples that are kept: five minutes and the one before.
const KEPT: usize = 151;

/// The last minutes.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
}

/// Counts and gauges at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    millis: u64,
    gets: u64,
    hits: u64,
    sets: u64,
    others: u64,
    evictions: u64,
    bytes_read: u64,
    bytes_written: u64,
    busy_nanos: u64,
    memory_bytes: u64,
    resident_bytes: u64,
    items: u64,
    connections: u64,
}

/// What is seen between two samples, or at the later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Gets that found something, as a share; `None` if there were no gets.
    pub hit_ratio: Option<f64>,
    /// Gets a second.
    pub gets: f64,
    /// Stores a second.
    pub sets: f64,
    /// Deletes, increments, decrements and touches a second.
    pub others: f64,
    /// Evictions a second.
    pub evictions: f64,
    /// Bytes read from clients a second.
    pub read: f64,
    /// Bytes written to clients a second.
    pub written: f64,
    /// Share of their time that workers were busy.
    pub busy: f64,
    /// Memory taken by items, everything included.
    pub memory: f64,
    /// Resident memory of the process.
    pub resident: f64,
    /// Items held.
    pub items: f64,
    /// Open client connections.
    pub connections: f64,
}

impl Sample {
    /// How things are now.
    pub fn now(engine: &Engine, process: &Process, now: Now) -> Sample {
        let totals = engine.totals();
        let store = engine.store_stats(now);
        let general = &totals.general;
        let hits = totals.sum(|class| class.get_hits);
        let others = totals
            .sum(|class| class.delete_hits + class.incr_hits + class.decr_hits + class.touch_hits)
            + general.delete_misses
            + general.incr_misses
            + general.decr_misses
            + general.touch_misses;
        Sample {
            millis: now.millis(),
            gets: hits + general.get_misses,
            hits,
            sets: totals.sum(|class| class.cmd_set),
            others,
            evictions: store.sum(|class| class.evicted),
            bytes_read: general.bytes_read,
            bytes_written: general.bytes_written,
            busy_nanos: process.threads.iter().map(|(_, nanos)| nanos).sum(),
            memory_bytes: store.memory_bytes,
            resident_bytes: process.resident_bytes,
            items: store.sum(|class| class.items),
            connections: engine.connections.open_count() as u64,
        }
    }
}

impl History {
    /// Adds how things are now; the oldest goes.
    pub fn add(&mut self, sample: Sample) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// From the oldest to the latest. `workers` is among how many the busy time is shared.
    pub fn moments(&self, workers: usize) -> Vec<Moment> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        pairs.map(|(before, after)| Moment::between(before, after, workers)).collect()
    }

    /// All of the time that is kept as one: rates over it, and how things are now.
    pub fn whole(&self, workers: usize) -> Option<Moment> {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) if self.samples.len() > 1 => {
                Some(Moment::between(first, last, workers))
            }
            _ => None,
        }
    }

    /// How many seconds are kept.
    pub fn seconds(&self) -> u64 {
        let millis = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.millis);
        millis(self.samples.back()).saturating_sub(millis(self.samples.front())) / 1000
    }
}

impl Moment {
    fn between(before: &Sample, after: &Sample, workers: usize) -> Moment {
        let seconds = after.millis.saturating_sub(before.millis).max(1) as f64 / 1000.0;
        // A reset in between begins again from 0.
        let grown = |count: fn(&Sample) -> u64| match count(after).checked_sub(count(before)) {
            Some(grown) => grown as f64,
            None => count(after) as f64,
        };
        let rate = |count| grown(count) / seconds;
        let gets = grown(|sample| sample.gets);
        Moment {
            hit_ratio: (gets > 0.0).then(|| (grown(|sample| sample.hits) / gets).min(1.0)),
            gets: gets / seconds,
            sets: rate(|sample| sample.sets),
            others: rate(|sample| sample.others),
            evictions: rate(|sample| sample.evictions),
            read: rate(|sample| sample.bytes_read),
            written: rate(|sample| sample.bytes_written),
            busy: (rate(|sample| sample.busy_nanos) / 1e9 / workers.max(1) as f64).min(1.0),
            memory: after.memory_bytes as f64,
            resident: after.resident_bytes as f64,
            items: after.items as f64,
            connections: after.connections as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_what_lies_between_samples() {
        let mut history = History::default();
        assert!(history.whole(1).is_none() && history.moments(1).is_empty());
        for step in 0..200 {
            let count = step * 100;
            history.add(Sample {
                millis: 10_000 + step * 2000,
                gets: count,
                hits: count / 2,
                busy_nanos: step * 2_000_000_000,
                connections: step,
                ..Sample::default()
            });
        }
        let moments = history.moments(2);
        assert_eq!((moments.len(), history.seconds()), (KEPT - 1, 300));
        let last = moments.last().unwrap();
        assert_eq!((last.gets, last.hit_ratio, last.busy), (50.0, Some(0.5), 0.5));
        assert_eq!(last.connections, 199.0);
        assert_eq!(history.whole(2).unwrap().gets, 50.0);
        // After a reset there are 30 more.
        history.add(Sample { millis: 410_000, gets: 30, ..Sample::default() });
        assert_eq!(history.moments(2).last().unwrap().gets, 15.0);
    }
}
