//! The sweeper: due changes that nobody asks about.

use std::time::Duration;

use domain::{Action, Expiry, Grant};
use store::{Store, StoreOptions, Sweeper, Swept};
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
async fn due_changes_are_settled_within_a_second_when_nothing_else_goes_on() {
    for replicas in [1, 2] {
        let book = Book::new().await;
        let stop = CancellationToken::new();
        let stores = [book.store.clone(), open(book.database.url())];
        let sweepers: Vec<_> = stores
            .iter()
            .take(replicas)
            .map(|store| tokio::spawn(Sweeper::new(store.clone()).run(stop.clone())))
            .collect();
        for n in 0..3 {
            let id = format!("user_{n}");
            let ending = Grant { expiry: Expiry::AfterSeconds(1), ..a_grant(10) };
            book.apply(command(&id, "ends", Action::Grant(ending))).await.unwrap();
            book.apply(grant(&id, "stays", 10)).await.unwrap();
            book.apply(hold(&id, "h", 15, 2)).await.unwrap();
        }
        harness::eventually("every hold is over", PATIENCE, || async {
            count(book.pool(), "entries where kind = 8").await == 3
        })
        .await;
        stop.cancel();
        for sweeper in sweepers {
            sweeper.await.unwrap();
        }
        let late_ms: i64 = sqlx::query_scalar(
            "select (extract(epoch from max(recorded_at - effective_at)) * 1000)::bigint from entries
             where kind in (3, 8)",
        )
        .fetch_one(book.pool())
        .await
        .unwrap();
        assert!(late_ms < 1000, "{late_ms} ms late with {replicas}");
        book.verify("user_1").await;
    }
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
    assert_eq!(Sweeper::new(book.store.clone()).sweep().await.unwrap(), Swept::default());
    let rows = book.store.balances(&[(account("user_1"), credits())]).await.unwrap();
    assert!(!rows[0].is_due, "by its own clock");
    assert_eq!(book.figures("user_1").await, [0, 10, 0, 0]);
}

#[tokio::test]
async fn a_read_sees_what_is_due_by_the_clock_of_the_account() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    book.apply(hold("user_1", "h", 10, 3600)).await.unwrap();
    let is_due = || async { book.store.balances(&[(account("user_1"), credits())]).await.unwrap()[0].is_due };
    assert!(!is_due().await, "by the database's clock");
    sqlx::query("update accounts set test_clock_at = clock_timestamp() + interval '2 hours'")
        .execute(book.pool())
        .await
        .unwrap();
    assert!(is_due().await, "by its own clock");
    book.store.settle(account("user_1"), credits(), soon()).await.unwrap();
    assert!(!is_due().await, "settled");
    assert_eq!(book.figures("user_1").await, [10, 0, 0, 0]);
}

/// The plan of the statement as the sweep's own connection has prepared it.
#[tokio::test]
async fn a_sweep_walks_its_own_indexes_in_order_of_time() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    sqlx::raw_sql(
        "insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining,
                             effective_at, active, created_at, expires_at, due_at)
         select 'user_1', 'credits', gen_random_uuid(), i + 1, i + 1, 5, 50, 10, 10, now(), true, now(),
                now() + interval '1 year', now() + interval '1 year'
         from generate_series(1, 50000) i;
         insert into holds (account_id, hold_id, unit, version, last_version, amount, remaining, line_grants,
                            line_remaining, created_at, expires_at)
         select 'user_1', gen_random_uuid(), 'credits', i, i, 1, 0, '{}', '{}', now(), now() + interval '1 day'
         from generate_series(1, 50000) i;
         analyze",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let store = Store::open(StoreOptions {
        database_url: book.database.url().to_owned(),
        lanes: 1,
        // So that the plan is asked of the connection that swept.
        read_connections: 1,
        policy: policy(),
    })
    .unwrap();
    assert_eq!(Sweeper::new(store.clone()).sweep().await.unwrap(), Swept::default());
    let name: String = sqlx::query_scalar(
        "select name from pg_prepared_statements where statement like '%at time zone ''UTC'') <=%'
         and statement not like '%pg_prepared_statements%'",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    let text = format!(r#"explain (analyze, timing off) execute "{name}" (256, 4096)"#);
    let plan: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(store.pool()).await.unwrap();
    for index in ["grants_due", "holds_due"] {
        let scan = plan.iter().find(|line| line.contains(&format!("Index Scan using {index} on")));
        assert!(scan.is_some_and(|line| line.contains("rows=0")), "{index}: {}", plan.join("\n"));
    }
    assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{}", plan.join("\n"));
}
