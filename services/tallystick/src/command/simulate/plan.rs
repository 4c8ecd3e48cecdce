//! Which events are delivered: the session's own, and their duplicates.

use domain::AccountId;
use serde_json::Value;
use stripe::Offer;
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};

use super::CheckoutArgs;
use crate::clock;
use crate::error::Error;

/// One POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) event_id: String,
    pub(super) session_id: String,
    pub(super) body: Vec<u8>,
}

/// The deliveries in the order in which they would happen.
///
/// # Errors
/// [`Error::Config`] when the claims cannot be written into the event.
pub(super) fn deliveries(
    args: &CheckoutArgs,
    account: &AccountId,
    pack: &Offer,
    session: &str,
) -> Result<Vec<Delivery>, Error> {
    let session = session.trim_start_matches("cs_test_").trim_start_matches("cs_live_");
    let kinds: &[CheckoutEvent] = match (args.unpaid, args.late) {
        (true, _) => &[CheckoutEvent::CompletedUnpaid],
        (false, true) => &[CheckoutEvent::CompletedUnpaid, CheckoutEvent::AsyncPaymentSucceeded],
        (false, false) => &[CheckoutEvent::CompletedPaid],
    };
    let created_s = clock::unix_s();
    let mut events: Vec<String> = kinds.iter().map(|_| clock::new_id()).collect();
    let mut deliveries = Vec::new();
    for copy in 0..=args.duplicates {
        for (kind, event) in kinds.iter().zip(&mut events) {
            if copy > 0 && args.new_event_ids {
                *event = clock::new_id();
            }
            let checkout = SimulatedCheckout {
                event,
                session,
                account,
                pack,
                quantity: args.quantity,
                kind: *kind,
                created_s,
                livemode: args.livemode,
            };
            let (event_id, session_id) = (checkout.event_id(), checkout.session_id());
            deliveries.push(Delivery { event_id, session_id, body: claimed(args, checkout.body())? });
        }
    }
    Ok(deliveries)
}

/// The event with the amount and currency that the user wants it to claim.
fn claimed(args: &CheckoutArgs, body: Vec<u8>) -> Result<Vec<u8>, Error> {
    if args.subtotal.is_none() && args.currency.is_none() {
        return Ok(body);
    }
    let unreadable =
        |error: serde_json::Error| Error::Config { setting: "--subtotal", problem: error.to_string() };
    let mut event: Value = serde_json::from_slice(&body).map_err(unreadable)?;
    let session = &mut event["data"]["object"];
    if let Some(subtotal) = args.subtotal {
        session["amount_subtotal"] = subtotal.into();
        session["amount_total"] = subtotal.into();
    }
    if let Some(currency) = &args.currency {
        session["currency"] = currency.as_str().into();
    }
    Ok(format!("{event:#}").into_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;
    use stripe::Catalogue;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::command::simulate::Simulate;

    fn planned(flags: &[&str]) -> Vec<Delivery> {
        let words = ["tallystick", "simulate", "checkout", "--account", "user_1", "--pack", "starter"];
        let cli = Cli::try_parse_from(words.iter().chain(flags)).unwrap();
        let Command::Simulate(Simulate::Checkout(args)) = cli.command else { panic!("another command") };
        let catalogue = Catalogue::dev().unwrap();
        let account = AccountId::try_new("user_1").unwrap();
        let session = args.session.clone().unwrap_or_else(|| "s".to_owned());
        deliveries(&args, &account, catalogue.lookup_pack("starter").unwrap(), &session).unwrap()
    }

    fn event(delivery: &Delivery) -> Value {
        serde_json::from_slice(&delivery.body).unwrap()
    }

    fn event_ids(deliveries: &[Delivery]) -> usize {
        deliveries.iter().map(|delivery| delivery.event_id.as_str()).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn a_duplicate_is_the_same_event_unless_it_is_to_have_its_own_id() {
        let same = planned(&["--duplicates", "9"]);
        assert_eq!((same.len(), event_ids(&same)), (10, 1));
        let own = planned(&["--duplicates", "9", "--new-event-ids"]);
        assert_eq!((own.len(), event_ids(&own)), (10, 10));
        assert!(own.iter().all(|delivery| delivery.session_id == "cs_test_s"));
    }

    #[test]
    fn a_late_payment_has_two_events() {
        let late = planned(&["--async"]);
        let types: Vec<Value> = late.iter().map(|delivery| event(delivery)["type"].clone()).collect();
        assert_eq!(types, ["checkout.session.completed", "checkout.session.async_payment_succeeded"]);
        assert_eq!(event(&late[0])["data"]["object"]["payment_status"], "unpaid");
    }

    #[test]
    fn claims_replace_what_the_catalogue_says() {
        let wrong = planned(&["--subtotal", "1", "--currency", "eur"]);
        let session = &event(&wrong[0])["data"]["object"];
        assert_eq!((&session["amount_subtotal"], &session["currency"]), (&1.into(), &"eur".into()));
    }

    #[test]
    fn a_session_is_named_with_or_without_its_prefix() {
        for name in ["abc", "cs_test_abc"] {
            assert_eq!(planned(&["--session", name])[0].session_id, "cs_test_abc");
        }
        assert_eq!(planned(&["--session", "cs_test_abc", "--livemode"])[0].session_id, "cs_live_abc");
    }
}
