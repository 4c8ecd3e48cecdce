//! Idempotency: one key, one effect, one answer, for ever (I3).

use domain::RULE_VERSION;
use sqlx::Connection;
use store::{ApplyError, Measures, Wait, run_batch};

use crate::book::*;

#[tokio::test]
async fn a_repeated_command_gets_the_answer_as_it_was_then() {
    let book = Book::new().await;
    let (first, replayed) = operation(book.apply(grant("user_1", "g", 100)).await);
    assert!(!replayed);
    let (spent, _) = operation(book.apply(spend("user_1", "s", 30)).await);
    book.apply(grant("user_1", "g2", 5)).await.unwrap();
    let (again, replayed) = operation(book.apply(grant("user_1", "g", 100)).await);
    assert!(replayed);
    assert_eq!(as_loaded(again), as_loaded(first));
    assert_eq!(operation(book.apply(spend("user_1", "s", 30)).await), (spent, true));
    assert_eq!(book.available("user_1").await, 75);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_key_with_another_request_is_refused() {
    let book = Book::new().await;
    let (first, _) = operation(book.apply(grant("user_1", "k", 100)).await);
    let reused = ApplyError::KeyReused { operation_id: first.id };
    assert_eq!(book.apply(grant("user_1", "k", 101)).await, Err(reused.clone()));
    assert_eq!(book.apply(spend("user_1", "k", 100)).await, Err(reused));
    assert_eq!(left(book.apply(grant("user_2", "k", 100)).await), 100, "keys belong to accounts");
    book.verify("user_1").await;
}

#[tokio::test]
async fn two_commands_with_one_key_in_one_batch_have_one_effect() {
    let book = Book::new().await;
    let items = [
        item(grant("user_1", "g", 100)),
        item(grant("user_1", "g", 100)),
        item(spend("user_1", "s", 60)),
        item(spend("user_1", "s", 60)),
        item(spend("user_1", "s", 61)),
    ];
    let mut connection = book.pool().acquire().await.unwrap();
    let batch: Vec<_> = items.iter().collect();
    let outcomes =
        run_batch(&mut connection, &batch, Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let replayed: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            store::Outcome::Decided(Ok(store::Answer::Operation { replayed, .. })) => Ok(*replayed),
            store::Outcome::Decided(Err(error)) => Err(error.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let reused = ApplyError::KeyReused { operation_id: items[2].operation_id };
    assert_eq!(replayed, [Ok(false), Ok(true), Ok(false), Ok(true), Err(reused)]);
    assert_eq!(book.available("user_1").await, 40);
    book.verify("user_1").await;
}

#[tokio::test]
async fn fifty_calls_at_once_with_one_key_have_one_effect_and_equal_answers() {
    let book = Book::new().await;
    let other = open(book.database.url());
    let calls = (0..50).map(|n| {
        let store = if n % 2 == 0 { book.store.clone() } else { other.clone() };
        async move { operation(store.apply(grant("user_1", "g", 100), soon()).await) }
    });
    let answers = futures::future::join_all(calls).await;
    let firsts = answers.iter().filter(|(_, replayed)| !replayed).count();
    assert_eq!(firsts, 1);
    assert!(answers.iter().all(|(operation, _)| operation.entries == answers[0].0.entries));
    assert_eq!(book.available("user_1").await, 100);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_batch_that_is_tried_again_after_its_commit_knows_its_own_operations() {
    let book = Book::new().await;
    let request = item(grant("user_1", "g", 100));
    let mut connection = sqlx::PgConnection::connect(book.database.url()).await.unwrap();
    for _ in 0..2 {
        let outcomes = run_batch(&mut connection, &[&request], Wait::Skip, &policy(), &Measures::default())
            .await
            .unwrap();
        let store::Outcome::Decided(answer) = outcomes.into_iter().next().unwrap() else { panic!("busy") };
        assert!(!operation(answer).1, "it is the caller's first call");
    }
    assert_eq!(book.available("user_1").await, 100);
    let stored: i16 =
        sqlx::query_scalar("select rule_version from operations").fetch_one(book.pool()).await.unwrap();
    assert_eq!(stored, RULE_VERSION);
    book.verify("user_1").await;
}

/// Every write in turn: at once from two processes, again after a restart, again after later changes, and with another
/// body under the same key.
#[tokio::test]
async fn every_write_has_one_effect_and_equal_answers_whenever_it_is_repeated() {
    let book = Book::new().await;
    let other = open(book.database.url());
    let first = |request: store::Request| {
        let (book, other) = (&book, &other);
        async move {
            let (one, two) = tokio::join!(book.apply(request.clone()), other.apply(request, soon()));
            let ((one, one_replayed), (two, two_replayed)) = (operation(one), operation(two));
            assert_eq!(as_loaded(one.clone()), as_loaded(two));
            assert!(one_replayed ^ two_replayed);
            as_loaded(one)
        }
    };
    let mut told = Vec::new();
    let tell = |request: store::Request, answer: domain::Operation| (request, answer);
    let request = grant("user_1", "grant", 1000);
    let granted = first(request.clone()).await;
    let lot = granted.grants[0].grant_id;
    told.push(tell(request, granted));
    let request = spend("user_1", "spend", 300);
    let spent = first(request.clone()).await;
    let entry = spent.entries[0].name();
    told.push(tell(request, spent));
    let request = hold("user_1", "hold", 200, 600);
    let held = first(request.clone()).await;
    let hold_id = held.hold.as_ref().unwrap().hold_id;
    told.push(tell(request, held));
    let extend = domain::Extend { hold_id, ttl_us: 3_600_000_000 };
    for request in [
        capture("user_1", "capture", hold_id, 50, false),
        command("user_1", "extend", domain::Action::Extend(extend)),
        reverse("user_1", "reverse", entry, Some(100)),
        release("user_1", "release", hold_id),
        revoke("user_1", "revoke", lot, 900, domain::Shortfall::Owed),
        revoke("user_1", "reinstate", lot, 100, domain::Shortfall::Owed),
        adjust("user_1", "adjust", 70),
        adjust("user_1", "adjust down", -30),
    ] {
        let answer = first(request.clone()).await;
        told.push(tell(request, answer));
    }
    book.verify("user_1").await;
    let entries = count(book.pool(), "entries").await;
    let again = open(book.database.url());
    for (request, answer) in told {
        let (replay, replayed) = operation(again.apply(request.clone(), soon()).await);
        assert!(replayed);
        assert_eq!(as_loaded(replay), answer, "{request:?}");
        if let store::Request::Command(mut command) = request {
            command.context.reference = "changed".to_owned();
            let reused = again.apply(store::Request::Command(command), soon()).await;
            assert_eq!(reused, Err(ApplyError::KeyReused { operation_id: answer.id }));
        }
    }
    assert_eq!(count(book.pool(), "entries").await, entries);
    book.verify("user_1").await;
}

/// What a batch did to a lot or hold is no part of an answer.
fn as_loaded(mut operation: domain::Operation) -> domain::Operation {
    operation.grants.iter_mut().for_each(|lot| lot.change = domain::Change::None);
    operation.hold.iter_mut().for_each(|hold| hold.change = domain::Change::None);
    operation
}
