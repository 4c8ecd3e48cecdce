//! How long to wait before the next try. Pure: chance comes in as a number.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// A service may ask for more than our longest wait, but not for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Exponential backoff with full jitter, so that the watchers of a service that restarts do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { ceiling: FIRST }
    }

    /// After progress.
    pub(crate) fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// The wait after a failure; `chance` lies in 0..=1. Never shorter than what the service asked for.
    pub(crate) fn after_failure(&mut self, chance: f64, asked: Option<Duration>) -> Duration {
        let wait = self.ceiling.mul_f64(chance.clamp(0.0, 1.0));
        self.ceiling = self.ceiling.saturating_mul(2).min(LONGEST);
        wait.max(bounded(asked.unwrap_or_default()))
    }
}

/// What a service asks for, within reason.
pub(crate) fn bounded(asked: Duration) -> Duration {
    asked.min(LONGEST_ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_progress() {
        let mut backoff = Backoff::new();
        for expected in [200, 400, 800, 1600, 3200, 5000, 5000] {
            assert_eq!(backoff.after_failure(1.0, None), Duration::from_millis(expected));
        }
        backoff.reset();
        assert_eq!(backoff.after_failure(0.5, None), Duration::from_millis(100));
        assert_eq!(backoff.after_failure(0.0, None), Duration::ZERO);
    }

    #[test]
    fn what_the_service_asks_for_is_the_least_and_has_a_bound() {
        let cases = [(7, 7), (0, 0), (u64::MAX, 3600)];
        for (asked, expected) in cases {
            let wait = Backoff::new().after_failure(0.0, Some(Duration::from_secs(asked)));
            assert_eq!(wait, Duration::from_secs(expected));
        }
    }
}
