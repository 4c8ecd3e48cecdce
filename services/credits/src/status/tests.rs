//! Every failure against its row, and every row against what the .proto file says of its reason.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Denied, EntryRef, GrantId, HoldId, HoldState, Problem, Unit};
use stripe::NotAnEvent;
use tonic_types::StatusExt;

use super::*;
use crate::error::Violation;
use crate::principal::Scope;

const DOCUMENTED: &str = include_str!("../../../../proto/tallystick/credits/v1/error_reason.proto");

fn user() -> AccountId {
    AccountId::try_new("user_1").unwrap()
}

fn hold() -> HoldId {
    "ho_0199f3a27c1e7d439a511f0c6f3f9b10".parse().unwrap()
}

fn grant() -> GrantId {
    "gr_0199f3a27c1e7d439a511f0c6f3f9b10".parse().unwrap()
}

fn applied(source: ApplyError) -> CallError {
    CallError::Apply { account: user(), unit: Unit::try_new("").unwrap(), source }
}

fn refused(why: Denied) -> CallError {
    applied(ApplyError::Denied(why))
}

fn violated(problem: Problem) -> CallError {
    CallError::Invalid(vec![Violation { field: "amount".to_owned(), problem }])
}

/// Every failure, its reason and its sentence.
fn table() -> Vec<(CallError, &'static str, &'static str)> {
    let internal = "internal error";
    let not_an_event = |why| CallError::NotAnEvent(why);
    vec![
        (
            violated(Problem::OutOfRange { min: 1, max: 1_000_000_000_000_000, actual: 0 }),
            "INVALID_FIELD",
            "amount must be 1 to 1000000000000000",
        ),
        (violated(Problem::Empty), "INVALID_FIELD", "amount must not be empty"),
        (
            violated(Problem::TooLong { limit: 9, actual: 10 }),
            "INVALID_FIELD",
            "amount must have at most 9 bytes",
        ),
        (
            violated(Problem::TooMany { limit: 9, actual: 10 }),
            "INVALID_FIELD",
            "amount must have at most 9 elements",
        ),
        (violated(Problem::Characters { allowed: "x" }), "INVALID_FIELD", "amount must have only x"),
        (
            CallError::Subscription(SubscriptionError::BadResumeToken),
            "BAD_RESUME_TOKEN",
            "the resume token is not of this installation",
        ),
        (
            CallError::HistoryNotAvailable { account: user(), version: 3, oldest: 1204 },
            "HISTORY_NOT_AVAILABLE",
            "changes of user_1 are sent from version 1204 on, not from 3",
        ),
        (
            CallError::Subscription(SubscriptionError::HistoryNotAvailable {
                account: user(),
                version: 3,
                oldest: 1204,
            }),
            "HISTORY_NOT_AVAILABLE",
            "changes of user_1 are sent from version 1204 on, not from 3",
        ),
        (violated(Problem::Rule("must be good")), "INVALID_FIELD", "amount must be good"),
        (
            refused(Denied::ExpiryNotInFuture { expires_at_us: 1, not_before_us: 2 }),
            "INVALID_FIELD",
            "expires_at must be later than now and than effective_at",
        ),
        (
            not_an_event(NotAnEvent::TooLong { limit: 9, actual: 10 }),
            "INVALID_FIELD",
            "body must have at most 9 bytes",
        ),
        (
            CallError::UnknownUnit(Unit::try_new("gems").unwrap()),
            "UNKNOWN_UNIT",
            "unit \"gems\" is not declared in the catalogue",
        ),
        (
            CallError::Signature(SignatureError::Header),
            "BAD_SIGNATURE",
            "the Stripe signature does not match",
        ),
        (
            CallError::Signature(SignatureError::NoMatch),
            "BAD_SIGNATURE",
            "the Stripe signature does not match",
        ),
        (
            CallError::Signature(SignatureError::Timestamp { age_s: 301 }),
            "BAD_SIGNATURE",
            "the Stripe signature does not match",
        ),
        (
            not_an_event(NotAnEvent::NoId),
            "NOT_A_STRIPE_EVENT",
            "the body is not a Stripe event: the event has no id",
        ),
        (not_an_event(NotAnEvent::Thin), "THIN_EVENT_NOT_ACCEPTED", "thin events are not accepted"),
        (CallError::BadPageToken, "BAD_PAGE_TOKEN", "the page token is not of this query"),
        (
            CallError::GrantNotFound(grant()),
            "GRANT_NOT_FOUND",
            "the balance has no grant gr_0199f3a27c1e7d439a511f0c6f3f9b10",
        ),
        (
            refused(Denied::InsufficientCredits { available: 37, required: 50 }),
            "INSUFFICIENT_CREDITS",
            "37 credits are available, 50 are required",
        ),
        (refused(Denied::AccountFrozen), "ACCOUNT_FROZEN", "account user_1 is frozen"),
        (refused(Denied::AccountClosed), "ACCOUNT_CLOSED", "account user_1 is closed"),
        (
            refused(Denied::BalanceLimitExceeded {
                limit: 9_000_000_000_000_000,
                would_be: 9_000_000_000_000_999,
            }),
            "BALANCE_LIMIT_EXCEEDED",
            "the balance may hold at most 9000000000000000 credits",
        ),
        (
            refused(Denied::TooManyOpenLots { limit: 10_000 }),
            "TOO_MANY_OPEN_LOTS",
            "the balance has 10000 open lots, its maximum",
        ),
        (
            refused(Denied::HoldExceeded { remaining: 40, required: 50 }),
            "HOLD_EXCEEDED",
            "the hold has 40 credits left, 50 are required",
        ),
        (
            refused(Denied::HoldExpired { hold_id: hold(), expired_at_us: 1_763_812_800_000_000 }),
            "HOLD_EXPIRED",
            "hold ho_0199f3a27c1e7d439a511f0c6f3f9b10 expired at 2025-11-22T12:00:00Z",
        ),
        (
            refused(Denied::HoldClosed { hold_id: hold(), state: HoldState::Released }),
            "HOLD_CLOSED",
            "hold ho_0199f3a27c1e7d439a511f0c6f3f9b10 is closed: RELEASED",
        ),
        (
            refused(Denied::HoldLifetimeExceeded { hold_id: hold(), latest_us: 1_766_404_800_000_000 }),
            "HOLD_LIFETIME_EXCEEDED",
            "hold ho_0199f3a27c1e7d439a511f0c6f3f9b10 ends at 2025-12-22T12:00:00Z at the latest",
        ),
        (
            refused(Denied::TooManyOpenHolds { limit: 10_000 }),
            "TOO_MANY_OPEN_HOLDS",
            "the balance has 10000 open holds, its maximum",
        ),
        (
            refused(Denied::ReversalExceeded { reversible: 20, required: 50 }),
            "REVERSAL_EXCEEDED",
            "20 credits are left to give back of that entry, 50 are required",
        ),
        (
            refused(Denied::RevocationOutOfRange { granted: 1000, revoked: 1001 }),
            "REVOCATION_OUT_OF_RANGE",
            "1000 credits were granted, 1001 cannot be revoked",
        ),
        (
            refused(Denied::GrantNotFound { grant_id: grant() }),
            "GRANT_NOT_FOUND",
            "the balance has no grant gr_0199f3a27c1e7d439a511f0c6f3f9b10",
        ),
        (
            refused(Denied::HoldNotFound { hold_id: hold() }),
            "HOLD_NOT_FOUND",
            "the balance has no hold ho_0199f3a27c1e7d439a511f0c6f3f9b10",
        ),
        (
            CallError::HoldNotFound(hold()),
            "HOLD_NOT_FOUND",
            "the balance has no hold ho_0199f3a27c1e7d439a511f0c6f3f9b10",
        ),
        (
            refused(Denied::EntryNotFound {
                entry: EntryRef::try_new("credits/7/9f86d081884c7d65", &Unit::try_new("").unwrap()).unwrap(),
            }),
            "ENTRY_NOT_FOUND",
            "the balance has no spend or capture credits/7/9f86d081884c7d65",
        ),
        (CallError::AccountNotFound(user()), "ACCOUNT_NOT_FOUND", "account user_1 was never used"),
        (CallError::NotSandbox(user()), "NOT_A_SANDBOX_ACCOUNT", "account user_1 is not a sandbox account"),
        (
            applied(ApplyError::KeyReused {
                operation_id: "op_00000000000000000000000000000007".parse().unwrap(),
            }),
            "IDEMPOTENCY_KEY_REUSED",
            "the idempotency key was used for another request",
        ),
        (applied(ApplyError::Contended), "ACCOUNT_CONTENDED", "account user_1 is locked by others"),
        (
            CallError::VersionNotReached { version: 7, min_version: 9 },
            "VERSION_NOT_REACHED",
            "the balance is at version 7, not yet at 9",
        ),
        (CallError::DeadlinePassed, "DEADLINE_PASSED", "the deadline passed before the call was served"),
        (
            applied(ApplyError::DeadlinePassed),
            "DEADLINE_PASSED",
            "the deadline passed before the call was served",
        ),
        (
            applied(ApplyError::OutcomeUnknown),
            "OUTCOME_UNKNOWN",
            "the outcome is unknown: call again with the same key",
        ),
        (
            CallError::OutcomeUnknown,
            "OUTCOME_UNKNOWN",
            "the outcome is unknown: call again with the same key",
        ),
        (applied(ApplyError::Unavailable), "DATABASE_UNAVAILABLE", "the database cannot be reached"),
        (CallError::ReadTimedOut, "DATABASE_UNAVAILABLE", "the database cannot be reached"),
        (applied(ApplyError::Overloaded), "OVERLOADED", "the service is overloaded"),
        (CallError::Overloaded, "OVERLOADED", "the service is overloaded"),
        (applied(ApplyError::Stopping), "SHUTTING_DOWN", "the service is shutting down"),
        (CallError::ShuttingDown, "SHUTTING_DOWN", "the service is shutting down"),
        (
            CallError::TooManyStreams { limit: 100 },
            "TOO_MANY_STREAMS",
            "100 streams are open for this caller, its maximum",
        ),
        (
            CallError::AlreadyWatched { account: user(), unit: Unit::try_new("").unwrap() },
            "ALREADY_WATCHED",
            "the stream watches credits of user_1 already",
        ),
        (
            CallError::TooManyTargets { limit: 1000 },
            "TOO_MANY_TARGETS",
            "the stream watches 1000 balances, its maximum",
        ),
        (
            CallError::TooManyLedgerStreams { limit: 4 },
            "TOO_MANY_STREAMS",
            "4 streams of the ledger are open in this process, its maximum",
        ),
        (
            CallError::Ledger(LedgerError::BadResumeToken),
            "BAD_RESUME_TOKEN",
            "the resume token is not of this installation",
        ),
        (
            CallError::Ledger(LedgerError::Compacted {
                oldest: domain::Timestamp::from_micros(1_763_812_800_000_000),
            }),
            "COMPACTED",
            "changes are kept since 2025-11-22T12:00:00Z: start anew",
        ),
        (
            CallError::Ledger(LedgerError::TooManyInProgress),
            "OVERLOADED",
            "the database has more transactions in progress than a resume token holds",
        ),
        (CallError::Ledger(LedgerError::Stopping), "SHUTTING_DOWN", "the service is shutting down"),
        (
            CallError::Ledger(LedgerError::Store(std::sync::Arc::new(StoreError::Corrupt("secret detail")))),
            "INTERNAL",
            internal,
        ),
        (
            CallError::Subscription(SubscriptionError::SlowReader),
            "SLOW_READER",
            "the stream's reader is too slow",
        ),
        (
            CallError::Subscription(SubscriptionError::Stopping),
            "SHUTTING_DOWN",
            "the service is shutting down",
        ),
        (CallError::CredentialMissing, "CREDENTIAL_MISSING", "the call carries no credential"),
        (CallError::CredentialInvalid, "CREDENTIAL_INVALID", "the credential is not valid"),
        (CallError::MissingScope(Scope::Grant), "PERMISSION_DENIED", "the credential lacks scope \"grant\""),
        (
            CallError::NotCovered(user()),
            "ACCOUNT_NOT_COVERED",
            "the credential does not cover account user_1",
        ),
        (
            CallError::PrefixNotCovered("us".to_owned()),
            "ACCOUNT_NOT_COVERED",
            "the credential does not cover all accounts that begin with \"us\"",
        ),
        (applied(ApplyError::Internal), "INTERNAL", internal),
        (CallError::from(StoreError::Corrupt("secret detail")), "INTERNAL", internal),
        (CallError::from(StoreError::Broken("secret detail")), "INTERNAL", internal),
        (CallError::Broken("secret detail"), "INTERNAL", internal),
    ]
}

