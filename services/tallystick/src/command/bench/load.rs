//! How much load, for how long: the flags that all benches share.

use std::time::Duration;

use clap::Args;

use crate::clock;
use crate::settings::span;

/// Most calls in flight of a closed loop: ten connections full of streams, as the service allows them.
pub(super) const MAX_IN_FLIGHT: u64 = 10_000;
/// Most connections: each is a socket and a task on either side.
pub(super) const MAX_CONNECTIONS: u64 = 1000;
/// Most calls a second of an open loop: beyond any generator of this kind.
const MAX_RATE: u64 = 1_000_000;
/// Most calls that an open loop may have outstanding: what their memory is worth.
const MAX_OUTSTANDING: u64 = 100_000;
const DEFAULT_OUTSTANDING: u64 = 10_000;
/// Longest warm-up, in seconds: an hour.
const MAX_WARM_UP_S: i64 = 3600;
/// Longest measurement, in seconds: a day, which is one number a second in the result.
const MAX_DURATION_S: i64 = 86_400;

/// How the calls are made.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Closed loop: keep this many calls in flight; the next is sent when one is answered [default: 64]
    #[arg(
        long,
        value_parser = clap::value_parser!(u64).range(1..=MAX_IN_FLIGHT),
        value_name = "K",
        conflicts_with = "rate",
        help_heading = "Load"
    )]
    in_flight: Option<u64>,
    /// Open loop: send this many calls a second on a steady schedule, however long the answers take. Latency counts
    /// from when a call was due.
    #[arg(
        long,
        value_parser = clap::value_parser!(u64).range(1..=MAX_RATE),
        value_name = "R",
        help_heading = "Load"
    )]
    rate: Option<u64>,
    /// Open loop: most calls outstanding; what is due beyond is counted as unsent [default: 10000]
    #[arg(
        long,
        value_parser = clap::value_parser!(u64).range(1..=MAX_OUTSTANDING),
        value_name = "N",
        requires = "rate",
        help_heading = "Load"
    )]
    max_outstanding: Option<u64>,
    #[command(flatten)]
    time: TimeArgs,
}

/// How long, and from which seed.
#[derive(Debug, Args)]
pub(super) struct TimeArgs {
    /// Load before anything is measured: 5s, 1m.
    #[arg(long, default_value = "5s", value_parser = warm_up, value_name = "SPAN", help_heading = "Load")]
    warm_up: Duration,
    /// How long is measured: 30s, 10m. Ctrl-C ends it sooner, and what was measured is told.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "SPAN", help_heading = "Load")]
    duration: Duration,
    /// Makes the choice of accounts repeatable; a new one without it. The result tells it.
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,
}

/// The load of a run.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) mode: Mode,
    pub(super) warm_up: Duration,
    /// How long is measured.
    pub(super) length: Duration,
    pub(super) seed: u64,
    /// Names the run: part of every idempotency key, so that no run meets the keys of another.
    pub(super) run: String,
}

/// When a call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// When another one is answered.
    Closed {
        /// Calls in flight.
        in_flight: usize,
    },
    /// When it is due.
    Open {
        /// Calls a second.
        rate: u64,
        /// Most outstanding.
        max_outstanding: usize,
    },
}

impl LoadArgs {
    /// The load; `default_in_flight` without a flag.
    pub(super) fn load(&self, default_in_flight: u64) -> Load {
        let mode = match self.rate {
            Some(rate) => open(rate, self.max_outstanding),
            None => Mode::Closed { in_flight: size(self.in_flight.unwrap_or(default_in_flight)) },
        };
        self.time.load(mode)
    }
}

impl TimeArgs {
    /// The load in this mode.
    pub(super) fn load(&self, mode: Mode) -> Load {
        let seed = self.seed.unwrap_or_else(|| clock::random_below(u64::from(u32::MAX)));
        Load { mode, warm_up: self.warm_up, length: self.duration, seed, run: clock::new_id() }
    }
}

/// An open loop.
pub(super) fn open(rate: u64, max_outstanding: Option<u64>) -> Mode {
    Mode::Open { rate, max_outstanding: size(max_outstanding.unwrap_or(DEFAULT_OUTSTANDING)) }
}

impl Load {
    /// How long the run takes.
    pub(super) fn total(&self) -> Duration {
        self.warm_up.saturating_add(self.length)
    }

    /// As many connections as asked for, and none that would never be used.
    pub(super) fn connections(&self, asked: u64) -> usize {
        match self.mode {
            Mode::Closed { in_flight } => size(asked).min(in_flight),
            Mode::Open { max_outstanding, .. } => size(asked).min(max_outstanding),
        }
    }
}

/// A number of things in memory, limited by its flag.
pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn warm_up(text: &str) -> Result<Duration, String> {
    bounded(text, 0, MAX_WARM_UP_S, "must be 0s to 1h")
}

fn duration(text: &str) -> Result<Duration, String> {
    bounded(text, 1, MAX_DURATION_S, "must be 1s to 1d")
}

fn bounded(text: &str, least_s: i64, most_s: i64, rule: &str) -> Result<Duration, String> {
    let span = span::parse_span(text)?;
    let seconds = span.whole_seconds();
    if !(least_s..=most_s).contains(&seconds) {
        return Err(rule.to_owned());
    }
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_limits() {
        assert_eq!(warm_up("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for (text, rule) in [("0s", "must be 1s to 1d"), ("2d", "must be 1s to 1d"), ("1", "s, m, h, d or w")]
        {
            assert!(duration(text).unwrap_err().contains(rule), "{text}");
        }
        assert!(warm_up("61m").is_err());
    }

    #[test]
    fn no_connection_is_opened_that_no_call_would_use() {
        let time = TimeArgs { warm_up: Duration::ZERO, duration: Duration::from_secs(1), seed: Some(7) };
        assert_eq!(time.load(Mode::Closed { in_flight: 1 }).connections(4), 1);
        assert_eq!(time.load(Mode::Closed { in_flight: 64 }).connections(4), 4);
        assert_eq!(time.load(open(100, Some(2))).connections(4), 2);
    }
}
