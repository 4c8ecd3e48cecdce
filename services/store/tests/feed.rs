//! The ledger's feed against PostgreSQL: the interleavings of the tail's tests, resuming at every place, and every way in which
//! rows could go missing: a slot emptied before, between and during pages, a crash, a restore.
#![allow(clippy::disallowed_methods, reason = "tests write rows that the checked statements never would")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "helpers of a test: they may panic, nobody else sees them, and the tail's test uses the others"
)]

#[path = "tail/checker.rs"]
mod checker;
#[path = "tail/interleaving.rs"]
mod interleaving;

use std::str::FromStr;

use harness::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::Position;
use store::feed::{Feed, FeedError, MARK_EVERY, PAGE_ROWS, Snapshot, leave_mark};

use interleaving::{Interleaving, Stage};

const SEEDS: u64 = 200;

type Rows = Vec<(String, i64)>;

fn options(database: &TestDatabase) -> PgConnectOptions {
    PgConnectOptions::from_str(database.url()).unwrap()
}

async fn connection(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

async fn feed(database: &TestDatabase) -> Feed {
    Feed::connect(&options(database)).await.unwrap()
}

/// A feed and the present.
async fn started(database: &TestDatabase) -> (Feed, Snapshot) {
    let (feed, mark) = feed(database).await.now().await.unwrap();
    (feed, mark.snapshot)
}

async fn write(connection: &mut PgConnection, account: &str, first: i64, last: i64) {
    interleaving::insert(connection, 0, account, first, last).await;
}

fn place((account, version): &(String, i64)) -> Position {
    Position { account_id: account.clone(), unit: "credits".to_owned(), version: *version }
}

/// The rest of a step after a position, and the number of its pages.
async fn rest(mut feed: Feed, from: &Snapshot, to: &Snapshot, mut after: Position) -> (Feed, Rows, usize) {
    let (mut rows, mut pages) = (Rows::new(), 0);
    loop {
        let (next, page) = feed.page(from, to, &after, "").await.unwrap();
        feed = next;
        pages += 1;
        rows.extend(page.rows.iter().map(|row| (row.account.to_string(), row.version)));
        if page.is_last {
            return (feed, rows, pages);
        }
        after = place(rows.last().unwrap());
    }
}

/// A step that was taken.
struct Step {
    from: Snapshot,
    to: Snapshot,
    rows: Rows,
}

/// All steps up to the present.
async fn catch_up(mut feed: Feed, from: &Snapshot) -> (Feed, Vec<Step>) {
    let mut steps: Vec<Step> = Vec::new();
    loop {
        let from = steps.last().map_or(from, |step| &step.to).clone();
        let (next, ahead) = feed.ahead(&from).await.unwrap();
        let Some(target) = ahead.target else { return (next, steps) };
        let (next, rows, _) = rest(next, &from, &target.snapshot, Position::default()).await;
        feed = next;
        steps.push(Step { from, to: target.snapshot, rows });
    }
}

fn all(steps: &[Step]) -> Rows {
    steps.iter().flat_map(|step| step.rows.clone()).collect()
}

#[tokio::test]
async fn interleavings_lose_nothing_repeat_nothing_and_keep_version_order_and_resume_at_every_place() {
    let database = harness::database().await;
    let mut stage = Stage::new(&database).await;
    let (mut feed, mut at) = started(&database).await;
    let mut delivered = 0;
    for seed in 0..SEEDS {
        let mut play = Interleaving::new(&mut stage, seed);
        let mut recorded: Vec<Step> = Vec::new();
        loop {
            let goes_on = play.play_to_next_poll().await;
            let (next, steps) = catch_up(feed, &at).await;
            feed = next;
            at = steps.last().map_or(at, |step| step.to.clone());
            let rows = all(&steps);
            delivered += rows.len();
            play.checker.take(&rows).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            play.checker.is_up_to_date().unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            recorded.extend(steps);
            if !goes_on {
                break;
            }
        }
        // What any token of this stream would have brought, long after: the same rows in the same order.
        if seed % 20 == 0 {
            for step in &recorded {
                let again = rest(feed, &step.from, &step.to, Position::default()).await;
                assert_eq!(again.1, step.rows, "seed {seed}");
                feed = again.0;
                for (index, row) in step.rows.iter().enumerate() {
                    let (next, rows, _) = rest(feed, &step.from, &step.to, place(row)).await;
                    assert_eq!(rows, step.rows[index + 1..], "seed {seed}");
                    feed = next;
                }
            }
        }
    }
    assert!(delivered > 2000, "only {delivered} rows: the interleavings test little");
}

#[tokio::test]
async fn a_long_step_comes_in_pages_and_an_operation_is_never_cut() {
    let database = harness::database().await;
    let (feed, from) = started(&database).await;
    let mut writer = connection(&database).await;
    write(&mut writer, "b", 1, 4 * PAGE_ROWS + 5).await;
    // One operation that fills more than a page, and behind it whole operations again.
    let sql = "insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, event, \
               created_at) select 1, 'a', 'credits', v, v - 1, $1, decode(repeat('00', 32), 'hex'), '', now() \
               from generate_series(1, $1) v";
    let large = i32::try_from(PAGE_ROWS).unwrap() + 7;
    sqlx::query(sql).bind(large).execute(&mut writer).await.unwrap();
    let (feed, ahead) = feed.ahead(&from).await.unwrap();
    let to = ahead.target.unwrap().snapshot;
    let (feed, page) = feed.page(&from, &to, &Position::default(), "").await.unwrap();
    assert!(page.rows.last().is_some_and(|row| row.operation_index + 1 == row.operation_size));
    assert!(page.rows.len() >= usize::try_from(large).unwrap());
    let (feed, rows, pages) = rest(feed, &from, &to, Position::default()).await;
    assert_eq!(rows.len(), usize::try_from(4 * PAGE_ROWS + 5).unwrap() + usize::try_from(large).unwrap());
    assert!(pages >= 2, "{pages}");
    // A prefix is a part of the same order.
    let (_, page) = feed.page(&from, &to, &Position::default(), "b").await.unwrap();
    assert!(page.rows.iter().all(|row| row.account.as_str() == "b") && !page.is_last);
}

#[tokio::test]
async fn a_reader_far_behind_goes_from_mark_to_mark() {
    let database = harness::database().await;
    let (feed, from) = started(&database).await;
    let (mut writer, mut other) = (connection(&database).await, connection(&database).await);
    assert!(!leave_mark(database.pool()).await.unwrap());
    let mut open = other.begin().await.unwrap();
    write(&mut open, "open", 1, 2).await;
    for round in 0..3 {
        write(&mut writer, "a", round * MARK_EVERY + 1, (round + 1) * MARK_EVERY).await;
        assert!(leave_mark(database.pool()).await.unwrap());
        assert!(!leave_mark(database.pool()).await.unwrap());
    }
    open.commit().await.unwrap();
    write(&mut writer, "a", 3 * MARK_EVERY + 1, 3 * MARK_EVERY + 1).await;
    let (feed, steps) = catch_up(feed, &from).await;
    // Whatever else goes on in the server makes steps without rows.
    let sizes: Vec<usize> = steps.iter().map(|step| step.rows.len()).filter(|size| *size > 0).collect();
    let every = usize::try_from(MARK_EVERY).unwrap();
    assert_eq!(sizes, [every, every, every, 3]);
    let of_a = all(&steps).into_iter().filter(|(account, _)| account == "a").map(|(_, version)| version);
    assert!(of_a.eq(1..=3 * MARK_EVERY + 1));
    // Marks of another server are not on the way.
    sqlx::query("update outbox_marks set source = 'another'").execute(&mut writer).await.unwrap();
    let sizes =
        catch_up(feed, &from).await.1.into_iter().map(|step| step.rows.len()).filter(|size| *size > 0);
    assert_eq!(sizes.collect::<Vec<_>>(), [3 * every + 3]);
    // Those before all slots go when the next one comes.
    let old = "update outbox_marks set taken_at = taken_at - interval '4 days'";
    sqlx::query(old).execute(&mut writer).await.unwrap();
    write(&mut writer, "a", 3 * MARK_EVERY + 2, 4 * MARK_EVERY).await;
    assert!(leave_mark(database.pool()).await.unwrap());
    let left: i64 =
        sqlx::query_scalar("select count(*) from outbox_marks").fetch_one(&mut writer).await.unwrap();
    assert_eq!(left, 1);
}

/// Tests that count on a snapshot's not being compacted have a server of their own: on a shared one another test's transaction
/// may be in progress in the snapshot and end before a slot is emptied, and in doubt rows are said to be gone.
async fn truncate(connection: &mut PgConnection, slot: i16) {
    sqlx::query(AssertSqlSafe(format!("truncate outbox_{slot:02}"))).execute(connection).await.unwrap();
}

fn is_compacted<T>(result: &Result<T, FeedError>) -> bool {
    matches!(result, Err(FeedError::Compacted { .. }))
}

#[tokio::test]
async fn a_snapshot_that_had_not_seen_what_was_emptied_is_compacted_and_one_that_had_is_not() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let mut writer = connection(&database).await;
    let mut other = connection(&database).await;
    let (_, before) = started(&database).await;
    // In progress in `during`, and ended before `after`.
    let mut open = other.begin().await.unwrap();
    interleaving::insert(&mut open, 3, "a", 1, 1).await;
    write(&mut writer, "other", 1, 1).await;
    let (_, during) = started(&database).await;
    open.commit().await.unwrap();
    let (_, after) = started(&database).await;
    // Empty leaves, and those that everybody has seen, cost nobody anything.
    truncate(&mut writer, 9).await;
    for snapshot in [&before, &during, &after] {
        feed(&database).await.goes_on_from(snapshot).await.unwrap();
    }
    truncate(&mut writer, 3).await;
    assert!(is_compacted(&feed(&database).await.goes_on_from(&before).await));
    assert!(is_compacted(&feed(&database).await.goes_on_from(&during).await));
    feed(&database).await.goes_on_from(&after).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_is_emptied_in_the_middle_of_a_step_ends_it_at_the_next_page() {
    let database = harness::database().await;
    let (feed, from) = started(&database).await;
    let mut writer = connection(&database).await;
    interleaving::insert(&mut writer, 2, "a", 1, PAGE_ROWS).await;
    interleaving::insert(&mut writer, 3, "b", 1, 10).await;
    let (feed, ahead) = feed.ahead(&from).await.unwrap();
    let to = ahead.target.unwrap().snapshot;
    let (feed, page) = feed.page(&from, &to, &Position::default(), "").await.unwrap();
    assert!(!page.is_last);
    // No transaction of the reader holds the leaf: it does not wait.
    sqlx::query("set lock_timeout = '50ms'").execute(&mut writer).await.unwrap();
    truncate(&mut writer, 3).await;
    let after = place(&("a".to_owned(), PAGE_ROWS));
    assert!(is_compacted(&feed.page(&from, &to, &after, "").await));
}

/// TRUNCATE is not hidden from a statement that took its snapshot before it: what it finds is empty. Readers that page without
/// pause while slots go must get every row or be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncation_at_any_moment_never_makes_a_hole() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let (mut whole, mut told) = (0, 0);
    for round in 0..60_i64 {
        let account = format!("round{round}");
        let (feed, from) = started(&database).await;
        for slot in 0..4_i16 {
            let first = i64::from(slot) * 40 + 1;
            interleaving::insert(&mut writer, slot, &account, first, first + 39).await;
        }
        let mut emptier = connection(&database).await;
        let emptied = tokio::spawn(async move {
            for _ in 0..round % 12 {
                sqlx::query("select 1").execute(&mut emptier).await.unwrap();
            }
            truncate(&mut emptier, 1).await;
        });
        let read = async {
            let (feed, ahead) = feed.ahead(&from).await?;
            let to = ahead.target.unwrap().snapshot;
            let (_, page) = feed.page(&from, &to, &Position::default(), "").await?;
            Ok::<_, FeedError>(page.rows.iter().map(|row| row.version).collect::<Vec<_>>())
        };
        match read.await {
            Ok(versions) => {
                assert!(versions.into_iter().eq(1..=160), "round {round} has a hole");
                whole += 1;
            }
            Err(FeedError::Compacted { .. }) => told += 1,
            Err(other) => panic!("{other:?}"),
        }
        emptied.await.unwrap();
    }
    assert!(told > 0, "{whole} whole, {told} told: the race was not met");
}

