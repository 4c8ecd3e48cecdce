//! Subscriptions: a line of a paid invoice grants once, in whatever order its events come; what is left rolls over or is
//! taken back; refunds of an invoice count beside that.

use domain::{Expiry, Grant, GrantKind, Timestamp};
use store::{
    EventAnswer, EventState, Fact, Invoice, InvoiceLine, InvoicePayment, PaymentRef, Refund, Request,
    Rollover, SubscriptionLink, SubscriptionState,
};

use crate::book::*;
use crate::money::{fact_event, pi};
use crate::stripe_events::stripe_request;

const DAY: i64 = 86_400;

/// Midnight before today, in seconds, so that a period began before now.
fn base() -> i64 {
    in_seconds(0).micros() / 1_000_000 / DAY * DAY - DAY
}

/// A line of plan `pro`, 1000 credits for the period that begins `month` times 30 days from the base.
fn line(id: &str, month: i64, rollover: Option<Rollover>) -> InvoiceLine {
    let (start, end) = (base() + month * 30 * DAY, base() + (month + 1) * 30 * DAY);
    let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    let expiry = if rollover.is_some() { Expiry::At(at(end + 300 * DAY)) } else { Expiry::At(at(end)) };
    InvoiceLine {
        line_id: id.to_owned(),
        plan: "pro".to_owned(),
        unit: credits(),
        period_start_s: start,
        period_end_s: end,
        grant: Grant {
            kind: GrantKind::Subscription,
            effective_at: Some(at(start)),
            expiry,
            ..a_grant(1000)
        },
        ends_with_subscription: true,
        rollover,
    }
}

fn invoice(id: &str, lines: Vec<InvoiceLine>) -> Invoice {
    Invoice {
        invoice_id: id.to_owned(),
        subscription: Some("sub_1".to_owned()),
        customer: Some("cus_1".to_owned()),
        named: None,
        payment: PaymentRef::default(),
        captured_minor_units: 2000,
        currency: "usd".to_owned(),
        has_plan: true,
        lines,
    }
}

fn link(id: &str) -> Fact {
    Fact::Link(SubscriptionLink {
        account: account(id),
        session_id: "cs_1".to_owned(),
        customer: Some("cus_1".to_owned()),
        subscription: "sub_1".to_owned(),
    })
}

fn state(status: &str, is_ended: bool, told_at_s: i64) -> Fact {
    Fact::Subscription(SubscriptionState {
        subscription: "sub_1".to_owned(),
        customer: Some("cus_1".to_owned()),
        named: None,
        has_plan: true,
        is_ended,
        status: status.to_owned(),
        told_at_s,
    })
}

fn paid_by(invoice: &str, intent: &str) -> Fact {
    Fact::InvoicePayment(InvoicePayment { invoice: invoice.to_owned(), payment: pi(intent) })
}

fn refund(id: &str, intent: &str, amount: i64, status: &str) -> Fact {
    let (refund_id, currency, status) = (id.to_owned(), "usd".to_owned(), status.to_owned());
    Fact::Refund(Refund { refund_id, payment: pi(intent), amount, currency, status })
}

fn told(answer: &EventAnswer) -> (EventState, &str) {
    (answer.state, answer.outcome.as_str())
}

const APPLIED: EventState = EventState::Applied;
const PARKED: EventState = EventState::Parked;

