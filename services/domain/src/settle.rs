//! Due changes: scheduled lots become available, lots end. Settlement is a command of its own that runs in
//! front of any other command on the balance, so that a refusal itself never has to write.

use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::command::Context;
use crate::decide::DecideError;
use crate::entry::{EntryKind, Line};
use crate::figures::Figures;
use crate::id::OperationId;
use crate::lot::{BurnKey, Lot};
use crate::timestamp::Timestamp;

/// What happens to one lot at one moment. At the same moment lots end before others begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Expiry,
    Activation,
}

/// Applies everything that is due, in order of time: one entry for each moment and kind, all one operation.
/// `None` when nothing is due. The context names the actor.
///
/// # Errors
/// [`DecideError::Broken`] when an invariant would break; the balance is then unusable and must not be written.
pub fn settle(
    balance: &mut Balance,
    context: &Context,
    operation_id: OperationId,
    database_clock: Timestamp,
) -> Result<Option<Operation>, DecideError> {
    let now = balance.now(database_clock);
    let mut events = due_events(&balance.lots, now);
    if events.is_empty() {
        return Ok(None);
    }
    events.sort_unstable();
    let mut settled = balance.clone();
    let mut postings: Vec<Posting> = Vec::new();
    let mut touched: Vec<(usize, usize)> = Vec::new();
    let mut current = None;
    for (moment, due, _, index) in events {
        let debt = settled.figures.debt;
        let Some(lot) = settled.lots.get_mut(index) else { continue };
        let Some((delta, line)) = (match due {
            Due::Expiry => expire(lot),
            Due::Activation => Some(activate(lot, debt)),
        }) else {
            continue;
        };
        let figures = settled.figures.checked_add(delta);
        settled.figures = figures.ok_or(DecideError::Broken("I1: figures overflow"))?;
        if current != Some((moment, due)) {
            current = Some((moment, due));
            let kind = match due {
                Due::Expiry => EntryKind::Expiry,
                Due::Activation => EntryKind::Activation,
            };
            postings.push(Posting { kind, delta: Figures::default(), lines: vec![], effective_at: moment });
        }
        if let Some(posting) = postings.last_mut() {
            let sum = posting.delta.checked_add(delta);
            posting.delta = sum.ok_or(DecideError::Broken("I1: figures overflow"))?;
            posting.lines.push(line);
        }
        touched.push((index, postings.len()));
    }
    if postings.is_empty() {
        return Ok(None);
    }

    settled.figures = balance.figures;
    let first_version = balance.version;
    let entries = settled.post(Stamp { operation_id, context, now }, postings)?;
    for (index, ordinal) in touched {
        let version = first_version.saturating_add(i64::try_from(ordinal).unwrap_or(i64::MAX));
        if let Some(lot) = settled.lots.get_mut(index) {
            lot.touch(version);
        }
    }
    settled.close_empty_lots();
    *balance = settled;
    Ok(Some(Operation { id: operation_id, entries, grant: None }))
}

/// Every change that time alone has made due, lots named by their place. A lot may begin and end in one go.
fn due_events(lots: &[Lot], now: Timestamp) -> Vec<(Timestamp, Due, BurnKey, usize)> {
    let mut events = Vec::new();
    for (index, lot) in lots.iter().enumerate() {
        if !lot.active && lot.effective_at <= now {
            events.push((lot.effective_at, Due::Activation, lot.burn_key(), index));
        }
        if let Some(at) = lot.expires_at.filter(|at| *at <= now) {
            events.push((at, Due::Expiry, lot.burn_key(), index));
        }
    }
    events
}

/// Ends what is not held of a lot; held credits do not expire while they are held.
fn expire(lot: &mut Lot) -> Option<(Figures, Line)> {
    let ended = lot.available();
    if ended == 0 {
        return None;
    }
    lot.remaining -= ended;
    let delta = Figures { available: -ended, ..Figures::default() };
    Some((delta, Line { grant_id: lot.grant_id, available: -ended, held: 0, scheduled: 0 }))
}

/// Makes a scheduled lot available; debt is repaid first.
fn activate(lot: &mut Lot, debt: i64) -> (Figures, Line) {
    let scheduled = lot.remaining;
    let repaid = scheduled.min(debt);
    lot.active = true;
    lot.remaining -= repaid;
    let delta = Figures { available: lot.remaining, held: 0, scheduled: -scheduled, debt: -repaid };
    let line = Line { grant_id: lot.grant_id, available: lot.remaining, held: 0, scheduled: -scheduled };
    (delta, line)
}
