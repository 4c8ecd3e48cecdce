//! Due changes: scheduled lots become available, lots and holds end. Settlement is a command of its own that runs in
//! front of any other command on the balance, so that a refusal itself never has to write.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::command::Context;
use crate::decide::{DecideError, hold};
use crate::draft::{Draft, expire};
use crate::entry::{EntryKind, Line};
use crate::hold::HoldState;
use crate::id::{GrantId, HoldId, OperationId};
use crate::lot::BurnKey;
use crate::mutants::{self, Mutant};
use crate::timestamp::Timestamp;

/// What happens at one moment. At the same moment holds end before lots, and lots end before others begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    HoldExpiry(i64, HoldId),
    Expiry(BurnKey, GrantId),
    Activation(BurnKey, GrantId),
}

/// Applies everything that is due, in order of time: one entry for each moment and kind, one for each hold, all one
/// operation. `None` when nothing is due. The context names the actor.
///
/// # Errors
/// [`DecideError::Broken`] when an invariant would break; the balance is then unusable and must not be written.
pub fn settle(
    balance: &mut Balance,
    context: &Context,
    operation_id: OperationId,
    clock: Timestamp,
) -> Result<Option<Operation>, DecideError> {
    let now = balance.now(clock);
    let mut due = due_events(balance, now);
    if due.is_empty() {
        return Ok(None);
    }
    let mut draft = Draft::of(balance, |_| false);
    while let Some(Reverse((moment, event))) = due.pop() {
        match event {
            Due::HoldExpiry(_, hold_id) => end_hold(&mut draft, hold_id, moment)?,
            Due::Expiry(_, grant_id) => end_lot(&mut draft, grant_id, moment)?,
            Due::Activation(_, grant_id) => begin_lot(&mut draft, grant_id, moment)?,
        }
    }
    if draft.is_empty() {
        return Ok(None);
    }
    let entries = draft.finish(balance, Stamp { operation_id, context, now }, None)?;
    Ok(Some(Operation::of(operation_id, entries)))
}

/// Every change that time alone has made due, soonest first. A lot may begin and end in one go.
fn due_events(balance: &Balance, now: Timestamp) -> BinaryHeap<Reverse<(Timestamp, Due)>> {
    let mut events = BinaryHeap::new();
    for lot in &balance.lots {
        if !lot.active && lot.effective_at <= now && !mutants::is(Mutant::LostActivation) {
            events.push(Reverse((lot.effective_at, Due::Activation(lot.burn_key(), lot.grant_id))));
        }
        if let Some(at) = lot.expires_at.filter(|at| *at <= now) {
            events.push(Reverse((at, Due::Expiry(lot.burn_key(), lot.grant_id))));
        }
    }
    for hold in &balance.holds {
        if let Some(at) = hold.due_at().filter(|at| is_due(*at, now)) {
            events.push(Reverse((at, Due::HoldExpiry(hold.version, hold.hold_id))));
        }
    }
    events
}

fn is_due(at: Timestamp, now: Timestamp) -> bool {
    if mutants::is(Mutant::HoldEndsLate) { at < now } else { at <= now }
}

fn end_hold(draft: &mut Draft, hold_id: HoldId, moment: Timestamp) -> Result<(), DecideError> {
    let place = draft.balance.holds.iter().position(|hold| hold.hold_id == hold_id);
    let place = place.ok_or(DecideError::Broken("a due hold has no place in its balance"))?;
    hold::release(draft, place, EntryKind::HoldExpiry, moment)?;
    hold::close(draft, place, HoldState::Expired, moment)
}

fn end_lot(draft: &mut Draft, grant_id: GrantId, moment: Timestamp) -> Result<(), DecideError> {
    let (kind, version) = (EntryKind::Expiry, posting_version(draft, EntryKind::Expiry, moment));
    let lot = draft.lot_at(grant_id)?;
    // Nothing, when all of it is held or was used up by an event before.
    if let Some(line) = expire(lot) {
        lot.touch(version);
        post(draft, Posting::of(kind, moment, vec![line]));
    }
    Ok(())
}

/// Makes a scheduled lot available; debt is repaid first.
fn begin_lot(draft: &mut Draft, grant_id: GrantId, moment: Timestamp) -> Result<(), DecideError> {
    let (kind, debt) = (EntryKind::Activation, draft.debt);
    let version = posting_version(draft, kind, moment);
    let lot = draft.lot_at(grant_id)?;
    let scheduled = lot.remaining;
    let repaid = scheduled.min(debt);
    lot.active = true;
    lot.remaining = scheduled.saturating_sub(repaid);
    lot.touch(version);
    let line = Line { available: lot.remaining, scheduled: scheduled.saturating_neg(), ..Line::of(grant_id) };
    draft.debt = debt.saturating_sub(repaid);
    post(draft, Posting::of(kind, moment, vec![line]).with_debt(repaid.saturating_neg()));
    Ok(())
}

fn joins(last: &Posting, kind: EntryKind, moment: Timestamp) -> bool {
    last.kind == kind && last.effective_at == moment
}

/// The version of the posting that takes the next event: the last one, when it has the same moment and kind.
fn posting_version(draft: &mut Draft, kind: EntryKind, moment: Timestamp) -> i64 {
    let next = draft.next_version();
    let is_joined = draft.last_posting().is_some_and(|last| joins(last, kind, moment));
    next.saturating_sub(i64::from(is_joined))
}

fn post(draft: &mut Draft, posting: Posting) {
    match draft.last_posting().filter(|last| joins(last, posting.kind, posting.effective_at)) {
        Some(last) => last.join(posting),
        None => draft.post(posting),
    }
}
