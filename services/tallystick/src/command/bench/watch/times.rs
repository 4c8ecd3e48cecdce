//! How long changes took to their readers, as three histograms.

use std::time::Duration;

use prost_types::Timestamp;
use serde::Serialize;

use super::super::latency::{Latency, Summary};
use super::calls::Known;
use crate::error::Error;

/// Times of a part of the readers.
#[derive(Debug)]
pub(super) struct Times {
    delivered: u64,
    before_ack: u64,
    recorded: Latency,
    ack: Latency,
    call: Latency,
}

/// What is told of them.
#[derive(Debug, Serialize)]
pub(super) struct TimesReport {
    pub(super) delivered: u64,
    pub(super) recorded_to_subscriber_us: Option<Summary>,
    pub(super) ack_to_subscriber_us: Option<Summary>,
    pub(super) call_to_subscriber_us: Option<Summary>,
    pub(super) call_to_last_subscriber_us: Option<Summary>,
    pub(super) before_ack: u64,
}

impl Times {
    /// # Errors
    /// As [`Latency::try_new`].
    pub(super) fn try_new() -> Result<Self, Error> {
        Ok(Self {
            delivered: 0,
            before_ack: 0,
            recorded: Latency::try_new()?,
            ack: Latency::try_new()?,
            call: Latency::try_new()?,
        })
    }

    /// Notes an entry that arrived at `now_us`, in microseconds since 1970. A clock that is behind the database's makes
    /// it 0, never negative.
    pub(super) fn take(&mut self, known: &Known, recorded_at: Option<&Timestamp>, now_us: i64) {
        self.delivered += 1;
        self.call.record(known.since_sent);
        self.before_ack += u64::from(known.since_answer.is_none());
        self.ack.record(known.since_answer.unwrap_or_default());
        if let Some(at) = recorded_at {
            let at_us = at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos / 1000));
            let since_us = u64::try_from(now_us.saturating_sub(at_us)).unwrap_or(0);
            self.recorded.record(Duration::from_micros(since_us));
        }
    }

    /// Takes over all that another part has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.before_ack += other.before_ack;
        self.recorded.merge(&other.recorded);
        self.ack.merge(&other.ack);
        self.call.merge(&other.call);
    }

    /// What is told of them.
    ///
    /// # Errors
    /// As [`Latency::try_new`].
    pub(super) fn report(&self, last: impl Iterator<Item = Duration>) -> Result<TimesReport, Error> {
        let mut to_last = Latency::try_new()?;
        last.for_each(|time| to_last.record(time));
        Ok(TimesReport {
            delivered: self.delivered,
            recorded_to_subscriber_us: self.recorded.summary(),
            ack_to_subscriber_us: self.ack.summary(),
            call_to_subscriber_us: self.call.summary(),
            call_to_last_subscriber_us: to_last.summary(),
            before_ack: self.before_ack,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_before_the_answer_and_one_from_the_future_count_as_0() {
        let mut times = Times::try_new().unwrap();
        let recorded_at = Timestamp { seconds: 10, nanos: 5_000 };
        let ms = Duration::from_millis;
        times.take(&Known { since_sent: ms(3), since_answer: None }, Some(&recorded_at), 10_000_000);
        times.take(&Known { since_sent: ms(5), since_answer: Some(ms(2)) }, Some(&recorded_at), 10_001_005);
        let mut merged = Times::try_new().unwrap();
        merged.merge(&times);
        let report = merged.report([ms(7)].into_iter()).unwrap();
        assert_eq!((report.delivered, report.before_ack), (2, 1));
        assert_eq!(report.ack_to_subscriber_us.unwrap().p50, 0);
        assert_eq!(report.ack_to_subscriber_us.unwrap().max / 10, 200);
        assert_eq!(report.call_to_last_subscriber_us.unwrap().max / 10, 700);
        assert_eq!(report.recorded_to_subscriber_us.unwrap().max, 1000);
        assert_eq!(report.recorded_to_subscriber_us.unwrap().p50, 0);
    }
}
