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
    /// An activation comes one settlement late.
    LateActivation = 8,
    /// Lock and read share a statement (in `store`).
    LockAndReadInOneStatement = 9,
}

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Mutant;

    static ON: AtomicU8 = AtomicU8::new(0);

    impl Mutant {
        /// Every defect.
        pub const ALL: [Self; 9] = [
            Self::WrongBurnOrder,
            Self::CaptureBeyondHold,
            Self::ReleaseToTheWrongLot,
            Self::LostExpiry,
            Self::DoubleReverse,
            Self::DebtIgnored,
            Self::LoweringLeavesATrace,
            Self::LateActivation,
            Self::LockAndReadInOneStatement,
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
