//! SpendCredits: burns lots in order, or refuses whole.

use super::DecideError;
use crate::action::Spend;
use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::denied::Denied;
use crate::entry::{EntryKind, Line};
use crate::lot::Lot;
use crate::mutants::{self, Mutant};

pub(super) fn decide(
    balance: &mut Balance,
    spend: &Spend,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let available = balance.figures.available;
    let amount = if spend.allow_partial { spend.amount.min(available) } else { spend.amount };
    if amount > available || amount == 0 {
        return Err(Denied::InsufficientCredits { available, required: spend.amount }.into());
    }
    burn(balance, amount, EntryKind::Spend, stamp)
}

/// Takes what is available, in burn order, by an entry of this kind. The caller has checked that there is enough.
pub(super) fn burn(
    balance: &mut Balance,
    amount: i64,
    kind: EntryKind,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let shares = shares(&balance.lots, amount)?;
    let line = |share: &Share| Line { available: -share.amount, ..Line::of(share.lot.grant_id) };
    let lines: Vec<Line> = shares.iter().map(line).collect();
    let shares: Vec<(usize, i64)> = shares.iter().map(|share| (share.place, share.amount)).collect();
    let entries = balance.post(stamp, vec![Posting::of(kind, stamp.now, lines)])?;
    for (place, amount) in shares {
        if let Some(lot) = balance.lots.get_mut(place) {
            lot.remaining -= amount;
            lot.touch(balance.version);
        }
    }
    balance.close_empty_lots();
    Ok(Operation::of(stamp.operation_id, entries))
}

/// What a lot gives.
pub(super) struct Share<'a> {
    /// Its place among the lots.
    pub(super) place: usize,
    pub(super) lot: &'a Lot,
    pub(super) amount: i64,
}

/// Which lots give how much of `amount`, in burn order; nothing is taken yet.
pub(super) fn shares(lots: &[Lot], amount: i64) -> Result<Vec<Share<'_>>, DecideError> {
    let mut left = amount;
    let mut shares = Vec::new();
    let backwards = mutants::is(Mutant::WrongBurnOrder);
    for step in 0..lots.len() {
        if left == 0 {
            break;
        }
        let place = if backwards { lots.len() - 1 - step } else { step };
        let Some(lot) = lots.get(place) else { break };
        let amount = lot.available().min(left);
        if amount > 0 {
            left -= amount;
            shares.push(Share { place, lot, amount });
        }
    }
    if left == 0 {
        Ok(shares)
    } else {
        Err(DecideError::Broken("I2: fewer lots than the balance has available"))
    }
}
