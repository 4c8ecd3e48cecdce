//! ReverseSpend: gives a spend or capture back to the lots it came from, last line first.

use std::collections::HashSet;

use super::DecideError;
use crate::action::Reverse;
use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::denied::Denied;
use crate::draft::{Draft, Pot};
use crate::entry::{EntryKind, Line};
use crate::id::GrantId;
use crate::mutants::{self, Mutant};
use crate::rules::Rules;
use crate::timestamp::Timestamp;

pub(super) fn decide(
    balance: &mut Balance,
    rules: &Rules,
    reverse: &Reverse,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let entry = reverse.entry;
    let place = balance.spends.iter().position(|spend| spend.entry == entry);
    let found = place.and_then(|place| balance.spends.get(place).map(|spend| (place, spend)));
    let (place, spend) = found.ok_or(Denied::EntryNotFound { entry })?;
    let reversible = spend.reversible();
    let amount = reverse.amount.unwrap_or(reversible);
    if amount > reversible || amount == 0 {
        return Err(Denied::ReversalExceeded { reversible, required: amount.max(1) }.into());
    }

    let parts = spend.parts(amount);
    let wanted: HashSet<GrantId> = parts.iter().map(|(line, _)| line.grant_id).collect();
    let mut draft = Draft::of(balance, |id| wanted.contains(&id));
    let mut pot = Pot::new(stamp.now, rules.reversal_grace_s);
    let mut lines = Vec::with_capacity(parts.len());
    for (line, part) in parts {
        lines.push(give_back(&mut draft, line.grant_id, part, &mut pot, stamp.now)?);
    }
    let grant_id = GrantId::from_uuid(stamp.operation_id.uuid());
    let (line, lot) = draft.pour(&pot, grant_id).unzip();
    lines.extend(line);
    let version = draft.next_version();
    let repaid = draft.debt - balance.figures.debt;
    let mut posting = Posting::of(EntryKind::Reversal, stamp.now, lines).with_debt(repaid);
    posting.reverses = Some(entry.version);
    draft.post(posting);
    if let Some(spend) = draft.balance.spends.get_mut(place)
        && !mutants::is(Mutant::DoubleReverse)
    {
        spend.give_back(amount, version);
    }
    let entries = draft.finish(balance, stamp, lot.clone())?;
    Ok(Operation { grants: lot.into_iter().collect(), ..Operation::of(stamp.operation_id, entries) })
}

/// Gives `part` back to one lot: first what its revocation keeps; a lot that has ended takes nothing back.
fn give_back(
    draft: &mut Draft,
    grant_id: GrantId,
    part: i64,
    pot: &mut Pot,
    now: Timestamp,
) -> Result<Line, DecideError> {
    let lot = draft.lot(grant_id)?;
    let reclaimed = lot.revoked.reclaim(part);
    let left = part.saturating_sub(reclaimed);
    if lot.has_ended(now) && !mutants::is(Mutant::EndedLotRefilled) {
        pot.add(left, lot.expires_at);
        return Ok(Line { reclaimed, ..Line::of(grant_id) });
    }
    let line = draft.refill(grant_id, left, pot)?;
    Ok(Line { reclaimed, ..line })
}
