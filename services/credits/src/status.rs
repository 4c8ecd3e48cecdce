//! The one table from failures to gRPC statuses: code, documented reason, sentence, facts, and when to try again.
//!
//! Promises: no wildcard, so that a new failure does not compile until it has a row; INTERNAL has one fixed sentence,
//! and its chain is logged here, once. What each reason means is documented at `ErrorReason` in the .proto files.

mod denied;
mod ledger;
mod request;

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use domain::{AccountId, Unit};
use proto::ERROR_DOMAIN;
use proto::v1::{self, ErrorReason};
use relay::{LedgerError, SubscriptionError};
use signature::SignatureError;
use store::{ApplyError, StoreError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use self::request::{invalid, not_an_event};
use crate::error::CallError;

/// What a caller is told.
struct Row {
    reason: ErrorReason,
    message: String,
    metadata: Vec<(&'static str, String)>,
    fields: Vec<FieldViolation>,
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        log(&error);
        let row = row(&error);
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> =
            row.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        details.set_error_info(row.reason.as_text(), ERROR_DOMAIN, metadata);
        if !row.fields.is_empty() {
            details.set_bad_request(row.fields);
        }
        if let Some(delay) = retry_after(row.reason) {
            details.set_retry_info(Some(delay));
        }
        Self::with_error_details(code(row.reason), row.message, details)
    }
}

/// The same facts for an item of an answer that is itself OK. Boxed, since most items have none.
pub(crate) fn item_error(error: CallError) -> Box<v1::Error> {
    log(&error);
    let row = row(&error);
    let retry_after = retry_after(row.reason).and_then(|delay| prost_types::Duration::try_from(delay).ok());
    Box::new(v1::Error {
        code: i32::from(code(row.reason)),
        reason: row.reason.as_text().to_owned(),
        message: row.message,
        metadata: row.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        retry_after,
    })
}

/// The one place where a failure is logged: the chain of what nobody caused from outside. What the store calls
/// INTERNAL it has logged itself.
fn log(error: &CallError) {
    match error {
        CallError::Store(source)
        | CallError::Subscription(SubscriptionError::Store(source))
        | CallError::Ledger(LedgerError::Store(source)) => {
            let source: &StoreError = source;
            if source.is_transient() {
                tracing::warn!(error = source as &dyn Error, "the database cannot be reached");
            } else {
                tracing::error!(error = source as &dyn Error, "call failed");
            }
        }
        CallError::Broken(_) => tracing::error!(error = error as &dyn Error, "call failed"),
        CallError::Signature(source) => tracing::info!(error = source as &dyn Error, "Stripe event refused"),
        CallError::NotAnEvent(source) => tracing::info!(error = source as &dyn Error, "Stripe event refused"),
        _ => {}
    }
}

/// A reason keeps its code for ever.
const fn code(reason: ErrorReason) -> Code {
    use ErrorReason as R;
    match reason {
        R::InvalidField
        | R::UnknownUnit
        | R::BadSignature
        | R::NotAStripeEvent
        | R::ThinEventNotAccepted
        | R::BadResumeToken
        | R::BadPageToken => Code::InvalidArgument,
        R::InsufficientCredits
        | R::AccountFrozen
        | R::AccountClosed
        | R::BalanceLimitExceeded
        | R::TooManyOpenLots
        | R::HoldExceeded
        | R::HoldExpired
        | R::HoldClosed
        | R::HoldLifetimeExceeded
        | R::TooManyOpenHolds
        | R::ReversalExceeded
        | R::RevocationOutOfRange
        | R::NotASandboxAccount => Code::FailedPrecondition,
        R::IdempotencyKeyReused | R::AlreadyWatched => Code::AlreadyExists,
        R::GrantNotFound | R::HoldNotFound | R::EntryNotFound | R::AccountNotFound => Code::NotFound,
        R::Compacted | R::HistoryNotAvailable => Code::OutOfRange,
        R::AccountContended => Code::Aborted,
        R::VersionNotReached | R::DeadlinePassed => Code::DeadlineExceeded,
        R::OutcomeUnknown | R::DatabaseUnavailable | R::Overloaded | R::ShuttingDown => Code::Unavailable,
        R::TooManyStreams | R::SlowReader | R::TooManyTargets => Code::ResourceExhausted,
        R::CredentialMissing | R::CredentialInvalid => Code::Unauthenticated,
        R::PermissionDenied | R::AccountNotCovered => Code::PermissionDenied,
        R::Unspecified | R::Internal => Code::Internal,
    }
}

/// When a retry is worth while. Callers add jitter of their own.
const fn retry_after(reason: ErrorReason) -> Option<Duration> {
    use ErrorReason as R;
    match reason {
        // The key settles it at once.
        R::OutcomeUnknown => Some(Duration::from_millis(100)),
        // Foreign locks last for a transaction.
        R::AccountContended => Some(Duration::from_millis(250)),
        // Another replica takes the connection.
        R::ShuttingDown => Some(Duration::from_millis(100)),
        R::Overloaded | R::DatabaseUnavailable | R::SlowReader => Some(Duration::from_secs(1)),
        // Somebody has to close one, or remove one, first.
        R::TooManyStreams | R::TooManyTargets => Some(Duration::from_secs(5)),
        R::Unspecified
        | R::InvalidField
        | R::UnknownUnit
        | R::BadSignature
        | R::NotAStripeEvent
        | R::ThinEventNotAccepted
        | R::BadResumeToken
        | R::BadPageToken
        | R::Compacted
        | R::HistoryNotAvailable
        | R::GrantNotFound
        | R::InsufficientCredits
        | R::AccountFrozen
        | R::AccountClosed
        | R::BalanceLimitExceeded
        | R::TooManyOpenLots
        | R::HoldExceeded
        | R::HoldExpired
        | R::HoldClosed
        | R::HoldLifetimeExceeded
        | R::TooManyOpenHolds
        | R::ReversalExceeded
        | R::RevocationOutOfRange
        | R::NotASandboxAccount
        | R::HoldNotFound
        | R::EntryNotFound
        | R::AccountNotFound
        | R::IdempotencyKeyReused
        | R::AlreadyWatched
        | R::VersionNotReached
        | R::DeadlinePassed
        | R::CredentialMissing
        | R::CredentialInvalid
        | R::PermissionDenied
        | R::AccountNotCovered
        | R::Internal => None,
    }
}

fn row(error: &CallError) -> Row {
    use ErrorReason as R;
    match error {
        CallError::Invalid(violations) => invalid(violations),
        CallError::UnknownUnit(unit) => plain(
            R::UnknownUnit,
            format!("unit \"{unit}\" is not declared in the catalogue"),
            vec![("unit", unit.to_string())],
        ),
        // All alike, so that a forger learns nothing.
        CallError::Signature(
            SignatureError::Header | SignatureError::NoMatch | SignatureError::Timestamp { .. },
        ) => plain(R::BadSignature, "the Stripe signature does not match", vec![]),
        CallError::NotAnEvent(why) => not_an_event(why),
        CallError::Apply { account, unit, source } => apply(account, unit, source),
        CallError::Store(source) => store(source),
        CallError::ReadTimedOut => database_unavailable(),
        CallError::OutcomeUnknown => outcome_unknown(),
        CallError::VersionNotReached { version, min_version } => plain(
            R::VersionNotReached,
            format!("the balance is at version {version}, not yet at {min_version}"),
            vec![("version", version.to_string()), ("min_version", min_version.to_string())],
        ),
        CallError::DeadlinePassed => deadline_passed(),
        CallError::BadPageToken => plain(R::BadPageToken, "the page token is not of this query", vec![]),
        CallError::GrantNotFound(grant) => denied::grant_not_found(*grant),
        CallError::HoldNotFound(hold) => denied::hold_not_found(*hold),
        CallError::AccountNotFound(account) => {
            plain(R::AccountNotFound, format!("account {account} was never used"), of_account(account))
        }
        CallError::NotSandbox(account) => plain(
            R::NotASandboxAccount,
            format!("account {account} is not a sandbox account"),
            of_account(account),
        ),
        CallError::Overloaded => overloaded(),
        CallError::ShuttingDown => shutting_down(),
        CallError::TooManyStreams { limit } => plain(
            R::TooManyStreams,
            format!("{limit} streams are open for this caller, its maximum"),
            vec![("limit", limit.to_string()), ("per", "caller".to_owned())],
        ),
        CallError::AlreadyWatched { account, unit } => plain(
            R::AlreadyWatched,
            format!("the stream watches {unit} of {account} already"),
            vec![("account_id", account.to_string()), ("unit", unit.to_string())],
        ),
        CallError::TooManyTargets { limit } => plain(
            R::TooManyTargets,
            format!("the stream watches {limit} balances, its maximum"),
            vec![("limit", limit.to_string())],
        ),
        CallError::TooManyLedgerStreams { limit } => ledger::too_many(*limit),
        CallError::Ledger(why) => ledger::ended(why),
        CallError::Subscription(why) => subscription(why),
        CallError::CredentialMissing => plain(R::CredentialMissing, "the call carries no credential", vec![]),
        CallError::CredentialInvalid => plain(R::CredentialInvalid, "the credential is not valid", vec![]),
        CallError::MissingScope(scope) => plain(
            R::PermissionDenied,
            format!("the credential lacks scope \"{scope}\""),
            vec![("scope", scope.to_string())],
        ),
        CallError::NotCovered(account) => plain(
            R::AccountNotCovered,
            format!("the credential does not cover account {account}"),
            of_account(account),
        ),
        CallError::PrefixNotCovered(prefix) => plain(
            R::AccountNotCovered,
            format!("the credential does not cover all accounts that begin with \"{prefix}\""),
            vec![("account_id", prefix.clone())],
        ),
        CallError::HistoryNotAvailable { account, version, oldest } => no_history(account, *version, *oldest),
        CallError::Broken(_) => internal(),
    }
}

fn no_history(account: &AccountId, version: i64, oldest: i64) -> Row {
    plain(
        ErrorReason::HistoryNotAvailable,
        format!("changes of {account} are sent from version {oldest} on, not from {version}"),
        vec![
            ("account_id", account.to_string()),
            ("version", version.to_string()),
            ("oldest", oldest.to_string()),
        ],
    )
}

fn store(error: &StoreError) -> Row {
    match error {
        StoreError::Database { .. } if error.is_transient() => database_unavailable(),
        StoreError::Database { .. }
        | StoreError::Corrupt(_)
        | StoreError::Broken(_)
        | StoreError::Migrate(_) => internal(),
    }
}

fn subscription(why: &SubscriptionError) -> Row {
    match why {
        SubscriptionError::SlowReader => {
            plain(ErrorReason::SlowReader, "the stream's reader is too slow", vec![])
        }
        SubscriptionError::Stopping => shutting_down(),
        SubscriptionError::BadResumeToken => {
            plain(ErrorReason::BadResumeToken, "the resume token is not of this installation", vec![])
        }
        SubscriptionError::HistoryNotAvailable { account, version, oldest } => {
            no_history(account, *version, *oldest)
        }
        SubscriptionError::Store(source) => store(source),
    }
}

fn apply(account: &AccountId, unit: &Unit, error: &ApplyError) -> Row {
    match error {
        ApplyError::Denied(why) => denied::denied(account, unit, *why),
        ApplyError::KeyReused { operation_id } => plain(
            ErrorReason::IdempotencyKeyReused,
            "the idempotency key was used for another request",
            vec![("operation_id", operation_id.to_string())],
        ),
        ApplyError::Overloaded => overloaded(),
        ApplyError::Contended => plain(
            ErrorReason::AccountContended,
            format!("account {account} is locked by others"),
            of_account(account),
        ),
        ApplyError::DeadlinePassed => deadline_passed(),
        ApplyError::Unavailable => database_unavailable(),
        ApplyError::OutcomeUnknown => outcome_unknown(),
        ApplyError::Stopping => shutting_down(),
        ApplyError::Internal => internal(),
    }
}

fn plain(reason: ErrorReason, message: impl Into<String>, metadata: Vec<(&'static str, String)>) -> Row {
    Row { reason, message: message.into(), metadata, fields: Vec::new() }
}

fn of_account(account: &AccountId) -> Vec<(&'static str, String)> {
    vec![("account_id", account.to_string())]
}

fn overloaded() -> Row {
    plain(ErrorReason::Overloaded, "the service is overloaded", vec![])
}

fn shutting_down() -> Row {
    plain(ErrorReason::ShuttingDown, "the service is shutting down", vec![])
}

fn database_unavailable() -> Row {
    plain(ErrorReason::DatabaseUnavailable, "the database cannot be reached", vec![])
}

fn deadline_passed() -> Row {
    plain(ErrorReason::DeadlinePassed, "the deadline passed before the call was served", vec![])
}

fn outcome_unknown() -> Row {
    plain(ErrorReason::OutcomeUnknown, "the outcome is unknown: call again with the same key", vec![])
}

fn internal() -> Row {
    plain(ErrorReason::Internal, "internal error", vec![])
}

#[cfg(test)]
mod tests;