/// Of each reason, as documented: its code, and the text about its metadata.
fn documented() -> BTreeMap<String, (String, String)> {
    let mut reasons = BTreeMap::new();
    let mut comment = String::new();
    for line in DOCUMENTED.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("//") {
            comment = format!("{comment} {}", text.trim());
        } else if let Some(value) = line.strip_prefix("ERROR_REASON_") {
            if let Some((_, facts)) = comment.split_once("Code: ") {
                let (code, facts) = facts.split_once('.').unwrap();
                let facts = facts.split("Example").next().unwrap();
                let (name, _) = value.split_once(' ').unwrap();
                reasons.insert(name.to_owned(), (code.to_owned(), facts.to_owned()));
            }
            comment.clear();
        } else {
            comment.clear();
        }
    }
    reasons
}

fn code_name(code: Code) -> String {
    let name = format!("{code:?}");
    let mut text = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[test]
fn every_failure_has_its_reason_and_its_sentence() {
    for (error, reason, message) in table() {
        let shown = format!("{error:?}");
        let status = Status::from(error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), status.message()), (reason, message), "{shown}");
        assert_eq!(info.domain, "tallystick");
    }
}

#[test]
fn every_reason_is_in_the_table_and_is_as_documented() {
    let documented = documented();
    let mut seen = BTreeSet::new();
    for (error, reason, _) in table() {
        let status = Status::from(error);
        let (code, facts) = &documented[reason];
        assert_eq!(&code_name(status.code()), code, "{reason}");
        let info = status.get_details_error_info().unwrap();
        for key in info.metadata.keys() {
            assert!(facts.contains(key.as_str()), "{reason}: {key} is not documented");
        }
        seen.insert(reason.to_owned());
    }
    assert_eq!(seen, documented.into_keys().collect::<BTreeSet<_>>());
}

