//! Lanes: how requests of many callers become batches.
//!
//! A request goes to the lane that its account hashes to (`queue.rs`). A free lane takes all that is queued, up to
//! [`MAX_BATCH`] requests and [`MAX_BATCH_BYTES`], and runs it as one batch: no artificial delay, an idle
//! service commits a batch of one at once, and a hot account gets faster with load. An account that somebody
//! else has locked leaves its lane and is served by a task of its own (`detour.rs`), so that strangers do not
//! wait with it. What a caller is told is always true; `execute.rs` sees to that.

mod connections;
mod detour;
mod execute;
mod job;
mod queue;
mod sequence;
pub(crate) mod traced;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use domain::{AccountId, OperationId};
use sqlx::types::Uuid;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::{Item, Wait};
use crate::error::ApplyError;
use crate::measure::Measures;
use crate::policy::Policy;
use crate::request::{Answer, Request};
pub(crate) use connections::Connections;
use job::{Job, Progress};
use queue::{Class, Entrance, Exit};
use sequence::Sequence;

/// Most requests of one batch: the transaction stays short, and a failed one is cheap to split.
pub(crate) const MAX_BATCH: usize = 256;
/// Most bytes of one batch, about: Stripe bodies travel with their requests.
pub(crate) const MAX_BATCH_BYTES: usize = 1 << 20;
/// Requests that may wait in one lane, payments apart, and on all detours together. At 10,000 requests a second on two
/// lanes: 200 ms of work.
pub(crate) const MAX_QUEUE: usize = 1024;
/// Accounts that may wait for foreign locks at once; each holds a connection while it waits.
pub(crate) const MAX_DETOURS: usize = 8;

/// What every lane works with.
pub(crate) struct Shared {
    pub(crate) connections: Connections,
    pub(crate) policy: Policy,
    pub(crate) committed: watch::Sender<u64>,
    /// Requests of accounts that are being served outside their lane.
    pub(crate) detours: Mutex<HashMap<AccountId, Vec<Job>>>,
    pub(crate) detour_permits: Semaphore,
    pub(crate) tasks: TaskTracker,
    pub(crate) measures: Measures,
}

/// The lanes of a process.
pub(crate) struct Lanes {
    entrances: Vec<Entrance<Job>>,
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
            let (entrance, exit) = queue::queue();
            shared.tasks.spawn(run(exit, Arc::clone(&shared), stop.clone()));
            entrance
        };
        let entrances = (0..count.max(1)).map(lane).collect();
        Self { entrances, hasher: RandomState::new(), stop, shared }
    }

    /// Queues a request and waits for its answer, at most until `deadline`.
    pub(crate) async fn submit(&self, request: Request, deadline: Instant) -> Result<Answer, ApplyError> {
        let entrance = self.lane(&request)?;
        let class = if matches!(request, Request::Stripe(_)) { Class::Payment } else { Class::Other };
        let (job, answer) = queued(request, deadline);
        entrance.push(class, job)?;
        answer.wait(deadline).await
    }

    /// Queues requests of one account, all or none, and waits for their answers. They are applied in their order; one
    /// that falls out takes those behind it along.
    pub(crate) async fn submit_in_order(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, ApplyError>> {
        let count = requests.len();
        let answers = match self.queue_in_order(requests, deadline) {
            Ok(answers) => answers,
            Err(error) => return vec![Err(error); count],
        };
        let mut answered = Vec::with_capacity(count);
        for answer in answers {
            answered.push(answer.wait(deadline).await);
        }
        answered
    }

    fn queue_in_order(&self, requests: Vec<Request>, deadline: Instant) -> Result<Vec<Awaited>, ApplyError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let places = self.lane(first)?.reserve(requests.len())?;
        let sequence = Arc::new(Sequence::default());
        let enter = |(place, request): (mpsc::Permit<'_, Job>, Request)| {
            let (job, answer) = queued(request, deadline);
            place.send(job.within(&sequence));
            answer
        };
        Ok(places.zip(requests).map(enter).collect())
    }

    /// The lane of a request's account.
    fn lane(&self, request: &Request) -> Result<&Entrance<Job>, ApplyError> {
        if self.stop.is_cancelled() {
            return Err(ApplyError::Stopping);
        }
        let hash = usize::try_from(self.hasher.hash_one(request.account()) >> 33).unwrap_or(0);
        self.entrances.get(hash % self.entrances.len()).ok_or(ApplyError::Internal)
    }

    /// Requests that wait in the lanes, and on detours.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let waiting = self.entrances.iter().map(Entrance::len).sum();
        (waiting, detour::waiting_jobs(&self.shared))
    }

    /// What is counted.
    pub(crate) fn measures(&self) -> &Measures {
        &self.shared.measures
    }

    /// Connections for writes, in use and idle.
    pub(crate) fn connections(&self) -> (usize, usize) {
        self.shared.connections.in_use_and_idle()
    }

    /// Takes nothing new, finishes what is queued.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// An answer to come.
struct Awaited {
    answer: oneshot::Receiver<Result<Answer, ApplyError>>,
    progress: Arc<Progress>,
}

fn queued(request: Request, deadline: Instant) -> (Job, Awaited) {
    let operation_id = OperationId::from_uuid(Uuid::now_v7());
    let progress = Arc::new(Progress::default());
    let (job, answer) =
        Job::new(Item { request, operation_id, commit_tried: false }, deadline, Arc::clone(&progress));
    (job, Awaited { answer, progress })
}

impl Awaited {
    async fn wait(self, deadline: Instant) -> Result<Answer, ApplyError> {
        match tokio::time::timeout_at(deadline, self.answer).await {
            Ok(Ok(answer)) => answer,
            // The lane ended without an answer, or the time is up: only the progress knows the truth.
            Ok(Err(_)) | Err(_) => Err(self.progress.give_up()),
        }
    }
}

/// One lane: a batch at a time, until it is stopped and empty.
async fn run(mut exit: Exit<Job>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut queued: Vec<Job> = Vec::with_capacity(MAX_BATCH);
    let mut stopping = false;
    loop {
        tokio::select! {
            () = exit.take(&mut queued) => {}
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                exit.close();
                continue;
            }
        }
        if queued.is_empty() {
            return;
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
