//! Races with two open transactions, one for each arrow "lock, then read". The first transaction runs a batch
//! and stays open; the second starts and must wait for the lock; the first commits; what the second decides must
//! follow from what the first has written. A lock that is taken in the same statement as a read, or after it,
//! fails here, since that statement would still see the rows as they were before the wait.

use std::time::Duration;

use domain::Denied;
use sqlx::{Connection, PgConnection};
use store::{Answer, ApplyError, Item, Measures, Outcome, Wait, run_batch};

use crate::book::*;
use crate::stripe_events::paid;

/// Runs `first` in a transaction that stays open until `second`, in one of its own, waits for a lock.
async fn race(book: &Book, first: Item, second: Item) -> (Outcome, Outcome) {
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut open = one.begin().await.unwrap();
    let mut outcomes =
        run_batch(&mut open, &[&first], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let earlier = outcomes.remove(0);
    let url = book.database.url().to_owned();
    let later = tokio::spawn(async move {
        let mut two = PgConnection::connect(&url).await.unwrap();
        run_batch(&mut two, &[&second], Wait::Block, &policy(), &Measures::default()).await.unwrap().remove(0)
    });
    blocked(book.pool(), 1).await;
    open.commit().await.unwrap();
    (earlier, later.await.unwrap())
}

fn decided(outcome: Outcome) -> Result<Answer, ApplyError> {
    match outcome {
        Outcome::Decided(answer) => answer,
        Outcome::Busy => panic!("busy"),
    }
}

#[tokio::test]
async fn lock_then_read_keys_the_same_key_replays() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let (first, second) = race(&book, item(spend("user_1", "s", 10)), item(spend("user_1", "s", 10))).await;
    assert!(!operation(decided(first)).1);
    assert!(operation(decided(second)).1);
    assert_eq!(book.available("user_1").await, 90);
    book.verify("user_1").await;
}

#[tokio::test]
async fn lock_then_read_balance_the_second_spend_sees_what_the_first_left() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let (first, second) = race(&book, item(spend("user_1", "a", 70)), item(spend("user_1", "b", 70))).await;
    assert_eq!(left(decided(first)), 30);
    let refusal = Denied::InsufficientCredits { available: 30, required: 70 };
    assert_eq!(decided(second), Err(ApplyError::Denied(refusal)));
    book.verify("user_1").await;
}

