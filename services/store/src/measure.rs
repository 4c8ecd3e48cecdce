//! What the write path counts. Every handle is made once; a batch costs some dozen short locks, a request two.

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

/// Upper bounds in seconds of phases and waits: from a decision (tens of microseconds) to a statement's timeout (5 s).
const BUCKETS_S: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Upper bounds in requests: powers of two up to `MAX_BATCH`.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// A phase of a batch; see the table of `apply.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A connection of the pool.
    Acquire,
    /// `begin`.
    Begin,
    /// One row per account.
    Lock,
    /// What the rules need.
    Read,
    /// The rules.
    Decide,
    /// What they decided.
    Write,
    /// `commit`.
    Commit,
}

impl Phase {
    const ALL: [Self; 7] =
        [Self::Acquire, Self::Begin, Self::Lock, Self::Read, Self::Decide, Self::Write, Self::Commit];

    /// Its name in counters and traces.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Begin => "begin",
            Self::Lock => "lock",
            Self::Read => "read",
            Self::Decide => "decide",
            Self::Write => "write",
            Self::Commit => "commit",
        }
    }
}

type Labels = [(&'static str, &'static str); 1];

/// The counters of a store. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Measures {
    phases: Family<Labels, Histogram, fn() -> Histogram>,
    /// At the places of [`Phase::ALL`].
    phase_handles: [Histogram; 7],
    pub(crate) batch_requests: Histogram,
    pub(crate) queue_wait: Histogram,
    pub(crate) retries: Counter,
    pub(crate) splits: Counter,
    pub(crate) detours: Counter,
    pub(crate) sweep: Sweep,
}

/// The counters of the sweeper.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweep {
    pub(crate) settled: Counter,
    pub(crate) failed: Counter,
    pub(crate) lag: Gauge<f64, AtomicU64>,
}

impl Default for Measures {
    fn default() -> Self {
        let phases = Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(durations);
        let phase_handles = Phase::ALL.map(|phase| phases.get_or_create_owned(&[("phase", phase.name())]));
        Self {
            phases,
            phase_handles,
            batch_requests: Histogram::new(BATCH_BUCKETS),
            queue_wait: durations(),
            retries: Counter::default(),
            splits: Counter::default(),
            detours: Counter::default(),
            sweep: Sweep::default(),
        }
    }
}

fn durations() -> Histogram {
    Histogram::new(BUCKETS_S)
}

impl Measures {
    /// Puts the counters where they are read.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Time of a batch in each phase of its transaction; a phase that failed is left out";
        registry.register_with_unit("apply_phase_duration", help, Unit::Seconds, self.phases.clone());
        registry.register("batch_requests", "Requests of a committed batch", self.batch_requests.clone());
        let help = "Time of a request from its queueing to the beginning of its first batch";
        registry.register_with_unit("queue_wait", help, Unit::Seconds, self.queue_wait.clone());
        registry.register(
            "batch_retries",
            "Batches tried again after a failure that passes",
            self.retries.clone(),
        );
        registry.register(
            "batch_splits",
            "Batches halved to find the request that fails",
            self.splits.clone(),
        );
        let help = "Requests served outside their lane, since somebody else had their account locked";
        registry.register("detours", help, self.detours.clone());
        let help = "Balances whose due changes the sweeper has settled";
        registry.register("swept_balances", help, self.sweep.settled.clone());
        let help = "Balances whose due changes the sweeper could not settle yet";
        registry.register("sweep_failures", help, self.sweep.failed.clone());
        let help = "Age of the oldest due change at the sweeper's last look, before it was settled";
        registry.register_with_unit("sweep_lag", help, Unit::Seconds, self.sweep.lag.clone());
    }

    pub(crate) fn phase_took(&self, phase: Phase, took: Duration) {
        let [acquire, begin, lock, read, decide, write, commit] = &self.phase_handles;
        let histogram = match phase {
            Phase::Acquire => acquire,
            Phase::Begin => begin,
            Phase::Lock => lock,
            Phase::Read => read,
            Phase::Decide => decide,
            Phase::Write => write,
            Phase::Commit => commit,
        };
        histogram.observe(took.as_secs_f64());
    }

    /// Measures a phase that succeeds, and shows it to an exporter.
    pub(crate) async fn phase<T, E>(
        &self,
        phase: Phase,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let _span = crate::lane::traced::phase_span(phase);
        let done = work.await;
        if done.is_ok() {
            self.phase_took(phase, began.elapsed());
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_phases_that_succeed_are_counted() {
        let measures = Measures::default();
        let _ = measures.phase(Phase::Read, async { Ok::<_, ()>(()) }).await;
        let _ = measures.phase(Phase::Read, async { Err::<(), _>(()) }).await;
        let mut registry = Registry::default();
        measures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"apply_phase_duration_seconds_count{phase="read"} 1"#), "{text}");
        assert!(text.contains(r#"apply_phase_duration_seconds_count{phase="commit"} 0"#), "{text}");
    }
}