#[tokio::test]
async fn a_transaction_that_stays_open_for_days_ends_no_stream() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let (mut writer, mut forgotten) = (connection(&database).await, connection(&database).await);
    let mut open = forgotten.begin().await.unwrap();
    sqlx::query("select pg_current_xact_id()::text").execute(&mut *open).await.unwrap();
    interleaving::insert(&mut writer, 3, "a", 1, 1).await;
    let (_, after) = started(&database).await;
    truncate(&mut writer, 3).await;
    feed(&database).await.goes_on_from(&after).await.unwrap();
    // Not even once it has written, to another slot: that is read, or emptied and told then.
    interleaving::insert(&mut open, 4, "b", 1, 1).await;
    open.commit().await.unwrap();
    let (_, steps) = catch_up(feed(&database).await.goes_on_from(&after).await.unwrap().0, &after).await;
    assert_eq!(all(&steps), [("b".to_owned(), 1)]);
    truncate(&mut writer, 4).await;
    assert!(is_compacted(&feed(&database).await.goes_on_from(&after).await));
}

#[tokio::test]
async fn a_snapshot_of_the_future_or_of_another_epoch_is_compacted() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let (live, now) = started(&database).await;
    let future = Snapshot::parse("9000000000000:9000000000000:").unwrap();
    assert!(is_compacted(&feed(&database).await.goes_on_from(&future).await));
    sqlx::query("update stream_state set epoch = epoch + 1").execute(&mut writer).await.unwrap();
    assert!(is_compacted(&live.goes_on_from(&now).await));
}

