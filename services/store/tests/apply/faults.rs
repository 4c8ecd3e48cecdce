//! What callers are told when something breaks: always the truth (I3, I7).

use std::time::Duration;

use domain::Denied;
use harness::{Fault, Moment, Proxy};
use store::{Answer, ApplyError, EventState, Fact, Invoice, InvoiceLine, Refund, Request};
use tokio::time::Instant;

use crate::book::*;
use crate::money::{fact_event, pi};
use crate::stripe_events::{paid, stripe_request};

/// Makes every entry with this reference fail, as a defect would.
async fn poison(book: &Book) {
    sqlx::raw_sql(
        "create function fail_poison() returns trigger language plpgsql as
         $$ begin raise exception 'poison' using errcode = 'P0001'; end $$;
         create trigger poison before insert on entries for each row when (new.reference = 'poison')
         execute function fail_poison();",
    )
    .execute(book.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn one_poison_command_in_a_batch_of_strangers_fails_alone() {
    let book = Book::new().await;
    poison(&book).await;
    let calls = (0..200).map(|n| {
        let mut request = grant(&format!("user_{n}"), "g", 10);
        if n == 77
            && let Request::Command(command) = &mut request
        {
            command.context.reference = "poison".to_owned();
        }
        book.apply(request)
    });
    let answers = futures::future::join_all(calls).await;
    for (n, answer) in answers.into_iter().enumerate() {
        if n == 77 {
            assert_eq!(answer, Err(ApplyError::Internal));
        } else {
            assert_eq!(left(answer), 10, "user_{n}");
        }
    }
    assert_eq!(book.available("user_77").await, 0);
    assert_eq!(count(book.pool(), "entries").await, 199);
    book.verify("user_1").await;
}

/// Cuts the connection at each statement of a batch and at its commit, before and after it reached the server.
#[tokio::test]
async fn a_connection_lost_at_any_phase_gives_every_caller_the_truth() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 1_000_000)).await.unwrap();
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    let moments = [Moment::BeforeForward, Moment::AfterForward, Moment::AfterReply];
    let mut expected = 1_000_000;
    let mut round = 0;
    let mut cuts = 0;
    for moment in moments {
        let statements = (0..12).map(|n| Fault::at_statement(n, moment));
        let commit = std::iter::once(Fault::at_commit(moment));
        for fault in statements.chain(commit) {
            round += 1;
            let store = open(&url);
            let trigger = proxy.inject(fault);
            let calls = [
                store.apply(spend("user_1", &format!("a{round}"), 10), soon()),
                store.apply(spend("user_1", &format!("b{round}"), 7), soon()),
                store.apply(grant(&format!("new_{round}"), "g", 5), soon()),
                store.apply(spend("poor", &format!("p{round}"), 1), soon()),
            ];
            let [a, b, fresh, poor] = futures::future::join_all(calls).await.try_into().unwrap();
            expected -= 17;
            for answer in [a, b] {
                assert!(!operation(answer).1, "round {round}: it is the caller's first call");
            }
            assert_eq!(left(fresh), 5);
            let refusal = Denied::InsufficientCredits { available: 0, required: 1 };
            assert_eq!(poor, Err(ApplyError::Denied(refusal)));
            assert_eq!(book.available("user_1").await, expected, "round {round}");
            cuts += usize::from(trigger.has_fired());
            store.drain().await;
        }
    }
    assert!(cuts >= 30, "the proxy cut {cuts} of {round} times");
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_database_that_is_away_longer_than_the_deadline_is_no_refusal() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 10)).await.unwrap();
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    proxy.refuse();
    let store = open(&url);
    let deadline = Instant::now() + Duration::from_millis(300);
    assert_eq!(store.apply(spend("user_1", "s", 3), deadline).await, Err(ApplyError::Unavailable));
    proxy.admit();
    assert_eq!(left(store.apply(spend("user_1", "s", 3), soon()).await), 7);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_commit_whose_answer_never_comes_is_an_unknown_outcome_until_it_is_asked_again() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 10)).await.unwrap();
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    let store = open(&url);
    // The connection is up before the fault, so that the fault hits the batch.
    assert_eq!(left(store.apply(spend("user_1", "warm", 1), soon()).await), 9);
    let trigger = proxy.inject(Fault::at_commit(Moment::AfterReply));
    proxy.refuse();
    let deadline = Instant::now() + Duration::from_millis(600);
    let answer = store.apply(spend("user_1", "s", 3), deadline).await;
    assert!(trigger.has_fired());
    assert_eq!(answer, Err(ApplyError::OutcomeUnknown));
    proxy.admit();
    let (_, replayed) = operation(store.apply(spend("user_1", "s", 3), soon()).await);
    assert!(replayed, "the first call had been applied");
    assert_eq!(book.available("user_1").await, 6);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_a_drained_store_takes_nothing_new() {
    let book = Book::new().await;
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    proxy.refuse();
    let store = open(&url);
    let deadline = Instant::now() + Duration::from_millis(400);
    let calls = (0..4000).map(|n| store.apply(grant("user_1", &format!("g{n}"), 1), deadline));
    let answers = futures::future::join_all(calls).await;
    let overloaded = answers.iter().filter(|answer| **answer == Err(ApplyError::Overloaded)).count();
    assert!(overloaded > 2000, "{overloaded}");
    proxy.admit();
    assert_eq!(left(store.apply(grant("user_1", "g", 1), soon()).await), 1);
    store.drain().await;
    assert_eq!(store.apply(grant("user_1", "h", 1), soon()).await, Err(ApplyError::Stopping));
    book.verify("user_1").await;
}

