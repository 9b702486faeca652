//! Time as the store sees it: a clock that never goes back, and the moments items expire. Reads no clock itself.

use std::num::NonZeroU32;

/// The time of one batch of work: milliseconds on a clock that never goes back, and the Unix time it corresponds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    millis: u64,
    unix_base: u64,
}

impl Now {
    /// `millis` is the time on a clock that never goes back and starts above [`Now::EARLIEST`]; `unix_seconds` is
    /// the wall clock's time at this moment, which may jump between two calls.
    pub fn new(millis: u64, unix_seconds: u64) -> Now {
        Now { millis, unix_base: unix_seconds.saturating_sub(millis / 1000) }
    }

    /// The lowest time, in milliseconds, a clock may show: earlier ones stand for moments long past.
    pub const EARLIEST: u64 = 10_000;

    /// Milliseconds on the clock that never goes back.
    pub fn millis(self) -> u64 {
        self.millis
    }

    /// Whole seconds on the clock that never goes back.
    pub fn seconds(self) -> u32 {
        (self.millis / 1000) as u32
    }

    /// Whole eighths of a second on the clock that never goes back.
    pub fn eighths(self) -> u32 {
        (self.millis / 125) as u32
    }

    /// Seconds since 1970 by the wall clock.
    pub fn unix(self) -> u64 {
        self.unix_base + self.millis / 1000
    }

    /// The Unix time of a moment given in seconds of the clock that never goes back.
    pub fn unix_at(self, seconds: u32) -> u64 {
        self.unix_base + u64::from(seconds)
    }

    /// This moment moved on by whole seconds.
    pub fn plus_seconds(self, seconds: u32) -> Now {
        Now { millis: self.millis + u64::from(seconds) * 1000, ..self }
    }
}

/// When an item stops being served: never, or at the start of a second of the store's clock.
///
/// An item stored for n seconds lives at least n and less than n + 1: the deadline is the first whole second that
/// is not before n seconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(Option<NonZeroU32>);

impl Expiry {
    /// No expiry.
    pub const NEVER: Expiry = Expiry(None);
    /// Already over: stored, then never found.
    pub const PAST: Expiry = Expiry(Some(NonZeroU32::MIN));

    /// `seconds` from now; 0 is already over.
    pub fn after(seconds: u32, now: Now) -> Expiry {
        if seconds == 0 {
            return Expiry::PAST;
        }
        let start = now.millis.div_ceil(1000).min(u64::from(u32::MAX)) as u32;
        Expiry(NonZeroU32::new(start.saturating_add(seconds)))
    }

    /// When that second of Unix time begins, by the wall clock as it is now.
    pub fn at_unix(unix: u64, now: Now) -> Expiry {
        match unix.checked_sub(now.unix()) {
            None | Some(0) => Expiry::PAST,
            Some(seconds) => {
                let seconds = seconds.min(u64::from(u32::MAX)) as u32;
                Expiry(NonZeroU32::new(now.seconds().saturating_add(seconds)))
            }
        }
    }

    /// From its deadline in seconds of the store's clock; `None` is never.
    pub fn from_deadline(deadline: Option<NonZeroU32>) -> Expiry {
        Expiry(deadline)
    }

    /// Its deadline in seconds of the store's clock; `None` is never.
    pub fn deadline(self) -> Option<NonZeroU32> {
        self.0
    }

    /// Whether the deadline has come.
    pub fn is_over(self, now: Now) -> bool {
        self.0.is_some_and(|deadline| deadline.get() <= now.seconds())
    }

    /// Seconds left, rounded down, 0 when over; `None` is never.
    pub fn remaining(self, now: Now) -> Option<u32> {
        let elapsed = now.millis.div_ceil(1000).min(u64::from(u32::MAX)) as u32;
        self.0.map(|deadline| deadline.get().saturating_sub(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At whatever phase of a second it was stored, and not a moment later.
    #[test]
    fn at_a_unix_time_it_is_over_when_that_second_begins() {
        for phase in [0, 1, 500, 999] {
            let stored = Now::new(Now::EARLIEST + phase, 1_700_000_000);
            let expiry = Expiry::at_unix(1_700_000_010, stored);
            let later = |millis| Now::new(Now::EARLIEST + millis, 1_700_000_000 + millis / 1000);
            assert!(!expiry.is_over(later(9_999)) && expiry.is_over(later(10_000)), "phase {phase}");
        }
    }

    /// The rule of the type's docs, at every phase of a second.
    #[test]
    fn an_item_lives_at_least_its_seconds_and_less_than_one_more() {
        for phase in [0, 1, 499, 999] {
            let stored = Now::new(Now::EARLIEST + phase, 1_700_000_000);
            let expiry = Expiry::after(2, stored);
            assert_eq!(expiry.remaining(stored), Some(2));
            let at = |later: u64| Now::new(stored.millis() + later, 1_700_000_000);
            assert!(!expiry.is_over(at(1999)), "phase {phase}");
            assert!(expiry.is_over(at(2999)), "phase {phase}");
        }
    }

    #[test]
    fn past_and_zero_are_over_at_once() {
        let now = Now::new(Now::EARLIEST, 1_700_000_000);
        assert!(Expiry::PAST.is_over(now));
        assert!(Expiry::after(0, now).is_over(now));
        assert!(Expiry::at_unix(1_700_000_000, now).is_over(now));
        assert!(!Expiry::at_unix(1_700_000_001, now).is_over(now));
        assert!(!Expiry::NEVER.is_over(now));
    }
}
