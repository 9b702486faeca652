//! The one place that reads clocks: makes the [`Now`] that is an argument everywhere else.

use crate::store::Now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that never goes back, tied to the wall clock.
///
/// Its whole seconds begin with the wall clock's, so that both change together; a wall clock that has been set is
/// followed in whole seconds by [`Clock::follow_wall_clock`].
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// What it showed at `start`, in milliseconds.
    offset: u64,
    /// Unix time, in seconds, at its zero.
    unix_base: AtomicU64,
}

/// How far the wall clock may be away, in milliseconds, before its time is taken over.
const TOLERANCE: u64 = 700;

impl Clock {
    /// A clock that starts now.
    pub(super) fn new() -> Clock {
        let wall = wall_millis();
        let offset = Now::EARLIEST + wall % 1000;
        Clock {
            start: Instant::now(),
            offset,
            unix_base: AtomicU64::new((wall / 1000).saturating_sub(offset / 1000)),
        }
    }

    /// The time now.
    pub(super) fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The time at a moment the caller has read.
    pub(super) fn at(&self, moment: Instant) -> Now {
        let millis = self.offset + moment.duration_since(self.start).as_millis() as u64;
        Now::new(millis, self.unix_base.load(Ordering::Relaxed) + millis / 1000)
    }

    /// Takes over the wall clock's time if it has been set. To be called now and then, by one thread.
    pub(super) fn follow_wall_clock(&self) {
        self.follow(wall_millis());
    }

    fn follow(&self, wall: u64) {
        let shown = self.unix_base.load(Ordering::Relaxed) * 1000 + self.millis();
        if shown.abs_diff(wall) > TOLERANCE {
            let base = wall.saturating_sub(self.millis()).saturating_add(500) / 1000;
            self.unix_base.store(base, Ordering::Relaxed);
        }
    }

    fn millis(&self) -> u64 {
        self.offset + self.start.elapsed().as_millis() as u64
    }
}

/// Microseconds since 1970 by the wall clock, for log lines.
pub(super) fn unix_micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

fn wall_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Expiry;
    use std::time::Duration;

    #[test]
    fn it_starts_late_enough_and_agrees_with_the_wall_clock() {
        let clock = Clock::new();
        let now = clock.now();
        assert!(now.millis() >= Now::EARLIEST);
        assert!(now.unix().abs_diff(wall_millis() / 1000) <= 1);
    }

    #[test]
    fn it_follows_a_wall_clock_that_was_set_and_keeps_its_own_time() {
        let clock = Clock::new();
        let before = clock.now();
        clock.follow(wall_millis() + 3_600_000);
        let after = clock.now();
        assert!((after.unix() - before.unix()).abs_diff(3600) <= 1);
        assert!(after.millis() - before.millis() < 60_000);
    }

    #[test]
    fn a_small_difference_is_left_alone() {
        let clock = Clock::new();
        let base = clock.unix_base.load(Ordering::Relaxed);
        clock.follow(wall_millis() + TOLERANCE / 2);
        assert_eq!(clock.unix_base.load(Ordering::Relaxed), base);
    }

    #[test]
    fn a_wall_clock_set_back_moves_unix_time_and_nothing_else() {
        let clock = Clock::new();
        let wall = clock.now().unix() * 1000;
        let at = |seconds| clock.at(clock.start + Duration::from_secs(seconds));
        let (stored, ten_seconds) = (at(0), Expiry::after(10, at(0)));
        // An hour, to 1970, a day on: each leap with a second between.
        for (second, set_to) in [(1, wall - 3_600_000), (2, 0), (3, wall + 86_400_000)] {
            let before = at(second);
            clock.follow(set_to);
            let after = at(second);
            assert_eq!(after.millis(), before.millis());
            assert!(after.unix().abs_diff(set_to / 1000 + second) <= Now::EARLIEST / 1000 + 1, "{after:?}");
            assert!(at(second + 1).millis() > after.millis());
            assert_eq!(at(second + 1).unix(), after.unix() + 1);
        }
        assert!(!ten_seconds.is_over(at(9)));
        assert!(ten_seconds.is_over(at(11)));
        // A Unix time is one by the wall clock as it is now.
        clock.follow(wall - 3_600_000);
        let soon = Expiry::at_unix(at(20).unix() + 5, at(20));
        assert!(!soon.is_over(at(24)) && soon.is_over(at(26)));
        assert!(Expiry::at_unix(stored.unix() - 7200, at(20)).is_over(at(20)));
    }
}
