//! Stripe's own sample objects and recorded events, where they are at hand (`../shared/stripe` beside the
//! project): each is read without a panic, and none grants anything, since none was sold by us.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use domain::AccountId;
use serde_json::{Value, json};
use store::{Payment, Reading, StripeEvent};
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};
use stripe::{Catalogue, NotAnEvent, ReadOptions, read, reason};

/// The JSON files of a folder; says so when there is none.
fn files(folder: &str) -> Vec<(PathBuf, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/stripe").join(folder);
    let Ok(entries) = fs::read_dir(&path) else {
        eprintln!("skipped: {} is not here", path.display());
        return Vec::new();
    };
    let files = entries.map(|entry| entry.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    json.map(|path| (path.clone(), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())).collect()
}

fn read_value(event: &Value) -> Result<(StripeEvent, Reading), NotAnEvent> {
    let catalogue = Catalogue::dev().unwrap();
    let options = ReadOptions { catalogue: &catalogue, livemode: false, connect_account: None };
    read(event.to_string().into(), &options)
}

fn envelope(event_type: &str, object: &Value) -> Value {
    json!({
        "id": "evt_1", "object": "event", "api_version": "2022-11-15", "created": 1_234_567_890,
        "data": { "object": object }, "livemode": false, "pending_webhooks": 1, "type": event_type,
    })
}

/// The sample objects of every API version: (file, resource, object).
fn objects() -> Vec<(String, String, Value)> {
    let named = |(path, file): (PathBuf, Value)| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let resources = file.as_object().unwrap().clone();
        resources.into_iter().map(move |(resource, object)| (name.clone(), resource, object))
    };
    files("stripe-openapi").into_iter().flat_map(named).collect()
}

/// The types whose events carry each resource, and what an official sample of it may be read as.
const HANDLED: [(&str, &str); 21] = [
    ("checkout.session.completed", "checkout.session"),
    ("checkout.session.async_payment_succeeded", "checkout.session"),
    ("checkout.session.async_payment_failed", "checkout.session"),
    ("checkout.session.expired", "checkout.session"),
    ("refund.created", "refund"),
    ("refund.updated", "refund"),
    ("refund.failed", "refund"),
    ("charge.refund.updated", "refund"),
    ("charge.refunded", "charge"),
    ("charge.dispute.created", "dispute"),
    ("charge.dispute.updated", "dispute"),
    ("charge.dispute.closed", "dispute"),
    ("charge.dispute.funds_reinstated", "dispute"),
    ("charge.dispute.funds_withdrawn", "dispute"),
    ("radar.early_fraud_warning.created", "radar.early_fraud_warning"),
    ("customer.deleted", "customer"),
    ("invoice.paid", "invoice"),
    ("invoice_payment.paid", "invoice_payment"),
    ("customer.subscription.updated", "subscription"),
    ("customer.subscription.paused", "subscription"),
    ("customer.subscription.deleted", "subscription"),
];

#[test]
fn every_official_object_in_an_envelope_of_any_type_is_read_and_grants_nothing() {
    for (file, resource, object) in objects() {
        for event_type in HANDLED.map(|(event_type, _)| event_type).into_iter().chain(["customer.created"]) {
            let (_, reading) = read_value(&envelope(event_type, &object)).unwrap();
            assert!(!matches!(reading, Reading::Checkout(_)), "{file} {resource} {event_type}");
        }
    }
}

#[test]
fn every_official_object_is_understood_under_its_own_types() {
    for (file, resource, mut object) in objects() {
        for (event_type, _) in HANDLED.into_iter().filter(|(_, of)| *of == resource) {
            if !object["livemode"].is_null() {
                object["livemode"] = json!(false);
            }
            let (_, reading) = read_value(&envelope(event_type, &object)).unwrap();
            let is_understood = match resource.as_str() {
                "checkout.session" => matches!(reading, Reading::NotOurs { .. }),
                // The generated sample names no payment.
                "invoice_payment" => reading == Reading::Parked { reason: reason::PAYMENT_INTENT_UNUSABLE },
                _ => matches!(reading, Reading::Fact(_)),
            };
            assert!(is_understood, "{file} {event_type}: {reading:?}");
        }
    }
}

#[test]
fn an_official_session_of_every_version_that_sells_our_pack_grants_it() {
    for (file, _, mut session) in
        objects().into_iter().filter(|(_, resource, _)| resource == "checkout.session")
    {
        session["amount_subtotal"] = json!(1000);
        session["currency"] = json!("usd");
        session["payment_status"] = json!("paid");
        session["metadata"] = json!({"tallystick_account": "user_1", "tallystick_pack": "starter"});
        let (_, reading) = read_value(&envelope("checkout.session.completed", &session)).unwrap();
        let Reading::Checkout(checkout) = reading else { panic!("{file}: {reading:?}") };
        assert_eq!((checkout.grant.amount, checkout.payment), (1000, Payment::Paid), "{file}");
    }
}

#[test]
fn every_recorded_event_is_ignored_or_a_fact() {
    let mut facts = 0;
    for (path, event) in files("stripe-sync-engine").into_iter().chain(files("stripe-dotnet")) {
        let is_handled = HANDLED.iter().any(|(event_type, _)| event["type"] == *event_type);
        match read_value(&event) {
            Ok((_, Reading::Fact(_))) if is_handled => facts += 1,
            Ok((_, Reading::Ignored { .. })) if !is_handled => {}
            // Its charge is of the other mode than its envelope: no proof of anything.
            Ok((_, Reading::Parked { reason })) if path.ends_with("charge_refunded.json") => {
                assert_eq!(reason, reason::OBJECT_UNUSABLE);
            }
            // Among the .NET files are bodies that are no events.
            Err(_) if event["object"] != "event" => {}
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    assert!(facts == 0 || facts >= 9, "{facts}");
}

#[test]
fn a_simulated_session_has_the_fields_of_an_official_one() {
    let official = objects().into_iter().find(|(file, resource, _)| {
        file.contains(stripe::simulate::API_VERSION) && resource == "checkout.session"
    });
    let Some((_, _, official)) = official else { return };
    let catalogue = Catalogue::dev().unwrap();
    let simulated = SimulatedCheckout {
        event: "1",
        session: "1",
        account: &AccountId::try_new("user_1").unwrap(),
        pack: catalogue.lookup_pack("starter").unwrap(),
        quantity: 1,
        kind: CheckoutEvent::CompletedPaid,
        created_s: 1_750_000_000,
        livemode: false,
    };
    let event: Value = serde_json::from_slice(&simulated.body()).unwrap();
    let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (ours, theirs) = (names(&event["data"]["object"]), names(&official));
    assert_eq!(ours, theirs);
}