#[tokio::test]
async fn a_paid_invoice_of_a_linked_subscription_grants_each_line_once() {
    let book = Book::new().await;
    assert_eq!(told(&book.tell(link("user_1")).await), (APPLIED, "linked"));
    let lines = || vec![line("il_1", 0, None), line("il_2", 0, None)];
    let first = book.tell(Fact::Invoice(invoice("in_1", lines()))).await;
    assert_eq!(told(&first), (APPLIED, "granted"));
    let again = book.tell(Fact::Invoice(invoice("in_1", lines()))).await;
    assert_eq!(told(&again), (APPLIED, "already_granted"));
    assert_eq!(again.operation.map(|operation| operation.id), first.operation.map(|operation| operation.id));
    assert_eq!(book.available("user_1").await, 2000);
    let calls = (0..6).map(|_| book.tell(Fact::Invoice(invoice("in_2", vec![line("il_1", 0, None)]))));
    let granted = futures::future::join_all(calls).await;
    assert_eq!(granted.iter().filter(|answer| answer.outcome == "granted").count(), 1);
    assert_eq!(book.available("user_1").await, 3000);
    let kinds: Vec<i16> = sqlx::query_scalar("select kind from grants").fetch_all(book.pool()).await.unwrap();
    assert_eq!(kinds, [4, 4, 4]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_invoice_that_comes_first_waits_and_is_applied_with_its_link_in_one_transaction() {
    let book = Book::new().await;
    let event = fact_event("invoice.paid");
    let fact = Fact::Invoice(invoice("in_1", vec![line("il_1", 0, None)]));
    let parked = book.apply(stripe_request(event.clone(), fact.clone(), "user_1")).await;
    let Ok(store::Answer::Event(parked)) = parked else { panic!() };
    assert_eq!(told(&parked), (PARKED, "predecessor_missing"));
    let Request::Stripe(mut request) =
        stripe_request(fact_event("checkout.session.completed"), link("user_1"), "user_1")
    else {
        unreachable!()
    };
    let waiting = book.store.waiting_events(&request.fact.awaited(), 9).await.unwrap();
    assert_eq!(
        waiting.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(),
        [event.event_id.as_str()]
    );
    request.followers.push((event.clone(), fact));
    book.apply(Request::Stripe(request)).await.unwrap();
    assert_eq!(book.available("user_1").await, 1000);
    let text = "select count(distinct xmin::text) from (select xmin from grants union all select xmin from stripe_links
                union all select xmin from stripe_events) x";
    let transactions: i64 = sqlx::query_scalar(text).fetch_one(book.pool()).await.unwrap();
    assert_eq!(transactions, 1);
    let (resolved, _) = book.store.lookup_event(&event.event_id).await.unwrap().unwrap();
    assert_eq!((resolved.state, resolved.outcome.as_str()), (APPLIED, "granted"));
    book.verify("user_1").await;
}

#[tokio::test]
async fn metadata_name_the_account_without_a_link_and_a_contradiction_is_parked() {
    let book = Book::new().await;
    let named =
        |id: &str, by: &str| Invoice { named: Some(account(by)), ..invoice(id, vec![line("il_1", 0, None)]) };
    assert_eq!(told(&book.tell(Fact::Invoice(named("in_1", "user_1"))).await), (APPLIED, "granted"));
    let other = book.tell_of("user_2", Fact::Invoice(named("in_2", "user_2"))).await;
    assert_eq!(told(&other), (PARKED, "account_mismatch"), "the subscription is user_1's");
    assert_eq!(told(&book.tell_of("user_2", link("user_2")).await), (PARKED, "account_mismatch"));
    assert_eq!(told(&book.tell(link("user_1")).await), (APPLIED, "linked"));
    assert_eq!((book.available("user_1").await, book.available("user_2").await), (1000, 0));
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_deleted_customer_names_nobody_any_more() {
    let book = Book::new().await;
    let customer_only = Invoice { subscription: None, ..invoice("in_1", vec![line("il_1", 0, None)]) };
    book.tell(link("user_1")).await;
    book.tell(Fact::CustomerGone { customer: "cus_1".to_owned() }).await;
    assert_eq!(told(&book.tell(Fact::Invoice(customer_only)).await), (PARKED, "predecessor_missing"));
    let of_subscription = invoice("in_2", vec![line("il_1", 0, None)]);
    assert_eq!(told(&book.tell(Fact::Invoice(of_subscription)).await), (APPLIED, "granted"));
}

#[tokio::test]
async fn an_invoice_without_granting_lines_is_a_sale_without_credits() {
    let book = Book::new().await;
    book.tell(link("user_1")).await;
    let by_policy = book.tell(Fact::Invoice(invoice("in_1", Vec::new()))).await;
    assert_eq!(told(&by_policy), (EventState::Ignored, "no_credits_by_policy"));
    assert_eq!(told(&book.tell(paid_by("in_1", "pi_1")).await), (APPLIED, "linked"));
    assert_eq!(told(&book.tell(refund("re_1", "pi_1", 500, "succeeded")).await), (APPLIED, "no_change"));
    let unknown = Invoice { has_plan: false, ..invoice("in_2", Vec::new()) };
    assert_eq!(told(&book.tell(Fact::Invoice(unknown)).await), (PARKED, "plan_unknown"));
    assert_eq!(count(book.pool(), "entries").await, 0);
}

/// The plan is added to the catalogue when the money went back already, whole or half of it.
#[tokio::test]
async fn a_line_that_is_granted_after_its_money_went_back_grants_what_the_rest_has_paid() {
    for (refunded, left) in [(2000, 0), (1000, 500)] {
        let book = Book::new().await;
        book.tell(link("user_1")).await;
        let unknown = Invoice { has_plan: false, ..invoice("in_1", Vec::new()) };
        assert_eq!(told(&book.tell(Fact::Invoice(unknown)).await), (PARKED, "plan_unknown"));
        book.tell(paid_by("in_1", "pi_1")).await;
        let refund = refund("re_1", "pi_1", refunded, "succeeded");
        assert_eq!(told(&book.tell(refund).await), (APPLIED, "no_change"));
        let known = Fact::Invoice(invoice("in_1", vec![line("il_1", 0, None)]));
        assert_eq!(told(&book.tell(known).await), (APPLIED, "granted"));
        assert_eq!(book.available("user_1").await, left, "{refunded} of 2000 went back");
        book.verify("user_1").await;
    }
}

#[tokio::test]
async fn an_invoices_payment_leads_its_refunds_to_every_line() {
    let book = Book::new().await;
    book.tell(link("user_1")).await;
    assert_eq!(told(&book.tell(paid_by("in_1", "pi_1")).await), (PARKED, "predecessor_missing"));
    book.tell(Fact::Invoice(invoice("in_1", vec![line("il_1", 0, None), line("il_2", 0, None)]))).await;
    assert_eq!(
        told(&book.tell(refund("re_1", "pi_1", 500, "succeeded")).await),
        (PARKED, "predecessor_missing")
    );
    assert_eq!(told(&book.tell(paid_by("in_1", "pi_1")).await), (APPLIED, "linked"));
    assert_eq!(told(&book.tell(refund("re_1", "pi_1", 500, "succeeded")).await), (APPLIED, "revoked"));
    assert_eq!(book.available("user_1").await, 1500, "a quarter of each line");
    // Two payments of one invoice: both count for the same sale.
    book.tell(paid_by("in_1", "pi_2")).await;
    book.tell(refund("re_2", "pi_2", 1500, "succeeded")).await;
    assert_eq!(book.available("user_1").await, 0);
    assert_eq!(told(&book.tell(refund("re_2", "pi_2", 1500, "failed")).await), (APPLIED, "reinstated"));
    assert_eq!(book.available("user_1").await, 1500);
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_old_invoice_names_its_payment_itself() {
    let book = Book::new().await;
    book.tell(link("user_1")).await;
    let payment = PaymentRef { intent: Some("pi_1".to_owned()), charge: Some("ch_1".to_owned()) };
    let old = Invoice { payment, ..invoice("in_1", vec![line("il_1", 0, None)]) };
    book.tell(Fact::Invoice(old)).await;
    assert_eq!(told(&book.tell(refund("re_1", "pi_1", 1000, "succeeded")).await), (APPLIED, "revoked"));
    assert_eq!(book.available("user_1").await, 500);
}

#[tokio::test]
async fn the_end_of_a_subscription_takes_its_lots_and_never_what_was_bought() {
    let book = Book::new().await;
    book.apply(grant("user_1", "bought", 300)).await.unwrap();
    book.tell(link("user_1")).await;
    let kept = InvoiceLine { ends_with_subscription: false, ..line("il_2", 0, None) };
    book.tell(Fact::Invoice(invoice("in_1", vec![line("il_1", 0, None), kept]))).await;
    book.apply(spend("user_1", "s", 400)).await.unwrap();
    assert_eq!(told(&book.tell(state("active", false, 5)).await), (APPLIED, "mirrored"));
    assert_eq!(book.available("user_1").await, 1900);
    assert_eq!(told(&book.tell(state("canceled", true, 9)).await), (APPLIED, "mirrored"));
    assert_eq!(
        book.figures("user_1").await,
        [1300, 0, 0, 0],
        "600 of the lot were left; the spent stay spent"
    );
    book.tell(state("active", false, 7)).await;
    let status: String =
        sqlx::query_scalar("select status from stripe_subscriptions").fetch_one(book.pool()).await.unwrap();
    assert_eq!(status, "canceled", "what has ended stays so");
    book.tell(state("canceled", true, 9)).await;
    assert_eq!(book.available("user_1").await, 1300);
    // An invoice that comes after the end grants what ends at once.
    assert_eq!(
        told(&book.tell(Fact::Invoice(invoice("in_2", vec![line("il_1", 0, None)]))).await),
        (APPLIED, "granted")
    );
    assert_eq!(book.available("user_1").await, 1300);
    book.verify("user_1").await;
}

#[tokio::test]
async fn refunds_and_the_end_of_a_subscription_give_the_same_in_any_order() {
    let book = Book::new().await;
    for (n, order) in
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].into_iter().enumerate()
    {
        let id = format!("user_{n}");
        let own = |text: &str| format!("{text}_{n}");
        book.apply(grant(&id, "bought", 500)).await.unwrap();
        let named = Invoice {
            named: Some(account(&id)),
            subscription: Some(own("sub")),
            customer: None,
            payment: pi(&own("pi")),
            captured_minor_units: 1000,
            ..invoice(&own("in"), vec![line("il_1", 0, None)])
        };
        book.tell_of(&id, Fact::Invoice(named)).await;
        book.apply(spend(&id, "s", 700)).await.unwrap();
        for step in order {
            let fact = match step {
                0 => refund(&own("re"), &own("pi"), 500, "succeeded"),
                1 => refund(&own("re"), &own("pi"), 500, "failed"),
                _ => {
                    let Fact::Subscription(ended) = state("canceled", true, 9) else { unreachable!() };
                    Fact::Subscription(SubscriptionState { subscription: own("sub"), ..ended })
                }
            };
            assert_eq!(book.tell_of(&id, fact).await.state, APPLIED);
        }
        assert_eq!(book.figures(&id).await, [500, 0, 0, 0], "{order:?}");
    }
    book.verify("user_0").await;
}

#[tokio::test]
async fn what_is_left_rolls_over_by_percent_and_cap() {
    for (percent, cap, expected) in
        [(100, None, 1600), (50, None, 1300), (50, Some(100), 1100), (0, None, 1000)]
    {
        let book = Book::new().await;
        let rollover = Some(Rollover { percent, cap });
        book.tell(link("user_1")).await;
        book.tell(Fact::Invoice(invoice("in_1", vec![line("il_1", -1, rollover)]))).await;
        book.apply(spend("user_1", "s", 400)).await.unwrap();
        let renewal = || Fact::Invoice(invoice("in_2", vec![line("il_1", 0, rollover)]));
        assert_eq!(told(&book.tell(renewal()).await), (APPLIED, "granted"));
        assert_eq!(book.available("user_1").await, expected, "{percent} % of 600, at most {cap:?}");
        book.tell(renewal()).await;
        assert_eq!(book.available("user_1").await, expected, "a renewal rolls over once");
        book.verify("user_1").await;
    }
}

#[tokio::test]
async fn a_period_of_several_lines_rolls_over_once() {
    let book = Book::new().await;
    let rollover = Some(Rollover { percent: 50, cap: None });
    book.tell(link("user_1")).await;
    for (id, month) in [("in_1", -1), ("in_2", 0)] {
        let lines = ["il_1", "il_2", "il_3"].map(|id| line(id, month, rollover));
        book.tell(Fact::Invoice(invoice(id, lines.to_vec()))).await;
    }
    assert_eq!(book.available("user_1").await, 3000 + 1500);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_period_that_comes_late_rolls_over_like_one_in_time() {
    let rollover = Some(Rollover { percent: 50, cap: Some(600) });
    let periods = [("in_1", -2), ("in_2", -1), ("in_3", 0)];
    for order in [[0, 2, 1], [2, 0, 1], [1, 2, 0]] {
        let book = Book::new().await;
        book.tell(link("user_1")).await;
        for n in order {
            let (id, month): (&str, i64) = periods[n];
            let answer = book.tell(Fact::Invoice(invoice(id, vec![line("il_1", month, rollover)]))).await;
            assert_eq!(told(&answer), (APPLIED, "granted"));
        }
        assert_eq!(
            book.available("user_1").await,
            1600,
            "{order:?}: the cap is for all earlier ones together"
        );
        book.verify("user_1").await;
    }
}

#[tokio::test]
async fn a_period_that_is_over_is_parked_and_not_granted() {
    let book = Book::new().await;
    book.tell(link("user_1")).await;
    let late = book.tell(Fact::Invoice(invoice("in_1", vec![line("il_1", -3, None)]))).await;
    assert_eq!(told(&late), (PARKED, "expiry_not_in_future"));
    let early = book.tell(Fact::Invoice(invoice("in_2", vec![line("il_1", 1, None)]))).await;
    assert_eq!(told(&early), (APPLIED, "granted"));
    assert_eq!(book.figures("user_1").await, [0, 0, 1000, 0], "one that begins later is scheduled");
    assert_eq!(told(&book.tell(state("canceled", true, 9)).await), (APPLIED, "mirrored"));
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn lines_of_two_units_land_in_two_balances() {
    let book = Book::new().await;
    book.tell(link("user_1")).await;
    let minutes = domain::Unit::try_new("minutes").unwrap();
    let other = InvoiceLine { unit: minutes.clone(), ..line("il_2", 0, None) };
    let fact = || Fact::Invoice(invoice("in_1", vec![line("il_1", 0, None), other.clone()]));
    assert_eq!(told(&book.tell(fact()).await), (APPLIED, "granted"));
    book.tell(paid_by("in_1", "pi_1")).await;
    assert_eq!(told(&book.tell(refund("re_1", "pi_1", 1000, "succeeded")).await), (APPLIED, "revoked"));
    let balances =
        book.store.balances(&[(account("user_1"), credits()), (account("user_1"), minutes)]).await.unwrap();
    assert_eq!(balances.iter().map(|balance| balance.figures.available).collect::<Vec<_>>(), [500, 500]);
    assert_eq!(told(&book.tell(fact()).await), (APPLIED, "already_granted"));
    book.verify("user_1").await;
}
