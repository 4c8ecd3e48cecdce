//! Bad input through the writes beyond grant and spend; what all writes share is tried on one of them in `bad_input`.

use proto::v1;

use crate::bad_input::{Fault, assert_names, assert_unharmed, moment, span};
use crate::served::served;
use crate::writes::{
    NO_ENTRY, NO_GRANT, NO_HOLD, adjust, capture, extend, hold, release, reverse, revoke, seconds,
};

const DAYS_30: i64 = 30 * 24 * 3600;

const HOLDS: &[Fault<v1::HoldCreditsRequest>] = &[
    ("account_id", |r| r.account_id = "a\0".to_owned()),
    ("unit", |r| r.unit = "A".to_owned()),
    ("idempotency_key", |r| r.idempotency_key = "tallystick:x".to_owned()),
    ("amount", |r| r.amount = 0),
    ("amount", |r| r.amount = -1),
    ("amount", |r| r.amount = i64::MAX),
    ("ttl", |r| r.ttl = None),
    ("ttl", |r| r.ttl = span(0, 999_999_999)),
    ("ttl", |r| r.ttl = span(DAYS_30, 1)),
    ("ttl", |r| r.ttl = span(-1, 0)),
    ("ttl", |r| r.ttl = span(1, -1)),
    ("ttl", |r| r.ttl = span(i64::MIN, i32::MIN)),
    ("reference", |r| r.reference = "r".repeat(256)),
    ("reason", |r| r.reason = "\0".to_owned()),
    ("on_behalf_of", |r| r.on_behalf_of = "r".repeat(256)),
    ("metadata", |r| r.metadata = [(String::new(), "v".to_owned())].into()),
];

const CAPTURES: &[Fault<v1::CaptureHoldRequest>] = &[
    ("account_id", |r| r.account_id = String::new()),
    ("idempotency_key", |r| r.idempotency_key = String::new()),
    ("hold_id", |r| r.hold_id = String::new()),
    ("hold_id", |r| r.hold_id = NO_GRANT.to_owned()),
    ("hold_id", |r| r.hold_id = "ho_7".to_owned()),
    ("hold_id", |r| r.hold_id = format!("{NO_HOLD}\0")),
    ("amount", |r| r.amount = 0),
    ("amount", |r| {
        r.r#final = true;
        r.amount = -1;
    }),
    ("amount", |r| r.amount = 1_000_000_000_000_001),
    ("reference", |r| r.reference = "\0".to_owned()),
];

const EXTENSIONS: &[Fault<v1::ExtendHoldRequest>] = &[
    ("unit", |r| r.unit = "a\0".to_owned()),
    ("hold_id", |r| r.hold_id = "x".repeat(100_000)),
    ("ttl", |r| r.ttl = None),
    ("ttl", |r| r.ttl = seconds(0)),
    ("ttl", |r| r.ttl = seconds(DAYS_30 + 1)),
    ("reason", |r| r.reason = "r".repeat(256)),
];

const RELEASES: &[Fault<v1::ReleaseHoldRequest>] = &[
    ("account_id", |r| r.account_id = "a b".to_owned()),
    ("hold_id", |r| r.hold_id = "ho_0199f3a27c1e7d439a511f0c6f3f9b1g".to_owned()),
    ("metadata", |r| r.metadata = (0..17).map(|n| (n.to_string(), String::new())).collect()),
];

const REVERSALS: &[Fault<v1::ReverseSpendRequest>] = &[
    ("idempotency_key", |r| r.idempotency_key = "k".repeat(256)),
    ("entry_id", |r| r.entry_id = String::new()),
    ("entry_id", |r| r.entry_id = "credits/1".to_owned()),
    ("entry_id", |r| r.entry_id = "gems/1/9f86d081884c7d65".to_owned()),
    ("entry_id", |r| r.entry_id = "credits/-1/9f86d081884c7d65".to_owned()),
    ("entry_id", |r| r.entry_id = "credits/99999999999999999999/9f86d081884c7d65".to_owned()),
    ("entry_id", |r| r.entry_id = "credits/1/9f86d081884c7d6\0".to_owned()),
    ("amount", |r| r.amount = Some(0)),
    ("amount", |r| r.amount = Some(i64::MIN)),
    ("amount", |r| r.amount = Some(1_000_000_000_000_001)),
    ("on_behalf_of", |r| r.on_behalf_of = "\0".to_owned()),
];

const REVOCATIONS: &[Fault<v1::RevokeGrantRequest>] = &[
    ("account_id", |r| r.account_id = "a".repeat(129)),
    ("grant_id", |r| r.grant_id = String::new()),
    ("grant_id", |r| r.grant_id = NO_HOLD.to_owned()),
    ("revoked", |r| r.revoked = -1),
    ("revoked", |r| r.revoked = i64::MAX),
    ("shortfall_policy", |r| r.shortfall_policy = 3),
    ("shortfall_policy", |r| r.shortfall_policy = i32::MIN),
    ("metadata", |r| r.metadata = [("k".to_owned(), "v".repeat(2048))].into()),
];

const ADJUSTMENTS: &[Fault<v1::AdjustCreditsRequest>] = &[
    ("unit", |r| r.unit = "1".to_owned()),
    ("delta", |r| r.delta = 0),
    ("delta", |r| r.delta = 1_000_000_000_000_001),
    ("delta", |r| r.delta = i64::MIN),
    ("expires_at", |r| r.expires_at = moment(-1, 0)),
    ("expires_at", |r| r.expires_at = moment(1, 0)),
    ("expires_at", |r| r.expires_at = moment(253_402_300_800, 0)),
    ("expires_at", |r| {
        r.delta = -1;
        r.expires_at = moment(4_000_000_000, 0);
    }),
    ("reason", |r| r.reason = String::new()),
    ("reason", |r| r.reason = "r".repeat(256)),
    ("reason", |r| r.reason = "\0".to_owned()),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_writes_of_holds_name_their_field_and_write_nothing() {
    let served = served().await;
    for (field, spoil) in HOLDS {
        let mut request = hold("user_1", "k", 1);
        spoil(&mut request);
        assert_names(&served.client().hold_credits(request).await.unwrap_err(), field);
    }
    for (field, spoil) in CAPTURES {
        let mut request = capture("user_1", "k", NO_HOLD, 1);
        spoil(&mut request);
        assert_names(&served.client().capture_hold(request).await.unwrap_err(), field);
    }
    for (field, spoil) in EXTENSIONS {
        let mut request = extend("user_1", "k", NO_HOLD, 60);
        spoil(&mut request);
        assert_names(&served.client().extend_hold(request).await.unwrap_err(), field);
    }
    for (field, spoil) in RELEASES {
        let mut request = release("user_1", "k", NO_HOLD);
        spoil(&mut request);
        assert_names(&served.client().release_hold(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_corrections_name_their_field_and_write_nothing() {
    let served = served().await;
    for (field, spoil) in REVERSALS {
        let mut request = reverse("user_1", "k", NO_ENTRY);
        spoil(&mut request);
        assert_names(&served.client().reverse_spend(request).await.unwrap_err(), field);
    }
    for (field, spoil) in REVOCATIONS {
        let mut request = revoke("user_1", "k", NO_GRANT, 1);
        spoil(&mut request);
        assert_names(&served.client().revoke_grant(request).await.unwrap_err(), field);
    }
    for (field, spoil) in ADJUSTMENTS {
        let mut request = adjust("user_1", "k", 1);
        spoil(&mut request);
        assert_names(&served.client().adjust_credits(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}
