//! The mutation gate of the store: a defect in the order of lock and read must be caught by the race that the apply
//! tests run (`apply/races.rs`). The switch is one for the process, so the gate is a test binary of its own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "tests")]

#[path = "apply/book.rs"]
#[expect(dead_code, reason = "the gate needs little of it")]
mod book;

use book::{Book, blocked, grant, item, policy, spend};
use domain::Denied;
use domain::mutants::{self, Mutant};
use sqlx::{Connection, PgConnection};
use store::{ApplyError, Measures, Outcome, Wait, run_batch};

/// Two spends of 70 out of 100, the second while the first holds the lock. What the second was told; `None` when its
/// batch failed as a whole.
async fn second_spend() -> Option<Result<i64, ApplyError>> {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut open = one.begin().await.unwrap();
    let first = item(spend("user_1", "a", 70));
    run_batch(&mut open, &[&first], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let url = book.database.url().to_owned();
    let second = tokio::spawn(async move {
        let second = item(spend("user_1", "b", 70));
        let mut two = PgConnection::connect(&url).await.unwrap();
        run_batch(&mut two, &[&second], Wait::Block, &policy(), &Measures::default()).await
    });
    blocked(book.pool(), 1).await;
    open.commit().await.unwrap();
    let outcome = second.await.unwrap().ok()?.remove(0);
    let Outcome::Decided(answer) = outcome else { panic!("busy") };
    Some(answer.map(|answer| book::left(Ok(answer))))
}

#[tokio::test]
async fn a_read_that_shares_a_statement_with_the_lock_is_caught() {
    let refusal = Err(ApplyError::Denied(Denied::InsufficientCredits { available: 30, required: 70 }));
    assert_eq!(second_spend().await, Some(refusal.clone()));
    mutants::switch(Some(Mutant::LockAndReadInOneStatement));
    let told = second_spend().await;
    mutants::switch(None);
    println!("| mutant | caught by | the second spend was told |\n| --- | --- | --- |");
    println!("| LockAndReadInOneStatement | race of two open transactions | {told:?} |");
    assert_ne!(told, Some(refusal), "the race does not catch it");
}
