//! What an event means, case by case: starting from a good one, one thing is changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use domain::{AccountId, Expiry, GrantKind};
use serde_json::{Value, json};
use store::{Checkout, Fact, KeyKind, Payment, Reading, SessionEnd, StripeEvent, StripeKey};
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};
use stripe::{Catalogue, NotAnEvent, ReadOptions, read, reason};

fn catalogue() -> Catalogue {
    let dev = include_str!("../src/catalogue/dev.toml");
    let free = "[[packs]]\nid = \"free\"\ncredits = 5\ncurrency = \"usd\"\nunit_amount = 0\n";
    Catalogue::parse(&format!("{dev}\n{free}")).unwrap()
}

fn read_bytes(body: impl Into<Bytes>) -> Result<(StripeEvent, Reading), NotAnEvent> {
    let catalogue = catalogue();
    read(body.into(), &ReadOptions { catalogue: &catalogue, livemode: false, connect_account: None })
}

fn simulated(pack: &str, quantity: i64, kind: CheckoutEvent) -> Vec<u8> {
    let catalogue = catalogue();
    let checkout = SimulatedCheckout {
        event: "1",
        session: "a1",
        account: &AccountId::try_new("user_1").unwrap(),
        pack: catalogue.lookup_pack(pack).unwrap(),
        quantity,
        kind,
        created_s: 1_750_000_000,
        livemode: false,
    };
    checkout.body()
}

fn good() -> Value {
    serde_json::from_slice(&simulated("starter", 1, CheckoutEvent::CompletedPaid)).unwrap()
}

fn reading_of(event: &Value) -> Reading {
    read_bytes(event.to_string()).unwrap().1
}

/// The reading of the good event after `path` (a JSON pointer) was set.
fn changed(path: &str, value: Value) -> Reading {
    let mut event = good();
    let (parent, key) = path.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[key] = value;
    reading_of(&event)
}

fn in_session(field: &str, value: Value) -> Reading {
    changed(&format!("/data/object/{field}"), value)
}

fn parked(reason: &'static str) -> Reading {
    Reading::Parked { reason }
}

fn ignored(reason: &'static str) -> Reading {
    Reading::Ignored { reason }
}