/// The grant that makes the account is committing when its connection breaks, and its caller leaves. The spend of
/// the same batch is tried again: the account is not visible yet, and must be waited for.
#[tokio::test]
async fn a_spend_waits_for_an_earlier_commit_that_makes_its_account() {
    let book = Book::new().await;
    sqlx::raw_sql(
        "create function slow() returns trigger language plpgsql as
         $$ begin perform pg_sleep(3); return null; end $$;
         create constraint trigger slow after insert on entries deferrable initially deferred
         for each row when (new.version = 1) execute function slow();",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    let store = open(&url);
    let trigger = proxy.inject(Fault::at_commit(Moment::AfterForward));
    let granted = store.apply(grant("new", "g", 10), Instant::now() + Duration::from_millis(1500));
    let (granted, spent) = tokio::join!(granted, store.apply(spend("new", "s", 4), soon()));
    assert!(trigger.has_fired());
    assert_eq!(granted, Err(ApplyError::OutcomeUnknown));
    assert_eq!(left(spent), 6);
    book.verify("new").await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_leaves_its_batch() {
    let book = Book::new().await;
    sqlx::raw_sql(
        "create function slow() returns trigger language plpgsql as
         $$ begin perform pg_sleep(60); return null; end $$;
         create trigger slow after insert on entries for each row when (new.reference = 'slow')
         execute function slow();",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let mut slow = grant("slow", "g", 10);
    if let Request::Command(command) = &mut slow {
        command.context.reference = "slow".to_owned();
    }
    let deadline = Instant::now() + Duration::from_secs(9);
    let strangers = (0..8).map(|n| book.store.apply(grant(&format!("stranger_{n}"), "g", 1), deadline));
    let strangers = futures::future::join_all(strangers);
    let (slow, strangers) = tokio::join!(book.store.apply(slow, deadline), strangers);
    assert_eq!(slow, Err(ApplyError::OutcomeUnknown), "it was under way when its time was up");
    assert!(strangers.into_iter().all(|answer| left(answer) == 1));
}

/// As above, for Stripe's facts: a payment, a refund of it, and a first period with what paid for it.
#[tokio::test]
async fn a_connection_lost_at_any_phase_applies_each_fact_once() {
    let book = Book::new().await;
    let (proxy, url) = Proxy::for_url(book.database.url()).await;
    let mut cuts = 0;
    let moments = [Moment::BeforeForward, Moment::AfterForward, Moment::AfterReply];
    let faults = moments.into_iter().flat_map(|moment| {
        let statements = (4..28).step_by(3).map(move |n| Fault::at_statement(n, moment));
        statements.chain(std::iter::once(Fault::at_commit(moment)))
    });
    for (round, fault) in faults.enumerate() {
        let (id, intent) = (format!("user_{round}"), format!("pi_{round}"));
        book.apply(paid(&format!("evt_{round}"), &format!("cs_{round}"), Some(&intent), &id)).await.unwrap();
        let store = open(&url);
        let trigger = proxy.inject(fault);
        for fact in [
            refund(&format!("re_{round}"), &intent, 250),
            period(&id, round),
            refund(&format!("re_{round}"), &intent, 250),
        ] {
            let answer = store.apply(stripe_request(fact_event("some.event"), fact, &id), soon()).await;
            let Ok(Answer::Event(answer)) = answer else { panic!("round {round}: {answer:?}") };
            assert_eq!(answer.state, EventState::Applied, "round {round}: {answer:?}");
            // A call that did something knows its own first try.
            let is_known = answer.duplicate && answer.outcome != "no_change";
            assert!(!is_known, "round {round}: it is the caller's first call: {answer:?}");
        }
        assert_eq!(book.available(&id).await, 1250, "round {round}");
        cuts += usize::from(trigger.has_fired());
        store.drain().await;
    }
    assert!(cuts >= 20, "the proxy cut {cuts} times");
    book.verify("user_1").await;
}

fn refund(id: &str, intent: &str, amount: i64) -> Fact {
    let (refund_id, currency, status) = (id.to_owned(), "usd".to_owned(), "succeeded".to_owned());
    Fact::Refund(Refund { refund_id, payment: pi(intent), amount, currency, status })
}

/// An invoice that names the account and grants 500 credits.
fn period(id: &str, round: usize) -> Fact {
    Fact::Invoice(Invoice {
        invoice_id: format!("in_{round}"),
        subscription: Some(format!("sub_{round}")),
        customer: None,
        named: Some(account(id)),
        payment: pi(&format!("pi_in_{round}")),
        captured_minor_units: 500,
        currency: "usd".to_owned(),
        has_plan: true,
        lines: vec![InvoiceLine {
            line_id: "il_1".to_owned(),
            plan: "pro".to_owned(),
            unit: credits(),
            period_start_s: 0,
            period_end_s: 1,
            grant: a_grant(500),
            ends_with_subscription: true,
            rollover: None,
        }],
    })
}
