//! How much of a grant was taken back, and where it came from.

use crate::limits::MAX_RAISES;
use crate::mutants::{self, Mutant};

/// What happens to the part of a revocation that is no longer in the lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shortfall {
    /// Taken from the other available lots in burn order, the rest is debt.
    #[default]
    Owed,
    /// Let go.
    Forgiven,
}

impl Shortfall {
    /// The number that the API and fingerprints use.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Owed => 1,
            Self::Forgiven => 2,
        }
    }
}

/// The four parts of `revoked`, as values or as deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// Had expired before.
    pub expired: i64,
    /// Taken from what remained of the lot.
    pub taken: i64,
    /// Taken from other lots, or debt.
    pub owed: i64,
    /// Let go.
    pub forgiven: i64,
}

impl Parts {
    /// Their sum.
    #[must_use]
    pub const fn total(self) -> i64 {
        self.expired.saturating_add(self.taken).saturating_add(self.owed).saturating_add(self.forgiven)
    }

    /// Part by part.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            expired: self.expired.saturating_add(other.expired),
            taken: self.taken.saturating_add(other.taken),
            owed: self.owed.saturating_add(other.owed),
            forgiven: self.forgiven.saturating_add(other.forgiven),
        }
    }

    /// The same with the other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self {
            expired: self.expired.saturating_neg(),
            taken: self.taken.saturating_neg(),
            owed: self.owed.saturating_neg(),
            forgiven: self.forgiven.saturating_neg(),
        }
    }
}

/// What is revoked of a grant, raise by raise: what was raised last is lowered first, so that a raise and a lowering
/// by the same amount leave no trace, whatever stands below them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revoked(Vec<Parts>);

impl Revoked {
    /// From the raises, oldest first.
    #[must_use]
    pub const fn from_raises(raises: Vec<Parts>) -> Self {
        Self(raises)
    }

    /// The raises, oldest first.
    #[must_use]
    pub fn raises(&self) -> &[Parts] {
        &self.0
    }

    /// The four parts over all raises.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.0.iter().fold(Parts::default(), |sum, raise| sum.plus(*raise))
    }

    /// Their sum: I9 holds it within 0 and the granted amount.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.parts().total()
    }

    pub(crate) fn raise(&mut self, parts: Parts) {
        self.0.push(parts);
        if self.0.len() > MAX_RAISES {
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                *next = next.plus(oldest);
            }
        }
    }

    /// Takes `amount` off, last raise first and within a raise in the order forgiven, owed, taken, expired; says
    /// which parts went. `amount` is at most the total.
    pub(crate) fn lower(&mut self, amount: i64) -> Parts {
        if mutants::is(Mutant::OldestRaiseFirst) {
            self.0.reverse();
        }
        let mut left = amount;
        let mut gone = Parts::default();
        while left > 0 {
            let Some(last) = self.0.last_mut() else { break };
            let mut take = |part: &mut i64| {
                let taken = left.min(*part);
                *part -= taken;
                left -= taken;
                taken
            };
            let undone = Parts {
                forgiven: take(&mut last.forgiven),
                owed: take(&mut last.owed),
                taken: take(&mut last.taken),
                expired: take(&mut last.expired),
            };
            gone = gone.plus(undone);
            if last.total() == 0 {
                self.0.pop();
            }
        }
        gone
    }

    /// Credits come back to the lot: up to `amount` of them are kept, forgiven becomes taken. Says how many.
    pub(crate) fn reclaim(&mut self, amount: i64) -> i64 {
        let mut left = if mutants::is(Mutant::ReclaimIgnored) { 0 } else { amount };
        let may_keep = left;
        for raise in &mut self.0 {
            let kept = left.min(raise.forgiven);
            raise.forgiven -= kept;
            raise.taken += kept;
            left -= kept;
        }
        may_keep - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_and_a_lowering_by_the_same_amount_leave_no_trace() {
        let mut revoked = Revoked::default();
        revoked.raise(Parts { expired: 1, taken: 2, owed: 3, forgiven: 0 });
        let before = revoked.clone();
        let raise = Parts { expired: 4, taken: 0, owed: 0, forgiven: 5 };
        revoked.raise(raise);
        assert_eq!(revoked.lower(9), raise);
        assert_eq!(revoked, before);
        assert_eq!(revoked.lower(4), Parts { owed: 3, taken: 1, ..Parts::default() });
        assert_eq!(revoked.total(), 2);
    }

    #[test]
    fn reclaimed_credits_turn_forgiven_into_taken_and_keep_the_total() {
        let mut revoked = Revoked::default();
        revoked.raise(Parts { forgiven: 5, ..Parts::default() });
        revoked.raise(Parts { forgiven: 5, ..Parts::default() });
        assert_eq!(revoked.reclaim(7), 7);
        assert_eq!(revoked.parts(), Parts { taken: 7, forgiven: 3, ..Parts::default() });
        assert_eq!(revoked.reclaim(7), 3);
        assert_eq!(revoked.total(), 10);
    }

    #[test]
    fn many_raises_are_put_together_from_the_oldest() {
        let mut revoked = Revoked::default();
        for _ in 0..1000 {
            revoked.raise(Parts { taken: 1, ..Parts::default() });
        }
        assert_eq!((revoked.raises().len(), revoked.total()), (MAX_RAISES, 1000));
    }
}