#[tokio::test]
async fn the_origin_is_that_of_server_timeline_and_outbox() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let first = feed(&database).await.origin().clone();
    assert_eq!(feed(&database).await.origin(), &first);
    let parts: Vec<&str> = first.source.split('/').collect();
    assert_eq!((first.epoch, parts.len(), parts[1]), (1, 4, "00000001"));
    let another = harness::database().await;
    assert_ne!(feed(&another).await.origin(), &first);
    sqlx::query("alter table outbox rename to old").execute(&mut writer).await.unwrap();
    sqlx::query("create table outbox (like old including all)").execute(&mut writer).await.unwrap();
    assert_ne!(feed(&database).await.origin(), &first);
}

#[tokio::test]
async fn what_a_dump_was_emptied_of_does_not_bind_the_server_that_it_is_restored_on() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let dumped =
        "update stream_state set emptied_xid = '9000000000000', emptied_in = '9000000000001:9000000000001:'";
    sqlx::query(dumped).execute(&mut writer).await.unwrap();
    let (feed, now) = started(&database).await;
    assert_eq!(feed.origin().epoch, 2);
    feed.goes_on_from(&now).await.unwrap();
}

#[tokio::test]
async fn a_slot_is_emptied_in_read_committed_only() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let refused =
        sqlx::raw_sql("begin isolation level repeatable read; truncate outbox_03").execute(&mut writer).await;
    assert!(refused.unwrap_err().to_string().contains("read committed"));
}

