//! Bad input through every RPC and through the command line: a typed error that names the field, nothing written, and
//! a program that goes on as if nothing had been.

use std::collections::HashMap;

use black_box::api::{self, Api, Refusal};
use black_box::journal::count;
use black_box::{Options, Program, run};
use bytes::Bytes;
use harness::TestDatabase;
use prost_types::{Duration, Timestamp};
use proto::v1::{
    ApplyStripeEventRequest, CostBasis, GetBalanceRequest, GrantCreditsRequest, SpendCreditsRequest,
    WatchCreditsRequest, WatchTarget,
};
use tonic::Code;

use crate::assert_healthy;

const MOST: i64 = 1_000_000_000_000_000;
/// After the year 9999.
const TOO_LATE: Timestamp = Timestamp { seconds: 253_402_300_800, nanos: 0 };

struct Place {
    database: TestDatabase,
    program: Program,
    api: Api,
}

impl Place {
    async fn new() -> Self {
        let database = harness::database().await;
        let program = Program::start(&Options::dev_on(&database)).await;
        let api = Api::at(program.ready.grpc());
        Self { database, program, api }
    }

    async fn assert_untouched(&mut self) {
        let tables = [
            "accounts",
            "balances",
            "grants",
            "operations",
            "entries",
            "entry_metadata",
            "outbox",
            "stripe_events",
            "stripe_claims",
            "purchases",
        ];
        for table in tables {
            assert_eq!(count(self.database.pool(), table).await, 0, "{table}");
        }
        assert_healthy(&mut self.program).await;
    }
}

/// Refused as a field that begins with `field`, in all three places where a caller may look.
fn assert_field(case: &str, field: &str, refusal: &Refusal) {
    let told = (refusal.code, refusal.reason.as_str());
    assert_eq!(told, (Code::InvalidArgument, "INVALID_FIELD"), "{case}: {refusal:?}");
    assert!(refusal.fields.iter().any(|told| told.starts_with(field)), "{case}: {field} in {refusal:?}");
    assert!(
        refusal.facts.contains_key("field") && refusal.facts.contains_key("constraint"),
        "{case}: {refusal:?}"
    );
}

/// What is no account id.
fn bad_accounts() -> Vec<String> {
    vec![String::new(), "a".repeat(129), "a b".into(), "a\0b".into(), "é".into(), "a\nb".into(), "a'b".into()]
}

/// What is no unit.
fn bad_units() -> Vec<String> {
    vec!["Credits".into(), "a".repeat(33), "1a".into(), "a-b".into(), "a\0".into(), " ".into()]
}

/// What is no idempotency key.
fn bad_keys() -> Vec<String> {
    vec![String::new(), "k".repeat(256), "tallystick:1".into(), "a\0b".into()]
}

const BAD_AMOUNTS: [i64; 6] = [0, -1, -MOST, MOST + 1, i64::MAX, i64::MIN];

fn bad_metadata() -> Vec<HashMap<String, String>> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    vec![
        (0..17).map(|n| pair(&n.to_string(), "v")).collect(),
        HashMap::from([pair("k", &"v".repeat(2048))]),
        HashMap::from([pair(&"k".repeat(2048), "v")]),
        HashMap::from([pair("", "v")]),
        HashMap::from([pair("k", "a\0b")]),
    ]
}

/// Texts of at most 255 bytes that are not.
fn bad_texts() -> Vec<String> {
    vec!["x".repeat(256), "é".repeat(128), "a\0b".into()]
}

fn grants() -> Vec<(&'static str, GrantCreditsRequest)> {
    let good = || api::grant("user_1", "k", 1);
    let mut cases: Vec<(&str, GrantCreditsRequest)> = Vec::new();
    cases.extend(
        bad_accounts()
            .into_iter()
            .map(|account_id| ("account_id", GrantCreditsRequest { account_id, ..good() })),
    );
    cases.extend(bad_units().into_iter().map(|unit| ("unit", GrantCreditsRequest { unit, ..good() })));
    let keys = bad_keys().into_iter();
    cases.extend(
        keys.map(|idempotency_key| ("idempotency_key", GrantCreditsRequest { idempotency_key, ..good() })),
    );
    cases.extend(BAD_AMOUNTS.map(|amount| ("amount", GrantCreditsRequest { amount, ..good() })));
    cases
        .extend([-1, 6, 99, i32::MAX, i32::MIN].map(|kind| ("kind", GrantCreditsRequest { kind, ..good() })));
    cases.extend(
        [-1, 101, i32::MAX, i32::MIN]
            .map(|p| ("priority", GrantCreditsRequest { priority: Some(p), ..good() })),
    );
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    for bad in [at(0, -1), at(0, 1_000_000_000), at(i64::MAX, 0), at(i64::MIN, 0), Some(TOO_LATE)] {
        cases.push(("effective_at", GrantCreditsRequest { effective_at: bad, ..good() }));
        cases.push(("expires_at", GrantCreditsRequest { expires_at: bad, ..good() }));
    }
    cases.push(("expires_at", GrantCreditsRequest { expires_at: at(1_000_000, 0), ..good() }));
    let late = at(4_000_000_000, 0);
    cases.push(("expires_at", GrantCreditsRequest { effective_at: late, expires_at: late, ..good() }));
    let costs = [("US", 1), ("USD", 1), ("usdx", 1), ("", 1), ("u\0d", 1), ("usd", -1), ("usd", MOST + 1)];
    for (currency, minor_units) in costs {
        let cost_basis = Some(CostBasis { currency: currency.to_owned(), minor_units });
        cases.push(("cost_basis", GrantCreditsRequest { cost_basis, ..good() }));
    }
    cases.extend(
        bad_metadata().into_iter().map(|metadata| ("metadata", GrantCreditsRequest { metadata, ..good() })),
    );
    for text in bad_texts() {
        cases.push(("reference", GrantCreditsRequest { reference: text.clone(), ..good() }));
        cases.push(("reason", GrantCreditsRequest { reason: text.clone(), ..good() }));
        cases.push(("on_behalf_of", GrantCreditsRequest { on_behalf_of: text, ..good() }));
    }
    cases
}

