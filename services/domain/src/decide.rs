//! The rule of every command: a flat list of guards in documented precedence, then the postings.
//!
//! Precedence of refusals: idempotency (in the store, before this) → account closed → account frozen → the
//! command's own guards in the order in which they stand here. A refusal changes nothing.
//!
//! The caller has run [`crate::settle`] for the same balance and time before.

use crate::balance::{AccountState, Balance, Operation, Posting, Stamp};
use crate::command::{Action, Command, Expiry, Grant, Spend};
use crate::denied::Denied;
use crate::entry::{EntryKind, Line};
use crate::figures::Figures;
use crate::id::{GrantId, OperationId};
use crate::limits::{MAX_BALANCE, MAX_OPEN_LOTS};
use crate::lot::{Change, Lot};
use crate::timestamp::Timestamp;

/// Why a command made no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// The state of the ledger refuses it.
    #[error("denied: {0:?}")]
    Denied(Denied),
    /// A rule or the loaded state is defective. The balance must not be written.
    #[error("invariant broken: {0}")]
    Broken(&'static str),
}

impl From<Denied> for DecideError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Decides one command on its balance. On success the balance has moved and the operation says how; on error
/// it is as before.
///
/// # Errors
/// [`DecideError::Denied`] when the rules refuse; [`DecideError::Broken`] when an invariant would break.
pub fn decide(
    balance: &mut Balance,
    account: AccountState,
    command: &Command,
    operation_id: OperationId,
    database_clock: Timestamp,
) -> Result<Operation, DecideError> {
    let now = balance.now(database_clock);
    let stamp = Stamp { operation_id, context: &command.context, now };
    if account == AccountState::Closed {
        return Err(Denied::AccountClosed.into());
    }
    match &command.action {
        Action::Grant(grant) => decide_grant(balance, grant, stamp),
        Action::Spend(spend) => {
            if account == AccountState::Frozen {
                return Err(Denied::AccountFrozen.into());
            }
            decide_spend(balance, spend, stamp)
        }
    }
}

fn decide_grant(balance: &mut Balance, grant: &Grant, stamp: Stamp<'_>) -> Result<Operation, DecideError> {
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
    let posting = Posting {
        kind: EntryKind::Grant,
        delta: Figures { available, held: 0, scheduled, debt: -repaid },
        lines: vec![Line { grant_id, available, held: 0, scheduled }],
        effective_at: now,
    };
    let entries = balance.post(stamp, vec![posting])?;
    let lot = Lot {
        grant_id,
        version: balance.version,
        last_version: balance.version,
        kind: grant.kind,
        priority: grant.priority,
        amount: grant.amount,
        remaining,
        held: 0,
        effective_at,
        expires_at,
        active,
        cost_basis: grant.cost_basis.clone(),
        change: Change::New,
    };
    balance.insert_lot(lot.clone());
    balance.close_empty_lots();
    Ok(Operation { id: stamp.operation_id, entries, grant: Some(lot) })
}

fn decide_spend(balance: &mut Balance, spend: &Spend, stamp: Stamp<'_>) -> Result<Operation, DecideError> {
    let available = balance.figures.available;
    let amount = if spend.allow_partial { spend.amount.min(available) } else { spend.amount };
    if amount > available || amount == 0 {
        return Err(Denied::InsufficientCredits { available, required: spend.amount }.into());
    }

    let lines = burn_lines(balance, amount)?;
    let posting = Posting {
        kind: EntryKind::Spend,
        delta: Figures { available: -amount, ..Figures::default() },
        lines: lines.iter().map(|(_, line)| *line).collect(),
        effective_at: stamp.now,
    };
    let entries = balance.post(stamp, vec![posting])?;
    for (index, line) in lines {
        if let Some(lot) = balance.lots.get_mut(index) {
            lot.remaining += line.available;
            lot.touch(balance.version);
        }
    }
    balance.close_empty_lots();
    Ok(Operation { id: stamp.operation_id, entries, grant: None })
}

/// Takes `amount` from the lots in burn order: what each gives, without taking it yet.
fn burn_lines(balance: &Balance, amount: i64) -> Result<Vec<(usize, Line)>, DecideError> {
    let mut left = amount;
    let mut lines = Vec::new();
    for (index, lot) in balance.lots.iter().enumerate() {
        let taken = lot.available().min(left);
        if taken > 0 {
            left -= taken;
            lines.push((index, Line { grant_id: lot.grant_id, available: -taken, held: 0, scheduled: 0 }));
        }
        if left == 0 {
            return Ok(lines);
        }
    }
    Err(DecideError::Broken("I2: fewer lots than the balance has available"))
}
