//! RevokeGrant: sets how much of a grant is revoked, up or down.

use super::{DecideError, spend};
use crate::action::Revoke;
use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::denied::Denied;
use crate::draft::{Draft, Pot};
use crate::entry::{EntryKind, Line};
use crate::id::GrantId;
use crate::lot::Lot;
use crate::mutants::{self, Mutant};
use crate::revocation::{Parts, Shortfall};
use crate::rules::Rules;

pub(super) fn decide(
    balance: &mut Balance,
    rules: &Rules,
    revoke: &Revoke,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let grant_id = revoke.grant_id;
    let lot = find(balance, grant_id).ok_or(Denied::GrantNotFound { grant_id })?;
    let (granted, revoked) = (lot.amount, revoke.revoked);
    if revoked > granted {
        return Err(Denied::RevocationOutOfRange { granted, revoked }.into());
    }
    let difference = revoked.saturating_sub(lot.revoked.total());
    let mut draft = Draft::of(balance, |id| id == grant_id);
    let new_lot = if difference < 0 {
        lower(&mut draft, rules, grant_id, difference.saturating_neg(), stamp)?
    } else {
        let shortfall = revoke.shortfall.unwrap_or(rules.shortfall);
        raise(&mut draft, grant_id, difference, shortfall, stamp)?;
        None
    };
    let entries = draft.finish(balance, stamp, new_lot.clone())?;
    let grants = find(balance, grant_id).cloned().into_iter().chain(new_lot).collect();
    Ok(Operation { grants, ..Operation::of(stamp.operation_id, entries) })
}

fn find(balance: &Balance, grant_id: GrantId) -> Option<&Lot> {
    balance.lots.iter().chain(&balance.closed).find(|lot| lot.grant_id == grant_id)
}

/// What already expired counts first, then the unheld rest is taken; a hold is never broken. What is gone is owed or
/// forgiven.
fn raise(
    draft: &mut Draft,
    grant_id: GrantId,
    amount: i64,
    shortfall: Shortfall,
    stamp: Stamp<'_>,
) -> Result<(), DecideError> {
    let lot = draft.lot(grant_id)?;
    let mut expired = amount.min(lot.expired.saturating_sub(lot.revoked.parts().expired)).max(0);
    if mutants::is(Mutant::ExpiredNotCounted) {
        expired = 0;
    }
    let taken = amount.saturating_sub(expired).min(lot.unheld());
    let missing = amount.saturating_sub(expired).saturating_sub(taken);
    let mut parts = Parts { expired, taken, ..Parts::default() };
    match shortfall {
        Shortfall::Owed => parts.owed = missing,
        Shortfall::Forgiven => parts.forgiven = missing,
    }
    lot.remaining = lot.remaining.saturating_sub(taken);
    if amount > 0 {
        lot.revoked.raise(parts);
    }
    let mut line = Line::of(grant_id);
    if lot.active {
        line.available = taken.saturating_neg();
    } else {
        line.scheduled = taken.saturating_neg();
    }

    let from_this = line.available.saturating_neg();
    let available = draft.balance.figures.available.saturating_sub(from_this);
    let from_others = parts.owed.min(available);
    let mut lines = vec![line];
    lines.extend(burn_others(draft, from_others)?);
    let mut debt = parts.owed.saturating_sub(from_others);
    if mutants::is(Mutant::DebtIgnored) {
        debt = 0;
    }
    draft.debt = draft.debt.saturating_add(debt);
    let mut posting = Posting::of(EntryKind::Revocation, stamp.now, lines).with_debt(debt);
    posting.revocation = Some(parts);
    draft.post(posting);
    Ok(())
}

/// Takes what is owed from the other lots; the revoked one has nothing available any more.
fn burn_others(draft: &mut Draft, amount: i64) -> Result<Vec<Line>, DecideError> {
    let shares = spend::shares(draft.lots(), amount)?;
    let shares: Vec<(GrantId, i64)> = shares.iter().map(|share| (share.lot.grant_id, share.amount)).collect();
    let mut lines = Vec::with_capacity(shares.len());
    for (grant_id, amount) in shares {
        draft.lot(grant_id)?.remaining -= amount;
        lines.push(Line { available: -amount, ..Line::of(grant_id) });
    }
    Ok(lines)
}

/// Undoes what was raised last: forgiven, then outstanding debt, then the lot is refilled. Gives back the new lot, if
/// credits have no lot to return to.
fn lower(
    draft: &mut Draft,
    rules: &Rules,
    grant_id: GrantId,
    amount: i64,
    stamp: Stamp<'_>,
) -> Result<Option<Lot>, DecideError> {
    let debt_before = draft.debt;
    let lot = draft.lot(grant_id)?;
    let parts = lot.revoked.lower(amount);
    // A scheduled lot that was wholly revoked had nothing to begin with when its time came.
    lot.active |= lot.effective_at <= stamp.now;
    let (is_active, expires_at, has_ended) = (lot.active, lot.expires_at, lot.has_ended(stamp.now));
    draft.debt = draft.debt.saturating_sub(parts.owed.min(draft.debt));
    let from_others = parts.owed.saturating_sub(debt_before.saturating_sub(draft.debt));
    let mut taken = parts.taken;
    if mutants::is(Mutant::LoweringLeavesATrace) {
        taken = 0;
    }
    let mut pot = Pot::new(stamp.now, rules.reversal_grace_s);
    let line = if !is_active {
        let scheduled = from_others.saturating_add(taken);
        let lot = draft.lot(grant_id)?;
        lot.remaining = lot.remaining.saturating_add(scheduled);
        Line { scheduled, ..Line::of(grant_id) }
    } else if has_ended {
        // What was taken from the lot would have ended with it, and does now; what came from others would not.
        pot.add(from_others, expires_at);
        draft.refill(grant_id, taken, &mut pot)?
    } else {
        draft.refill(grant_id, from_others.saturating_add(taken), &mut pot)?
    };
    let (pot_line, new_lot) = draft.pour(&pot, GrantId::from_uuid(stamp.operation_id.uuid())).unzip();
    let lines = std::iter::once(line).chain(pot_line).collect();
    let debt = draft.debt.saturating_sub(debt_before);
    let mut posting = Posting::of(EntryKind::Reinstatement, stamp.now, lines).with_debt(debt);
    posting.revocation = Some(parts.negated());
    draft.post(posting);
    draft.expire(&[grant_id], stamp.now)?;
    Ok(new_lot)
}