#[tokio::test]
async fn lock_then_read_lots_the_second_spend_burns_what_the_first_left() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g1", 100)).await.unwrap();
    book.apply(grant("user_1", "g2", 100)).await.unwrap();
    let (first, second) = race(&book, item(spend("user_1", "a", 90)), item(spend("user_1", "b", 30))).await;
    assert_eq!(left(decided(first)), 110);
    let (operation, _) = operation(decided(second));
    let taken: Vec<i64> = operation.entries[0].lines.iter().map(|line| line.available).collect();
    assert_eq!(taken, [-10, -20]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn lock_then_read_of_an_account_that_both_make() {
    let book = Book::new().await;
    let (first, second) = race(&book, item(grant("user_1", "a", 1)), item(grant("user_1", "b", 2))).await;
    assert_eq!(left(decided(first)), 1);
    assert_eq!(left(decided(second)), 3);
    book.verify("user_1").await;
}

/// The lock statement waits for one account; its snapshot does not have the other, which is made meanwhile.
#[tokio::test]
async fn an_account_that_is_made_while_another_is_waited_for_is_locked_too() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut open = one.begin().await.unwrap();
    let first = item(spend("user_1", "a", 1));
    run_batch(&mut open, &[&first], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    let url = book.database.url().to_owned();
    let later = tokio::spawn(async move {
        let mut two = PgConnection::connect(&url).await.unwrap();
        let items = [item(spend("user_1", "b", 1)), item(spend("user_2", "c", 3))];
        let items: Vec<&Item> = items.iter().collect();
        run_batch(&mut two, &items, Wait::Block, &policy(), &Measures::default()).await.unwrap()
    });
    blocked(book.pool(), 1).await;
    book.apply(grant("user_2", "g", 5)).await.unwrap();
    open.commit().await.unwrap();
    let left_over: Vec<i64> =
        later.await.unwrap().into_iter().map(|outcome| left(decided(outcome))).collect();
    assert_eq!(left_over, [98, 2]);
    book.verify("user_2").await;
}

#[tokio::test]
async fn lock_then_read_natural_keys_one_session_grants_to_one_account() {
    let book = Book::new().await;
    let first = item(paid("evt_1", "cs_1", Some("pi_1"), "user_1"));
    let second = item(paid("evt_2", "cs_1", Some("pi_1"), "user_2"));
    let (first, second) = race(&book, first, second).await;
    let Ok(Answer::Event(first)) = decided(first) else { panic!("no event") };
    let Ok(Answer::Event(second)) = decided(second) else { panic!("no event") };
    assert_eq!(first.outcome, "granted");
    assert_eq!(second.outcome, "account_mismatch");
    assert_eq!((book.available("user_1").await, book.available("user_2").await), (1000, 0));
    book.verify("user_1").await;
}

#[tokio::test]
async fn lock_then_read_inbox_one_event_is_stored_once() {
    let book = Book::new().await;
    let first = item(paid("evt_1", "cs_1", None, "user_1"));
    let second = item(paid("evt_1", "cs_2", None, "user_2"));
    let (_, second) = race(&book, first, second).await;
    let Ok(Answer::Event(second)) = decided(second) else { panic!("no event") };
    assert!(second.duplicate);
    assert_eq!(count(book.pool(), "stripe_events").await, 1);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_foreign_lock_delays_its_account_but_no_stranger() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut foreign = one.begin().await.unwrap();
    sqlx::query("select from accounts where account_id = 'user_1' for no key update")
        .execute(&mut *foreign)
        .await
        .unwrap();
    let store = book.store.clone();
    let waiting = tokio::spawn(async move { store.apply(spend("user_1", "s", 40), soon()).await });
    blocked(book.pool(), 1).await;
    for n in 0..20 {
        let stranger = book.apply(grant(&format!("stranger_{n}"), "g", 1));
        tokio::time::timeout(Duration::from_secs(5), stranger).await.unwrap().unwrap();
    }
    foreign.commit().await.unwrap();
    assert_eq!(left(waiting.await.unwrap()), 60);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_stripe_key_that_others_hold_delays_its_event_but_no_stranger() {
    let book = Book::new().await;
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut foreign = one.begin().await.unwrap();
    let session = item(paid("evt_1", "cs_1", None, "user_1"));
    run_batch(&mut foreign, &[&session], Wait::Block, &policy(), &Measures::default()).await.unwrap();
    // Another account, the same session.
    let store = book.store.clone();
    let waiting =
        tokio::spawn(async move { store.apply(paid("evt_2", "cs_1", None, "user_2"), soon()).await });
    blocked(book.pool(), 1).await;
    for n in 0..20 {
        let stranger =
            book.apply(paid(&format!("evt_s{n}"), &format!("cs_s{n}"), None, &format!("stranger_{n}")));
        tokio::time::timeout(Duration::from_secs(5), stranger).await.unwrap().unwrap();
    }
    foreign.commit().await.unwrap();
    let Ok(Answer::Event(event)) = waiting.await.unwrap() else { panic!("no event") };
    assert_eq!(event.outcome, "account_mismatch");
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_account_that_stays_locked_is_told_so_and_nothing_is_written() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 100)).await.unwrap();
    let mut one = PgConnection::connect(book.database.url()).await.unwrap();
    let mut foreign = one.begin().await.unwrap();
    sqlx::query("select from accounts for no key update").execute(&mut *foreign).await.unwrap();
    let refused = book.apply(spend("user_1", "s", 40)).await;
    assert_eq!(refused, Err(ApplyError::Contended));
    foreign.rollback().await.unwrap();
    assert_eq!(book.available("user_1").await, 100);
    book.verify("user_1").await;
}

#[tokio::test]
async fn two_processes_hammer_one_account_and_never_overspend() {
    let book = Book::new().await;
    let other = open(book.database.url());
    book.apply(grant("team", "g", 500)).await.unwrap();
    let calls = (0..800).map(|n| {
        let store = if n % 2 == 0 { book.store.clone() } else { other.clone() };
        async move { store.apply(spend("team", &format!("s{n}"), 1), soon()).await }
    });
    let answers = futures::future::join_all(calls).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(ApplyError::Denied(_)))).count();
    assert_eq!((accepted, refused), (500, 300), "{:?}", answers.iter().find(|a| a.is_err()));
    assert_eq!(book.available("team").await, 0);
    book.verify("team").await;
}
