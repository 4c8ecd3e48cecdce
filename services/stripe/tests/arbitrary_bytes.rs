//! Whatever arrives: an answer, never a panic, and never more credits than the catalogue sells for that price.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use domain::AccountId;
use proptest::prelude::*;
use store::{Reading, StripeEvent};
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};
use stripe::{Catalogue, NotAnEvent, ReadOptions, read};

fn read_bytes(body: Vec<u8>) -> Result<(StripeEvent, Reading), NotAnEvent> {
    let catalogue = Catalogue::dev().unwrap();
    let options = ReadOptions { catalogue: &catalogue, livemode: false, connect_account: None };
    read(Bytes::from(body), &options)
}

fn good() -> Vec<u8> {
    let catalogue = Catalogue::dev().unwrap();
    let checkout = SimulatedCheckout {
        event: "1",
        session: "1",
        account: &AccountId::try_new("user_1").unwrap(),
        pack: catalogue.lookup_pack("starter").unwrap(),
        quantity: 1,
        kind: CheckoutEvent::CompletedPaid,
        created_s: 1_750_000_000,
        livemode: false,
    };
    checkout.body()
}

fn check(body: Vec<u8>) -> Result<(), TestCaseError> {
    let Ok((event, reading)) = read_bytes(body) else { return Ok(()) };
    for text in
        [Some(&event.event_id), Some(&event.event_type), event.api_version.as_ref()].into_iter().flatten()
    {
        prop_assert!(text.len() <= 255 && !text.contains('\0'));
    }
    if let Reading::Checkout(checkout) = reading {
        let price = match checkout.pack.as_str() {
            "starter" => (1000, 1000),
            "studio" => (5500, 5000),
            other => return Err(TestCaseError::fail(other.to_owned())),
        };
        prop_assert_eq!(checkout.grant.amount, price.0 * checkout.quantity);
        prop_assert_eq!(checkout.subtotal_minor_units, price.1 * checkout.quantity);
        prop_assert_eq!(checkout.currency, "usd");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(body: Vec<u8>) {
        check(body)?;
    }

    #[test]
    fn arbitrary_json_like_text_never_panics(body in r#"[\[\]{}:,"\\0-9eutrflasn. \u{0}-\u{1f}é]{0,200}"#) {
        check(body.into_bytes())?;
    }

    #[test]
    fn a_damaged_event_never_panics_and_never_grants_otherwise(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end: prop::sample::Index,
        truncate: bool,
    ) {
        let mut body = good();
        for (place, byte) in cuts {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if truncate {
            body.truncate(end.index(body.len()));
        }
        check(body)?;
    }

    #[test]
    fn exchanged_values_never_panic_and_never_grant_otherwise(
        field in prop::sample::select(vec![
            "amount_subtotal", "currency", "id", "livemode", "metadata", "mode", "object", "payment_intent",
            "payment_status",
        ]),
        value in prop::sample::select(vec![
            "null", "true", "0", "-1", "1e999", "1000", "2000", "\"\"", "\"\\u0000\"", "\"paid\"", "[]", "{}",
            "{\"id\":\"x\"}", "\"\\ud800\"", "{\"tallystick_account\":\"a\",\"tallystick_pack\":\"studio\"}",
            "{\"tallystick_account\":\"a\",\"tallystick_pack\":\"starter\",\"tallystick_quantity\":\"2\"}",
        ]),
    ) {
        let mut event: serde_json::Value = serde_json::from_slice(&good()).unwrap();
        event["data"]["object"][field] = serde_json::Value::from("@");
        check(event.to_string().replace("\"@\"", value).into_bytes())?;
    }
}