#[tokio::test]
async fn a_standby_is_refused_and_its_promotion_is_another_origin() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let before = feed(&database).await.origin().clone();
    harness::restart_as_standby(&cluster).await;
    assert!(matches!(Feed::connect(&options(&database)).await, Err(FeedError::Standby)));
    let mut admin = PgConnection::connect(database.superuser_url()).await.unwrap();
    sqlx::query("select pg_promote()").execute(&mut admin).await.unwrap();
    let after = feed(&database).await.origin().clone();
    assert_eq!(before.epoch, after.epoch);
    assert_ne!(before.source, after.source);
}

/// A transaction that ends without a wait for the disk is lost by a crash, and its id is given out again. No snapshot may
/// call it ended before that.
#[tokio::test]
async fn no_crash_gives_ids_of_a_snapshot_out_again() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    for round in 0..3 {
        let mut writer = connection(&database).await;
        // Before: the server's own writer takes the log to the disk every 200 ms.
        let feed = feed(&database).await;
        sqlx::query("set synchronous_commit = off").execute(&mut writer).await.unwrap();
        for _ in 0..50 {
            sqlx::query("select pg_current_xact_id()::text").execute(&mut writer).await.unwrap();
        }
        let (_feed, mark) = feed.now().await.unwrap();
        cluster.kill().unwrap();
        cluster.start_again().unwrap();
        let next: String = sqlx::query_scalar("select pg_snapshot_xmax(pg_current_snapshot())::text")
            .fetch_one(&mut connection(&database).await)
            .await
            .unwrap();
        let xmax: u64 = mark.snapshot.to_string().split(':').nth(1).unwrap().parse().unwrap();
        assert!(xmax <= next.parse().unwrap(), "round {round}: {xmax} was seen, {next} is next");
    }
}
