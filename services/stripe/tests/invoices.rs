//! Invoices, their payments and subscriptions as facts, in the shapes of old and new API versions.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use domain::{Expiry, GrantKind, Timestamp};
use serde_json::{Value, json};
use store::{Fact, Invoice, PaymentRef, Reading};
use stripe::{Catalogue, ReadOptions, read, reason};

const START: i64 = 1_750_000_000;
const END: i64 = START + 30 * 86_400;

fn catalogue() -> Catalogue {
    let dev = include_str!("../src/catalogue/dev.toml");
    let more = "[[plans]]\nid = \"team\"\ncredits = 100\ncurrency = \"eur\"\nunit_amount = 900\n\
                stripe_prices = [\"price_team\"]\nat_end = \"expire\"\nalso_for = [\"subscription_update\"]\n\
                rollover = { percent = 50, cap = 80, expires_after_s = 86400 }\n";
    Catalogue::parse(&format!("{dev}\n{more}")).unwrap()
}

fn reading(event_type: &str, object: &Value) -> Reading {
    let event = json!({
        "id": "evt_1", "object": "event", "created": START, "data": { "object": object }, "livemode": false,
        "type": event_type,
    });
    let catalogue = catalogue();
    read(
        event.to_string().into(),
        &ReadOptions { catalogue: &catalogue, livemode: false, connect_account: None },
    )
    .unwrap()
    .1
}

fn line(price: &str) -> Value {
    json!({ "id": "il_1", "object": "line_item", "amount": 3900, "currency": "usd", "quantity": 1,
            "period": { "start": START, "end": END }, "proration": false, "type": "subscription",
            "subscription": "sub_1", "price": { "id": price, "object": "price" } })
}

/// As API versions before 2025-03-31.basil have it.
fn old() -> Value {
    json!({ "id": "in_1", "object": "invoice", "livemode": false, "customer": "cus_1", "subscription": "sub_1",
            "subscription_details": { "metadata": { "tallystick_account": "user_1" } },
            "billing_reason": "subscription_cycle", "amount_paid": 4641, "currency": "usd", "charge": "ch_1",
            "payment_intent": "pi_1",
            "lines": { "object": "list", "has_more": false, "data": [line("price_tallystick_pro")] } })
}

/// As newer ones do.
fn new() -> Value {
    json!({ "id": "in_1", "object": "invoice", "livemode": false, "customer": "cus_1",
            "parent": { "type": "subscription_details", "subscription_details": {
                "subscription": "sub_1", "metadata": { "tallystick_account": "user_1" } } },
            "billing_reason": "subscription_cycle", "amount_paid": 4641, "currency": "usd",
            "lines": { "object": "list", "has_more": false, "data": [{
                "id": "il_1", "object": "line_item", "amount": 3900, "currency": "usd", "quantity": 1,
                "period": { "start": START, "end": END },
                "parent": { "type": "subscription_item_details", "subscription_item_details": {
                    "proration": false, "subscription": "sub_1" } },
                "pricing": { "type": "price_details", "price_details": { "price": "price_tallystick_pro" } } }] } })
}

fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

fn invoice(object: &Value) -> Invoice {
    match reading("invoice.paid", object) {
        Reading::Fact(Fact::Invoice(invoice)) => invoice,
        other => panic!("{other:?}"),
    }
}

fn parked(reason: &'static str) -> Reading {
    Reading::Parked { reason }
}

