//! A request's way through the lanes, as an exporter sees it.
//!
//! | span | parent | from, to |
//! | --- | --- | --- |
//! | `queue` | the caller's span | queued, taken into a batch; again when its batch failed |
//! | `apply` | the caller's span | taken into a batch, answered; linked to the batch |
//! | `batch` | none: a trace of its own, linked to every caller's span | the whole transaction |
//! | a phase (`lock`, `commit` …) | the batch | the phase |
//!
//! A batch serves many callers, so it is nobody's child. Only requests whose trace is sampled take part; without an
//! exporter nothing is done here.

use trace::Traceparent;
use tracing::Span;

use super::job::Job;
use crate::measure::Phase;

/// The spans of one queued request.
#[derive(Debug, Default)]
pub(crate) struct Traced(Option<Open>);

#[derive(Debug)]
struct Open {
    /// The caller's span; not held open by the request, which may outlive its call.
    caller: Traceparent,
    /// `queue` or `apply`.
    span: Span,
}

impl Traced {
    /// A request that is being queued by the task that runs now.
    pub(crate) fn queued() -> Self {
        if !trace::is_on() {
            return Self::default();
        }
        let caller = trace::current().filter(Traceparent::is_sampled);
        Self(caller.map(|caller| Open { caller, span: queue_span(&caller) }))
    }

    /// Its batch failed or left it out; it waits again.
    pub(crate) fn requeued(&mut self, why: &'static str) {
        if let Some(open) = &mut self.0 {
            trace::end_with_error(&open.span, why);
            open.span = queue_span(&open.caller);
        }
    }

    fn taken(&mut self, batch: &Traceparent) {
        if let Some(open) = &mut self.0 {
            let apply = tracing::info_span!(target: trace::TARGET, parent: None, "apply");
            trace::child_of(&apply, &open.caller);
            trace::link(&apply, batch);
            open.span = apply;
        }
    }
}

fn queue_span(caller: &Traceparent) -> Span {
    let span = tracing::info_span!(target: trace::TARGET, parent: None, "queue");
    trace::child_of(&span, caller);
    span
}

/// The span of a batch that begins, in which it must run; none when nobody wants to see it.
pub(super) fn batch_span(jobs: &mut [Job]) -> Span {
    let callers: Vec<Traceparent> =
        jobs.iter().filter_map(|job| job.traced.0.as_ref()).map(|open| open.caller).collect();
    if callers.is_empty() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "batch",
        messaging.batch.message_count = i64::try_from(jobs.len()).unwrap_or(i64::MAX),
        db.system.name = "postgresql",
    );
    // Before anything asks for its context: the links are why it is sampled.
    callers.iter().for_each(|caller| trace::link(&span, caller));
    if let Some(batch) = trace::of(&span) {
        jobs.iter_mut().for_each(|job| job.traced.taken(&batch));
    }
    span
}

/// The span of a phase of the batch that runs now.
pub(crate) fn phase_span(phase: Phase) -> Span {
    if !trace::is_on() || !trace::current().is_some_and(|batch| batch.is_sampled()) {
        return Span::none();
    }
    tracing::info_span!(target: trace::TARGET, "phase", otel.name = phase.name())
}
