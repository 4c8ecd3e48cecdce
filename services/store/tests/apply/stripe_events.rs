//! Stripe events: a session grants once, by whatever events it comes (I8).

use bytes::Bytes;
use store::{
    Answer, Checkout, EventAnswer, EventState, Fact, Payment, Request, StripeEvent, StripeRequest, Unapplied,
};

use crate::book::*;

pub(crate) fn checkout_event(
    event_id: &str,
    session: &str,
    intent: Option<&str>,
    id: &str,
    payment: Payment,
) -> Request {
    let event = StripeEvent {
        event_id: event_id.to_owned(),
        event_type: "checkout.session.completed".to_owned(),
        created_s: 1_790_000_000,
        livemode: false,
        api_version: Some("2025-03-31.basil".to_owned()),
        connect_account: None,
        body: Bytes::from_static(b"{}"),
    };
    let checkout = Checkout {
        session_id: session.to_owned(),
        payment_intent: intent.map(str::to_owned),
        account: account(id),
        unit: credits(),
        pack: "starter".to_owned(),
        quantity: 1,
        subtotal_minor_units: 1000,
        currency: "usd".to_owned(),
        captured_minor_units: 1000,
        payment,
        grant: a_grant(1000),
    };
    stripe_request(event, Fact::Checkout(checkout), id)
}

/// An event of an account.
pub(crate) fn stripe_request(event: StripeEvent, fact: Fact, id: &str) -> Request {
    Request::Stripe(Box::new(StripeRequest {
        event,
        fact,
        followers: Vec::new(),
        account: account(id),
        unit: credits(),
        actor: "edge".to_owned(),
        traceparent: None,
    }))
}

pub(crate) fn paid(event_id: &str, session: &str, intent: Option<&str>, id: &str) -> Request {
    checkout_event(event_id, session, intent, id, Payment::Paid)
}

fn event(answer: Result<Answer, store::ApplyError>) -> EventAnswer {
    match answer {
        Ok(Answer::Event(event)) => event,
        other => panic!("no event: {other:?}"),
    }
}

#[tokio::test]
async fn one_session_by_many_events_at_once_grants_once() {
    let book = Book::new().await;
    let same = (0..10).map(|_| book.apply(paid("evt_1", "cs_1", Some("pi_1"), "user_1")));
    let others = (2..12).map(|n| book.apply(paid(&format!("evt_{n}"), "cs_1", Some("pi_1"), "user_1")));
    let (same, others) = tokio::join!(futures::future::join_all(same), futures::future::join_all(others));
    let all: Vec<_> = same.into_iter().chain(others).map(event).collect();
    let first = all.iter().filter(|answer| answer.outcome == "granted" && !answer.duplicate);
    assert_eq!(first.count(), 1, "{all:?}");
    assert!(all.iter().all(|answer| answer.operation.is_some()), "every answer tells the grant: {all:?}");
    assert!(all.iter().all(|answer| answer.state == EventState::Applied));
    assert_eq!(book.available("user_1").await, 1000);
    let pool = book.pool();
    assert_eq!(count(pool, "entries").await, 1);
    assert_eq!(count(pool, "outbox").await, 1);
    assert_eq!(count(pool, "stripe_events").await, 11);
    assert_eq!(count(pool, "stripe_event_bodies").await, 11);
    assert_eq!(count(pool, "purchases").await, 1);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_pending_session_grants_when_it_is_paid_and_never_goes_back() {
    let book = Book::new().await;
    let pending = |id| checkout_event(id, "cs_1", None, "user_1", Payment::Pending);
    assert_eq!(event(book.apply(pending("evt_1")).await).outcome, "pending_payment");
    assert_eq!(book.available("user_1").await, 0);
    assert_eq!(event(book.apply(paid("evt_2", "cs_1", Some("pi_1"), "user_1")).await).outcome, "granted");
    assert_eq!(event(book.apply(pending("evt_3")).await).outcome, "already_granted");
    let state: i16 = sqlx::query_scalar("select state from purchases").fetch_one(book.pool()).await.unwrap();
    assert_eq!(state, 3);
    assert_eq!(book.available("user_1").await, 1000);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_payment_intent_backs_one_grant() {
    let book = Book::new().await;
    book.apply(paid("evt_1", "cs_1", Some("pi_1"), "user_1")).await.unwrap();
    let second = event(book.apply(paid("evt_2", "cs_2", Some("pi_1"), "user_1")).await);
    assert_eq!(
        (second.state, second.outcome.as_str()),
        (EventState::Parked, "payment_intent_already_granted")
    );
    assert_eq!(book.available("user_1").await, 1000);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_grant_that_is_refused_parks_its_event_and_a_later_delivery_grants() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 1)).await.unwrap();
    sqlx::query("update accounts set state = 3").execute(book.pool()).await.unwrap();
    let parked = event(book.apply(paid("evt_1", "cs_1", None, "user_1")).await);
    assert_eq!((parked.state, parked.outcome.as_str()), (EventState::Parked, "account_closed"));
    sqlx::query("update accounts set state = 1").execute(book.pool()).await.unwrap();
    let granted = event(book.apply(paid("evt_1", "cs_1", None, "user_1")).await);
    assert_eq!((granted.state, granted.outcome.as_str()), (EventState::Applied, "granted"));
    assert_eq!(book.available("user_1").await, 1001);
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_event_without_effect_is_recorded_once() {
    let book = Book::new().await;
    let Request::Stripe(stripe) = paid("evt_1", "cs_1", None, "user_1") else { unreachable!() };
    let unapplied = Unapplied { outcome: "unknown_type", ..Unapplied::default() };
    let record = || book.store.record_event(&stripe.event, EventState::Ignored, &unapplied);
    assert!(!record().await.unwrap().duplicate);
    assert!(record().await.unwrap().duplicate);
    let others = futures::future::join_all((0..8).map(|_| record())).await;
    assert!(others.into_iter().all(|answer| answer.unwrap().duplicate));
    assert_eq!(count(book.pool(), "stripe_events").await, 1);
}
