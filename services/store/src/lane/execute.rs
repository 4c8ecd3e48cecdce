//! Runs a batch until every caller knows the truth.
//!
//! - Transient failures (a lost connection, an unknown commit included) run the same batch again within its
//!   callers' deadlines; the keys settle what happened before.
//! - When a lock or a statement takes too long, one account is to blame, and it is not known which: each takes a
//!   detour, so that the others do not wait with it.
//! - Any other failure splits the batch in halves until the offender stands alone and gets INTERNAL; its
//!   neighbours commit.
//! - A caller whose deadline passes gets a refusal only when nothing can have been written.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tracing::Instrument;

use super::connections::Lent;
use super::job::Job;
use super::{Shared, detour, traced};
use crate::apply::{BatchError, Item, Outcome, Wait, run_batch};
use crate::error::{ApplyError, StoreError};
use crate::measure::Phase;

/// First pause before a batch is tried again; doubles up to [`MAX_PAUSE`], with jitter.
const MIN_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause: a database that comes back is used again at once.
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// Tries of a lock that somebody else holds, `lock_timeout` each; then ABORTED.
const MAX_LOCK_TRIES: u32 = 3;
/// Longest time of one try. The server's own timeouts are shorter; this one bounds a silent network.
const BATCH_TIMEOUT: Duration = Duration::from_secs(12);

/// Runs the jobs as one batch, or as halves of it.
pub(crate) async fn execute(shared: &Arc<Shared>, mut jobs: Vec<Job>, wait: Wait) {
    let mut pause = MIN_PAUSE;
    let mut lock_tries = 0;
    loop {
        jobs.iter().for_each(Job::connect);
        let acquired = acquire(shared).await;
        // Without a connection nobody starts: a caller whose time is up is told that nothing was written.
        let starts = if acquired.is_ok() { Job::start } else { Job::waits_on };
        let (running, late): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(starts);
        late.into_iter().for_each(Job::expire);
        jobs = running;
        if jobs.is_empty() {
            return;
        }
        jobs.iter_mut()
            .filter_map(Job::waited)
            .for_each(|wait| shared.measures.queue_wait.observe(wait.as_secs_f64()));
        let tried = match acquired {
            Ok(lent) => {
                let span = traced::batch_span(&mut jobs);
                attempt(shared, lent, &jobs, wait).instrument(span).await
            }
            Err(source) => Err(BatchError { source, commit_tried: false }),
        };
        let error = match tried {
            Ok(outcomes) => return deliver(shared, jobs, outcomes),
            Err(error) => error,
        };
        let contended = error.source.is_lock_timeout();
        for job in &mut jobs {
            job.rest(error.commit_tried, contended);
        }
        lock_tries += u32::from(contended);
        if lock_tries >= MAX_LOCK_TRIES {
            jobs.into_iter().for_each(|job| job.fail(ApplyError::Contended));
            return;
        }
        let slow = error.source.is_statement_timeout();
        if (contended || slow) && wait == Wait::Skip {
            jobs.into_iter().for_each(|job| detour::enter(shared, job));
            return;
        }
        if !error.source.is_transient() || (slow && jobs.len() > 1) {
            return split(shared, jobs, wait, error).await;
        }
        tracing::warn!(
            error = &error.source as &dyn std::error::Error,
            requests = jobs.len(),
            "batch is tried again"
        );
        shared.measures.retries.inc();
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = pause.saturating_mul(2).min(MAX_PAUSE);
    }
}

async fn acquire(shared: &Shared) -> Result<Lent, StoreError> {
    let acquired = shared.measures.phase(Phase::Acquire, shared.connections.acquire()).await;
    acquired.map_err(StoreError::during("acquire a connection"))
}

/// One try on one connection. A connection whose try failed is closed: what is left in it is unknown.
async fn attempt(
    shared: &Shared,
    mut lent: Lent,
    jobs: &[Job],
    wait: Wait,
) -> Result<Vec<Outcome>, BatchError> {
    let items: Vec<&Item> = jobs.iter().map(|job| &job.item).collect();
    let batch = run_batch(&mut lent.connection, &items, wait, &shared.policy, &shared.measures);
    let result = tokio::time::timeout(BATCH_TIMEOUT, batch).await.unwrap_or_else(|_| {
        let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let source = StoreError::Database { operation: "run a batch", source: sqlx::Error::Io(silent) };
        Err(BatchError { source, commit_tried: true })
    });
    if result.is_ok() {
        shared.connections.give_back(lent);
    } else {
        drop(lent.connection.detach());
    }
    result
}

fn deliver(shared: &Arc<Shared>, jobs: Vec<Job>, outcomes: Vec<Outcome>) {
    let requests = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    shared.measures.batch_requests.observe(f64::from(requests));
    shared.committed.send_modify(|commits| *commits = commits.wrapping_add(1));
    for (mut job, outcome) in jobs.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Decided(answer) => job.answer(answer),
            Outcome::Busy => {
                job.rest(false, true);
                detour::enter(shared, job);
            }
        }
    }
}

/// A failure that no retry of the whole mends: the offender must stand alone.
async fn split(shared: &Arc<Shared>, mut jobs: Vec<Job>, wait: Wait, error: BatchError) {
    if let [job] = jobs.as_slice() {
        tracing::error!(
            error = &error.source as &dyn std::error::Error,
            cause = ?std::error::Error::source(&error.source),
            account = %job.item.request.account(),
            "request failed"
        );
        jobs.into_iter().for_each(|job| job.fail(ApplyError::Internal));
        return;
    }
    shared.measures.splits.inc();
    let mut right = jobs.split_off(jobs.len() / 2);
    Box::pin(execute(shared, jobs, wait)).await;
    if wait == Wait::Skip {
        // An account of the left half may have gone on a detour: what came later must not overtake it.
        right = detour::divert(shared, right);
    }
    Box::pin(execute(shared, right, wait)).await;
}
