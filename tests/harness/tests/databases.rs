//! The shared server and the databases cloned from its template.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share panic too")]

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

const LIMIT: Duration = Duration::from_secs(30);

async fn text(pool: &sqlx::PgPool, sql: &str) -> String {
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
    row.try_get_unchecked(0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_made_at_once_are_separate_and_owned_by_a_role_that_is_no_superuser() {
    let (first, second) = tokio::join!(harness::database(), harness::database());
    assert_ne!(first.name(), second.name());
    sqlx::raw_sql("create table only_here (n int)").execute(first.pool()).await.unwrap();
    let exists = "select to_regclass('only_here') is not null";
    assert_eq!(
        (text(first.pool(), exists).await, text(second.pool(), exists).await),
        ("t".into(), "f".into())
    );
    let superuser = "select rolsuper from pg_roles where rolname = current_user";
    assert_eq!(text(first.pool(), superuser).await, "f");
    let root = sqlx::PgPool::connect(first.superuser_url()).await.unwrap();
    assert_eq!(text(&root, superuser).await, "t");
    assert_eq!(text(&root, "select current_database()").await, first.name());
}

#[tokio::test]
async fn the_server_keeps_what_was_committed_on_disk() {
    let database = harness::database().await;
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(text(database.pool(), &format!("show {setting}")).await, "on", "{setting}");
    }
}

#[tokio::test]
async fn every_migration_is_applied() {
    let database = harness::database().await;
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
    let files = std::fs::read_dir(dir).unwrap().flatten();
    let migrations =
        files.filter(|file| file.path().extension().is_some_and(|ending| ending == "sql")).count();
    let applied = text(database.pool(), "select count(*) from _sqlx_migrations where success").await;
    assert_eq!(applied, migrations.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_disappears_though_it_is_connected() {
    let (watcher, database) = (harness::database().await, harness::database().await);
    let name = database.name().to_owned();
    let open = database.pool().acquire().await.unwrap();
    let started = Instant::now();
    drop(database);
    assert!(started.elapsed() < Duration::from_secs(1), "the drop does not block");
    let gone = format!("select not exists (select 1 from pg_database where datname = '{name}')");
    harness::eventually("the end of the database", LIMIT, || async {
        text(watcher.pool(), &gone).await == "t"
    })
    .await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_ones_own_can_be_killed_and_keeps_its_databases() {
    let cluster = tokio::task::spawn_blocking(harness::cluster).await.unwrap();
    let database = harness::database_on(&cluster).await;
    sqlx::raw_sql("create table t as select 7 as n").execute(database.pool()).await.unwrap();
    cluster.kill().unwrap();
    // Not through the pool, which dials a refusing server until its time to acquire is over.
    assert!(PgConnection::connect(database.url()).await.is_err());
    cluster.start_again().unwrap();
    // The pool may hold more dead connections; each look uses one up.
    let value = harness::eventually_some("an answer", LIMIT, || async {
        let row = sqlx::raw_sql("select n::text from t").fetch_one(database.pool()).await.ok()?;
        row.try_get_unchecked::<String, _>(0).ok()
    });
    assert_eq!(value.await, "7");
}
