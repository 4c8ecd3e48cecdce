//! One line of log for each balance change that this process has committed: target `tallystick::ledger`, level DEBUG.
//!
//! Off by default. The journal in the database has all of this and more, for ever, and at 10,000 changes a second a
//! log of them is 5 MB a second that a slow collector would make every caller wait for. Whoever wants it says so:
//! `--log info,tallystick::ledger=debug`. Must not have: metadata, references, reasons or anything else that callers
//! write freely.

use domain::{Entry, Figures, Operation};
use trace::Traceparent;

const TARGET: &str = "tallystick::ledger";

/// Whether anybody reads it. Asked before the operations are kept for it.
pub(crate) fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// Tells committed operations.
pub(crate) fn tell(operations: &[Operation]) {
    operations.iter().flat_map(|operation| &operation.entries).for_each(line);
}

fn line(entry: &Entry) {
    let Figures { available, held, scheduled, debt } = entry.after;
    let delta = entry.delta;
    let traceparent = entry.traceparent.as_deref().and_then(Traceparent::parse);
    tracing::debug!(
        target: TARGET,
        account = entry.account.as_str(),
        unit = entry.unit.as_str(),
        version = entry.version,
        kind = ?entry.kind,
        operation_id = %entry.operation_id,
        actor = entry.actor,
        available_before = available.saturating_sub(delta.available),
        available,
        held_before = held.saturating_sub(delta.held),
        held,
        scheduled_before = scheduled.saturating_sub(delta.scheduled),
        scheduled,
        debt_before = debt.saturating_sub(delta.debt),
        debt,
        trace_id = traceparent.map(|traceparent| traceparent.trace_id()),
        "balance changed"
    );
}
