//! Pauses between tries: doubling, with jitter, so that many who failed together do not come back together.

use std::time::Duration;

use rand::RngExt;

use crate::limits::{FIRST_PAUSE, LONGEST_PAUSE};

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
}

impl Pause {
    /// It worked: the next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next pause: between half of and the whole doubled length.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(LONGEST_PAUSE);
        rand::rng().random_range(whole / 2..=whole)
    }
}
