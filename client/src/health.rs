//! Whether a member is up, and when to try it again. Synchronous: time and chance are arguments.

use crate::client::LONGEST;
use std::time::{Duration, Instant};

/// Probes are not closer than this.
const SHORTEST_PROBE: Duration = Duration::from_millis(1);

/// When a member counts as down and how it comes back.
///
/// ```
/// use memcarp_client::HealthPolicy;
/// let patient = HealthPolicy { failures: 10, ..HealthPolicy::default() };
/// ```
#[derive(Clone, Debug)]
pub struct HealthPolicy {
    /// Timeouts and broken connections in a row after which a member is down. A refused connection counts
    /// for all of them. 3 unless changed.
    pub failures: u32,
    /// The wait before the first probe of a member that went down, 1 ms at least. Doubles each time it goes down again
    /// within `flap_window` of its return. 500 ms unless changed.
    pub first_probe: Duration,
    /// Each failed probe lengthens the wait by half, up to this; 30 s unless changed.
    pub longest_probe: Duration,
    /// How long after its return a member is still suspected of flapping; 60 s unless changed.
    pub flap_window: Duration,
    /// If more than this share of at least three members looks down, the fault is taken to be on this side, and
    /// requests are sent to members that look down too. 0 to 1, 0.5 unless changed.
    pub fail_open_above: f64,
    /// How many keys whose change a member missed are remembered for it. Beyond it, everything it stored before its
    /// return is taken for stale, and it is emptied; one that refuses that (memcached with `-F`) is not used again. 10,000 unless changed; each takes as much memory as its key and some 100 bytes.
    pub missed_keys: usize,
}

impl Default for HealthPolicy {
    fn default() -> HealthPolicy {
        HealthPolicy {
            failures: 3,
            first_probe: Duration::from_millis(500),
            longest_probe: Duration::from_secs(30),
            flap_window: Duration::from_secs(60),
            fail_open_above: 0.5,
            missed_keys: 10_000,
        }
    }
}

impl HealthPolicy {
    /// The same, with waits that can be waited for and that wait for something.
    pub(crate) fn within_reason(mut self) -> HealthPolicy {
        for wait in [&mut self.first_probe, &mut self.longest_probe] {
            *wait = (*wait).clamp(SHORTEST_PROBE, LONGEST);
        }
        self
    }
}

/// One member's state.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures_in_a_row: u32,
    down: Option<Down>,
    returned: Option<Instant>,
    /// Times it went down soon after a return.
    flaps: u32,
}

#[derive(Debug)]
struct Down {
    next_wait: Duration,
}

impl Health {
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
    }

    /// Notes a failure; true if it has just brought the member down.
    pub(crate) fn failed(&mut self, hard: bool, now: Instant, policy: &HealthPolicy) -> bool {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.is_down() || !(hard || self.failures_in_a_row >= policy.failures) {
            return false;
        }
        let flapping = self.returned.is_some_and(|at| now.saturating_duration_since(at) < policy.flap_window);
        self.flaps = if flapping { self.flaps + 1 } else { 0 };
        let wait = policy.first_probe.saturating_mul(1 << self.flaps.min(16));
        self.down = Some(Down { next_wait: wait.min(policy.longest_probe) });
        true
    }

    /// How long to wait before the next probe. `chance` is between 0 and 1 and spreads clients by a quarter
    /// either way.
    pub(crate) fn probe_wait(&mut self, chance: f64, policy: &HealthPolicy) -> Duration {
        let Some(down) = &mut self.down else { return Duration::ZERO };
        let wait = down.next_wait;
        down.next_wait = wait.mul_f64(1.5).min(policy.longest_probe);
        wait.mul_f64(0.75 + chance / 2.0)
    }

    pub(crate) fn came_back(&mut self, now: Instant) {
        self.down = None;
        self.failures_in_a_row = 0;
        self.returned = Some(now);
    }
}

/// A number between 0 and 1 for jitter; nothing depends on its quality.
pub(crate) fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: fn() -> HealthPolicy = HealthPolicy::default;

    #[test]
    fn three_soft_failures_in_a_row_or_one_hard_one_bring_it_down() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(!health.failed(false, now, &POLICY()));
        assert!(!health.failed(false, now, &POLICY()));
        health.succeeded();
        assert!(!health.failed(false, now, &POLICY()));
        assert!(!health.failed(false, now, &POLICY()));
        assert!(health.failed(false, now, &POLICY()));
        assert!(!health.failed(true, now, &POLICY()), "already down");
        assert!(Health::default().failed(true, now, &POLICY()));
    }

    #[test]
    fn probes_back_off_to_the_limit_within_their_jitter() {
        let mut health = Health::default();
        health.failed(true, Instant::now(), &POLICY());
        let waits: Vec<f64> = (0..15).map(|_| health.probe_wait(0.5, &POLICY()).as_secs_f64()).collect();
        assert_eq!(&waits[..3], [0.5, 0.75, 1.125]);
        assert_eq!(waits[14], 30.0);
        assert!(health.probe_wait(0.0, &POLICY()) < health.probe_wait(1.0, &POLICY()));
    }

    #[test]
    fn a_member_that_flaps_waits_longer_each_time_and_is_forgiven() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::default();
        let down_at = |health: &mut Health, seconds| {
            assert!(health.failed(true, at(seconds), &POLICY()));
            let wait = health.probe_wait(0.5, &POLICY());
            health.came_back(at(seconds + 1));
            wait.as_secs_f64()
        };
        assert_eq!(down_at(&mut health, 0), 0.5);
        assert_eq!(down_at(&mut health, 10), 1.0);
        assert_eq!(down_at(&mut health, 20), 2.0);
        assert_eq!(down_at(&mut health, 200), 0.5);
    }
}
