//! GrantCredits: a new lot; debt is repaid first.

use super::DecideError;
use crate::action::{Expiry, Grant};
use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::denied::Denied;
use crate::entry::{EntryKind, Line};
use crate::id::GrantId;
use crate::limits::{MAX_BALANCE, MAX_OPEN_LOTS};
use crate::lot::{Change, Lot};
use crate::revocation::Revoked;

pub(super) fn decide(
    balance: &mut Balance,
    grant: &Grant,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    add_lot(balance, grant, EntryKind::Grant, stamp)
}

/// Adds a lot by an entry of this kind; it has the id of the operation.
pub(super) fn add_lot(
    balance: &mut Balance,
    grant: &Grant,
    kind: EntryKind,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let now = stamp.now;
    let effective_at = grant.effective_at.map_or(now, |at| at.max(now));
    let expires_at = match grant.expiry {
        Expiry::Never => None,
        Expiry::At(at) => Some(at),
        Expiry::AfterSeconds(seconds) => Some(effective_at.plus_seconds(seconds)),
    };
    if let Some(at) = expires_at.filter(|at| *at <= effective_at) {
        let (expires_at_us, not_before_us) = (at.micros(), effective_at.micros());
        return Err(Denied::ExpiryNotInFuture { expires_at_us, not_before_us }.into());
    }
    if balance.open_lots >= MAX_OPEN_LOTS {
        return Err(Denied::TooManyOpenLots { limit: MAX_OPEN_LOTS }.into());
    }
    let active = effective_at <= now;
    // Credits that would become available repay debt first, in the same entry.
    let repaid = if active { grant.amount.min(balance.figures.debt) } else { 0 };
    let remaining = grant.amount - repaid;
    let would_be = balance.figures.total().saturating_add(remaining);
    if would_be > MAX_BALANCE {
        return Err(Denied::BalanceLimitExceeded { limit: MAX_BALANCE, would_be }.into());
    }

    let grant_id = GrantId::from_uuid(stamp.operation_id.uuid());
    let (available, scheduled) = if active { (remaining, 0) } else { (0, remaining) };
    let line = Line { available, scheduled, ..Line::of(grant_id) };
    let entries = balance.post(stamp, vec![Posting::of(kind, now, vec![line]).with_debt(-repaid)])?;
    let lot = Lot {
        grant_id,
        version: balance.version,
        last_version: balance.version,
        kind: grant.kind,
        priority: grant.priority,
        amount: grant.amount,
        remaining,
        held: 0,
        expired: 0,
        revoked: Revoked::default(),
        effective_at,
        expires_at,
        active,
        cost_basis: grant.cost_basis.clone(),
        change: Change::New,
    };
    balance.insert_lot(lot.clone());
    balance.close_empty_lots();
    Ok(Operation { grants: vec![lot], ..Operation::of(stamp.operation_id, entries) })
}
