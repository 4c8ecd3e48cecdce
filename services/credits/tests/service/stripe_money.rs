//! Refunds and disputes from the outside: whatever comes first, the balance ends the same.

use proto::v1::{ApplyStripeEventResponse, StripeEventState, StripeOutcome};
use serde_json::{Value, json};

use crate::served::{LIMIT, Served, balance_of, served, signed};
use crate::stripe_events::checkout;

pub(crate) fn event(id: &str, event_type: &str, object: &Value) -> Vec<u8> {
    let event = json!({
        "id": id, "object": "event", "api_version": "2025-03-31.basil", "created": 1_750_000_000,
        "data": { "object": object }, "livemode": false, "type": event_type,
    });
    event.to_string().into_bytes()
}

fn refund(id: &str, amount: i64, status: &str) -> Value {
    json!({ "id": id, "object": "refund", "amount": amount, "currency": "usd", "charge": "ch_s",
            "payment_intent": "pi_s", "status": status })
}

pub(crate) async fn deliver(served: &Served, body: Vec<u8>) -> ApplyStripeEventResponse {
    served.client().apply_stripe_event(signed(body)).await.unwrap().into_inner()
}

pub(crate) async fn available(served: &Served) -> i64 {
    let answer = served.client().get_balance(balance_of("user_1")).await.unwrap().into_inner();
    answer.balance.unwrap().available
}

pub(crate) fn told(answer: &ApplyStripeEventResponse) -> (StripeEventState, StripeOutcome) {
    (answer.state(), answer.outcome())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_tells_its_operation_and_balance() {
    let served = served().await;
    deliver(&served, checkout("1", "s", "user_1").body()).await;
    let answer = deliver(&served, event("evt_r1", "refund.created", &refund("re_1", 400, "pending"))).await;
    assert_eq!(told(&answer), (StripeEventState::Applied, StripeOutcome::Revoked));
    assert_eq!((answer.account_id.as_str(), answer.duplicate), ("user_1", false));
    assert!(answer.operation_id.starts_with("op_"));
    assert_eq!(answer.balance.unwrap().available, 600);
    let again = deliver(&served, event("evt_r1", "refund.created", &refund("re_1", 400, "pending"))).await;
    assert!(again.duplicate);
    let answer = deliver(&served, event("evt_r2", "refund.failed", &refund("re_1", 400, "failed"))).await;
    assert_eq!(told(&answer), (StripeEventState::Applied, StripeOutcome::Reinstated));
    assert_eq!(available(&served).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_its_payment_is_parked_and_applied_when_the_payment_appears() {
    let served = served().await;
    let charge = json!({ "id": "ch_s", "object": "charge", "payment_intent": "pi_s", "livemode": false });
    let dispute = json!({ "id": "dp_1", "object": "dispute", "amount": 100, "currency": "usd", "charge": "ch_s",
                          "payment_intent": "pi_s", "status": "lost", "livemode": false,
                          "balance_transactions": [{ "id": "txn_1", "amount": -100, "net": -1600 }] });
    for (id, event_type, object) in [
        ("evt_c", "charge.refunded", &charge),
        ("evt_r", "refund.created", &refund("re_1", 400, "succeeded")),
        ("evt_d", "charge.dispute.closed", &dispute),
    ] {
        let answer = deliver(&served, event(id, event_type, object)).await;
        assert_eq!(
            told(&answer),
            (StripeEventState::Parked, StripeOutcome::PredecessorMissing),
            "{event_type}"
        );
    }
    let answer = deliver(&served, checkout("1", "s", "user_1").body()).await;
    assert_eq!(answer.outcome(), StripeOutcome::Granted);
    harness::eventually("every event that waited is resolved", LIMIT, || async {
        served.count("stripe_events where state = 3").await == 0
    })
    .await;
    assert_eq!(available(&served).await, 500);
    assert_eq!(
        served.count("stripe_events where state = 2").await,
        1,
        "the refunded charge's own is ignored"
    );
    assert_eq!(served.count("stripe_event_waits").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_a_payment_for_something_else_is_ignored_in_any_order() {
    let served = served().await;
    let shirt =
        String::from_utf8(checkout("1", "s", "user_1").body()).unwrap().replace("tallystick_", "shop_");
    let before = deliver(&served, event("evt_r1", "refund.created", &refund("re_1", 400, "succeeded"))).await;
    assert_eq!(before.state(), StripeEventState::Parked);
    let answer = deliver(&served, shirt.into_bytes()).await;
    assert_eq!(told(&answer), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    let after = deliver(&served, event("evt_r2", "refund.updated", &refund("re_1", 400, "succeeded"))).await;
    assert_eq!(told(&after), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    harness::eventually("the one that came before is ignored, too", LIMIT, || async {
        served.count("stripe_events where state = 2 and outcome = 'not_ours'").await == 3
    })
    .await;
    let customer = json!({ "id": "cus_1", "object": "customer", "livemode": false });
    let answer = deliver(&served, event("evt_c", "customer.deleted", &customer)).await;
    assert_eq!(told(&answer), (StripeEventState::Ignored, StripeOutcome::NotOurs));
    assert_eq!(served.count("entries").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deliverer_that_does_not_cover_the_payments_account_may_not_refund_it() {
    use std::sync::Arc;

    use credits::{Authentication, KeyRing, ServerConfig};
    let key = credits::ApiKey::new([7; 32]);
    let text = format!(
        "[[keys]]\nid = \"edge\"\nhash = \"{}\"\nscopes = [\"stripe\"]\naccount = \"user_2\"\n",
        key.hash()
    );
    let ring = Arc::new(KeyRing::parse(&text).unwrap());
    let config = ServerConfig { authentication: Authentication::Keys(ring), ..crate::served::config() };
    let served = crate::served::served_with(config).await;
    sqlx::raw_sql(
        "insert into stripe_links (kind, object_id, account_id, linked_at) values ('payment_intent', 'pi_s', 'user_1', now())",
    )
    .execute(served.database.pool())
    .await
    .unwrap();
    let mut request =
        tonic::Request::new(signed(event("evt_r", "refund.created", &refund("re_1", 1, "succeeded"))));
    let bearer = format!("Bearer {}", key.text()).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let status = served.client().apply_stripe_event(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert_eq!(served.count("stripe_events").await, 0);
}
