//! Plans from the outside: invoices before and after what says whose they are, and invoices for something else.

use std::time::{SystemTime, UNIX_EPOCH};

use proto::v1::{StripeEventState, StripeOutcome};
use serde_json::{Value, json};

use crate::served::{LIMIT, served};
use crate::stripe_money::{available, deliver, event, told};

pub(crate) fn now_s() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "a period must be of today")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

fn invoice(id: &str, price: &str) -> Value {
    let (start, end) = (now_s() - 60, now_s() + 30 * 86_400);
    json!({ "id": id, "object": "invoice", "livemode": false, "customer": "cus_1",
            "parent": { "type": "subscription_details", "subscription_details": { "subscription": "sub_1", "metadata": {} } },
            "billing_reason": "subscription_create", "amount_paid": 3900, "currency": "usd",
            "lines": { "object": "list", "has_more": false, "data": [{
                "id": "il_1", "object": "line_item", "amount": 3900, "currency": "usd", "quantity": 1,
                "period": { "start": start, "end": end },
                "pricing": { "type": "price_details", "price_details": { "price": price } } }] } })
}

fn payment(invoice: &str, intent: &str) -> Value {
    json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice, "livemode": false,
            "payment": { "type": "payment_intent", "payment_intent": intent } })
}

fn refund(intent: &str) -> Value {
    json!({ "id": "re_1", "object": "refund", "amount": 1950, "currency": "usd", "charge": "ch_1",
            "payment_intent": intent, "status": "succeeded" })
}

fn session() -> Value {
    json!({ "id": "cs_1", "object": "checkout.session", "livemode": false, "mode": "subscription", "customer": "cus_1",
            "subscription": "sub_1", "payment_status": "paid", "metadata": { "tallystick_account": "user_1" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_period_is_granted_whatever_comes_first() {
    let served = served().await;
    for (id, event_type, object) in [
        ("evt_r", "refund.created", refund("pi_1")),
        ("evt_p", "invoice_payment.paid", payment("in_1", "pi_1")),
        ("evt_i", "invoice.paid", invoice("in_1", "price_tallystick_pro")),
    ] {
        let answer = deliver(&served, event(id, event_type, &object)).await;
        assert_eq!(
            told(&answer),
            (StripeEventState::Parked, StripeOutcome::PredecessorMissing),
            "{event_type}"
        );
    }
    let answer = deliver(&served, event("evt_s", "checkout.session.completed", &session())).await;
    assert_eq!(told(&answer), (StripeEventState::Applied, StripeOutcome::Linked));
    // The invoice went along in the session's transaction; its payment follows, then the refund of that.
    assert_eq!(served.count("stripe_events where event_id = 'evt_i' and state = 1").await, 1);
    harness::eventually("every event that waited is resolved", LIMIT, || async {
        served.count("stripe_events where state = 3").await == 0
    })
    .await;
    assert_eq!(available(&served).await, 2500);
    let again =
        deliver(&served, event("evt_i2", "invoice.paid", &invoice("in_1", "price_tallystick_pro"))).await;
    assert_eq!(told(&again), (StripeEventState::Applied, StripeOutcome::AlreadyGranted));
    let same = deliver(
        &served,
        event("evt_i3", "invoice.payment_succeeded", &invoice("in_1", "price_tallystick_pro")),
    )
    .await;
    assert_eq!(told(&same), (StripeEventState::Ignored, StripeOutcome::TypeNotHandled));
    assert_eq!(available(&served).await, 2500);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_for_something_else_and_what_comes_of_it_are_ignored() {
    let served = served().await;
    let before = deliver(&served, event("evt_p1", "invoice_payment.paid", &payment("in_9", "pi_9"))).await;
    assert_eq!(before.state(), StripeEventState::Parked);
    let hosting = deliver(&served, event("evt_i", "invoice.paid", &invoice("in_9", "price_hosting"))).await;
    assert_eq!(told(&hosting), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    let after = deliver(&served, event("evt_p2", "invoice_payment.paid", &payment("in_9", "pi_9"))).await;
    assert_eq!(told(&after), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    harness::eventually("the payment that came before is ignored, too", LIMIT, || async {
        served.count("stripe_events where state = 3").await == 0
    })
    .await;
    let refunded = deliver(&served, event("evt_r", "refund.created", &refund("pi_9"))).await;
    assert_eq!(told(&refunded), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    let subscription = json!({ "id": "sub_9", "object": "subscription", "customer": "cus_9", "status": "canceled",
                               "livemode": false, "items": { "data": [{ "price": { "id": "price_hosting" } }] } });
    let ended = deliver(&served, event("evt_d", "customer.subscription.deleted", &subscription)).await;
    assert_eq!(told(&ended), (StripeEventState::Ignored, StripeOutcome::NotOurs));
}

/// What docs/operations.md tells the operator to do: the events were ignored, so nothing wakes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_comes_too_late_into_the_catalogue_is_made_good_by_replays() {
    let served = served().await;
    let events = [
        ("evt_i", "invoice.paid", invoice("in_1", "price_unlisted")),
        ("evt_p", "invoice_payment.paid", payment("in_1", "pi_1")),
        ("evt_r", "refund.created", refund("pi_1")),
    ];
    for (id, event_type, object) in &events {
        let answer = deliver(&served, event(id, event_type, object)).await;
        assert_eq!(told(&answer), (StripeEventState::Ignored, StripeOutcome::NotOurs), "{event_type}");
    }
    deliver(&served, event("evt_s", "checkout.session.completed", &session())).await;
    assert_eq!(available(&served).await, 0);
    // As if the catalogue had the price now.
    let listed = event("evt_i", "invoice.paid", &invoice("in_1", "price_tallystick_pro"));
    let listed = String::from_utf8(listed).unwrap();
    let update = format!(
        "update stripe_event_bodies set body = convert_to('{listed}', 'UTF8') where event_id = 'evt_i'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(update)).execute(served.database.pool()).await.unwrap();
    for ((id, ..), left) in events.iter().zip([5000, 5000, 2500]) {
        assert_eq!(served.store.replay_event(id).await.unwrap(), store::Replay::Queued);
        harness::eventually("the event is applied", LIMIT, || async {
            served.count(&format!("stripe_events where event_id = '{id}' and state = 1")).await == 1
        })
        .await;
        assert_eq!(available(&served).await, left, "{id}");
    }
}
