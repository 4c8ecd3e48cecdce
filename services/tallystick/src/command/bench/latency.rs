//! How long things took, as an HDR histogram of microseconds with three significant digits.
//!
//! Promises: no value is lost; one above [`LONGEST`] counts as that. Must not know: what was measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::Error;

/// The longest time that is told apart from longer ones: ten times the longest deadline that one asks for in practice.
pub(super) const LONGEST: Duration = Duration::from_secs(600);
const SIGNIFICANT_DIGITS: u8 = 3;

/// Times.
#[derive(Debug, Clone)]
pub(super) struct Latency(Histogram<u64>);

/// What is told of a histogram; all in microseconds, each at most 0.1 % too high.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) mean: f64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl Latency {
    /// # Errors
    /// [`Error::Io`] when the histogram cannot be made, which its constants rule out.
    pub(super) fn try_new() -> Result<Self, Error> {
        let made = Histogram::new_with_bounds(1, micros(LONGEST), SIGNIFICANT_DIGITS);
        let made = made.map_err(|error| std::io::Error::other(error.to_string()));
        Ok(Self(made.map_err(Error::io("make a histogram"))?))
    }

    /// Notes one.
    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(micros(time));
    }

    /// Takes over all that another one has.
    pub(super) fn merge(&mut self, other: &Self) {
        for step in other.0.iter_recorded() {
            self.0.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None` when there is nothing to tell.
    pub(super) fn summary(&self) -> Option<Summary> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Summary {
            mean: tenths(self.0.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        })
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Rounded to one decimal, which is more than any of these figures can promise.
pub(super) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_us: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::try_new().unwrap();
        times_us.into_iter().for_each(|time| latency.record(Duration::from_micros(time)));
        latency
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let summary = of(1..=1000).summary().unwrap();
        assert_eq!((summary.p50, summary.p90, summary.p99, summary.p999), (500, 900, 990, 999));
        assert_eq!((summary.max, summary.mean), (1000, 500.5));
        assert_eq!(of([]).summary(), None);
    }

    #[test]
    fn merged_ones_are_as_if_recorded_together() {
        let mut merged = of((1..=50_000).step_by(2));
        merged.merge(&of((2..=50_000).step_by(2)));
        let together = of(1..=50_000);
        assert_eq!((merged.count(), merged.summary()), (50_000, together.summary()));
    }

    #[test]
    fn an_outlier_is_clamped_and_not_lost() {
        let mut latency = of([1]);
        latency.record(Duration::from_secs(1_000_000));
        latency.record(Duration::ZERO);
        let max = latency.summary().unwrap().max;
        assert_eq!(latency.count(), 3);
        assert!((micros(LONGEST)..micros(LONGEST) / 1000 * 1001).contains(&max), "{max}");
    }
}
