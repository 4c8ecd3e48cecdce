//! Deliberate defects of the change stream, for its mutation gate (`relay/tests/relay/gate.rs`, and the chaos harness):
//! each must be caught by the checks that prove the stream. Without the feature `mutants`, which only tests enable, none
//! can be switched on and the compiler removes them.
//!
//! Processes of a test are switched one by one, so the switch is the environment: `TALLYSTICK_MUTANT=<name>`.

/// One defect. Those of the hub, the queues and the tokens live in `relay`; the list is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The tail remembers the highest number and asks for what is above it.
    SequenceCursor,
    /// The tail reads what lies below the oldest transaction in progress, ordered by transaction.
    XminHorizon,
    /// A poll takes so many rows and no more, and goes on from its snapshot.
    LimitOnAMovingSnapshot,
    /// A stream reads its balances and only then subscribes to their changes.
    ReadBeforeSubscribe,
    /// A due bookmark passes by what is queued.
    BookmarkOutsideTheQueue,
    /// A full queue is dropped without a word.
    SilentDropOnOverflow,
    /// The tail reads a standby.
    RelayOnAStandby,
    /// There are no polls but those that a hint wakes.
    NotifyAsTheOnlyWakeUp,
    /// A token's versions are believed without the hashes.
    TokenWithoutFingerprint,
    /// A new connection goes on from the snapshot of the one before.
    SnapshotKeptOverAReconnect,
    /// What has a version that was sent counts as sent.
    DuplicatesByVersionAlone,
}

#[cfg(feature = "mutants")]
mod switch {
    use std::sync::{LazyLock, Mutex, PoisonError};

    use super::Mutant;

    /// The variable that names the defect of this process.
    pub const VARIABLE: &str = "TALLYSTICK_MUTANT";

    #[expect(
        clippy::disallowed_methods,
        clippy::panic,
        reason = "a switch of tests, in builds for tests alone"
    )]
    static ON: LazyLock<Option<Mutant>> = LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let mutant = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
        Some(mutant.unwrap_or_else(|| panic!("{VARIABLE}: no mutant is called {name}")))
    });

    static KEPT: Mutex<Option<String>> = Mutex::new(None);

    impl Mutant {
        /// Every defect.
        pub const ALL: [Self; 11] = [
            Self::SequenceCursor,
            Self::XminHorizon,
            Self::LimitOnAMovingSnapshot,
            Self::ReadBeforeSubscribe,
            Self::BookmarkOutsideTheQueue,
            Self::SilentDropOnOverflow,
            Self::RelayOnAStandby,
            Self::NotifyAsTheOnlyWakeUp,
            Self::TokenWithoutFingerprint,
            Self::SnapshotKeptOverAReconnect,
            Self::DuplicatesByVersionAlone,
        ];

        /// Its name in the variable: that of the variant.
        #[must_use]
        pub fn name(self) -> String {
            format!("{self:?}")
        }
    }

    /// Whether it is on in this process.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        *ON == Some(mutant)
    }

    /// Of the defect `SnapshotKeptOverAReconnect`: the snapshot of the connection before.
    pub(crate) fn kept_snapshot() -> Option<String> {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.filter(|_| is(Mutant::SnapshotKeptOverAReconnect))
    }

    pub(crate) fn keep_snapshot(snapshot: &str) {
        if is(Mutant::SnapshotKeptOverAReconnect) {
            *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.to_owned());
        }
    }
}

#[cfg(feature = "mutants")]
pub use switch::{VARIABLE, is};
#[cfg(feature = "mutants")]
pub(super) use switch::{keep_snapshot, kept_snapshot};

/// Whether it is on: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
pub(super) const fn kept_snapshot() -> Option<String> {
    None
}

#[cfg(not(feature = "mutants"))]
pub(super) const fn keep_snapshot(_: &str) {}
