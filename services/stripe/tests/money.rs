//! Refunds, disputes and warnings as facts, case by case: starting from a good one, one thing is changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use store::{Dispute, Fact, PaymentRef, Reading, Refund, Warning};
use stripe::{Catalogue, ReadOptions, read, reason};

fn reading(event_type: &str, object: &Value) -> Reading {
    let event = json!({
        "id": "evt_1", "object": "event", "api_version": "2025-03-31.basil", "created": 1_750_000_000,
        "data": { "object": object }, "livemode": false, "type": event_type,
    });
    let catalogue = Catalogue::dev().unwrap();
    let options = ReadOptions { catalogue: &catalogue, livemode: false, connect_account: None };
    read(event.to_string().into(), &options).unwrap().1
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn parked(reason: &'static str) -> Reading {
    Reading::Parked { reason }
}

fn paid_by(intent: Option<&str>, charge: Option<&str>) -> PaymentRef {
    PaymentRef { intent: intent.map(str::to_owned), charge: charge.map(str::to_owned) }
}

fn refund() -> Value {
    json!({ "id": "re_1", "object": "refund", "amount": 500, "currency": "usd", "charge": "ch_1",
            "payment_intent": "pi_1", "status": "succeeded", "reason": "requested_by_customer" })
}

fn dispute() -> Value {
    json!({ "id": "dp_1", "object": "dispute", "amount": 2200, "currency": "usd", "charge": "ch_1",
            "payment_intent": "pi_1", "status": "needs_response", "livemode": false,
            "balance_transactions": [{ "id": "txn_1", "object": "balance_transaction", "amount": -2200,
                                       "fee": 1500, "net": -3700, "currency": "eur" }] })
}

#[test]
fn every_event_of_a_refund_is_the_same_fact() {
    let expected = Refund {
        refund_id: "re_1".to_owned(),
        payment: paid_by(Some("pi_1"), Some("ch_1")),
        amount: 500,
        currency: "usd".to_owned(),
        status: "succeeded".to_owned(),
    };
    for event_type in ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"] {
        assert_eq!(
            reading(event_type, &refund()),
            Reading::Fact(Fact::Refund(expected.clone())),
            "{event_type}"
        );
    }
    let expanded = with(refund(), "payment_intent", json!({ "id": "pi_1", "object": "payment_intent" }));
    assert_eq!(reading("refund.created", &expanded), Reading::Fact(Fact::Refund(expected.clone())));
    let unknown = with(refund(), "status", json!("of_a_later_version"));
    let kept = Refund { status: "of_a_later_version".to_owned(), ..expected };
    assert_eq!(reading("refund.updated", &unknown), Reading::Fact(Fact::Refund(kept)));
}

#[test]
fn a_refund_that_cannot_be_used_is_parked_under_its_field() {
    for (field, value, reason) in [
        ("id", json!(""), reason::REFUND_ID_UNUSABLE),
        ("amount", json!(-1), reason::AMOUNT_UNUSABLE),
        ("amount", json!(1.5), reason::AMOUNT_UNUSABLE),
        ("amount", Value::Null, reason::AMOUNT_UNUSABLE),
        ("currency", Value::Null, reason::CURRENCY_UNUSABLE),
        ("status", Value::Null, reason::STATUS_UNUSABLE),
        ("status", json!("a\u{0}b"), reason::STATUS_UNUSABLE),
        ("charge", json!(5), reason::CHARGE_UNUSABLE),
        ("payment_intent", json!("pi 1"), reason::PAYMENT_INTENT_UNUSABLE),
        ("object", json!("charge"), reason::OBJECT_UNUSABLE),
        ("livemode", json!(true), reason::OBJECT_UNUSABLE),
    ] {
        assert_eq!(
            reading("refund.created", &with(refund(), field, value.clone())),
            parked(reason),
            "{field} {value}"
        );
    }
    let of_nothing = with(with(refund(), "charge", Value::Null), "payment_intent", Value::Null);
    assert_eq!(reading("refund.created", &of_nothing), parked(reason::PAYMENT_INTENT_UNUSABLE));
    let old = with(refund(), "payment_intent", Value::Null);
    let Reading::Fact(Fact::Refund(old)) = reading("refund.created", &old) else { panic!() };
    assert_eq!(old.payment, paid_by(None, Some("ch_1")));
}

