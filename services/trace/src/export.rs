//! Spans for an exporter: where they hang in a trace. Every function does nothing when no exporter is there.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::traceparent::Traceparent;

/// The target of spans that only an exporter sees; their level is INFO.
pub const TARGET: &str = "tallystick::trace";

/// Whether there is an exporter. Asked before any work for a span.
#[must_use]
pub fn is_on() -> bool {
    tracing::span_enabled!(target: TARGET, Level::INFO, "any")
}

/// The exported span in which the task runs, as the next service or a stored change shall know it.
#[must_use]
pub fn current() -> Option<Traceparent> {
    Context::map_current(|context| traceparent(context.span().span_context()))
}

/// The same of a span at hand; `None` of a span that is not exported.
#[must_use]
pub fn of(span: &Span) -> Option<Traceparent> {
    if span.is_disabled() { None } else { traceparent(span.context().span().span_context()) }
}

/// Hangs a new span below one of another task or process. To be called before the span is entered.
pub fn child_of(span: &Span, parent: &Traceparent) {
    // Fails only where there is no exporter.
    let _ = span.set_parent(Context::new().with_remote_span_context(context(parent)));
}

/// Notes that a span has to do with another one, which is not its parent.
pub fn link(span: &Span, other: &Traceparent) {
    span.add_link(context(other));
}

/// Marks a span as failed; `why` is a word of ours, such as the name of a status.
pub fn end_with_error(span: &Span, why: &'static str) {
    span.set_status(Status::error(why));
}

fn traceparent(context: &SpanContext) -> Option<Traceparent> {
    let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    Traceparent::lookup(trace, span, context.is_sampled())
}

fn context(parent: &Traceparent) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(parent.trace()), SpanId::from_bytes(parent.span()));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}
