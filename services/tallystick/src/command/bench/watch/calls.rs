//! The spends that a run of `bench watch` makes, as its readers have to know them: when each was sent, when it was
//! answered, and how far each balance has come by it.
//!
//! A spend carries its number and time in its reference, which comes back in the entry: a reader needs no table of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::v1::SpendCreditsRequest;

use super::super::accounts::Accounts;
use super::super::drive::{Refusal, Work};
use super::super::latency::micros;
use super::super::load::size;
use crate::client::Client;

/// Most calls of a run: each takes sixteen bytes for times.
pub(super) const MAX_CALLS: u64 = 10_000_000;

/// All calls of a run.
#[derive(Debug)]
pub(super) struct Calls {
    run: String,
    origin: Instant,
    /// From when calls are measured, in microseconds since `origin`.
    measured_from_us: AtomicU64,
    /// By number: when the answer came, in microseconds since `origin`; 0 when it has not.
    answered_us: Vec<AtomicU64>,
    /// By number: from sending it to its newest arrival, in microseconds; 0 when it did not arrive.
    last_us: Vec<AtomicU64>,
    /// By account: the newest version that was acknowledged.
    newest: Vec<AtomicI64>,
}

/// What a reader knows of the call behind an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// From sending it to now.
    pub(super) since_sent: Duration,
    /// From its answer to now; `None` when there is no answer yet.
    pub(super) since_answer: Option<Duration>,
}

impl Calls {
    /// For at most `calls` calls on `accounts` accounts.
    pub(super) fn new(run: &str, calls: u64, accounts: u64) -> Self {
        Self {
            run: run.to_owned(),
            origin: Instant::now(),
            measured_from_us: AtomicU64::new(u64::MAX),
            answered_us: (0..calls.min(MAX_CALLS)).map(|_| AtomicU64::new(0)).collect(),
            last_us: (0..calls.min(MAX_CALLS)).map(|_| AtomicU64::new(0)).collect(),
            newest: (0..accounts).map(|_| AtomicI64::new(0)).collect(),
        }
    }

    /// Measures calls that are sent after the warm-up, which begins now.
    pub(super) fn begin(&self, warm_up: Duration) {
        let from = self.origin.elapsed().saturating_add(warm_up);
        self.measured_from_us.store(micros(from), Ordering::Relaxed);
    }

    /// The newest acknowledged version of an account.
    pub(super) fn newest(&self, account: u64) -> i64 {
        self.newest.get(size(account)).map_or(0, |newest| newest.load(Ordering::Acquire))
    }

    /// Of every measured call that arrived: from sending it to its last arrival.
    pub(super) fn last_arrivals(&self) -> impl Iterator<Item = Duration> {
        let arrived = self.last_us.iter().map(|us| us.load(Ordering::Relaxed)).filter(|us| *us > 0);
        arrived.map(Duration::from_micros)
    }

    /// The call behind an entry that arrived now; `None` when it is another's, or was made during the warm-up.
    pub(super) fn take_measured(&self, reference: &str, now: Instant) -> Option<Known> {
        let (number, sent_us) = reference.strip_prefix(&self.run)?.strip_prefix('/')?.split_once('/')?;
        let (number, sent_us): (u64, u64) = (number.parse().ok()?, sent_us.parse().ok()?);
        if sent_us < self.measured_from_us.load(Ordering::Relaxed) {
            return None;
        }
        let answered_us = self.answered_us.get(size(number)).map_or(0, |us| us.load(Ordering::Acquire));
        let since = |us| now.saturating_duration_since(self.origin + Duration::from_micros(us));
        let since_sent = since(sent_us);
        if let Some(last_us) = self.last_us.get(size(number)) {
            last_us.fetch_max(micros(since_sent).max(1), Ordering::Relaxed);
        }
        Some(Known { since_sent, since_answer: (answered_us > 0).then(|| since(answered_us)) })
    }

    fn reference(&self, number: u64) -> String {
        format!("{}/{number}/{}", self.run, micros(self.origin.elapsed()))
    }

    fn answered(&self, number: u64, account: u64, version: i64) {
        if let Some(answered_us) = self.answered_us.get(size(number)) {
            answered_us.store(micros(self.origin.elapsed()).max(1), Ordering::Release);
        }
        if let Some(newest) = self.newest.get(size(account)) {
            newest.fetch_max(version, Ordering::AcqRel);
        }
    }
}

/// Makes the spends.
#[derive(Clone)]
pub(super) struct WatchedSpend {
    pub(super) client: Client,
    pub(super) accounts: Accounts,
    pub(super) amount: i64,
    pub(super) calls: Arc<Calls>,
}

impl Work for WatchedSpend {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let account = self.accounts.choose(number);
        let request = self.client.request(SpendCreditsRequest {
            account_id: self.accounts.name(account),
            unit: self.accounts.unit().to_owned(),
            idempotency_key: format!("{}-{number}", self.calls.run),
            amount: self.amount,
            reference: self.calls.reference(number),
            ..SpendCreditsRequest::default()
        });
        let answer = self.client.service.spend_credits(request).await;
        let answer = answer.map_err(|status| Refusal::of(&status))?.into_inner();
        let version = answer.balance.map_or(0, |balance| balance.version);
        self.calls.answered(number, account, version);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_leads_to_its_call_and_a_strangers_does_not() {
        let calls = Calls::new("r", 10, 2);
        let warm_up = calls.reference(1);
        assert_eq!(calls.take_measured(&warm_up, Instant::now()), None);
        calls.begin(Duration::ZERO);
        std::thread::park_timeout(Duration::from_micros(1));
        let reference = calls.reference(3);
        let known = calls.take_measured(&reference, Instant::now()).unwrap();
        assert_eq!(known.since_answer, None, "the message came first");
        calls.answered(3, 1, 7);
        calls.answered(4, 1, 6);
        let known = calls.take_measured(&reference, Instant::now()).unwrap();
        assert!(known.since_answer.unwrap() <= known.since_sent);
        let last = Duration::from_micros(micros(known.since_sent).max(1));
        assert_eq!(calls.last_arrivals().collect::<Vec<_>>(), [last], "the later one of two");
        assert_eq!((calls.newest(0), calls.newest(1), calls.newest(2)), (0, 7, 0));
        for other in ["", "job_17", "r/3", "r/x/1", "other/3/99", "r/3/-1"] {
            assert_eq!(calls.take_measured(other, Instant::now()), None, "{other}");
        }
    }
}
