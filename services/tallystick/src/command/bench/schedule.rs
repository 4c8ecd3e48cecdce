//! The steady schedule of an open loop: when each call is due, whatever became of the ones before.

use std::time::{Duration, Instant};

/// Calls at a steady rate, numbered from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    origin: Instant,
    rate: u64,
}

impl Schedule {
    /// `rate` calls a second from `origin` on; a rate of 0 counts as 1.
    pub(super) fn new(origin: Instant, rate: u64) -> Self {
        Self { origin, rate: rate.max(1) }
    }

    /// When call `number` is due.
    pub(super) fn due(&self, number: u64) -> Instant {
        let (seconds, rest) = (number / self.rate, number % self.rate);
        // Below a second, since rest < rate.
        let nanos = u128::from(rest) * 1_000_000_000 / u128::from(self.rate);
        let nanos = u32::try_from(nanos).unwrap_or(0);
        self.origin.checked_add(Duration::new(seconds, nanos)).unwrap_or(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_a_steady_rate_without_drift() {
        let origin = Instant::now();
        for rate in [1, 3, 7, 1000, 999_983] {
            let schedule = Schedule::new(origin, rate);
            assert_eq!(schedule.due(0), origin);
            for seconds in [1, 60, 86_400] {
                assert_eq!(schedule.due(rate * seconds), origin + Duration::from_secs(seconds), "{rate}");
            }
            let gaps = (0..2 * rate.min(5000)).map(|n| schedule.due(n + 1) - schedule.due(n));
            let exact = Duration::from_secs(1) / u32::try_from(rate).unwrap();
            for gap in gaps {
                assert!(gap.abs_diff(exact) <= Duration::from_nanos(1), "{rate}: {gap:?}");
            }
        }
    }
}
