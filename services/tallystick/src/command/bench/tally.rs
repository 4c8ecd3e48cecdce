//! What a part of the generator has counted within the measured time, and how parts become a whole.
//!
//! Two questions are kept apart. Throughput is of the answers that arrived within the measured time. Latency is of the
//! calls that were due within it, also those whose answer came after its end: a service that falls behind shows both
//! that it answers less than is asked, and how long its callers wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::latency::{Latency, micros};
use crate::error::Error;

/// The measured time: what lies before it is warm-up. Ends as planned or, when the user wants it, sooner.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    length_us: AtomicU64,
}

impl Window {
    /// From `start` on, for `length`.
    pub(super) fn new(start: Instant, length: Duration) -> Self {
        Self { start, length_us: AtomicU64::new(micros(length)) }
    }

    /// When it starts.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// How long it is.
    pub(super) fn length(&self) -> Duration {
        Duration::from_micros(self.length_us.load(Ordering::Relaxed))
    }

    /// Ends it at `now`, unless it has ended already.
    pub(super) fn close(&self, now: Instant) {
        let length = micros(now.saturating_duration_since(self.start));
        self.length_us.fetch_min(length, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let length = self.length();
        // Ended during the warm-up: nothing is measured.
        length.is_zero() || now.checked_duration_since(self.start).is_some_and(|since| since >= length)
    }

    /// How far into it a moment lies; `None` outside.
    fn offset(&self, at: Instant) -> Option<Duration> {
        at.checked_duration_since(self.start).filter(|offset| *offset < self.length())
    }
}

/// A call that came to an end.
#[derive(Debug)]
pub(super) struct Ended {
    /// When it should have been sent: in a closed loop, when it was.
    pub(super) due: Instant,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When its answer was there.
    pub(super) at: Instant,
    /// `Some` for one that was refused or failed: why, such as `UNAVAILABLE/OVERLOADED`.
    pub(super) refused: Option<String>,
}

/// Counts and times.
#[derive(Debug)]
pub(super) struct Tally {
    /// Answers OK within the measured time.
    pub(super) completed: u64,
    /// Refusals and failures within it, by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Calls that were due and not sent, since too many were outstanding.
    pub(super) unsent: u64,
    /// Of calls that were due within it and answered OK.
    pub(super) latency: Latency,
    /// Of calls that were due within it and refused.
    pub(super) refused_latency: Latency,
    /// From when a call was due to when it was sent: the generator's own part of the latency.
    pub(super) send_delay: Latency,
    /// Answers OK by second.
    pub(super) series: Vec<u64>,
}

impl Tally {
    /// # Errors
    /// As [`Latency::try_new`].
    pub(super) fn try_new() -> Result<Self, Error> {
        Ok(Self {
            completed: 0,
            refused: BTreeMap::new(),
            unsent: 0,
            latency: Latency::try_new()?,
            refused_latency: Latency::try_new()?,
            send_delay: Latency::try_new()?,
            series: Vec::new(),
        })
    }

    /// Notes a call.
    pub(super) fn take(&mut self, window: &Window, call: Ended) {
        if window.offset(call.due).is_some() {
            let latency = if call.refused.is_some() { &mut self.refused_latency } else { &mut self.latency };
            latency.record(call.at.saturating_duration_since(call.due));
            self.send_delay.record(call.sent.saturating_duration_since(call.due));
        }
        let Some(offset) = window.offset(call.at) else { return };
        match call.refused {
            Some(reason) => *self.refused.entry(reason).or_default() += 1,
            None => {
                self.completed += 1;
                let second = usize::try_from(offset.as_secs()).unwrap_or(usize::MAX);
                if second >= self.series.len() {
                    self.series.resize(second + 1, 0);
                }
                self.series[second] += 1;
            }
        }
    }

    /// Notes a call that was due and could not be sent.
    pub(super) fn take_unsent(&mut self, window: &Window, due: Instant) {
        self.unsent += u64::from(window.offset(due).is_some());
    }

    /// All refusals and failures.
    pub(super) fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Takes over all that another part has counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.completed += other.completed;
        self.unsent += other.unsent;
        for (reason, count) in other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.latency.merge(&other.latency);
        self.refused_latency.merge(&other.refused_latency);
        self.send_delay.merge(&other.send_delay);
        self.series.resize(self.series.len().max(other.series.len()), 0);
        for (second, count) in other.series.into_iter().enumerate() {
            self.series[second] += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ended(origin: Instant, due_ms: u32, at_ms: u32, refused: Option<&str>) -> Ended {
        let (due, at) = (origin + due_ms * MS, origin + at_ms * MS);
        Ended { due, sent: due + MS, at, refused: refused.map(str::to_owned) }
    }

    #[test]
    fn throughput_is_of_answers_in_the_window_and_latency_of_calls_due_in_it() {
        let origin = Instant::now();
        let window = Window::new(origin + 1000 * MS, 2000 * MS);
        let mut tally = Tally::try_new().unwrap();
        for (due_ms, at_ms) in [(0, 999), (500, 1000), (1000, 1100), (1500, 2100), (2999, 3000), (3000, 3001)]
        {
            tally.take(&window, ended(origin, due_ms, at_ms, None));
        }
        assert_eq!((tally.completed, &tally.series[..]), (3, &[2, 1][..]));
        assert_eq!(tally.latency.count(), 3);
        assert_eq!(tally.send_delay.summary().unwrap().max, 1000);
        for (due_ms, counted) in [(999, 0), (1000, 1), (2999, 2), (3000, 2)] {
            tally.take_unsent(&window, origin + due_ms * MS);
            assert_eq!(tally.unsent, counted);
        }
    }

    #[test]
    fn merged_parts_are_as_if_one_had_counted_all() {
        let origin = Instant::now();
        let window = Window::new(origin, 5000 * MS);
        let (mut left, mut right) = (Tally::try_new().unwrap(), Tally::try_new().unwrap());
        let mut all = Tally::try_new().unwrap();
        for n in 0..400 {
            let refused = (n % 3 == 0).then_some(if n % 2 == 0 { "A" } else { "B" });
            let part = if n < 100 { &mut left } else { &mut right };
            part.take(&window, ended(origin, n * 10, n * 10 + n, refused));
            all.take(&window, ended(origin, n * 10, n * 10 + n, refused));
        }
        left.merge(right);
        assert_eq!((left.completed, left.refused_count()), (all.completed, all.refused_count()));
        assert_eq!((&left.refused, &left.series), (&all.refused, &all.series));
        assert_eq!(left.latency.summary(), all.latency.summary());
        assert_eq!(left.refused_latency.summary(), all.refused_latency.summary());
        assert_eq!(left.series.iter().sum::<u64>(), left.completed);
    }

    #[test]
    fn a_window_that_is_closed_early_is_shorter_and_never_longer() {
        let origin = Instant::now();
        let window = Window::new(origin + 1000 * MS, 2000 * MS);
        assert!(!window.is_over(origin) && !window.is_over(origin + 2999 * MS));
        window.close(origin + 1500 * MS);
        window.close(origin + 2500 * MS);
        assert_eq!(window.length(), 500 * MS);
        assert!(!window.is_over(origin + 1499 * MS) && window.is_over(origin + 1500 * MS));
        window.close(origin);
        assert_eq!(window.length(), Duration::ZERO);
        assert!(window.is_over(origin), "ended during the warm-up");
    }
}