fn granted(reading: Reading) -> Checkout {
    match reading {
        Reading::Checkout(checkout) => checkout,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_paid_session_grants_the_pack_on_the_catalogues_terms() {
    let body = simulated("studio", 2, CheckoutEvent::CompletedPaid);
    let (event, reading) = read_bytes(body.clone()).unwrap();
    assert_eq!((event.event_id.as_str(), event.created_s), ("evt_1", 1_750_000_000));
    assert_eq!(event.event_type, "checkout.session.completed");
    assert_eq!(event.api_version.as_deref(), Some(stripe::simulate::API_VERSION));
    assert_eq!((event.livemode, event.connect_account), (false, None));
    assert_eq!(event.body, body);
    let checkout = granted(reading);
    assert_eq!((checkout.session_id.as_str(), checkout.payment), ("cs_test_a1", Payment::Paid));
    assert_eq!(checkout.payment_intent.as_deref(), Some("pi_a1"));
    assert_eq!((checkout.account.as_str(), checkout.unit.as_str()), ("user_1", "credits"));
    assert_eq!((checkout.pack.as_str(), checkout.quantity), ("studio", 2));
    assert_eq!((checkout.subtotal_minor_units, checkout.currency.as_str()), (10_000, "usd"));
    let grant = checkout.grant;
    assert_eq!((grant.amount, grant.kind, grant.expiry), (11_000, GrantKind::Purchase, Expiry::Never));
    let cost = grant.cost_basis.unwrap();
    assert_eq!((cost.currency(), cost.minor_units()), ("usd", 10_000));
}

#[test]
fn only_paid_is_paid_whatever_the_event_is_called() {
    let payment = |kind| granted(read_bytes(simulated("starter", 1, kind)).unwrap().1).payment;
    assert_eq!(payment(CheckoutEvent::CompletedPaid), Payment::Paid);
    assert_eq!(payment(CheckoutEvent::CompletedUnpaid), Payment::Pending);
    assert_eq!(payment(CheckoutEvent::AsyncPaymentSucceeded), Payment::Paid);
    let mut late = good();
    late["type"] = json!("checkout.session.async_payment_succeeded");
    late["data"]["object"]["payment_status"] = json!("unpaid");
    assert_eq!(reading_of(&late), parked(reason::PAYMENT_STATUS_UNUSABLE));
    for status in [json!("PAID"), json!("paid "), json!("complete"), json!(true), Value::Null] {
        assert_eq!(in_session("payment_status", status), parked(reason::PAYMENT_STATUS_UNUSABLE));
    }
}

#[test]
fn a_priced_session_that_needed_no_payment_is_parked_and_a_free_one_is_paid() {
    assert_eq!(in_session("payment_status", json!("no_payment_required")), parked(reason::AMOUNT_MISMATCH));
    let mut free: Value =
        serde_json::from_slice(&simulated("free", 1, CheckoutEvent::CompletedPaid)).unwrap();
    free["data"]["object"]["payment_status"] = json!("no_payment_required");
    free["data"]["object"]["payment_intent"] = Value::Null;
    let checkout = granted(reading_of(&free));
    assert_eq!((checkout.payment, checkout.payment_intent, checkout.grant.amount), (Payment::Paid, None, 5));
}

#[test]
fn subtotal_and_currency_must_be_the_catalogues() {
    for subtotal in [999, 1001, 0, -1000, 100] {
        assert_eq!(in_session("amount_subtotal", json!(subtotal)), parked(reason::AMOUNT_MISMATCH));
    }
    for subtotal in [json!("1000"), json!(1000.0), Value::Null, json!(1e300)] {
        assert_eq!(in_session("amount_subtotal", subtotal), parked(reason::SUBTOTAL_UNUSABLE));
    }
    for currency in ["eur", "USD", "usd\0", "", "jpy"] {
        assert_eq!(in_session("currency", json!(currency)), parked(reason::CURRENCY_MISMATCH));
    }
    assert_eq!(in_session("currency", Value::Null), parked(reason::CURRENCY_UNUSABLE));
    // Tax is on top and discounts are the seller's: the total does not matter.
    let taxed = granted(in_session("amount_total", json!(1190)));
    assert_eq!((taxed.subtotal_minor_units, taxed.captured_minor_units), (1000, 1190));
    assert_eq!(granted(in_session("amount_total", Value::Null)).captured_minor_units, 1000);
    assert_eq!(in_session("amount_total", json!("1190")), parked(reason::SUBTOTAL_UNUSABLE));
}

#[test]
fn a_session_that_ends_without_money_is_a_fact_of_its_own() {
    let ended = |event_type: &str, status: &str| {
        let mut event = good();
        event["type"] = json!(event_type);
        event["data"]["object"]["payment_status"] = json!(status);
        reading_of(&event)
    };
    for (event_type, end) in [
        ("checkout.session.async_payment_failed", SessionEnd::PaymentFailed),
        ("checkout.session.expired", SessionEnd::Expired),
    ] {
        let Reading::Fact(Fact::SessionEnded(fact)) = ended(event_type, "unpaid") else {
            panic!("{event_type}")
        };
        assert_eq!((fact.end, fact.checkout.payment), (end, Payment::Pending));
        for status in ["paid", "no_payment_required", "PAID"] {
            let reading = ended(event_type, status);
            assert!(matches!(reading, Reading::Parked { .. }), "{event_type} {status}: {reading:?}");
        }
    }
}

#[test]
fn metadata_names_account_pack_and_quantity() {
    let metadata = |value: Value| in_session("metadata", value);
    let ours = |account: Value, pack: Value| {
        metadata(json!({"tallystick_account": account, "tallystick_pack": pack}))
    };
    assert_eq!(granted(ours(json!("u"), json!("starter"))).quantity, 1);
    assert_eq!(ours(json!("u"), json!("nope")), parked(reason::PACK_UNKNOWN));
    assert_eq!(ours(json!("u"), json!("pro")), parked(reason::PACK_UNKNOWN), "a plan is no pack");
    for account in ["", "a b", "a\0", "ü", &"a".repeat(129)] {
        assert_eq!(ours(json!(account), json!("starter")), parked(reason::ACCOUNT_UNUSABLE), "{account:?}");
    }
    assert_eq!(ours(json!(5), json!("starter")), parked(reason::PURCHASE_UNKNOWN));
    assert_eq!(metadata(json!({"tallystick_account": "u"})), parked(reason::PURCHASE_UNKNOWN));
    assert_eq!(metadata(json!({"tallystick_pack": "starter"})), parked(reason::PURCHASE_UNKNOWN));
    assert_eq!(metadata(json!({"tallystick_other": "x"})), parked(reason::PURCHASE_UNKNOWN));
    for foreign in [json!({}), Value::Null, json!({"order": "6735"})] {
        // What comes of its payment later is not ours either.
        let keys = vec![StripeKey::new(KeyKind::PaymentIntent, "pi_a1")];
        assert_eq!(metadata(foreign), Reading::NotOurs { keys });
    }
    assert_eq!(metadata(json!(["tallystick_pack"])), parked(reason::METADATA_UNUSABLE));
}

#[test]
fn the_quantity_is_a_whole_number_that_the_price_agrees_with() {
    let quantity = |text: &str| {
        in_session(
            "metadata",
            json!({
                "tallystick_account": "u", "tallystick_pack": "starter", "tallystick_quantity": text,
            }),
        )
    };
    assert_eq!(granted(quantity("1")).quantity, 1);
    assert_eq!(quantity("2"), parked(reason::AMOUNT_MISMATCH));
    for bad in ["", "0", "-1", "+1", " 1", "1.0", "1e3", "1000000", "99999999999999999999", "١", "1\0"] {
        assert_eq!(quantity(bad), parked(reason::QUANTITY_UNUSABLE), "{bad:?}");
    }
}

#[test]
fn other_modes_grant_nothing() {
    assert_eq!(in_session("mode", json!("setup")), ignored(reason::MODE_NOT_HANDLED));
    for mode in [json!("barter"), Value::Null, json!(1)] {
        assert_eq!(in_session("mode", mode), parked(reason::MODE_UNUSABLE));
    }
}

#[test]
fn a_session_of_mode_subscription_links_customer_and_subscription_to_the_account() {
    let mut event = good();
    event["data"]["object"]["mode"] = json!("subscription");
    assert_eq!(reading_of(&event), parked(reason::SUBSCRIPTION_UNUSABLE));
    event["data"]["object"]["subscription"] = json!("sub_1");
    event["data"]["object"]["customer"] = json!({ "id": "cus_1", "object": "customer" });
    let Reading::Fact(Fact::Link(link)) = reading_of(&event) else { panic!("{:?}", reading_of(&event)) };
    assert_eq!((link.account.as_str(), link.session_id.as_str()), ("user_1", "cs_test_a1"));
    assert_eq!((link.customer.as_deref(), link.subscription.as_str()), (Some("cus_1"), "sub_1"));
    event["type"] = json!("checkout.session.expired");
    assert_eq!(reading_of(&event), ignored(reason::MODE_NOT_HANDLED));
    event["type"] = json!("checkout.session.completed");
    event["data"]["object"]["metadata"] = json!({ "tallystick_plan": "pro" });
    assert_eq!(reading_of(&event), parked(reason::PURCHASE_UNKNOWN));
    event["data"]["object"]["metadata"] = json!({});
    assert!(matches!(reading_of(&event), Reading::NotOurs { .. }));
}

#[test]
fn events_of_another_livemode_or_connect_account_are_ignored() {
    assert_eq!(changed("/livemode", json!(true)), ignored(reason::LIVEMODE_MISMATCH));
    assert_eq!(changed("/livemode", Value::Null), parked(reason::LIVEMODE_UNUSABLE));
    assert_eq!(in_session("livemode", json!(true)), parked(reason::OBJECT_UNUSABLE));
    assert_eq!(changed("/account", json!("acct_1")), ignored(reason::UNEXPECTED_CONNECT_ACCOUNT));
    let catalogue = catalogue();
    let of_connect = |account: Value| {
        let mut event = good();
        event["account"] = account;
        let options = ReadOptions { catalogue: &catalogue, livemode: false, connect_account: Some("acct_1") };
        read(event.to_string().into(), &options).unwrap().1
    };
    granted(of_connect(json!("acct_1")));
    for other in [json!("acct_2"), Value::Null] {
        assert_eq!(of_connect(other), ignored(reason::UNEXPECTED_CONNECT_ACCOUNT));
    }
}

#[test]
fn unknown_types_are_ignored_and_unusable_objects_parked() {
    for event_type in ["price.created", "checkout.session.expire", "Checkout.Session.Completed", "x"] {
        assert_eq!(changed("/type", json!(event_type)), ignored(reason::TYPE_NOT_HANDLED));
    }
    for data in
        [Value::Null, json!(5), json!({}), json!({"object": null}), json!({"object": []}), json!([{}])]
    {
        assert_eq!(changed("/data", data), parked(reason::OBJECT_UNUSABLE));
    }
    assert_eq!(in_session("object", json!("invoice")), parked(reason::OBJECT_UNUSABLE));
}

#[test]
fn ids_are_ids() {
    for bad in
        [json!(""), json!("cs\0"), json!("cs 1"), json!("ü"), json!("a".repeat(256)), json!(1), Value::Null]
    {
        assert_eq!(in_session("id", bad), parked(reason::SESSION_ID_UNUSABLE));
    }
    for bad in [json!(""), json!("pi\0"), json!("a".repeat(256)), json!(1), json!({}), json!(["pi_1"])] {
        assert_eq!(in_session("payment_intent", bad), parked(reason::PAYMENT_INTENT_UNUSABLE));
    }
    let expanded = in_session("payment_intent", json!({"id": "pi_9", "object": "payment_intent"}));
    assert_eq!(granted(expanded).payment_intent.as_deref(), Some("pi_9"));
}

#[test]
fn nul_in_a_text_that_nobody_reads_changes_nothing() {
    let mut event = good();
    event["data"]["object"]["client_reference_id"] = json!("a\0b");
    event["data"]["object"]["metadata"]["note"] = json!("\0");
    granted(reading_of(&event));
}

#[test]
fn stored_texts_are_clean_and_bounded() {
    let mut event = good();
    event["type"] = json!(format!("checkout\0{}", "ü".repeat(300)));
    event["api_version"] = json!("2025\0\n");
    event["account"] = json!("a\0".repeat(500));
    let (event, reading) = read_bytes(event.to_string()).unwrap();
    assert_eq!(reading, ignored(reason::UNEXPECTED_CONNECT_ACCOUNT));
    assert!(event.event_type.starts_with("checkout\u{FFFD}") && event.event_type.len() <= 255);
    assert_eq!(event.api_version.as_deref(), Some("2025\u{FFFD}\u{FFFD}"));
    assert!(event.connect_account.is_some_and(|account| account.len() <= 255 && !account.contains('\0')));
}

#[test]
fn creation_times_out_of_range_spoil_nothing() {
    let created = |value: Value| {
        let mut event = good();
        event["created"] = value;
        read_bytes(event.to_string()).unwrap().0.created_s
    };
    assert_eq!(created(json!("2025-01-01T00:00:00Z")), 0);
    assert_eq!((created(json!(-5)), created(json!(1.5))), (0, 0));
    assert_eq!(created(json!(i64::MAX)), 253_402_300_799);
}

#[test]
fn what_is_not_an_event_is_refused_with_its_reason() {
    let refused = |body: &[u8]| read_bytes(body.to_vec()).unwrap_err();
    let text = |body: &str| refused(body.as_bytes());
    for body in
        ["", " ", "this is not valid JSON", "[]", "null", "5", "\"evt\"", "{", "{} x", "{\"id\":\"\\ud800\"}"]
    {
        assert!(matches!(text(body), NotAnEvent::NotJson { .. }), "{body}: {:?}", text(body));
    }
    assert_eq!(
        text("[\"evt_1\",\"event\",\"x\",null,null,false]"),
        NotAnEvent::NotJson { line: 1, column: 0 }
    );
    assert_eq!(text("{}"), NotAnEvent::NoId);
    assert_eq!(text(r#"{"id":"","type":"x"}"#), NotAnEvent::NoId);
    assert_eq!(text(r#"{"id":"evt_1","object":"event"}"#), NotAnEvent::NoType);
    assert_eq!(text(r#"{"id":"evt_1","type":""}"#), NotAnEvent::NoType);
    assert_eq!(text(r#"{"id":"evt_1","type":"x","object":"charge"}"#), NotAnEvent::Object);
    assert_eq!(text(r#"{"id":"evt\u0000","type":"x"}"#), NotAnEvent::IdCharacters);
    let thin = r#"{"id":"evt_1","object":"v2.core.event","type":"x","created":"2025-01-01T00:00:00Z"}"#;
    assert_eq!(text(thin), NotAnEvent::Thin);
    for repeated in [r#"{"id":"evt_1","id":"evt_2","type":"x"}"#, r#"{"id":"a","\u0069d":"a","type":"x"}"#] {
        assert!(matches!(text(repeated), NotAnEvent::Envelope { .. }));
    }
    assert!(matches!(text(r#"{"id":5,"type":"x"}"#), NotAnEvent::Envelope { .. }));
    let long = format!(r#"{{"id":"{}","type":"x"}}"#, "e".repeat(256));
    assert_eq!(text(&long), NotAnEvent::IdTooLong { limit: 255, actual: 256 });
    assert_eq!(
        text(&format!(r#"{{"id":"e","type":"x","a":{}"#, "[".repeat(65))),
        NotAnEvent::TooDeep { limit: 64 }
    );
    assert_eq!(refused(b"{\"id\":\"\xff\"}"), NotAnEvent::NotUtf8 { valid_up_to: 7 });
    let limit = stripe::MAX_EVENT_BYTES;
    assert_eq!(refused(&vec![b' '; limit + 1]), NotAnEvent::TooLong { limit, actual: limit + 1 });
    assert_eq!(
        read_bytes(format!(r#"{{"id":"{}","type":"x"}}"#, "e".repeat(255))).unwrap().0.event_id.len(),
        255
    );
}

#[test]
fn refusals_never_quote_the_body() {
    let error = read_bytes(r#"{"id":{"secret_card":1},"type":"x"}"#).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret_card"));
}

#[test]
fn a_repeated_key_in_the_session_is_parked() {
    let text =
        good().to_string().replacen("\"mode\":\"payment\"", "\"mode\":\"payment\",\"mode\":\"payment\"", 1);
    assert_eq!(read_bytes(text).unwrap().1, parked(reason::OBJECT_UNUSABLE));
}