#[test]
fn a_refunded_charge_is_a_hint_that_names_its_payment() {
    let charge = json!({ "id": "ch_1", "object": "charge", "livemode": false, "payment_intent": "pi_1",
                         "amount": 1000, "amount_refunded": 500 });
    let hint = Fact::RefundHint(paid_by(Some("pi_1"), Some("ch_1")));
    assert_eq!(reading("charge.refunded", &charge), Reading::Fact(hint));
    assert_eq!(reading("charge.refunded", &with(charge, "id", Value::Null)), parked(reason::CHARGE_UNUSABLE));
}

#[test]
fn every_event_of_a_dispute_is_the_same_fact_with_amounts_and_never_the_net() {
    let expected = Dispute {
        dispute_id: "dp_1".to_owned(),
        payment: paid_by(Some("pi_1"), Some("ch_1")),
        amount: 2200,
        currency: "usd".to_owned(),
        status: "needs_response".to_owned(),
        transactions: vec![("txn_1".to_owned(), -2200)],
    };
    for event in ["created", "updated", "closed", "funds_withdrawn", "funds_reinstated"] {
        let event_type = format!("charge.dispute.{event}");
        assert_eq!(
            reading(&event_type, &dispute()),
            Reading::Fact(Fact::Dispute(expected.clone())),
            "{event_type}"
        );
    }
}

#[test]
fn a_dispute_whose_money_cannot_be_read_is_parked() {
    let many: Vec<Value> = (0..101).map(|n| json!({ "id": format!("txn_{n}"), "amount": -1 })).collect();
    for transactions in [
        Value::Null,
        json!("txn_1"),
        json!(["txn_1"]),
        json!([{ "id": "txn_1" }]),
        json!([{ "amount": 1 }]),
        json!(many),
    ] {
        let changed = with(dispute(), "balance_transactions", transactions.clone());
        let parked = parked(reason::BALANCE_TRANSACTIONS_UNUSABLE);
        assert_eq!(reading("charge.dispute.updated", &changed), parked, "{transactions}");
    }
    let inquiry = with(dispute(), "balance_transactions", json!([]));
    assert!(matches!(reading("charge.dispute.created", &inquiry), Reading::Fact(Fact::Dispute(_))));
    let nobodys = with(dispute(), "id", json!(7));
    assert_eq!(reading("charge.dispute.created", &nobodys), parked(reason::DISPUTE_ID_UNUSABLE));
}

#[test]
fn a_fraud_warning_and_a_deleted_customer_are_facts() {
    let warning = json!({ "id": "issfr_1", "object": "radar.early_fraud_warning", "charge": "ch_1",
                          "fraud_type": "made_with_stolen_card", "livemode": false });
    let expected = Warning {
        warning_id: "issfr_1".to_owned(),
        payment: paid_by(None, Some("ch_1")),
        fraud_type: "made_with_stolen_card".to_owned(),
    };
    assert_eq!(
        reading("radar.early_fraud_warning.created", &warning),
        Reading::Fact(Fact::Warning(expected))
    );
    let customer = json!({ "id": "cus_1", "object": "customer", "livemode": false });
    let gone = Fact::CustomerGone { customer: "cus_1".to_owned() };
    assert_eq!(reading("customer.deleted", &customer), Reading::Fact(gone));
    assert_eq!(
        reading("customer.deleted", &with(customer, "id", json!({}))),
        parked(reason::CUSTOMER_UNUSABLE)
    );
}
