//! Lanes: how requests of many callers become batches.
//!
//! A request goes to the lane that its account hashes to. A free lane takes everything that is queued, up to
//! [`MAX_BATCH`] requests and [`MAX_BATCH_BYTES`], and runs it as one batch: no artificial delay, an idle
//! service commits a batch of one at once, and a hot account gets faster with load. An account that somebody
//! else has locked leaves its lane and is served by a task of its own (`detour.rs`), so that strangers do not
//! wait with it. What a caller is told is always true; `execute.rs` sees to that.

mod detour;
mod execute;
mod job;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use domain::{AccountId, OperationId};
use sqlx::PgPool;
use sqlx::types::Uuid;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::{EncodeEvent, Item, Wait};
use crate::error::ApplyError;
use crate::request::{Answer, Request};
use job::{Job, Progress};

/// Most requests of one batch: the transaction stays short, and a failed one is cheap to split.
pub(crate) const MAX_BATCH: usize = 256;
/// Most bytes of one batch, about: Stripe bodies travel with their requests.
pub(crate) const MAX_BATCH_BYTES: usize = 1 << 20;
/// Requests that may wait in one lane, and on all detours together. At 10,000 requests a second on two lanes: 200 ms of work.
pub(crate) const MAX_QUEUE: usize = 1024;
/// Accounts that may wait for foreign locks at once; each holds a connection while it waits.
pub(crate) const MAX_DETOURS: usize = 8;

/// What every lane works with.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) encode: EncodeEvent,
    pub(crate) new_accounts_are_sandbox: bool,
    pub(crate) committed: watch::Sender<u64>,
    /// Requests of accounts that are being served outside their lane.
    pub(crate) detours: Mutex<HashMap<AccountId, Vec<Job>>>,
    pub(crate) detour_permits: Semaphore,
    pub(crate) tasks: TaskTracker,
}

/// The lanes of a process.
pub(crate) struct Lanes {
    senders: Vec<mpsc::Sender<Job>>,
    hasher: RandomState,
    stop: CancellationToken,
    shared: Arc<Shared>,
}

impl Lanes {
    /// Starts `count` lanes.
    pub(crate) fn spawn(count: usize, shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let stop = CancellationToken::new();
        let lane = |_| {
            let (sender, receiver) = mpsc::channel(MAX_QUEUE);
            shared.tasks.spawn(run(receiver, Arc::clone(&shared), stop.clone()));
            sender
        };
        let senders = (0..count.max(1)).map(lane).collect();
        Self { senders, hasher: RandomState::new(), stop, shared }
    }

    /// Queues a request and waits for its answer, at most until `deadline`.
    pub(crate) async fn submit(&self, request: Request, deadline: Instant) -> Result<Answer, ApplyError> {
        if self.stop.is_cancelled() {
            return Err(ApplyError::Stopping);
        }
        let hash = usize::try_from(self.hasher.hash_one(request.account()) >> 33).unwrap_or(0);
        let Some(sender) = self.senders.get(hash % self.senders.len()) else {
            return Err(ApplyError::Internal);
        };
        let operation_id = OperationId::from_uuid(Uuid::now_v7());
        let progress = Arc::new(Progress::default());
        let (job, answer) =
            Job::new(Item { request, operation_id, commit_tried: false }, deadline, Arc::clone(&progress));
        sender.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ApplyError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ApplyError::Stopping,
        })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            // The lane ended without an answer, or the time is up: only the progress knows the truth.
            Ok(Err(_)) | Err(_) => Err(progress.give_up()),
        }
    }

    /// Takes nothing new, finishes what is queued.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// One lane: a batch at a time, until it is stopped and empty.
async fn run(mut receiver: mpsc::Receiver<Job>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut queued: Vec<Job> = Vec::with_capacity(MAX_BATCH);
    loop {
        if queued.is_empty() {
            let received = tokio::select! {
                received = receiver.recv_many(&mut queued, MAX_BATCH) => received,
                () = stop.cancelled(), if !receiver.is_closed() => {
                    receiver.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
        }
        let rest = queued.split_off(batch_length(&queued));
        let batch = std::mem::replace(&mut queued, rest);
        let batch = detour::divert(&shared, batch);
        execute::execute(&shared, batch, Wait::Skip).await;
    }
}

/// How many of the queued jobs fit one batch; at least one.
fn batch_length(jobs: &[Job]) -> usize {
    let mut bytes: usize = 0;
    let fits = |job: &&Job| {
        bytes = bytes.saturating_add(job.item.request.weight());
        bytes <= MAX_BATCH_BYTES
    };
    jobs.iter().take(MAX_BATCH).take_while(fits).count().max(1)
}
