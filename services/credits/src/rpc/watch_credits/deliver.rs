//! The last span of a change's trace: handing it to one subscriber's stream.
//!
//! Promises: the `traceparent` that a subscriber gets is this span's, so that what it does about the change hangs below
//! its own delivery; without an exporter, or where the trace is not sampled, it is the stored one, and nothing is done.

use proto::v1::Entry;
use trace::Traceparent;
use tracing::Span;

/// Most spans of one message. A live message has one operation or a few; one that catches up on thousands of changes
/// would bury the traces that somebody looks at.
const MAX_SPANS: usize = 16;

/// Makes a span for each traced operation of a message. They end when they are dropped.
pub(super) fn traced(entries: &mut [Entry], rpc: &'static str) -> Vec<Span> {
    if !trace::is_on() {
        return Vec::new();
    }
    // The call of this stream: it has its own trace, which may be days long.
    let stream = trace::current();
    let mut spans = Vec::new();
    let operations = entries.chunk_by_mut(|a, b| a.operation_id == b.operation_id);
    for operation in operations {
        let stored = operation.first().and_then(|entry| Traceparent::parse(&entry.traceparent));
        let Some(stored) = stored.filter(Traceparent::is_sampled) else { continue };
        if spans.len() == MAX_SPANS {
            break;
        }
        let span = deliver_span(&stored, operation, rpc);
        if let Some(stream) = &stream {
            trace::link(&span, stream);
        }
        if let Some(delivered) = trace::of(&span) {
            operation.iter_mut().for_each(|entry| entry.traceparent = delivered.to_string());
        }
        spans.push(span);
    }
    spans
}

/// Semantic conventions for messaging, as far as they fit a stream that is no queue.
fn deliver_span(stored: &Traceparent, operation: &[Entry], rpc: &'static str) -> Span {
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "deliver",
        otel.kind = "producer",
        messaging.system = "tallystick",
        messaging.operation.name = "deliver",
        messaging.operation.type = "send",
        messaging.destination.name = rpc,
        messaging.batch.message_count = i64::try_from(operation.len()).unwrap_or(i64::MAX),
        tallystick.version = operation.last().map(|entry| entry.version),
    );
    trace::child_of(&span, stored);
    span
}
