//! Why a call fails, before anybody thinks of gRPC. `status` has a row for each.

use std::sync::Arc;

use domain::{AccountId, GrantId, HoldId, Invalid, Problem, Unit};
use relay::{AddError, LedgerError, MAX_TARGETS, SubscribeError, SubscriptionError, Target};
use signature::SignatureError;
use store::{AccountError, ApplyError, StoreError};
use stripe::NotAnEvent;

use crate::principal::Scope;

/// One field of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Path in the request, such as `targets[3].unit`.
    pub(crate) field: String,
    pub(crate) problem: Problem,
}

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Fields that cannot be used; never empty.
    #[error("invalid fields")]
    Invalid(Vec<Violation>),
    /// A unit that the catalogue does not declare.
    #[error("unknown unit")]
    UnknownUnit(Unit),
    /// A Stripe body that nobody vouches for.
    #[error("bad signature")]
    Signature(#[source] SignatureError),
    /// A signed body that is no event.
    #[error("not an event")]
    NotAnEvent(#[source] NotAnEvent),
    /// The store did not apply a request of this account.
    #[error("not applied")]
    Apply {
        /// Whose request.
        account: AccountId,
        /// Of which balance.
        unit: Unit,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The store could not read, or could not store an event.
    #[error("store failed")]
    Store(#[source] Arc<StoreError>),
    /// A read was not answered in time; nothing is changed by it.
    #[error("read timed out")]
    ReadTimedOut,
    /// An event was being stored when the time was up.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// The balance did not reach a version in time.
    #[error("version not reached")]
    VersionNotReached {
        /// Version now.
        version: i64,
        /// Version wanted.
        min_version: i64,
    },
    /// The caller gave no time.
    #[error("deadline passed")]
    DeadlinePassed,
    /// A page token that is not of this query.
    #[error("bad page token")]
    BadPageToken,
    /// A filter names a grant that the balance does not have.
    #[error("grant not found")]
    GrantNotFound(GrantId),
    /// A filter names a hold that the balance does not have.
    #[error("hold not found")]
    HoldNotFound(HoldId),
    /// An account that was never used.
    #[error("account not found")]
    AccountNotFound(AccountId),
    /// An account that has no clock of its own.
    #[error("not a sandbox account")]
    NotSandbox(AccountId),
    /// As many calls or streams are open as the process serves.
    #[error("overloaded")]
    Overloaded,
    /// The process ends.
    #[error("shutting down")]
    ShuttingDown,
    /// The caller has as many streams as it may have.
    #[error("too many streams")]
    TooManyStreams {
        /// Streams allowed.
        limit: usize,
    },
    /// A balance is added that the stream has.
    #[error("already watched")]
    AlreadyWatched {
        /// Whose.
        account: AccountId,
        /// Which unit of it.
        unit: Unit,
    },
    /// The stream has as many targets as it may have.
    #[error("too many targets")]
    TooManyTargets {
        /// Targets allowed.
        limit: usize,
    },
    /// The process has as many streams of the ledger as it may have.
    #[error("too many ledger streams")]
    TooManyLedgerStreams {
        /// Streams allowed.
        limit: usize,
    },
    /// A stream of the ledger that the relay ended.
    #[error("ledger stream ended")]
    Ledger(#[source] LedgerError),
    /// A stream that the relay ended.
    #[error("subscription ended")]
    Subscription(#[source] SubscriptionError),
    /// A balance that is too far behind for changes.
    #[error("history not available")]
    HistoryNotAvailable {
        /// Whose.
        account: AccountId,
        /// Version asked for.
        version: i64,
        /// First version from which changes are sent.
        oldest: i64,
    },
    /// No credential.
    #[error("no credential")]
    CredentialMissing,
    /// A credential that is malformed or unknown.
    #[error("bad credential")]
    CredentialInvalid,
    /// A credential without the scope.
    #[error("scope missing")]
    MissingScope(Scope),
    /// A credential that does not cover the account.
    #[error("account not covered")]
    NotCovered(AccountId),
    /// A credential that does not cover all accounts that begin with a text.
    #[error("accounts not covered")]
    PrefixNotCovered(String),
    /// A defect of this crate.
    #[error("defect: {0}")]
    Broken(&'static str),
}

impl From<Invalid> for CallError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![Violation { field: invalid.field.to_owned(), problem: invalid.problem }])
    }
}

impl From<StoreError> for CallError {
    fn from(source: StoreError) -> Self {
        Self::Store(Arc::new(source))
    }
}

impl From<SubscribeError> for CallError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::TooManyStreams { .. } | SubscribeError::TooManyWatches => Self::Overloaded,
            SubscribeError::Stopping => Self::ShuttingDown,
            SubscribeError::NoTargets
            | SubscribeError::TooManyTargets { .. }
            | SubscribeError::DuplicateTarget { .. }
            | SubscribeError::NegativeVersion { .. }
            | SubscribeError::BookmarkInterval { .. } => {
                Self::Broken("a subscription was refused for what its fields were checked for")
            }
        }
    }
}

impl CallError {
    /// For `map_err`: what the store said of this account.
    pub(crate) fn of_account(account: AccountId) -> impl FnOnce(AccountError) -> Self {
        move |error| match error {
            AccountError::NotFound => Self::AccountNotFound(account),
            AccountError::NotSandbox => Self::NotSandbox(account),
            AccountError::ClockBackwards { .. } => {
                let rule = "must not be before the account's clock, nor before its last entry";
                Self::Invalid(vec![Violation { field: "now".to_owned(), problem: Problem::Rule(rule) }])
            }
            AccountError::Store(source) if source.may_have_committed() => Self::OutcomeUnknown,
            AccountError::Store(source) => Self::from(source),
            // Of whichever unit: no refusal of a settlement names it.
            AccountError::Apply(source) => match Unit::try_new("") {
                Ok(unit) => Self::Apply { account, unit, source },
                Err(invalid) => Self::from(invalid),
            },
        }
    }

    /// Why a target was not added to a live stream.
    pub(crate) fn not_added(target: &Target, why: AddError) -> Self {
        let Target { account, unit, .. } = target;
        match why {
            AddError::Watched => Self::AlreadyWatched { account: account.clone(), unit: unit.clone() },
            AddError::TooManyTargets => Self::TooManyTargets { limit: MAX_TARGETS },
            AddError::TooManyWatches => Self::Overloaded,
            AddError::NegativeVersion { .. } => {
                Self::Broken("a target was refused for what its fields were checked for")
            }
        }
    }

    /// For `map_err`: what the store said of a request of this balance.
    pub(crate) fn of(account: AccountId, unit: Unit) -> impl FnOnce(ApplyError) -> Self {
        move |source| Self::Apply { account, unit, source }
    }
}
