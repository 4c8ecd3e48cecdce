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
    let as_loaded = |mut operation: domain::Operation| {
        operation.grants.iter_mut().for_each(|lot| lot.change = domain::Change::None);
        operation
    };
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
