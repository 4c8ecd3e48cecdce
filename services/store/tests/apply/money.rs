//! Money that goes back: refunds, disputes, warnings, in any order and any number.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use domain::{GrantId, Shortfall};
use sqlx::Connection;
use store::{
    Answer, Dispute, EventAnswer, EventState, Fact, KeyKind, Measures, Owner, PaymentRef, Refund, SessionEnd,
    SessionEnded, StripeEvent, StripeKey, Wait, Warning, run_batch,
};

use crate::book::*;
use crate::stripe_events::{checkout_event, paid, stripe_request};

pub(crate) fn fact_event(event_type: &str) -> StripeEvent {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    StripeEvent {
        event_id: format!("evt_fact_{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        event_type: event_type.to_owned(),
        created_s: 1_790_000_000,
        livemode: false,
        api_version: None,
        connect_account: None,
        body: Bytes::from_static(b"{}"),
    }
}

pub(crate) fn pi(id: &str) -> PaymentRef {
    PaymentRef { intent: Some(id.to_owned()), charge: None }
}

pub(crate) fn refund(id: &str, amount: i64, status: &str) -> Fact {
    let payment = PaymentRef { charge: Some("ch_1".to_owned()), ..pi("pi_1") };
    let (refund_id, currency, status) = (id.to_owned(), "usd".to_owned(), status.to_owned());
    Fact::Refund(Refund { refund_id, payment, amount, currency, status })
}

pub(crate) fn dispute(id: &str, amount: i64, status: &str, transactions: &[(&str, i64)]) -> Fact {
    let transactions = transactions.iter().map(|(id, amount)| ((*id).to_owned(), *amount)).collect();
    let (dispute_id, currency, status) = (id.to_owned(), "usd".to_owned(), status.to_owned());
    Fact::Dispute(Dispute { dispute_id, payment: pi("pi_1"), amount, currency, status, transactions })
}

impl Book {
    /// Applies a fact of `user_1` by an event of its own.
    pub(crate) async fn tell(&self, fact: Fact) -> EventAnswer {
        self.tell_of("user_1", fact).await
    }

    pub(crate) async fn tell_of(&self, id: &str, fact: Fact) -> EventAnswer {
        match self.apply(stripe_request(fact_event("some.event"), fact, id)).await {
            Ok(Answer::Event(answer)) => answer,
            other => panic!("no event: {other:?}"),
        }
    }

    async fn outcome(&self, fact: Fact) -> String {
        let answer = self.tell(fact).await;
        assert_eq!(answer.state, EventState::Applied, "{answer:?}");
        answer.outcome
    }

    /// 1000 credits for 1000 of `user_1`, paid by `pi_1`.
    async fn sold() -> Self {
        let book = Self::new().await;
        book.apply(paid("evt_1", "cs_1", Some("pi_1"), "user_1")).await.unwrap();
        book
    }
}

#[tokio::test]
async fn a_refund_takes_its_share_and_a_failed_one_gives_it_back() {
    let book = Book::sold().await;
    assert_eq!(book.outcome(refund("re_1", 300, "pending")).await, "revoked");
    assert_eq!(book.available("user_1").await, 700);
    assert_eq!(
        book.outcome(refund("re_1", 300, "succeeded")).await,
        "no_change",
        "another event of one refund"
    );
    assert_eq!(book.outcome(refund("re_2", 200, "succeeded")).await, "revoked");
    assert_eq!(book.available("user_1").await, 500);
    assert_eq!(book.outcome(refund("re_1", 300, "failed")).await, "reinstated");
    assert_eq!(book.outcome(refund("re_1", 300, "succeeded")).await, "no_change", "states move forward only");
    assert_eq!(book.available("user_1").await, 800);
    assert_eq!(book.outcome(refund("re_2", 200, "canceled")).await, "reinstated");
    assert_eq!(book.figures("user_1").await, [1000, 0, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_share_is_of_what_was_captured_and_is_rounded_half_up() {
    let book = Book::new().await;
    let store::Request::Stripe(mut request) = paid("evt_1", "cs_1", Some("pi_1"), "user_1") else {
        unreachable!()
    };
    let Fact::Checkout(checkout) = &mut request.fact else { unreachable!() };
    checkout.captured_minor_units = 1190;
    book.apply(store::Request::Stripe(request)).await.unwrap();
    assert_eq!(book.outcome(refund("re_1", 1, "succeeded")).await, "revoked");
    assert_eq!(book.available("user_1").await, 999, "1000 × 1 ÷ 1190 = 0.84");
    book.outcome(refund("re_2", 594, "succeeded")).await;
    assert_eq!(book.available("user_1").await, 500);
    book.outcome(refund("re_3", 595, "succeeded")).await;
    assert_eq!(book.available("user_1").await, 0);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_session_of_the_version_before_is_refunded_by_its_subtotal() {
    let book = Book::sold().await;
    sqlx::query("update purchases set captured_minor_units = null, credits = null")
        .execute(book.pool())
        .await
        .unwrap();
    book.outcome(refund("re_1", 250, "succeeded")).await;
    assert_eq!(book.available("user_1").await, 750);
}

#[tokio::test]
async fn spent_credits_of_a_refund_are_owed() {
    let book = Book::sold().await;
    book.apply(spend("user_1", "s", 900)).await.unwrap();
    assert_eq!(book.outcome(refund("re_1", 1000, "succeeded")).await, "revoked");
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 900]);
    assert_eq!(book.outcome(refund("re_1", 1000, "failed")).await, "reinstated");
    assert_eq!(book.figures("user_1").await, [100, 0, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn refunds_and_disputes_together_never_take_more_than_was_granted() {
    let book = Book::sold().await;
    book.outcome(refund("re_1", 700, "succeeded")).await;
    assert_eq!(book.outcome(dispute("dp_1", 1000, "needs_response", &[("txn_1", -1000)])).await, "revoked");
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0]);
    assert_eq!(book.outcome(refund("re_1", 700, "failed")).await, "no_change");
    assert_eq!(book.outcome(dispute("dp_1", 1000, "won", &[("txn_2", 1000)])).await, "reinstated");
    assert_eq!(book.figures("user_1").await, [1000, 0, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_dispute_withholds_by_its_transactions_and_may_be_lost_and_then_won() {
    let book = Book::sold().await;
    assert_eq!(book.outcome(dispute("dp_1", 1000, "warning_needs_response", &[])).await, "flagged");
    assert_eq!(
        book.outcome(dispute("dp_1", 1000, "needs_response", &[])).await,
        "no_change",
        "nothing withdrawn yet"
    );
    assert_eq!(book.available("user_1").await, 1000);
    assert_eq!(book.outcome(dispute("dp_1", 1000, "needs_response", &[("txn_1", -1370)])).await, "revoked");
    assert_eq!(book.available("user_1").await, 0);
    assert_eq!(book.outcome(dispute("dp_1", 1000, "lost", &[("txn_1", -1370)])).await, "no_change");
    assert_eq!(book.outcome(dispute("dp_1", 1000, "won", &[("txn_2", 685)])).await, "reinstated");
    assert_eq!(book.available("user_1").await, 500, "half came back");
    assert_eq!(
        book.outcome(dispute("dp_1", 1000, "lost", &[("txn_1", -1370)])).await,
        "no_change",
        "an old event"
    );
    assert_eq!(book.outcome(dispute("dp_1", 1000, "won", &[("txn_3", 685)])).await, "reinstated");
    assert_eq!(book.available("user_1").await, 1000);
    book.verify("user_1").await;
}

#[tokio::test]
async fn any_order_of_the_events_gives_the_same_end() {
    let events = [
        refund("re_1", 300, "pending"),
        refund("re_1", 300, "failed"),
        refund("re_2", 200, "succeeded"),
        dispute("dp_1", 400, "warning_needs_response", &[]),
        dispute("dp_1", 400, "needs_response", &[("txn_1", -400)]),
        dispute("dp_1", 400, "won", &[("txn_1", -400), ("txn_2", 300)]),
    ];
    let book = Book::new().await;
    // A fixed walk through orders: every rotation, forwards and backwards, with duplicates.
    for round in 0..12_usize {
        let (id, session, intent) = (format!("user_{round}"), format!("cs_{round}"), format!("pi_{round}"));
        book.apply(paid(&format!("evt_{round}"), &session, Some(&intent), &id)).await.unwrap();
        book.apply(spend(&id, "s", 650)).await.unwrap();
        let mut order: Vec<Fact> = events.iter().cycle().skip(round).take(events.len()).cloned().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        order.extend(order.clone().into_iter().step_by(2));
        for fact in order {
            let own = |key: &str| format!("{key}_{round}");
            let fact = match fact {
                Fact::Refund(fact) => {
                    Fact::Refund(Refund { refund_id: own(&fact.refund_id), payment: pi(&intent), ..fact })
                }
                Fact::Dispute(fact) => Fact::Dispute(Dispute {
                    dispute_id: own(&fact.dispute_id),
                    payment: pi(&intent),
                    transactions: fact.transactions.iter().map(|(key, amount)| (own(key), *amount)).collect(),
                    ..fact
                }),
                other => other,
            };
            assert_eq!(book.tell_of(&id, fact).await.state, EventState::Applied);
        }
        // Refunded 200, withheld 100: 300 of 1000 are revoked, and 650 are spent.
        assert_eq!(book.figures(&id).await, [50, 0, 0, 0], "round {round}");
    }
    book.verify("user_0").await;
}

#[tokio::test]
async fn lock_then_read_refunds_two_at_once_are_decided_over_both() {
    let book = Book::sold().await;
    let refunds = |n: usize| refund(&format!("re_{n}"), 100, "succeeded");
    let calls = (0..8).map(|n| book.tell(refunds(n)));
    futures::future::join_all(calls).await;
    assert_eq!(book.available("user_1").await, 200);
    let mut one = sqlx::PgConnection::connect(book.database.url()).await.unwrap();
    let mut open = one.begin().await.unwrap();
    let first = item(stripe_request(fact_event("refund.created"), refunds(8), "user_1"));
    run_batch(&mut open, &[&first], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let url = book.database.url().to_owned();
    let second = item(stripe_request(fact_event("refund.created"), refunds(9), "user_1"));
    let later = tokio::spawn(async move {
        let mut two = sqlx::PgConnection::connect(&url).await.unwrap();
        run_batch(&mut two, &[&second], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    });
    blocked(book.pool(), 1).await;
    open.commit().await.unwrap();
    later.await.unwrap();
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0], "the second has read the first one's fact");
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_fact_that_the_ledger_refuses_is_kept_and_decided_later() {
    let book = Book::sold().await;
    let account = async |state: i16| {
        sqlx::query("update accounts set state = $1").bind(state).execute(book.pool()).await.unwrap();
    };
    account(3).await;
    let event = fact_event("refund.created");
    let request = stripe_request(event, refund("re_1", 400, "succeeded"), "user_1");
    let Ok(Answer::Event(parked)) = book.apply(request.clone()).await else { panic!() };
    assert_eq!((parked.state, parked.outcome.as_str()), (EventState::Parked, "account_closed"));
    account(1).await;
    assert_eq!(book.outcome(refund("re_2", 100, "succeeded")).await, "revoked");
    assert_eq!(book.available("user_1").await, 500, "decided over all that is known");
    let Ok(Answer::Event(applied)) = book.apply(request).await else { panic!() };
    assert_eq!((applied.state, applied.outcome.as_str()), (EventState::Applied, "no_change"));
    book.verify("user_1").await;
}

#[tokio::test]
async fn the_operators_own_revocation_is_replaced_by_the_target() {
    let book = Book::sold().await;
    let grant: sqlx::types::Uuid =
        sqlx::query_scalar("select grant_id from grants").fetch_one(book.pool()).await.unwrap();
    book.apply(revoke("user_1", "by hand", GrantId::from_uuid(grant), 50, Shortfall::Owed)).await.unwrap();
    let inquiry = dispute("du_1", 1000, "warning_needs_response", &[]);
    assert_eq!(book.outcome(inquiry).await, "flagged");
    assert_eq!(book.available("user_1").await, 950, "an inquiry moves no money");
    book.outcome(refund("re_1", 400, "succeeded")).await;
    assert_eq!(book.available("user_1").await, 600);
    book.verify("user_1").await;
}

#[tokio::test]
async fn what_names_no_payment_of_the_account_waits_for_it() {
    let book = Book::sold().await;
    let Fact::Refund(of_another) = refund("re_1", 400, "succeeded") else { unreachable!() };
    let unknown = Refund { payment: pi("pi_9"), ..of_another.clone() };
    let answer = book.tell(Fact::Refund(unknown)).await;
    assert_eq!((answer.state, answer.outcome.as_str()), (EventState::Parked, "predecessor_missing"));
    assert_eq!(
        count(book.pool(), "stripe_event_waits where kind = 'payment_intent' and object_id = 'pi_9'").await,
        1
    );
    let euros = Refund { currency: "eur".to_owned(), ..of_another.clone() };
    assert_eq!(book.tell(Fact::Refund(euros)).await.outcome, "currency_mismatch");
    assert_eq!(book.tell_of("user_2", Fact::Refund(of_another)).await.outcome, "account_mismatch");
    assert_eq!(book.figures("user_1").await, [1000, 0, 0, 0]);
    assert_eq!(count(book.pool(), "stripe_refunds").await, 0);
}

#[tokio::test]
async fn a_payment_is_found_by_its_intent_and_later_by_its_charge() {
    let book = Book::sold().await;
    let owner = async |kind, id: &str| book.store.owner(&[StripeKey::new(kind, id)]).await.unwrap();
    assert_eq!(owner(KeyKind::PaymentIntent, "pi_1").await, Owner::Account(account("user_1")));
    assert_eq!(owner(KeyKind::Charge, "ch_1").await, Owner::Unknown);
    book.outcome(refund("re_1", 100, "succeeded")).await;
    assert_eq!(owner(KeyKind::Charge, "ch_1").await, Owner::Account(account("user_1")));
    let Fact::Refund(by_charge) = refund("re_2", 100, "succeeded") else { unreachable!() };
    let payment = PaymentRef { intent: None, charge: Some("ch_1".to_owned()) };
    assert_eq!(book.outcome(Fact::Refund(Refund { payment, ..by_charge })).await, "revoked");
    assert_eq!(book.available("user_1").await, 800);
}

#[tokio::test]
async fn a_refunded_charge_is_ignored_once_its_refunds_have_events_and_waits_for_them_otherwise() {
    let book = Book::sold().await;
    // A refund that names its intent only is found by the charge that names both.
    let hint = || Fact::RefundHint(PaymentRef { charge: Some("ch_1".to_owned()), ..pi("pi_1") });
    let refund = |id: &str| {
        let Fact::Refund(fact) = refund(id, 100, "succeeded") else { unreachable!() };
        Fact::Refund(Refund { payment: pi("pi_1"), ..fact })
    };
    let parked = book.tell(hint()).await;
    assert_eq!((parked.state, parked.outcome.as_str()), (EventState::Parked, "predecessor_missing"));
    sqlx::query("update stripe_events set next_attempt_at = now() + interval '1 hour' where state = 3")
        .execute(book.pool())
        .await
        .unwrap();
    book.outcome(refund("re_1")).await;
    assert_eq!(book.store.take_parked_events(9).await.unwrap().len(), 1, "the first refund wakes it");
    let ignored = book.tell(hint()).await;
    assert_eq!((ignored.state, ignored.outcome.as_str()), (EventState::Ignored, "refund_events_say_more"));
    assert_eq!(book.available("user_1").await, 900);
}

#[tokio::test]
async fn warnings_flag_and_a_deleted_customer_is_unlinked_and_neither_moves_credits() {
    let book = Book::sold().await;
    let (warning_id, fraud_type) = ("issfr_1".to_owned(), "misc".to_owned());
    let warning = Warning { warning_id, payment: pi("pi_1"), fraud_type };
    assert_eq!(book.outcome(Fact::Warning(warning.clone())).await, "flagged");
    assert_eq!(book.outcome(Fact::Warning(warning)).await, "flagged");
    assert_eq!(count(book.pool(), "stripe_fraud_warnings").await, 1);
    let gone = || Fact::CustomerGone { customer: "cus_1".to_owned() };
    assert_eq!(book.outcome(gone()).await, "unlinked");
    assert_eq!(book.outcome(gone()).await, "no_change");
    assert_eq!(book.figures("user_1").await, [1000, 0, 0, 0]);
    assert_eq!(count(book.pool(), "entries").await, 1);
}

#[tokio::test]
async fn a_session_that_ends_without_money_is_noted_and_one_that_was_paid_stays_paid() {
    let book = Book::new().await;
    let ended = |event_id: &str, session: &str, end| {
        let pending = checkout_event(event_id, session, None, "user_1", store::Payment::Pending);
        let store::Request::Stripe(request) = pending else { unreachable!() };
        let Fact::Checkout(checkout) = request.fact else { unreachable!() };
        Fact::SessionEnded(SessionEnded { checkout, end })
    };
    let state = async |session: &str| -> i16 {
        let text = "select state from purchases where session_id = $1";
        sqlx::query_scalar(text).bind(session).fetch_one(book.pool()).await.unwrap()
    };
    book.apply(checkout_event("e1", "cs_1", None, "user_1", store::Payment::Pending)).await.unwrap();
    assert_eq!(book.outcome(ended("e2", "cs_1", SessionEnd::PaymentFailed)).await, "payment_failed");
    assert_eq!(book.outcome(ended("e3", "cs_1", SessionEnd::Expired)).await, "no_change");
    book.apply(checkout_event("e4", "cs_1", None, "user_1", store::Payment::Pending)).await.unwrap();
    assert_eq!((state("cs_1").await, book.available("user_1").await), (4, 0));
    assert_eq!(book.outcome(ended("e5", "cs_2", SessionEnd::Expired)).await, "session_expired");
    assert_eq!(state("cs_2").await, 5);
    // The money came all the same.
    book.apply(paid("e6", "cs_1", Some("pi_1"), "user_1")).await.unwrap();
    assert_eq!(book.outcome(ended("e7", "cs_1", SessionEnd::PaymentFailed)).await, "no_change");
    assert_eq!((state("cs_1").await, book.available("user_1").await), (3, 1000));
    book.verify("user_1").await;
}