#[test]
fn invoice_paid_grants_each_line_for_its_period_in_both_shapes() {
    for (shape, object) in [("old", old()), ("new", new())] {
        let invoice = invoice(&object);
        assert_eq!(
            (invoice.invoice_id.as_str(), invoice.subscription.as_deref()),
            ("in_1", Some("sub_1")),
            "{shape}"
        );
        assert_eq!(invoice.named.as_ref().map(|account| account.as_str()), Some("user_1"), "{shape}");
        assert_eq!((invoice.captured_minor_units, invoice.currency.as_str()), (4641, "usd"));
        let [line] = invoice.lines.as_slice() else { panic!("{shape}: {invoice:?}") };
        assert_eq!((line.line_id.as_str(), line.plan.as_str()), ("il_1", "pro"));
        assert_eq!((line.period_start_s, line.period_end_s), (START, END));
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!((line.grant.amount, line.grant.kind), (5000, GrantKind::Subscription));
        assert_eq!((line.grant.effective_at, line.grant.expiry), (Some(at(START)), Expiry::At(at(END))));
        assert_eq!(line.grant.cost_basis.as_ref().unwrap().minor_units(), 3900);
    }
    let paid = PaymentRef { intent: Some("pi_1".to_owned()), charge: Some("ch_1".to_owned()) };
    assert_eq!(invoice(&old()).payment, paid);
    assert_eq!(invoice(&new()).payment, PaymentRef::default(), "invoice_payment.paid says it");
    let by_plan = with(
        with(old(), "/lines/data/0/price", Value::Null),
        "/lines/data/0/plan",
        json!({ "id": "price_tallystick_pro" }),
    );
    assert_eq!(invoice(&by_plan).lines.len(), 1, "very old shape");
    let two = with(old(), "/lines/data/0/quantity", json!(2));
    assert_eq!(invoice(&two).lines[0].grant.amount, 10_000);
}

#[test]
fn invoice_paid_for_another_reason_grants_only_by_policy() {
    let by = |reason: &str, price: &str| {
        let object = with(old(), "/billing_reason", json!(reason));
        invoice(&with(object, "/lines/data/0/price/id", json!(price)))
    };
    for (reason, pro, team) in [
        ("subscription_create", 1, 1),
        ("subscription_cycle", 1, 1),
        ("subscription_update", 0, 1),
        ("subscription_threshold", 0, 0),
        ("manual", 0, 0),
        ("quote_accept", 0, 0),
        ("upcoming", 0, 0),
    ] {
        let lines = |price| by(reason, price).lines.len();
        assert_eq!((lines("price_tallystick_pro"), lines("price_team")), (pro, team), "{reason}");
        assert!(by(reason, "price_team").has_plan);
    }
    let team = by("subscription_cycle", "price_team").lines.remove(0);
    assert!(team.ends_with_subscription);
    assert_eq!(team.rollover.map(|rollover| (rollover.percent, rollover.cap)), Some((50, Some(80))));
    let free = invoice(&with(old(), "/amount_paid", json!(0)));
    assert_eq!((free.lines.len(), free.has_plan), (0, true), "nothing was paid");
    for bad in [json!("of_a_later_version"), Value::Null, json!(5)] {
        let object = with(old(), "/billing_reason", bad.clone());
        assert_eq!(reading("invoice.paid", &object), parked(reason::BILLING_REASON_UNUSABLE), "{bad}");
    }
}

#[test]
fn lines_of_other_prices_prorations_credits_and_trials_grant_nothing() {
    let lines =
        |path: &str, value: Value| invoice(&with(old(), &format!("/lines/data/0/{path}"), value)).lines.len();
    assert_eq!(lines("proration", json!(true)), 0);
    assert_eq!(lines("amount", json!(-3900)), 0);
    assert_eq!(lines("amount", json!(0)), 0);
    let foreign = invoice(&with(old(), "/lines/data/0/price/id", json!("price_hosting")));
    assert_eq!((foreign.lines.len(), foreign.has_plan), (0, false));
    let details = "/lines/data/0/parent/subscription_item_details";
    assert_eq!(invoice(&with(new(), &format!("{details}/proration"), json!(true))).lines.len(), 0);
    let mut both = old();
    let hosting =
        with(with(json!({ "l": line("price_hosting") }), "/l/id", json!("il_2")), "/l/amount", json!(1));
    both["lines"]["data"].as_array_mut().unwrap().push(hosting["l"].clone());
    assert_eq!(invoice(&both).lines.len(), 1);
}

