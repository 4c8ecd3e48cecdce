//! Why a command is refused. Closed: a new refusal does not compile until it has a status and an example.

use crate::hold::HoldState;
use crate::id::{EntryRef, GrantId, HoldId};

/// A refusal that depends on the state of the ledger. It wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The account is closed: nothing may change.
    AccountClosed,
    /// The account is frozen: credits may come in, but not go out.
    AccountFrozen,
    /// Less is available than the command takes.
    InsufficientCredits {
        /// What could be spent.
        available: i64,
        /// What was asked for.
        required: i64,
    },
    /// The grant would be expired, or expire before it takes effect.
    ExpiryNotInFuture {
        /// The grant's expiry, in microseconds since 1970.
        expires_at_us: i64,
        /// The later of now and the grant's effective time, in microseconds since 1970.
        not_before_us: i64,
    },
    /// The balance has as many open lots as it may have.
    TooManyOpenLots {
        /// Open lots allowed.
        limit: i64,
    },
    /// The lots would sum to more than a balance may hold.
    BalanceLimitExceeded {
        /// Sum allowed.
        limit: i64,
        /// Sum that the command would make.
        would_be: i64,
    },
    /// The hold has less left than is to be captured, and overage is not allowed.
    HoldExceeded {
        /// What the hold has left.
        remaining: i64,
        /// What was asked for.
        required: i64,
    },
    /// The hold's time ended.
    HoldExpired {
        /// Which.
        hold_id: HoldId,
        /// When, in microseconds since 1970.
        expired_at_us: i64,
    },
    /// The hold was captured or released.
    HoldClosed {
        /// Which.
        hold_id: HoldId,
        /// Captured or released.
        state: HoldState,
    },
    /// The hold would live longer than holds may.
    HoldLifetimeExceeded {
        /// Which.
        hold_id: HoldId,
        /// Its latest end, in microseconds since 1970.
        latest_us: i64,
    },
    /// The balance has as many open holds as it may have.
    TooManyOpenHolds {
        /// Open holds allowed.
        limit: i64,
    },
    /// Less is left to give back of the entry than the command gives back.
    ReversalExceeded {
        /// What is left to give back.
        reversible: i64,
        /// What was asked for; 1 when all was asked for and nothing is left.
        required: i64,
    },
    /// More would be revoked than was granted.
    RevocationOutOfRange {
        /// What was granted.
        granted: i64,
        /// What should be revoked.
        revoked: i64,
    },
    /// The balance has no such hold.
    HoldNotFound {
        /// Which.
        hold_id: HoldId,
    },
    /// The balance has no such grant.
    GrantNotFound {
        /// Which.
        grant_id: GrantId,
    },
    /// The balance has no such spend or capture.
    EntryNotFound {
        /// Which.
        entry: EntryRef,
    },
}
