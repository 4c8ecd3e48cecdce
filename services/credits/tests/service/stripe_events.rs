//! ApplyStripeEvent: one grant per session, and nothing for what is not to be believed.

use std::sync::OnceLock;

use domain::AccountId;
use proto::v1;
use proto::v1::{ApplyStripeEventResponse, StripeEventState, StripeOutcome};
use stripe::Catalogue;
use stripe::simulate::{CheckoutEvent, SimulatedCheckout};
use tonic::Code;

use crate::served::{
    NOW_S, SECRET, Served, bad_fields, balance_of, config, fact, reason, served, served_with, signed,
};

/// A paid session for pack `starter`, 1000 credits.
pub(crate) fn checkout(
    event: &'static str,
    session: &'static str,
    account: &str,
) -> SimulatedCheckout<'static> {
    static DEV: OnceLock<Catalogue> = OnceLock::new();
    let pack = DEV.get_or_init(|| Catalogue::dev().unwrap()).lookup_pack("starter").unwrap();
    let account = Box::leak(Box::new(AccountId::try_new(account).unwrap()));
    SimulatedCheckout {
        event,
        session,
        account,
        pack,
        quantity: 1,
        kind: CheckoutEvent::CompletedPaid,
        created_s: NOW_S,
        livemode: false,
    }
}

async fn delivered(served: &Served, body: Vec<u8>) -> ApplyStripeEventResponse {
    served.client().apply_stripe_event(signed(body)).await.unwrap().into_inner()
}

