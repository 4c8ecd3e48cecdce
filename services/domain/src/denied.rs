//! Why a command is refused. Closed: a new refusal does not compile until it has a status and an example.

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
}