#[test]
fn what_is_worth_a_retry_says_when() {
    for (error, reason, _) in table() {
        let status = Status::from(error);
        let worth = matches!(status.code(), Code::Unavailable | Code::Aborted | Code::ResourceExhausted);
        let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
        assert_eq!(delay.is_some(), worth, "{reason}");
    }
}

#[test]
fn every_violation_is_listed_and_the_first_is_named() {
    let violation = |field: &str| Violation { field: field.to_owned(), problem: Problem::Empty };
    let status = Status::from(CallError::Invalid(vec![violation("account_id"), violation("amount")]));
    let bad = status.get_details_bad_request().unwrap();
    let fields: Vec<&str> = bad.field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["account_id", "amount"]);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.metadata["field"].as_str(), info.metadata["constraint"].as_str()),
        ("account_id", "not empty")
    );
}

#[test]
fn nothing_internal_is_told() {
    for (error, reason, _) in table() {
        if reason == "INTERNAL" {
            let status = Status::from(error);
            assert!(!format!("{status:?}").contains("secret detail"));
        }
    }
}

#[test]
fn bodies_that_are_no_events_name_their_defect() {
    let defect = |why| {
        let status = Status::from(CallError::NotAnEvent(why));
        status.get_details_error_info().unwrap().metadata["defect"].clone()
    };
    assert_eq!(defect(NotAnEvent::NotUtf8 { valid_up_to: 1 }), "not_utf8");
    assert_eq!(defect(NotAnEvent::TooDeep { limit: 64 }), "depth");
    assert_eq!(defect(NotAnEvent::NotJson { line: 1, column: 0 }), "not_json");
    assert_eq!(defect(NotAnEvent::Envelope { line: 1, column: 0 }), "not_json");
    assert_eq!(defect(NotAnEvent::Object), "type");
    assert_eq!(defect(NotAnEvent::NoType), "type");
    assert_eq!(defect(NotAnEvent::IdTooLong { limit: 1, actual: 2 }), "id");
    assert_eq!(defect(NotAnEvent::IdCharacters), "id");
}

#[test]
fn an_item_carries_what_a_status_would_and_says_when_to_try_again() {
    let error = item_error(applied(ApplyError::Contended));
    assert_eq!((error.code, error.reason.as_str()), (10, "ACCOUNT_CONTENDED"));
    assert_eq!(error.message, "account user_1 is locked by others");
    assert_eq!(error.metadata["account_id"], "user_1");
    assert_eq!(error.retry_after.unwrap().nanos, 250_000_000);
    let refused = item_error(refused(Denied::InsufficientCredits { available: 37, required: 50 }));
    assert_eq!((refused.code, refused.retry_after), (9, None));
    assert_eq!(refused.metadata["available"], "37");
}
