//! Deliberate defects, for the mutation gate: each must be caught by the tests that prove the rules. Without the
//! feature `mutants`, which only tests enable, none can be switched on and the compiler removes them.

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutants"),
    allow(dead_code, unreachable_pub, reason = "for the switch and its tests")
)]
pub enum Mutant {
    /// Lots burn in the opposite order.
    WrongBurnOrder = 1,
    /// A capture may take more than the hold has, as if overage were allowed.
    CaptureBeyondHold = 2,
    /// A release gives all credits to the first lot of the balance.
    ReleaseToTheWrongLot = 3,
    /// Lots do not end.
    LostExpiry = 4,
    /// A reversal forgets what came back before.
    DoubleReverse = 5,
    /// What is owed beyond the available credits is let go.
    DebtIgnored = 6,
    /// A lowered revocation does not refill the lot.
    LoweringLeavesATrace = 7,
    /// Scheduled lots do not begin.
    LostActivation = 8,
    /// Lock and read share a statement (in `store`).
    LockAndReadInOneStatement = 9,
    /// Credits that return to a revoked grant pass over its forgiven part.
    ReclaimIgnored = 10,
    /// A hold ends a moment after its time.
    HoldEndsLate = 11,
    /// An extension sets the end, also to an earlier one.
    ExtensionShortens = 12,
    /// What expired of a grant does not count as revoked.
    ExpiredNotCounted = 13,
    /// A reversal begins with the first line.
    FirstLineFirst = 14,
    /// A reversal refills lots that have ended.
    EndedLotRefilled = 15,
    /// A revocation is lowered by its oldest raise first.
    OldestRaiseFirst = 16,
    /// The next due time forgets the holds.
    DueTimeWithoutHolds = 17,
    /// A release does not say what a revocation kept.
    ReclaimedNotSaid = 18,
    /// A released lot that has ended lives on.
    ReleasedLotLivesOn = 19,
}

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    static ON: AtomicU8 = AtomicU8::new(0);

    impl Mutant {
        /// Every defect.
        pub const ALL: [Self; 19] = [
            Self::WrongBurnOrder,
            Self::CaptureBeyondHold,
            Self::ReleaseToTheWrongLot,
            Self::LostExpiry,
            Self::DoubleReverse,
            Self::DebtIgnored,
            Self::LoweringLeavesATrace,
            Self::LostActivation,
            Self::LockAndReadInOneStatement,
            Self::ReclaimIgnored,
            Self::HoldEndsLate,
            Self::ExtensionShortens,
            Self::ExpiredNotCounted,
            Self::FirstLineFirst,
            Self::EndedLotRefilled,
            Self::OldestRaiseFirst,
            Self::DueTimeWithoutHolds,
            Self::ReclaimedNotSaid,
            Self::ReleasedLotLivesOn,
        ];
    }

    /// Switches one defect on in this process, or all off.
    pub fn switch(mutant: Option<Mutant>) {
        ON.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::SeqCst);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        ON.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, switch};

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_: Mutant) -> bool {
    false
}
