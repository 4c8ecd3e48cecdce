//! The proxy in front of a real server and the real driver: each fault breaks what it says and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share panic too")]

use std::time::Duration;

use harness::{Direction, Fault, Moment, Proxy, TestDatabase, Trigger};
use sqlx::{Connection, PgConnection, Row};

const LIMIT: Duration = Duration::from_secs(30);

async fn database_with_table() -> TestDatabase {
    let database = harness::database().await;
    sqlx::raw_sql("create table t (n int)").execute(database.pool()).await.unwrap();
    database
}

async fn rows(database: &TestDatabase) -> String {
    let row = sqlx::raw_sql("select count(*) from t").fetch_one(database.pool()).await.unwrap();
    row.try_get_unchecked(0).unwrap()
}

async fn fired(trigger: &mut Trigger) {
    tokio::time::timeout(LIMIT, trigger.fired()).await.expect("the fault has acted");
}

/// Inserts a row in a transaction over `url`; what the caller is told.
async fn insert(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let mut tx = connection.begin().await?;
    sqlx::raw_sql("insert into t values (1)").execute(&mut *tx).await?;
    tx.commit().await
}

#[tokio::test]
async fn without_a_fault_everything_passes() {
    let database = database_with_table().await;
    let (_proxy, url) = Proxy::for_url(database.url()).await;
    insert(&url).await.unwrap();
    assert_eq!(rows(&database).await, "1");
}

#[tokio::test]
async fn a_commit_cut_before_it_is_forwarded_writes_nothing() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut trigger = proxy.inject(Fault::at_commit(Moment::BeforeForward));
    assert!(insert(&url).await.is_err());
    fired(&mut trigger).await;
    assert_eq!(rows(&database).await, "0");
    insert(&url).await.expect("a fault acts once");
    assert_eq!(rows(&database).await, "1");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_has_written() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut trigger = proxy.inject(Fault::at_commit(Moment::AfterReply));
    assert!(insert(&url).await.is_err());
    fired(&mut trigger).await;
    assert_eq!(rows(&database).await, "1");
}

#[tokio::test]
async fn a_commit_cut_after_it_is_forwarded_is_carried_out_in_the_end() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut trigger = proxy.inject(Fault::at_commit(Moment::AfterForward));
    assert!(insert(&url).await.is_err());
    fired(&mut trigger).await;
    harness::eventually("the row", LIMIT, || async { rows(&database).await == "1" }).await;
}

#[tokio::test]
async fn the_nth_statement_can_be_cut() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let trigger = proxy.inject(Fault::at_statement(1, Moment::AfterReply));
    #[allow(clippy::disallowed_methods, reason = "no table of the product is involved")]
    let statement = |n: i32| sqlx::query("insert into t values ($1)").persistent(false).bind(n);
    // A prepared statement takes two Syncs: one after its description, one after its execution.
    statement(1).execute(&mut connection).await.expect_err("the second Sync is that of the execution");
    assert!(trigger.has_fired());
    harness::eventually("the row", LIMIT, || async { rows(&database).await == "1" }).await;
}

#[tokio::test]
async fn a_cut_ends_open_connections_and_takes_new_ones() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    proxy.cut();
    assert!(sqlx::raw_sql("select 1").execute(&mut connection).await.is_err());
    insert(&url).await.unwrap();
}

#[tokio::test]
async fn refused_connections_fail_while_open_ones_work() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    proxy.refuse();
    assert!(insert(&url).await.is_err());
    sqlx::raw_sql("select 1").execute(&mut connection).await.unwrap();
    proxy.admit();
    insert(&url).await.unwrap();
}

#[tokio::test]
async fn a_stalled_statement_hangs_until_it_is_resumed() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    proxy.stall();
    let mut statement = Box::pin(sqlx::raw_sql("insert into t values (1)").execute(&mut connection));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut statement).await.is_err());
    assert_eq!(rows(&database).await, "0");
    proxy.resume();
    statement.await.unwrap();
    assert_eq!(rows(&database).await, "1");
}

#[tokio::test]
async fn a_connection_can_be_cut_after_so_many_bytes() {
    let database = database_with_table().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut trigger = proxy.cut_after(Direction::ToClient, 3);
    assert!(sqlx::raw_sql("select 1").execute(&mut connection).await.is_err());
    fired(&mut trigger).await;
}

#[tokio::test]
async fn a_redirected_proxy_sends_new_connections_elsewhere_and_keeps_the_old_ones() {
    let database = database_with_table().await;
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    proxy.redirect(other.local_addr().unwrap());
    let (accepted, _client) = tokio::join!(
        tokio::time::timeout(LIMIT, other.accept()),
        tokio::net::TcpStream::connect(proxy.address())
    );
    accepted.expect("the new server was reached").unwrap();
    sqlx::raw_sql("insert into t values (1)").execute(&mut connection).await.unwrap();
    assert_eq!(rows(&database).await, "1");
}