#[test]
fn an_invoice_that_cannot_be_used_is_parked_under_its_field() {
    for (path, value, reason) in [
        ("/id", json!(""), reason::INVOICE_UNUSABLE),
        ("/amount_paid", Value::Null, reason::AMOUNT_UNUSABLE),
        ("/currency", Value::Null, reason::CURRENCY_UNUSABLE),
        ("/lines", Value::Null, reason::LINES_UNUSABLE),
        ("/lines/has_more", json!(true), reason::LINES_UNUSABLE),
        ("/lines/data/0/id", Value::Null, reason::LINE_UNUSABLE),
        ("/lines/data/0/id", json!("i".repeat(251)), reason::LINE_UNUSABLE),
        ("/lines/data/0/amount", json!("3900"), reason::LINE_UNUSABLE),
        ("/lines/data/0/period", Value::Null, reason::PERIOD_UNUSABLE),
        ("/lines/data/0/period/end", json!(START), reason::PERIOD_UNUSABLE),
        ("/lines/data/0/period/end", json!(i64::MAX), reason::PERIOD_UNUSABLE),
        ("/lines/data/0/quantity", json!(0), reason::QUANTITY_UNUSABLE),
        ("/lines/data/0/quantity", json!(i64::MAX), reason::QUANTITY_UNUSABLE),
        ("/subscription", json!(5), reason::SUBSCRIPTION_UNUSABLE),
        ("/subscription_details/metadata/tallystick_account", json!("a b"), reason::ACCOUNT_UNUSABLE),
        ("/payment_intent", json!([]), reason::PAYMENT_INTENT_UNUSABLE),
        ("/livemode", json!(true), reason::OBJECT_UNUSABLE),
    ] {
        assert_eq!(
            reading("invoice.paid", &with(old(), path, value.clone())),
            parked(reason),
            "{path} {value}"
        );
    }
}

#[test]
fn invoice_payment_succeeded_has_no_effect() {
    let ignored = Reading::Ignored { reason: reason::TYPE_NOT_HANDLED };
    assert_eq!(reading("invoice.payment_succeeded", &old()), ignored);
}

#[test]
fn invoice_payment_paid_says_which_payment_is_whose() {
    let object = |payment: Value| {
        json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": "in_1", "livemode": false, "status": "paid",
                "payment": payment })
    };
    let paid = |payment: Value| match reading("invoice_payment.paid", &object(payment)) {
        Reading::Fact(Fact::InvoicePayment(paid)) => (paid.invoice, paid.payment),
        other => panic!("{other:?}"),
    };
    let by = |intent: Option<&str>, charge: Option<&str>| {
        let payment = PaymentRef { intent: intent.map(str::to_owned), charge: charge.map(str::to_owned) };
        ("in_1".to_owned(), payment)
    };
    assert_eq!(paid(json!({ "type": "payment_intent", "payment_intent": "pi_1" })), by(Some("pi_1"), None));
    assert_eq!(paid(json!({ "type": "charge", "charge": { "id": "ch_1" } })), by(None, Some("ch_1")));
    assert_eq!(paid(json!({ "type": "payment_record", "payment_record": "pr_1" })), by(None, None));
    let bad = reading("invoice_payment.paid", &object(json!({ "type": "payment_intent" })));
    assert_eq!(bad, parked(reason::PAYMENT_INTENT_UNUSABLE));
    let of_nothing = with(object(json!({ "type": "charge", "charge": "ch_1" })), "/invoice", Value::Null);
    assert_eq!(reading("invoice_payment.paid", &of_nothing), parked(reason::INVOICE_UNUSABLE));
}

#[test]
fn a_subscription_is_mirrored_and_known_to_end() {
    let object = |status: &str| {
        json!({ "id": "sub_1", "object": "subscription", "customer": "cus_1", "livemode": false, "status": status,
                "metadata": { "tallystick_account": "user_1" },
                "items": { "data": [{ "id": "si_1", "price": { "id": "price_team" } }] } })
    };
    for (event, status, is_ended) in [
        ("updated", "active", false),
        ("updated", "past_due", false),
        ("updated", "of_a_later_version", false),
        ("updated", "canceled", true),
        ("updated", "incomplete_expired", true),
        ("paused", "paused", false),
        ("deleted", "canceled", true),
        ("deleted", "active", true),
    ] {
        let Reading::Fact(Fact::Subscription(state)) =
            reading(&format!("customer.subscription.{event}"), &object(status))
        else {
            panic!("{event} {status}")
        };
        assert_eq!(
            (state.is_ended, state.status.as_str(), state.has_plan),
            (is_ended, status, true),
            "{event}"
        );
        assert_eq!((state.told_at_s, state.named.unwrap().as_str()), (START, "user_1"));
    }
    let nameless = with(object("active"), "/id", Value::Null);
    assert_eq!(reading("customer.subscription.updated", &nameless), parked(reason::SUBSCRIPTION_UNUSABLE));
}