fn spends() -> Vec<(&'static str, SpendCreditsRequest)> {
    let good = || api::spend("user_1", "k", 1);
    let mut cases: Vec<(&str, SpendCreditsRequest)> = Vec::new();
    cases.extend(
        bad_accounts()
            .into_iter()
            .map(|account_id| ("account_id", SpendCreditsRequest { account_id, ..good() })),
    );
    cases.extend(bad_units().into_iter().map(|unit| ("unit", SpendCreditsRequest { unit, ..good() })));
    let keys = bad_keys().into_iter();
    cases.extend(
        keys.map(|idempotency_key| ("idempotency_key", SpendCreditsRequest { idempotency_key, ..good() })),
    );
    cases.extend(BAD_AMOUNTS.map(|amount| ("amount", SpendCreditsRequest { amount, ..good() })));
    cases.extend(
        bad_metadata().into_iter().map(|metadata| ("metadata", SpendCreditsRequest { metadata, ..good() })),
    );
    for text in bad_texts() {
        cases.push(("reference", SpendCreditsRequest { reference: text.clone(), ..good() }));
        cases.push(("reason", SpendCreditsRequest { reason: text.clone(), ..good() }));
        cases.push(("on_behalf_of", SpendCreditsRequest { on_behalf_of: text, ..good() }));
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_field_of_a_write_is_named_and_nothing_is_written() {
    let mut place = Place::new().await;
    for (field, message) in grants() {
        let case = format!("{message:?}");
        assert_field(&case, field, &place.api.grant(message).await.expect_err(&case));
    }
    for (field, message) in spends() {
        let case = format!("{message:?}");
        assert_field(&case, field, &place.api.spend(message).await.expect_err(&case));
    }
    place.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bad_fields_of_a_request_are_named_at_once() {
    let mut place = Place::new().await;
    let message =
        GrantCreditsRequest { account_id: "a b".into(), amount: -5, ..GrantCreditsRequest::default() };
    let refusal = place.api.grant(message).await.unwrap_err();
    for field in ["account_id", "idempotency_key", "amount"] {
        assert_field("three at once", field, &refusal);
    }
    place.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_field_of_a_read_or_a_stream_is_named() {
    let mut place = Place::new().await;
    for account_id in bad_accounts() {
        let refusal =
            place.api.balance(GetBalanceRequest { account_id, ..GetBalanceRequest::default() }).await;
        assert_field("read", "account_id", &refusal.unwrap_err());
    }
    let negative = GetBalanceRequest { min_version: Some(-1), ..api::balance_of("user_1") };
    assert_field("read", "min_version", &place.api.balance(negative).await.unwrap_err());

    let target = |account: &str| WatchTarget { account_id: account.to_owned(), ..WatchTarget::default() };
    let watch = |targets: Vec<WatchTarget>| WatchCreditsRequest { targets, ..WatchCreditsRequest::default() };
    let many = (0..=1000).map(|n| target(&format!("user_{n}"))).collect();
    let interval = |seconds, nanos| WatchCreditsRequest {
        bookmark_interval: Some(Duration { seconds, nanos }),
        ..watch(vec![target("user_1")])
    };
    let mut cases = vec![
        ("targets", watch(vec![])),
        ("targets", watch(many)),
        ("targets", watch(vec![target("user_1"), target("user_1")])),
        ("targets", watch(vec![WatchTarget { after_version: Some(-1), ..target("user_1") }])),
        (
            "targets",
            watch(vec![WatchTarget {
                after_version: Some(1),
                after_hash: Bytes::from_static(&[1; 31]),
                ..target("user_1")
            }]),
        ),
        ("targets", watch(vec![WatchTarget { unit: "Credits".into(), ..target("user_1") }])),
        ("bookmark_interval", interval(0, 999_999_999)),
        ("bookmark_interval", interval(3601, 0)),
        ("bookmark_interval", interval(-1, 0)),
        ("bookmark_interval", interval(5, -1)),
        ("bookmark_interval", interval(i64::MAX, 0)),
    ];
    cases.extend(bad_accounts().iter().map(|account| ("targets", watch(vec![target(account)]))));
    for (field, message) in cases {
        let case = format!("{:?} of {} targets", message.bookmark_interval, message.targets.len());
        let refusal = match place.api.watch(message).await {
            Err(refusal) => refusal,
            Ok(mut stream) => stream.message().await.expect_err(&case).into(),
        };
        assert_field(&case, field, &refusal);
    }
    place.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_edge_would_forward_is_refused_by_the_service_itself() {
    let mut place = Place::new().await;
    let apply = async |body: &'static [u8], signature: &str| {
        let message = ApplyStripeEventRequest {
            body: Bytes::from_static(body),
            signature: signature.to_owned(),
            received_at: None,
        };
        Refusal::from(place.api.client().apply_stripe_event(message).await.unwrap_err())
    };
    assert_field("no body", "body", &apply(b"", "t=1,v1=00").await);
    assert_field("no signature", "signature", &apply(b"{}", "").await);
    assert_field("a long signature", "signature", &apply(b"{}", &"v".repeat(5000)).await);
    let forged = apply(br#"{"id":"evt_1","type":"a"}"#, "t=1,v1=00").await;
    assert_eq!((forged.code, forged.reason.as_str()), (Code::InvalidArgument, "BAD_SIGNATURE"));
    assert!(forged.facts.is_empty(), "a forger learns nothing: {forged:?}");
    place.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let mut place = Place::new().await;
    let large = GrantCreditsRequest { reference: "x".repeat(5 << 20), ..api::grant("user_1", "k", 1) };
    let refusal = place.api.grant(large).await.unwrap_err();
    let codes = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
    assert!(codes.contains(&refusal.code), "{refusal:?}");
    assert_eq!(place.api.balance(api::balance_of("user_1")).await.unwrap().version, 0);
    place.assert_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_the_rules_carries_its_numbers_and_writes_nothing() {
    let mut place = Place::new().await;
    let refusal = place.api.spend(api::spend("user_1", "k", 50)).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "INSUFFICIENT_CREDITS"));
    assert_eq!((refusal.facts["available"].as_str(), refusal.facts["required"].as_str()), ("0", "50"));
    assert_eq!(count(place.database.pool(), "entries").await, 0);
    assert_eq!(count(place.database.pool(), "operations").await, 0, "a refusal is not stored");
    place.api.grant(api::grant("user_1", "k", 50)).await.expect("its key is free");
    let other = place.api.grant(api::grant("user_1", "k", 51)).await.unwrap_err();
    assert_eq!((other.code, other.reason.as_str()), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    assert_healthy(&mut place.program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_tells_the_field_and_exits_with_1_or_2() {
    let mut place = Place::new().await;
    let addr = place.program.ready.grpc().to_owned();
    let long = "a".repeat(129);
    let key = "k".repeat(256);
    let refused: [(&[&str], &str); 9] = [
        (&["grant", "", "1"], "account_id"),
        (&["grant", &long, "1"], "account_id"),
        (&["grant", "user_1", "0"], "amount"),
        (&["grant", "user_1", "-5"], "amount"),
        (&["grant", "user_1", "9223372036854775807"], "amount"),
        (&["grant", "user_1", "1", "--idempotency-key", &key], "idempotency_key"),
        (&["spend", "user_1", "-1"], "amount"),
        (&["balance", "a b"], "account_id"),
        (&["watch", "a b"], "targets"),
    ];
    for (arguments, field) in refused {
        let finished = run(&[arguments, &["--json", "--addr", &addr]].concat()).await;
        assert_eq!((finished.code(), finished.stdout.len()), (1, 0), "{arguments:?}: {finished:?}");
        let error = finished.error_json();
        assert_eq!((&error["code"], &error["reason"]), (&3.into(), &"INVALID_FIELD".into()), "{error}");
        assert!(error["metadata"]["field"].as_str().unwrap().starts_with(field), "{arguments:?}: {error}");
    }
    let misused: [&[&str]; 6] = [
        &["grant", "user_1", "99999999999999999999"],
        &["grant", "user_1", "1.5"],
        &["spend", "user_1"],
        &["balance"],
        &["watch", "user_1", "--after-version", "x"],
        &["simulate", "checkout", "--account", "user_1", "--pack", "no such pack"],
    ];
    for arguments in misused {
        let finished = run(arguments).await;
        assert_eq!((finished.code(), finished.stdout.len()), (2, 0), "{arguments:?}: {finished:?}");
    }
    let said = run(&["spend", "user_1", "1", "--addr", &addr]).await;
    assert_eq!(said.code(), 1);
    assert!(
        said.stderr.contains("INSUFFICIENT_CREDITS") && said.stderr.contains("required: 1"),
        "{}",
        said.stderr
    );
    assert_eq!(count(place.database.pool(), "entries").await, 0);
    assert_healthy(&mut place.program).await;
}
