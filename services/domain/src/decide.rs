//! The rule of every command: a flat list of guards in documented precedence, then the postings.
//!
//! Precedence of refusals: idempotency (in the store, before this) → account closed → account frozen → the
//! command's own guards in the order in which they stand here. A refusal changes nothing.
//!
//! The caller has run [`crate::settle`] for the same balance and time before.

mod adjust;
mod grant;
pub(crate) mod hold;
mod reverse;
mod revoke;
mod spend;

use crate::action::Action;
use crate::balance::{AccountState, Balance, Operation, Stamp};
use crate::command::Command;
use crate::denied::Denied;
use crate::id::OperationId;
use crate::rules::Rules;
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

/// Decides one command on its balance. On success the balance has moved and the operation says how; when it is
/// denied it is as before.
///
/// # Errors
/// [`DecideError::Denied`] when the rules refuse; [`DecideError::Broken`] when an invariant would break: the balance is
/// then unusable and must not be written.
pub fn decide(
    balance: &mut Balance,
    rules: &Rules,
    account: AccountState,
    command: &Command,
    operation_id: OperationId,
    clock: Timestamp,
) -> Result<Operation, DecideError> {
    let stamp = Stamp { operation_id, context: &command.context, now: balance.now(clock) };
    if account == AccountState::Closed {
        return Err(Denied::AccountClosed.into());
    }
    let goes_out = matches!(command.action, Action::Spend(_) | Action::Hold(_) | Action::Capture(_));
    if account == AccountState::Frozen && goes_out {
        return Err(Denied::AccountFrozen.into());
    }
    match &command.action {
        Action::Grant(grant) => grant::decide(balance, grant, stamp),
        Action::Spend(spend) => spend::decide(balance, spend, stamp),
        Action::Hold(hold) => hold::decide_hold(balance, hold, stamp),
        Action::Capture(capture) => hold::decide_capture(balance, capture, stamp),
        Action::Extend(extend) => hold::decide_extend(balance, extend, stamp),
        Action::Release(release) => hold::decide_release(balance, release, stamp),
        Action::Reverse(reverse) => reverse::decide(balance, rules, reverse, stamp),
        Action::Revoke(revoke) => revoke::decide(balance, rules, revoke, stamp),
        Action::Adjust(adjust) => adjust::decide(balance, adjust, stamp),
    }
}
