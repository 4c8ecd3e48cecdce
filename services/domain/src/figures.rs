//! The four figures of a balance, as values or as deltas.

use crate::limits::MAX_BALANCE;

/// Available, held, scheduled and debt, in the unit's smallest step. As values all are ≥ 0; as deltas they
/// carry a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Figures {
    /// What can be spent now.
    pub available: i64,
    /// What holds reserve.
    pub held: i64,
    /// What grants with a later effective time will bring.
    pub scheduled: i64,
    /// What was spent and then revoked: repaid before anything becomes available.
    pub debt: i64,
}

impl Figures {
    /// Each figure plus its delta; `None` when one leaves the range of `i64`.
    #[must_use]
    pub fn checked_add(self, delta: Self) -> Option<Self> {
        Some(Self {
            available: self.available.checked_add(delta.available)?,
            held: self.held.checked_add(delta.held)?,
            scheduled: self.scheduled.checked_add(delta.scheduled)?,
            debt: self.debt.checked_add(delta.debt)?,
        })
    }

    /// What the lots of the balance must sum to.
    #[must_use]
    pub const fn total(self) -> i64 {
        self.available.saturating_add(self.held).saturating_add(self.scheduled)
    }

    /// Invariant I1, and the size limit: nothing negative, no debt beside available credits.
    #[must_use]
    pub const fn are_sound(self) -> bool {
        self.available >= 0
            && self.held >= 0
            && self.scheduled >= 0
            && self.debt >= 0
            && (self.debt == 0 || self.available == 0)
            && self.total() <= MAX_BALANCE
    }
}
