//! AdjustCredits: an operator's correction, up as a lot of its own or down in burn order.

use super::{DecideError, grant, spend};
use crate::action::{Adjust, Expiry, Grant};
use crate::balance::{Balance, Operation, Stamp};
use crate::denied::Denied;
use crate::entry::EntryKind;
use crate::lot::{GrantKind, Priority};

pub(super) fn decide(
    balance: &mut Balance,
    adjust: &Adjust,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    if adjust.delta > 0 {
        let lot = Grant {
            amount: adjust.delta,
            kind: GrantKind::Adjustment,
            priority: Priority::default(),
            effective_at: None,
            expiry: adjust.expires_at.map_or(Expiry::Never, Expiry::At),
            cost_basis: None,
        };
        return grant::add_lot(balance, &lot, EntryKind::Adjustment, stamp);
    }
    let (available, required) = (balance.figures.available, adjust.delta.saturating_neg());
    if required > available {
        return Err(Denied::InsufficientCredits { available, required }.into());
    }
    spend::burn(balance, required, EntryKind::Adjustment, stamp)
}
