//! Bad input through every RPC: a typed error that names the field, nothing written, no panic.

use proto::v1;
use tonic::{Code, Status};

use crate::reads::{batch, entries_of, grants_of};
use crate::served::{Served, bad_fields, balance_of, fact, grant, reason, served, spend};

/// Changes a sound request into one with a fault in the named field.
pub(crate) type Fault<T> = (&'static str, fn(&mut T));

pub(crate) fn assert_names(status: &Status, field: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{field}");
    assert_eq!(bad_fields(status), [field]);
    assert_eq!(fact(status, "field"), field);
    assert!(status.message().starts_with(field), "{}", status.message());
}

/// The service still works, and only now something is written.
pub(crate) async fn assert_unharmed(served: &Served) {
    served.assert_nothing_written().await;
    served.client().grant_credits(grant("user_1", "k", 1)).await.unwrap();
}

pub(crate) fn moment(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn cost(currency: &str, minor_units: i64) -> Option<v1::CostBasis> {
    Some(v1::CostBasis { currency: currency.to_owned(), minor_units })
}

const GRANTS: &[Fault<v1::GrantCreditsRequest>] = &[
    ("account_id", |r| r.account_id = String::new()),
    ("account_id", |r| r.account_id = "a".repeat(129)),
    ("account_id", |r| r.account_id = "a\0".to_owned()),
    ("account_id", |r| r.account_id = "a b".to_owned()),
    ("account_id", |r| r.account_id = "ü".to_owned()),
    ("unit", |r| r.unit = "Credits".to_owned()),
    ("unit", |r| r.unit = "a".repeat(33)),
    ("unit", |r| r.unit = "a\0".to_owned()),
    ("idempotency_key", |r| r.idempotency_key = String::new()),
    ("idempotency_key", |r| r.idempotency_key = "k".repeat(256)),
    ("idempotency_key", |r| r.idempotency_key = "k\0".to_owned()),
    ("idempotency_key", |r| r.idempotency_key = "tallystick:stripe:checkout_session:cs_1".to_owned()),
    ("amount", |r| r.amount = 0),
    ("amount", |r| r.amount = -1),
    ("amount", |r| r.amount = 1_000_000_000_000_001),
    ("amount", |r| r.amount = i64::MAX),
    ("amount", |r| r.amount = i64::MIN),
    ("kind", |r| r.kind = 6),
    ("kind", |r| r.kind = -1),
    ("kind", |r| r.kind = i32::MAX),
    ("priority", |r| r.priority = Some(-1)),
    ("priority", |r| r.priority = Some(101)),
    ("effective_at", |r| r.effective_at = moment(-1, 0)),
    ("effective_at", |r| r.effective_at = moment(i64::MAX, 0)),
    ("expires_at", |r| r.expires_at = moment(1, 0)),
    ("expires_at", |r| r.expires_at = moment(253_402_300_800, 0)),
    ("expires_at", |r| r.expires_at = moment(4_000_000_000, -1)),
    ("expires_at", |r| {
        r.effective_at = moment(4_000_000_000, 0);
        r.expires_at = moment(4_000_000_000, 0);
    }),
    ("cost_basis.currency", |r| r.cost_basis = cost("USD", 1)),
    ("cost_basis.currency", |r| r.cost_basis = cost("us\0", 1)),
    ("cost_basis.minor_units", |r| r.cost_basis = cost("usd", -1)),
    ("cost_basis.minor_units", |r| r.cost_basis = cost("usd", i64::MAX)),
    ("reference", |r| r.reference = "r".repeat(256)),
    ("reference", |r| r.reference = "\0".to_owned()),
    ("reason", |r| r.reason = "r".repeat(256)),
    ("on_behalf_of", |r| r.on_behalf_of = "\0".to_owned()),
    ("metadata", |r| r.metadata = (0..17).map(|n| (n.to_string(), String::new())).collect()),
    ("metadata", |r| r.metadata = [("k".to_owned(), "v".repeat(2048))].into()),
    ("metadata", |r| r.metadata = [("k".to_owned(), "\0".to_owned())].into()),
    ("metadata", |r| r.metadata = [(String::new(), "v".to_owned())].into()),
];

const SPENDS: &[Fault<v1::SpendCreditsRequest>] = &[
    ("account_id", |r| r.account_id = "a\0".to_owned()),
    ("account_id", |r| r.account_id = "a".repeat(100_000)),
    ("unit", |r| r.unit = "1".to_owned()),
    ("idempotency_key", |r| r.idempotency_key = String::new()),
    ("amount", |r| r.amount = 0),
    ("amount", |r| r.amount = -5),
    ("amount", |r| r.amount = i64::MAX),
    ("reference", |r| r.reference = "\u{7}".to_owned()),
    ("reason", |r| r.reason = "r".repeat(256)),
    ("on_behalf_of", |r| r.on_behalf_of = "r".repeat(256)),
    ("metadata", |r| r.metadata = [("\0".to_owned(), "v".to_owned())].into()),
];

const READS: &[Fault<v1::GetBalanceRequest>] = &[
    ("account_id", |r| r.account_id = String::new()),
    ("account_id", |r| r.account_id = "a\0".to_owned()),
    ("unit", |r| r.unit = "a\0".to_owned()),
    ("min_version", |r| r.min_version = Some(-1)),
    ("min_version", |r| r.min_version = Some(i64::MIN)),
];

const WATCHES: &[Fault<v1::WatchCreditsRequest>] = &[
    ("targets", |r| r.targets.clear()),
    ("targets", |r| r.targets = (0..1001).map(|n| target(&n.to_string())).collect()),
    ("targets[1]", |r| r.targets.push(target("user_1"))),
    ("targets[1]", |r| {
        r.targets.push(v1::WatchTarget { unit: "credits".to_owned(), ..target("user_1") });
    }),
    ("targets[0].account_id", |r| r.targets[0].account_id = "a\0".to_owned()),
    ("targets[0].unit", |r| r.targets[0].unit = "A".to_owned()),
    ("targets[0].after_version", |r| r.targets[0].after_version = Some(-1)),
    ("targets[0].after_hash", |r| {
        r.targets[0].after_version = Some(1);
        r.targets[0].after_hash = vec![0; 31].into();
    }),
    ("targets[0].after_hash", |r| r.targets[0].after_hash = vec![0; 32].into()),
    ("bookmark_interval", |r| r.bookmark_interval = span(0, 0)),
    ("bookmark_interval", |r| r.bookmark_interval = span(0, 999_999_999)),
    ("bookmark_interval", |r| r.bookmark_interval = span(3600, 1)),
    ("bookmark_interval", |r| r.bookmark_interval = span(-1, 0)),
    ("bookmark_interval", |r| r.bookmark_interval = span(1, -1)),
    ("bookmark_interval", |r| r.bookmark_interval = span(i64::MAX, i32::MAX)),
];

const ENTRIES: &[Fault<v1::ListEntriesRequest>] = &[
    ("account_id", |r| r.account_id = "a\0".to_owned()),
    ("unit", |r| r.unit = "A".to_owned()),
    ("page_size", |r| r.page_size = -1),
    ("page_size", |r| r.page_size = 1001),
    ("page_size", |r| r.page_size = i32::MIN),
    ("kinds", |r| r.kinds = vec![0]),
    ("kinds", |r| r.kinds = vec![1, 99]),
    ("kinds", |r| r.kinds = vec![1; 33]),
    ("recorded_from", |r| r.recorded_from = moment(-1, 0)),
    ("recorded_until", |r| r.recorded_until = moment(i64::MAX, 0)),
    ("recorded_until", |r| {
        r.recorded_from = moment(9, 0);
        r.recorded_until = moment(9, 0);
    }),
    ("reference", |r| r.reference = "r".repeat(256)),
    ("reference", |r| r.reference = "\0".to_owned()),
    ("grant_id", |r| r.grant_id = "gr_7".to_owned()),
    ("grant_id", |r| r.grant_id = "op_00000000000000000000000000000007".to_owned()),
];

const LOTS: &[Fault<v1::ListGrantsRequest>] = &[
    ("account_id", |r| r.account_id = String::new()),
    ("unit", |r| r.unit = "a\0".to_owned()),
    ("page_size", |r| r.page_size = 1001),
    ("kinds", |r| r.kinds = vec![6]),
    ("kinds", |r| r.kinds = vec![i32::MAX]),
];

fn target(account: &str) -> v1::WatchTarget {
    v1::WatchTarget { account_id: account.to_owned(), ..v1::WatchTarget::default() }
}

pub(crate) fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_grants_name_their_field_and_write_nothing() {
    let served = served().await;
    for (field, spoil) in GRANTS {
        let mut request = grant("user_1", "k", 1);
        spoil(&mut request);
        assert_names(&served.client().grant_credits(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_spends_name_their_field_and_write_nothing() {
    let served = served().await;
    for (field, spoil) in SPENDS {
        let mut request = spend("user_1", "k", 1);
        spoil(&mut request);
        assert_names(&served.client().spend_credits(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_name_their_field() {
    let served = served().await;
    for (field, spoil) in READS {
        let mut request = balance_of("user_1");
        spoil(&mut request);
        assert_names(&served.client().get_balance(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lists_name_their_field() {
    let served = served().await;
    for (field, spoil) in ENTRIES {
        let mut request = entries_of("user_1");
        spoil(&mut request);
        assert_names(&served.client().list_entries(request).await.unwrap_err(), field);
    }
    for (field, spoil) in LOTS {
        let mut request = grants_of("user_1");
        spoil(&mut request);
        assert_names(&served.client().list_grants(request).await.unwrap_err(), field);
    }
    for count in [0, 1001] {
        let request = batch(vec![v1::BalanceQuery::default(); count]);
        assert_names(&served.client().batch_get_balances(request).await.unwrap_err(), "queries");
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_watches_name_their_field() {
    let served = served().await;
    for (field, spoil) in WATCHES {
        let mut request =
            v1::WatchCreditsRequest { targets: vec![target("user_1")], ..v1::WatchCreditsRequest::default() };
        spoil(&mut request);
        assert_names(&served.client().watch_credits(request).await.unwrap_err(), field);
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_open_of_a_set_names_its_field_inside_of_open() {
    let served = served().await;
    for (field, spoil) in WATCHES.iter().skip(1) {
        let mut open =
            v1::WatchCreditsRequest { targets: vec![target("user_1")], ..v1::WatchCreditsRequest::default() };
        spoil(&mut open);
        let command = Some(v1::watch_credit_set_request::Command::Open(open));
        let first = futures::stream::iter([v1::WatchCreditSetRequest { command }]);
        let status = served.client().watch_credit_set(first).await.unwrap_err();
        assert_names(&status, &format!("open.{field}"));
    }
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bad_fields_of_one_request_are_listed() {
    let served = served().await;
    let request = v1::GrantCreditsRequest { unit: "U".to_owned(), ..grant("", "", 0) };
    let status = served.client().grant_credits(request).await.unwrap_err();
    assert_eq!(bad_fields(&status), ["account_id", "unit", "idempotency_key", "amount"]);
    assert_unharmed(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_is_refused_before_it_is_decoded() {
    let served = served().await;
    let request = grant(&"a".repeat(2 << 20), "k", 1);
    let status = served.client().grant_credits(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_unharmed(&served).await;
}
