//! Reads look up versions: none walks a balance's journal, whatever the statistics say.

use domain::Timestamp;
use store::{By, EntryFilter, Position, Request, Store, StoreOptions};

use crate::book::*;

/// Makes every read of the journal once, on the store's only connection.
async fn read_everything(store: &Store) {
    let (id, unit) = (account("user_1"), credits());
    let of = (&id, &unit);
    store.balances(&[(id.clone(), unit.clone())]).await.unwrap();
    store.entry_at(&id, &unit, 4, in_seconds(0)).await.unwrap();
    let since = EntryFilter { recorded_from: Some(Timestamp::from_micros(0)), ..EntryFilter::default() };
    store.entries_page(of, &since, 5, 10).await.unwrap().unwrap();
    store.entries_after(&id, &unit, 0, 10).await.unwrap();
    store.grants_page(of, &[], i64::MAX, 10).await.unwrap();
    store.open_grants_page(of, &[], i64::MAX, 10).await.unwrap();
    store.holds_page(of, true, i64::MAX, 10).await.unwrap();
    store.export_page("", &Position::default(), 10).await.unwrap();
    let Request::Command(quoted) = spend("user_1", "q", 1) else { panic!("no command") };
    store.quote(&quoted).await.unwrap();
    let by = By { actor: "operator".to_owned(), reason: "because".to_owned() };
    store.set_test_clock(&id, in_seconds(60), &by, soon()).await.unwrap();
    store.erase_account_data(&id, &by).await.unwrap();
}

/// The journal and what lies beside it grow without end. In tables without statistics the planner takes a balance for one
/// row, and would rather walk it for each row of a page, or each step of a search, than look up a version.
#[tokio::test]
async fn reads_look_up_versions_in_tables_without_statistics() {
    let book = Book::new().await;
    let off = "alter table entries set (autovacuum_enabled = off);
               alter table entry_metadata set (autovacuum_enabled = off);
               alter table balances set (autovacuum_enabled = off);
               alter table holds set (autovacuum_enabled = off);
               alter table grants set (autovacuum_enabled = off)";
    sqlx::raw_sql(off).execute(book.pool()).await.unwrap();
    for request in [
        grant("user_1", "a", 9),
        spend("user_1", "s", 1),
        hold("user_1", "h", 1, 60),
        grant("user_1", "b", 1),
    ] {
        book.apply(request).await.unwrap();
    }
    let store = Store::open(StoreOptions {
        database_url: book.database.url().to_owned(),
        lanes: 1,
        // So that the plans are asked of the connection that read.
        read_connections: 1,
        policy: policy(),
    })
    .unwrap();
    read_everything(&store).await;
    let prepared: Vec<(String, String, i32)> = sqlx::query_as(
        "select name, statement, coalesce(cardinality(parameter_types), 0) from pg_prepared_statements
         where statement ~ '(from|join) (entries|entry_metadata)'",
    )
    .fetch_all(store.pool())
    .await
    .unwrap();
    let mut scans = 0;
    for (name, statement, parameters) in prepared {
        let nulls = vec!["null"; usize::try_from(parameters).unwrap()].join(", ");
        let text = format!(r#"explain (costs off) execute "{name}" ({nulls})"#);
        let plan: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(store.pool()).await.unwrap();
        let is_scan =
            |line: &str| line.contains("using entries_pkey") || line.contains("using entry_metadata_pkey");
        for (line, condition) in plan.iter().zip(plan.iter().skip(1)).filter(|(line, _)| is_scan(line)) {
            let has_version = condition.contains("Index Cond") && condition.contains("version");
            assert!(has_version, "{line}\n{condition}\nof {statement}\n{}", plan.join("\n"));
            scans += 1;
        }
    }
    assert!(scans >= 10, "{scans} scans were looked at");
}
