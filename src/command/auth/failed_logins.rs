//! Tells the log who failed to log in, in a line a second however many do. Is told neither user nor password: people write
//! the one in place of the other.

use crate::store::Now;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::debug;

/// Milliseconds from one line to the next.
const PAUSE: u64 = 1000;

/// What the log has been told.
#[derive(Debug, Default)]
pub struct FailedLogins {
    /// When the next line may come, in milliseconds of the store's clock.
    next: AtomicU64,
    /// Failures since the last line.
    unsaid: AtomicU64,
}

impl FailedLogins {
    /// Tells of a failure, or counts it for the next line.
    pub fn note(&self, who: impl fmt::Display, now: Now) {
        match self.others(now) {
            Some(0) => debug!("{who} failed to log in"),
            Some(others) => debug!("{who} failed to log in, as did {others} since the last such line"),
            None => {}
        }
    }

    /// If it is time for a line, how many failures came before this one without.
    fn others(&self, now: Now) -> Option<u64> {
        let now = now.millis();
        let due = |next| (now >= next).then_some(now + PAUSE);
        match self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due) {
            Ok(_) => Some(self.unsaid.swap(0, Ordering::Relaxed)),
            Err(_) => {
                self.unsaid.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_tells_how_many_had_none() {
        let failed = FailedLogins::default();
        let at = |millis| failed.others(Now::new(Now::EARLIEST + millis, 1_700_000_000));
        let said: Vec<_> = [0, 0, 400, 999, 1000, 1001, 5000, 5500, 7000].map(at).into();
        assert_eq!(said, [Some(0), None, None, None, Some(3), None, Some(1), None, Some(1)]);
    }
}
