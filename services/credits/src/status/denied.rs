//! The rows of the ledger's refusals.

use domain::{AccountId, Denied, GrantId, HoldId, Problem, Timestamp, Unit};
use proto::v1::ErrorReason as R;

use super::{Row, invalid, of_account, plain};
use crate::encode::proto_timestamp;
use crate::error::Violation;

pub(super) fn denied(account: &AccountId, unit: &Unit, why: Denied) -> Row {
    match why {
        Denied::AccountClosed => {
            plain(R::AccountClosed, format!("account {account} is closed"), of_account(account))
        }
        Denied::AccountFrozen => {
            plain(R::AccountFrozen, format!("account {account} is frozen"), of_account(account))
        }
        Denied::InsufficientCredits { available, required } => plain(
            R::InsufficientCredits,
            format!("{available} credits are available, {required} are required"),
            vec![("available", available.to_string()), ("required", required.to_string())],
        ),
        Denied::ExpiryNotInFuture { .. } => invalid(&[Violation {
            field: "expires_at".to_owned(),
            problem: Problem::Rule("must be later than now and than effective_at"),
        }]),
        Denied::TooManyOpenLots { limit } => plain(
            R::TooManyOpenLots,
            format!("the balance has {limit} open lots, its maximum"),
            vec![("limit", limit.to_string())],
        ),
        Denied::BalanceLimitExceeded { limit, would_be } => plain(
            R::BalanceLimitExceeded,
            format!("the balance may hold at most {limit} credits"),
            vec![("limit", limit.to_string()), ("would_be", would_be.to_string())],
        ),
        Denied::HoldExceeded { remaining, required } => plain(
            R::HoldExceeded,
            format!("the hold has {remaining} credits left, {required} are required"),
            vec![("remaining", remaining.to_string()), ("required", required.to_string())],
        ),
        Denied::HoldExpired { hold_id, expired_at_us } => {
            let expired_at = moment(expired_at_us);
            let message = format!("hold {hold_id} expired at {expired_at}");
            plain(R::HoldExpired, message, vec![("hold_id", hold_id.to_string()), ("expired_at", expired_at)])
        }
        Denied::HoldClosed { hold_id, state } => plain(
            R::HoldClosed,
            format!("hold {hold_id} is closed: {}", state.name()),
            vec![("hold_id", hold_id.to_string()), ("state", state.name().to_owned())],
        ),
        Denied::HoldLifetimeExceeded { hold_id, latest_us } => {
            let latest = moment(latest_us);
            let message = format!("hold {hold_id} ends at {latest} at the latest");
            plain(
                R::HoldLifetimeExceeded,
                message,
                vec![("hold_id", hold_id.to_string()), ("latest", latest)],
            )
        }
        Denied::TooManyOpenHolds { limit } => plain(
            R::TooManyOpenHolds,
            format!("the balance has {limit} open holds, its maximum"),
            vec![("limit", limit.to_string())],
        ),
        Denied::ReversalExceeded { reversible, required } => plain(
            R::ReversalExceeded,
            format!("{reversible} credits are left to give back of that entry, {required} are required"),
            vec![("reversible", reversible.to_string()), ("required", required.to_string())],
        ),
        Denied::RevocationOutOfRange { granted, revoked } => plain(
            R::RevocationOutOfRange,
            format!("{granted} credits were granted, {revoked} cannot be revoked"),
            vec![("granted", granted.to_string()), ("revoked", revoked.to_string())],
        ),
        Denied::HoldNotFound { hold_id } => hold_not_found(hold_id),
        Denied::GrantNotFound { grant_id } => grant_not_found(grant_id),
        Denied::EntryNotFound { entry } => {
            let entry_id = entry.id(unit);
            let message = format!("the balance has no spend or capture {entry_id}");
            plain(R::EntryNotFound, message, vec![("entry_id", entry_id)])
        }
    }
}

pub(super) fn grant_not_found(grant_id: GrantId) -> Row {
    let message = format!("the balance has no grant {grant_id}");
    plain(R::GrantNotFound, message, vec![("grant_id", grant_id.to_string())])
}

pub(super) fn hold_not_found(hold_id: HoldId) -> Row {
    let message = format!("the balance has no hold {hold_id}");
    plain(R::HoldNotFound, message, vec![("hold_id", hold_id.to_string())])
}

/// As RFC 3339 writes it, in UTC.
pub(super) fn moment(micros: i64) -> String {
    proto_timestamp(Timestamp::from_micros(micros)).to_string()
}
