//! The sweeper: due changes that nobody asks about.

use std::time::Duration;

use domain::{Action, Expiry, Grant};
use store::Sweeper;
use tokio_util::sync::CancellationToken;

use crate::book::*;

/// The promise is a second; a busy machine gets some more here.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn two_sweepers_settle_lots_and_holds_that_nobody_asks_about() {
    let book = Book::new().await;
    let other = open(book.database.url());
    for n in 0..40 {
        let id = format!("user_{n}");
        let ending = Grant { expiry: Expiry::At(in_seconds(86_400)), ..a_grant(10) };
        book.apply(command(&id, "ends", Action::Grant(ending))).await.unwrap();
        book.apply(grant(&id, "stays", 10)).await.unwrap();
        book.apply(hold(&id, "h", 15, 3600)).await.unwrap();
    }
    let stop = CancellationToken::new();
    let sweepers = [
        tokio::spawn(Sweeper::new(book.store.clone()).run(stop.clone())),
        tokio::spawn(Sweeper::new(other).run(stop.clone())),
    ];
    sqlx::raw_sql(
        "update grants set expires_at = now() + interval '300 ms', due_at = null where expires_at is not null;
         update holds set expires_at = now() + interval '600 ms';
         update balances set next_due_at = now() + interval '600 ms'",
    )
    .execute(book.pool())
    .await
    .unwrap();
    harness::eventually("every hold is over and every ended lot with it", PATIENCE, || async {
        let open = count(book.pool(), "balances where available <> 10 or held > 0").await;
        open == 0
    })
    .await;
    stop.cancel();
    for sweeper in sweepers {
        sweeper.await.unwrap();
    }
    assert_eq!(count(book.pool(), "entries where kind = 8").await, 40, "each hold ends once");
    assert_eq!(count(book.pool(), "entries where kind = 3").await, 40);
}

#[tokio::test]
async fn a_due_change_is_settled_within_a_second_when_nothing_else_goes_on() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    let stop = CancellationToken::new();
    let sweeper = tokio::spawn(Sweeper::new(book.store.clone()).run(stop.clone()));
    book.apply(hold("user_1", "h", 10, 1)).await.unwrap();
    harness::eventually("the hold is over", PATIENCE, || async { book.available("user_1").await == 10 })
        .await;
    stop.cancel();
    sweeper.await.unwrap();
    let late_ms: i64 = sqlx::query_scalar(
        "select (extract(epoch from recorded_at - effective_at) * 1000)::bigint from entries where kind = 8",
    )
    .fetch_one(book.pool())
    .await
    .unwrap();
    assert!(late_ms < 1000, "{late_ms} ms late");
    book.verify("user_1").await;
}

#[tokio::test]
async fn accounts_with_a_clock_of_their_own_are_left_alone() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    book.apply(hold("user_1", "h", 10, 1)).await.unwrap();
    sqlx::query("update accounts set test_clock_at = clock_timestamp()").execute(book.pool()).await.unwrap();
    harness::eventually("the hold is over by real time", PATIENCE, || async {
        count(book.pool(), "holds where expires_at < clock_timestamp()").await == 1
    })
    .await;
    assert_eq!(Sweeper::new(book.store.clone()).sweep().await.unwrap(), 0);
    let rows = book.store.balances(&[(account("user_1"), credits())]).await.unwrap();
    assert!(!rows[0].is_due, "by its own clock");
    assert_eq!(book.figures("user_1").await, [0, 10, 0, 0]);
}

/// The sweep finds a few due lots among many by their own index.
#[tokio::test]
async fn a_sweep_reads_what_is_due_and_no_more() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    sqlx::raw_sql(
        "insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining,
                             effective_at, active, created_at, expires_at, due_at)
         select 'user_1', 'credits', gen_random_uuid(), i + 1, i + 1, 5, 50, 10, 10, now(), true, now(),
                now() + interval '1 year', now() + interval '1 year'
         from generate_series(1, 50000) i;
         analyze grants",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select account_id from grants where closed_at is null and due_at is not null
         and (due_at at time zone 'UTC') <= (now() at time zone 'UTC') order by due_at at time zone 'UTC' limit 10",
    )
    .fetch_all(book.pool())
    .await
    .unwrap();
    assert!(
        plan.iter().any(|line| line.contains("grants_due ") || line.contains("using grants_due")),
        "{plan:?}"
    );
    assert_eq!(Sweeper::new(book.store.clone()).sweep().await.unwrap(), 0);
}
