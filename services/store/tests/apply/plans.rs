//! Plans that follow the keys whatever the statistics say: one account with ten thousand lots among many with one.

use std::time::Duration;

use domain::{GrantId, HoldId};
use sqlx::types::Uuid;
use store::{By, EntryFilter, Position, Store, StoreOptions};
use tokio::time::Instant;

use crate::book::*;

/// A bad plan needs half a minute for what a good one does in a second.
const PATIENCE: Duration = Duration::from_secs(9);

/// Loads 20,000 accounts with a lot each, and `big` with 10,000 lots, in the shape that `apply` would leave.
async fn load(book: &Book) {
    sqlx::raw_sql(
        "insert into accounts (account_id, created_at)
         select 'u' || i, now() from generate_series(1, 20000) i union all select 'big', now();
         insert into balances (account_id, unit, available, held, scheduled, debt, version, entry_hash,
                               last_effective_at, open_lots, next_due_at)
         select account_id, 'credits', lots * 1000, 0, 0, 0, lots, decode(repeat('00', 32), 'hex'),
                now() - interval '1 day', lots, now() + interval '1 year'
         from (select account_id, case when account_id = 'big' then 10000 else 1 end as lots from accounts) a;
         insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining,
                             effective_at, active, created_at, expires_at, due_at)
         select b.account_id, 'credits', gen_random_uuid(), i, i, 5, 50, 1000, 1000, now() - interval '1 day', true,
                now(), now() + interval '1 year' + i * interval '1 second',
                now() + interval '1 year' + i * interval '1 second'
         from balances b, generate_series(1, b.open_lots) i;",
    )
    .execute(book.pool())
    .await
    .unwrap();
}

async fn check(book: &Book) {
    load(book).await;
    let strangers = |round: u32| (1..=100).map(move |n| spend(&format!("u{n}"), &format!("s{round}"), 1));
    for round in 0..8 {
        let calls = strangers(round).map(|request| book.store.apply(request, Instant::now() + PATIENCE));
        for answer in futures::future::join_all(calls).await {
            answer.unwrap();
        }
    }
    assert_eq!(left(book.apply(spend("big", "one", 1)).await), 9_999_999);
    assert_eq!(left(book.apply(spend("big", "many lots", 500_000)).await), 9_499_999);
    sqlx::raw_sql(
        "update grants set expires_at = now(), due_at = now() where account_id = 'big' and closed_at is null;
         update balances set next_due_at = now() where account_id = 'big';",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (big, stranger) = tokio::join!(
        book.store.apply(grant("big", "after the end of its lots", 7), deadline),
        book.store.apply(grant("stranger", "g", 1), deadline)
    );
    assert_eq!((left(big), left(stranger)), (7, 1));
}

#[tokio::test]
async fn many_lots_settle_in_time_in_tables_without_statistics() {
    let book = Book::new().await;
    sqlx::raw_sql("alter table grants set (autovacuum_enabled = off); alter table balances set (autovacuum_enabled = off)")
        .execute(book.pool())
        .await
        .unwrap();
    check(&book).await;
}

#[tokio::test]
async fn many_lots_settle_in_time_in_analyzed_tables() {
    let book = Book::new().await;
    load(&book).await;
    sqlx::raw_sql("analyze; truncate balances cascade; truncate grants; delete from accounts")
        .execute(book.pool())
        .await
        .unwrap();
    check(&book).await;
}

/// The plan of a prepared statement of the store's only read connection: generic, as it runs.
async fn plan(store: &Store, part: &str, arguments: &str) -> String {
    let name: String = sqlx::query_scalar(
        "select name from pg_prepared_statements where strpos(statement, $1) > 0
         and strpos(statement, 'pg_prepared_statements') = 0",
    )
    .bind(part)
    .fetch_one(store.pool())
    .await
    .unwrap();
    let text = format!(r#"explain execute "{name}" ({arguments})"#);
    let lines: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(store.pool()).await.unwrap();
    lines.join("\n")
}

#[tokio::test]
async fn reads_by_pages_and_erasures_by_chunks_begin_where_the_last_one_ended() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    let store = Store::open(StoreOptions {
        database_url: book.database.url().to_owned(),
        lanes: 1,
        read_connections: 1,
        policy: policy(),
    })
    .unwrap();
    let (id, unit) = (account("user_1"), credits());
    let by = By { actor: "operator".to_owned(), reason: "because".to_owned() };
    let hold = HoldId::from_uuid(Uuid::nil());
    store.export_page("", &Position::default(), 10).await.unwrap();
    store.holds_page((&id, &unit), true, i64::MAX, 10).await.unwrap();
    let filter = EntryFilter { grant: Some(GrantId::from_uuid(Uuid::nil())), ..EntryFilter::default() };
    store.entries_page((&id, &unit), &filter, 2, 10).await.unwrap().unwrap_err();
    let filter = EntryFilter { hold: Some(hold), ..EntryFilter::default() };
    store.entries_page((&id, &unit), &filter, 2, 10).await.unwrap().unwrap_err();
    store.erase_account_data(&id, &by).await.unwrap();
    for (part, arguments, wanted) in [
        (
            "(account_id, unit, version) > (",
            "'', '', 0, 10",
            vec!["Index Scan using entries_pkey", "Index Cond: (ROW(account_id, unit, version) > ROW("],
        ),
        (
            "from holds where account_id = $1 and unit = $2 and version < $4",
            "'', '', true, 9, 10, 10",
            vec!["Index Scan Backward using holds_by_version", "Index Scan using holds_open"],
        ),
        (
            "select unit, version, last_version from holds",
            "'', gen_random_uuid()",
            vec!["Index Scan using holds_pkey"],
        ),
        (
            "select unit, version, last_version from grants",
            "'', gen_random_uuid()",
            vec!["Index Scan using grants_pkey"],
        ),
        (
            "select event_id, state from stripe_events",
            "'', '', 10",
            vec![
                "Index Scan using stripe_events_account",
                "Index Cond: ((account_id = $1) AND (event_id > $2))",
                "using stripe_event_bodies_pkey",
            ],
        ),
        (
            "select unit, version from entry_metadata",
            "'', '', 0, 10",
            vec!["using entry_metadata_pkey", "(ROW(unit, version) > ROW("],
        ),
    ] {
        let plan = plan(&store, part, arguments).await;
        for wanted in wanted {
            assert!(plan.contains(wanted), "{wanted}: {plan}");
        }
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}
