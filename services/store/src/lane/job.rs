//! One queued request, and how far it got: what its caller may be told when the time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::sequence::Sequence;
use super::traced::Traced;
use crate::apply::Item;
use crate::error::ApplyError;
use crate::request::Answer;

const WAITING: u8 = 0;
const CONTENDED: u8 = 1;
/// Its last try failed for certain, or there is no connection for its first.
const FAILED: u8 = 2;
const RUNNING: u8 = 3;
const GIVEN_UP: u8 = 4;

/// How far a request got. A request that waits can be given up for certain; one that runs, or whose commit was
/// tried, may have been applied.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU8);

impl Progress {
    /// The caller stops waiting. What is true of its request from now on?
    pub(crate) fn give_up(&self) -> ApplyError {
        match self.0.swap(GIVEN_UP, Ordering::AcqRel) {
            WAITING => ApplyError::DeadlinePassed,
            FAILED => ApplyError::Unavailable,
            CONTENDED => ApplyError::Contended,
            _ => ApplyError::OutcomeUnknown,
        }
    }

    /// A connection is sought for its batch. Until there is one nothing can be written, however long it takes.
    fn connect(&self) {
        let _ = self.0.compare_exchange(WAITING, FAILED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// A batch takes the request. `false` when its caller has given up.
    fn start(&self) -> bool {
        let start = |state| (state != GIVEN_UP).then_some(RUNNING);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, start).is_ok()
    }

    /// The batch failed for certain; the request waits again.
    fn rest(&self, contended: bool) {
        let state = if contended { CONTENDED } else { FAILED };
        // Not when the caller has given up in the meantime.
        let _ = self.0.compare_exchange(RUNNING, state, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// A queued request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) item: Item,
    deadline: Instant,
    progress: Arc<Progress>,
    /// Shared with the requests that must come before and after it, if there are any.
    sequence: Option<Arc<Sequence>>,
    reply: oneshot::Sender<Result<Answer, ApplyError>>,
    /// When it was queued, until its first batch takes it.
    queued_at: Option<Instant>,
    pub(crate) traced: Traced,
}

impl Job {
    pub(crate) fn new(
        item: Item,
        deadline: Instant,
        progress: Arc<Progress>,
    ) -> (Self, oneshot::Receiver<Result<Answer, ApplyError>>) {
        let (reply, answer) = oneshot::channel();
        let (queued_at, traced) = (Some(Instant::now()), Traced::queued());
        (Self { item, deadline, progress, sequence: None, reply, queued_at, traced }, answer)
    }

    /// Makes it part of a sequence.
    pub(crate) fn within(self, sequence: &Arc<Sequence>) -> Self {
        Self { sequence: Some(Arc::clone(sequence)), ..self }
    }

    /// A connection is sought for its batch.
    pub(crate) fn connect(&self) {
        self.progress.connect();
    }

    /// Whether a batch may take the request: its caller is there, its time is not up, and those before it in its
    /// sequence did not fall out. To be asked in the order of the requests.
    pub(crate) fn start(&self) -> bool {
        self.goes_on(Progress::start)
    }

    /// As [`Job::start`], when there is no connection and the request shall wait on.
    pub(crate) fn waits_on(&self) -> bool {
        self.goes_on(|_| true)
    }

    fn goes_on(&self, start: impl FnOnce(&Progress) -> bool) -> bool {
        if self.cut().is_some() {
            return false;
        }
        let starts = !self.reply.is_closed() && Instant::now() < self.deadline && start(&self.progress);
        if !starts {
            // At once: the next one of the sequence is asked before this one is ended.
            self.end_sequence(&ApplyError::DeadlinePassed);
        }
        starts
    }

    fn cut(&self) -> Option<ApplyError> {
        self.sequence.as_ref()?.cut()
    }

    fn end_sequence(&self, error: &ApplyError) {
        if let Some(sequence) = &self.sequence {
            sequence.end_with(error);
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// How long it waited for its first batch, which takes it now.
    pub(crate) fn waited(&mut self) -> Option<Duration> {
        self.queued_at.take().map(|at| at.elapsed())
    }

    /// The batch failed; the request waits for another.
    pub(crate) fn rest(&mut self, commit_tried: bool, contended: bool) {
        self.traced.requeued(if contended { "locked by somebody else" } else { "the batch failed" });
        self.item.commit_tried |= commit_tried;
        if !self.item.commit_tried {
            self.progress.rest(contended);
        }
    }

    pub(crate) fn answer(self, answer: Result<Answer, ApplyError>) {
        if let Err(error) = &answer {
            self.end_sequence(error);
        }
        // A caller that is gone needs no answer.
        let _ = self.reply.send(answer);
    }

    /// Ends a request that did not start.
    pub(crate) fn expire(self) {
        // What its progress says is surer than what became of those before it.
        let error = match (self.progress.give_up(), self.cut()) {
            (ApplyError::DeadlinePassed, Some(cut)) => cut,
            (error, _) => error,
        };
        self.answer(Err(error));
    }

    /// Ends a request whose batch failed for a reason that no retry mends.
    pub(crate) fn fail(self, error: ApplyError) {
        let error = if self.item.commit_tried { ApplyError::OutcomeUnknown } else { error };
        self.answer(Err(error));
    }
}