async fn available(served: &Served) -> i64 {
    let answer = served.client().get_balance(balance_of("user_1")).await.unwrap().into_inner();
    answer.balance.unwrap().available
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_session_grants_the_packs_credits() {
    let served = served().await;
    let answer = delivered(&served, checkout("1", "s", "user_1").body()).await;
    assert_eq!((answer.state(), answer.outcome()), (StripeEventState::Applied, StripeOutcome::Granted));
    assert_eq!((answer.event_id.as_str(), answer.account_id.as_str()), ("evt_1", "user_1"));
    assert_eq!((answer.event_type.as_str(), answer.duplicate), ("checkout.session.completed", false));
    assert!(answer.operation_id.starts_with("op_"));
    let balance = answer.balance.unwrap();
    assert_eq!((balance.available, balance.version), (1000, 1));
    assert_eq!(available(&served).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_grants_once_however_its_events_come() {
    let served = served().await;
    let mut deliveries = Vec::new();
    for event in ["1", "1", "1", "1", "1", "2", "3", "4", "5", "6"] {
        let mut client = served.client();
        let request = signed(checkout(event, "s", "user_1").body());
        deliveries.push(tokio::spawn(async move { client.apply_stripe_event(request).await }));
    }
    let mut granted = 0;
    for delivery in deliveries {
        let answer = delivery.await.unwrap().unwrap().into_inner();
        granted += i32::from(answer.outcome() == StripeOutcome::Granted && !answer.duplicate);
        assert_eq!(answer.state(), StripeEventState::Applied);
    }
    assert_eq!(granted, 1);
    let again = delivered(&served, checkout("1", "s", "user_1").body()).await;
    assert!(again.duplicate);
    assert_eq!(available(&served).await, 1000);
    for (table, rows) in [("entries", 1), ("outbox", 1), ("grants", 1), ("stripe_events", 6)] {
        assert_eq!(served.count(table).await, rows, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_session_grants_when_its_money_arrives() {
    let served = served().await;
    let unpaid = SimulatedCheckout { kind: CheckoutEvent::CompletedUnpaid, ..checkout("1", "s", "user_1") };
    let answer = delivered(&served, unpaid.body()).await;
    assert_eq!(
        (answer.state(), answer.outcome()),
        (StripeEventState::Applied, StripeOutcome::PendingPayment)
    );
    assert_eq!(available(&served).await, 0);
    let paid =
        SimulatedCheckout { kind: CheckoutEvent::AsyncPaymentSucceeded, ..checkout("2", "s", "user_1") };
    assert_eq!(delivered(&served, paid.body()).await.outcome(), StripeOutcome::Granted);
    assert_eq!(available(&served).await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_us_is_stored_as_ignored_and_what_is_unusable_is_parked() {
    let served = served().await;
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
    let base = text(checkout("1", "s", "user_1").body());
    let other =
        text(checkout("2", "s", "user_1").body()).replace("checkout.session.completed", "price.created");
    let answer = delivered(&served, other.into_bytes()).await;
    assert_eq!(
        (answer.state(), answer.outcome()),
        (StripeEventState::Ignored, StripeOutcome::TypeNotHandled)
    );
    let cheap = base.replace("\"amount_subtotal\": 1000", "\"amount_subtotal\": 1");
    assert_ne!(cheap, base);
    let answer = delivered(&served, cheap.clone().into_bytes()).await;
    assert_eq!((answer.state(), answer.outcome()), (StripeEventState::Parked, StripeOutcome::AmountMismatch));
    let live = SimulatedCheckout { livemode: true, ..checkout("3", "t", "user_1") };
    let answer = delivered(&served, live.body()).await;
    assert_eq!(
        (answer.state(), answer.outcome()),
        (StripeEventState::Ignored, StripeOutcome::LivemodeMismatch)
    );
    assert_eq!((served.count("entries").await, served.count("stripe_events").await), (0, 3));
    assert_eq!(served.count("stripe_event_bodies").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_vouches_for_is_refused_and_not_stored() {
    let served = served().await;
    let good = signed(checkout("1", "s", "user_1").body());
    let changed = {
        let mut body = good.body.to_vec();
        body[20] ^= 1;
        v1::ApplyStripeEventRequest { body: body.into(), ..good.clone() }
    };
    let wrong_secret = {
        let secret = signature::Secret::try_new("whsec_other").unwrap();
        let signature = signature::sign(&secret, NOW_S.unsigned_abs(), &good.body);
        v1::ApplyStripeEventRequest { signature, ..good.clone() }
    };
    // An old signature stays old, whatever the caller says about when it came.
    let old = {
        let secret = signature::Secret::try_new(SECRET).unwrap();
        let signature = signature::sign(&secret, NOW_S.unsigned_abs() - 1000, &good.body);
        let received_at = Some(prost_types::Timestamp { seconds: NOW_S - 1000, nanos: 0 });
        v1::ApplyStripeEventRequest { signature, received_at, ..good.clone() }
    };
    let garbled = v1::ApplyStripeEventRequest { signature: "t=1\0,v1=x".to_owned(), ..good.clone() };
    for request in [changed, wrong_secret, old, garbled] {
        let status = served.client().apply_stripe_event(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BAD_SIGNATURE"));
        assert_eq!(status.message(), "the Stripe signature does not match");
    }
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_edge_had_for_a_while_is_judged_by_its_receipt() {
    let served = served().await;
    let good = signed(checkout("1", "s", "user_1").body());
    let secret = signature::Secret::try_new(SECRET).unwrap();
    let signature = signature::sign(&secret, NOW_S.unsigned_abs() - 310, &good.body);
    let received_at = Some(prost_types::Timestamp { seconds: NOW_S - 20, nanos: 0 });
    let request = v1::ApplyStripeEventRequest { signature, received_at, ..good };
    served.client().apply_stripe_event(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_bodies_that_are_no_events_are_refused_and_not_stored() {
    let served = served().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long_id = format!("{{\"id\":\"{}\",\"object\":\"event\",\"type\":\"x\"}}", "e".repeat(256));
    let cases: [(&[u8], &str); 7] = [
        (b"\xff\xfe", "not_utf8"),
        (b"hello", "not_json"),
        (b"[]", "not_json"),
        (deep.as_bytes(), "depth"),
        (b"{\"object\":\"event\",\"type\":\"x\"}", "id"),
        (long_id.as_bytes(), "id"),
        (b"{\"id\":\"evt_1\",\"object\":\"event\"}", "type"),
    ];
    for (body, defect) in cases {
        let status = served.client().apply_stripe_event(signed(body.to_vec())).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "NOT_A_STRIPE_EVENT"));
        assert_eq!(fact(&status, "defect"), defect);
    }
    let thin = signed(b"{\"id\":\"evt_1\",\"object\":\"v2.core.event\",\"type\":\"x\"}".to_vec());
    let status = served.client().apply_stripe_event(thin).await.unwrap_err();
    assert_eq!(reason(&status), "THIN_EVENT_NOT_ACCEPTED");
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named() {
    let served = served().await;
    let good = signed(checkout("1", "s", "user_1").body());
    let huge = vec![b' '; 512 * 1024 + 1];
    let cases = [
        ("body", v1::ApplyStripeEventRequest { body: Vec::new().into(), ..good.clone() }),
        ("body", v1::ApplyStripeEventRequest { body: huge.into(), ..good.clone() }),
        ("signature", v1::ApplyStripeEventRequest { signature: String::new(), ..good.clone() }),
        ("signature", v1::ApplyStripeEventRequest { signature: "x".repeat(4097), ..good.clone() }),
        ("received_at", {
            let received_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
            v1::ApplyStripeEventRequest { received_at, ..good }
        }),
    ];
    for (field, request) in cases {
        let status = served.client().apply_stripe_event(request).await.unwrap_err();
        assert_eq!(
            (reason(&status).as_str(), bad_fields(&status)),
            ("INVALID_FIELD", vec![field.to_owned()])
        );
    }
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_secrets_leaves_the_signature_to_the_edge() {
    let served = served_with(credits::ServerConfig { webhook_secrets: None, ..config() }).await;
    let body = checkout("1", "s", "user_1").body();
    let request = v1::ApplyStripeEventRequest {
        body: body.into(),
        signature: "t=1,v1=x".to_owned(),
        received_at: None,
    };
    let answer = served.client().apply_stripe_event(request).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), StripeOutcome::Granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_grants_by_itself_when_what_kept_it_is_mended() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(crate::served::grant("user_1", "g", 1)).await.unwrap();
    let account = |state: i16| {
        let text = sqlx::AssertSqlSafe(format!("update accounts set state = {state}"));
        sqlx::raw_sql(text).execute(served.database.pool())
    };
    account(3).await.unwrap();
    let answer = delivered(&served, checkout("1", "s", "user_1").body()).await;
    assert_eq!((answer.state(), answer.outcome()), (StripeEventState::Parked, StripeOutcome::LedgerRefused));
    account(1).await.unwrap();
    harness::eventually("the sweeper has tried it again", crate::served::LIMIT, || async {
        available(&served).await == 1001
    })
    .await;
    let attempts: i32 =
        sqlx::query_scalar("select attempts from stripe_events where event_id = 'evt_1' and state = 1")
            .fetch_one(served.database.pool())
            .await
            .unwrap();
    assert!(attempts >= 2, "{attempts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_without_a_body_is_given_up() {
    let served = served().await;
    sqlx::raw_sql(
        "insert into stripe_events (event_id, type, created_at, livemode, state, outcome, received_at, next_attempt_at)
         values ('evt_1', 'x', now(), false, 3, 'pack_unknown', now(), now())",
    )
    .execute(served.database.pool())
    .await
    .unwrap();
    harness::eventually("it is given up", crate::served::LIMIT, || async {
        served.count("stripe_events where state = 4 and outcome = 'body_gone'").await == 1
    })
    .await;
}
