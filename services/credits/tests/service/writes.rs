//! Requests of the writes beyond grant and spend, with what most tests want of them.

use proto::v1;

/// Reserves for an hour.
pub(crate) fn hold(account: &str, key: &str, amount: i64) -> v1::HoldCreditsRequest {
    v1::HoldCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        amount,
        ttl: seconds(3600),
        ..v1::HoldCreditsRequest::default()
    }
}

pub(crate) fn capture(account: &str, key: &str, hold_id: &str, amount: i64) -> v1::CaptureHoldRequest {
    v1::CaptureHoldRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        hold_id: hold_id.to_owned(),
        amount,
        ..v1::CaptureHoldRequest::default()
    }
}

pub(crate) fn extend(account: &str, key: &str, hold_id: &str, ttl_s: i64) -> v1::ExtendHoldRequest {
    v1::ExtendHoldRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        hold_id: hold_id.to_owned(),
        ttl: seconds(ttl_s),
        ..v1::ExtendHoldRequest::default()
    }
}

pub(crate) fn release(account: &str, key: &str, hold_id: &str) -> v1::ReleaseHoldRequest {
    v1::ReleaseHoldRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        hold_id: hold_id.to_owned(),
        ..v1::ReleaseHoldRequest::default()
    }
}

/// All that is left to give back.
pub(crate) fn reverse(account: &str, key: &str, entry_id: &str) -> v1::ReverseSpendRequest {
    v1::ReverseSpendRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        entry_id: entry_id.to_owned(),
        ..v1::ReverseSpendRequest::default()
    }
}

pub(crate) fn revoke(account: &str, key: &str, grant_id: &str, revoked: i64) -> v1::RevokeGrantRequest {
    v1::RevokeGrantRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        grant_id: grant_id.to_owned(),
        revoked,
        ..v1::RevokeGrantRequest::default()
    }
}

pub(crate) fn adjust(account: &str, key: &str, delta: i64) -> v1::AdjustCreditsRequest {
    v1::AdjustCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        delta,
        reason: "ticket 7".to_owned(),
        ..v1::AdjustCreditsRequest::default()
    }
}

pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Ids that are well formed and nobody's.
pub(crate) const NO_HOLD: &str = "ho_0199f3a27c1e7d439a511f0c6f3f9b10";
pub(crate) const NO_GRANT: &str = "gr_0199f3a27c1e7d439a511f0c6f3f9b10";
pub(crate) const NO_ENTRY: &str = "credits/1/9f86d081884c7d65";

/// The figures of an answer's balance: available, held, debt, version.
pub(crate) fn figures(balance: Option<&v1::Balance>) -> (i64, i64, i64, i64) {
    balance.map(|b| (b.available, b.held, b.debt, b.version)).unwrap_or_default()
}

/// The kinds of an operation's entries.
pub(crate) fn kinds(entries: &[v1::Entry]) -> Vec<v1::EntryKind> {
    entries.iter().map(v1::Entry::kind).collect()
}
