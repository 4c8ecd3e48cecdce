//! The outbox tail against PostgreSQL: a thousand seeded interleavings of begin, write, commit and rollback,
//! and the cases that are not about order. The checker is itself checked: it finds the faults of two tails that
//! are known to be wrong.
//!
//! The interleavings are driven by one task, step by step, so a seed always gives the same one.
#![allow(clippy::disallowed_methods, reason = "tests write rows that the checked statements never would")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of a test: they may panic, nobody else sees them"
)]

#[path = "tail/checker.rs"]
mod checker;
#[path = "tail/interleaving.rs"]
mod interleaving;
#[path = "tail/wrong.rs"]
mod wrong;

use std::str::FromStr;

use harness::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use store::outbox::{Emptied, Heard, Listener, Notifier, OwnHints, empty_oldest_slot};
use store::tail::{MAX_ROWS, Tail, TailError};

use checker::Fault;
use interleaving::{Interleaving, Stage};
use wrong::{SequenceCursor, XminHorizon};

const SEEDS: u64 = 1000;

fn options(database: &TestDatabase) -> PgConnectOptions {
    PgConnectOptions::from_str(database.url()).unwrap()
}

async fn connection(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

/// Writes versions `first..=last` of one account in a transaction of their own.
async fn write(connection: &mut PgConnection, account: &str, first: i64, last: i64) {
    interleaving::insert(connection, 0, account, first, last).await;
}

async fn poll_all(tail: Tail) -> (Tail, Vec<(String, i64)>) {
    let (tail, rows) = tail.poll(|_, _| true).await.unwrap();
    (tail, rows.into_iter().map(|row| (row.account.to_string(), row.version)).collect())
}

#[tokio::test]
async fn a_thousand_interleavings_lose_nothing_repeat_nothing_and_keep_version_order() {
    let database = harness::database().await;
    let mut stage = Stage::new(&database).await;
    let mut tail = Tail::connect(&options(&database)).await.unwrap();
    let mut delivered = 0;
    for seed in 0..SEEDS {
        let mut play = Interleaving::new(&mut stage, seed);
        loop {
            let goes_on = play.play_to_next_poll().await;
            let (next, rows) = poll_all(tail).await;
            tail = next;
            delivered += rows.len();
            play.checker.take(&rows).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            // Every commit before the poll is in it, however many older transactions are still open.
            play.checker.is_up_to_date().unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
            if !goes_on {
                break;
            }
        }
    }
    assert!(delivered > 10_000, "only {delivered} rows: the interleavings test little");
    println!("{delivered} rows in {SEEDS} interleavings");
}

#[tokio::test]
async fn the_checker_sees_that_a_cursor_on_the_sequence_loses_rows() {
    let database = harness::database().await;
    let mut stage = Stage::new(&database).await;
    let mut wrong = SequenceCursor::new(connection(&database).await);
    let mut faults = Vec::new();
    for seed in 0..50 {
        let mut play = Interleaving::new(&mut stage, seed);
        while play.play_to_next_poll().await {
            faults.extend(play.checker.take(&wrong.poll().await).err());
        }
        faults.extend(play.checker.take(&wrong.poll().await).err());
        faults.extend(play.checker.is_up_to_date().err());
    }
    assert!(faults.iter().any(|fault| matches!(fault, Fault::Lost { .. })), "{faults:?}");
}

#[tokio::test]
async fn the_checker_sees_that_an_xmin_horizon_stalls_and_inverts_versions() {
    let database = harness::database().await;
    let mut stage = Stage::new(&database).await;
    let mut wrong = XminHorizon::new(connection(&database).await);
    let (mut inverted, mut stalled) = (0, 0);
    for seed in 0..50 {
        let mut play = Interleaving::new(&mut stage, seed);
        while play.play_to_next_poll().await {
            inverted += u32::from(play.checker.take(&wrong.poll().await).is_err());
            stalled += u32::from(play.checker.is_up_to_date().is_err());
        }
        let _ = play.checker.take(&wrong.poll().await);
    }
    assert!(inverted > 0 && stalled > 0, "{inverted} inverted, {stalled} stalled");
}

#[tokio::test]
async fn what_nobody_watches_is_passed_over_unless_somebody_comes_meanwhile() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let mut late = connection(&database).await;
    let tail = Tail::connect(&options(&database)).await.unwrap();
    write(&mut writer, "a", 1, 1).await;
    let mut open = late.begin().await.unwrap();
    write(&mut open, "b", 1, 1).await;
    let (tail, is_passed) = tail.skip(|| true).await.unwrap();
    assert!(is_passed);
    write(&mut writer, "a", 2, 2).await;
    let (tail, is_passed) = tail.skip(|| false).await.unwrap();
    assert!(!is_passed);
    open.commit().await.unwrap();
    // What was committed before the pass is not read any more; what was in progress then, or came later, is.
    let (tail, rows) = poll_all(tail).await;
    assert_eq!(rows, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(poll_all(tail).await.1, []);
}

/// Real contention: writers that wait for each other's locks while the tail polls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_wait_for_locks_are_delivered_dense_and_in_order() {
    const WRITERS: usize = 6;
    const TRANSACTIONS: usize = 40;
    let database = harness::database().await;
    let mut tail = Tail::connect(&options(&database)).await.unwrap();
    interleaving::prepare(&mut connection(&database).await, &["hot"]).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let mut writer = connection(&database).await;
        writers.spawn(async move {
            for turn in 0..TRANSACTIONS {
                interleaving::append_under_lock(&mut writer, "hot", (number + turn) % 3 == 0, turn % 7 == 0)
                    .await;
            }
        });
    }
    let mut last = 0;
    let mut done = false;
    while !done {
        done = writers.is_empty();
        while writers.try_join_next().is_some() {}
        let (next, rows) = poll_all(tail).await;
        tail = next;
        for (_, version) in rows {
            assert_eq!(version, last + 1);
            last = version;
        }
    }
    let committed = (0..WRITERS * TRANSACTIONS).filter(|n| !(n % TRANSACTIONS).is_multiple_of(7)).count();
    assert_eq!(usize::try_from(last).unwrap(), committed);
}

#[tokio::test]
async fn what_nobody_watches_is_dropped_and_does_not_count() {
    let database = harness::database().await;
    let tail = Tail::connect(&options(&database)).await.unwrap();
    let mut writer = connection(&database).await;
    write(&mut writer, "unwatched", 1, i64::try_from(MAX_ROWS).unwrap() + 1).await;
    write(&mut writer, "watched", 1, 2).await;
    let (_tail, rows) = tail.poll(|account, _| account == "watched").await.unwrap();
    assert_eq!(rows.iter().map(|row| row.version).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn more_watched_rows_than_a_poll_may_hold_end_the_tail() {
    let database = harness::database().await;
    let tail = Tail::connect(&options(&database)).await.unwrap();
    write(&mut connection(&database).await, "watched", 1, i64::try_from(MAX_ROWS).unwrap() + 1).await;
    assert!(matches!(tail.poll(|_, _| true).await, Err(TailError::Overflow)));
}

#[tokio::test]
async fn a_new_tail_starts_from_now_and_has_what_was_in_progress() {
    let database = harness::database().await;
    let (mut first, mut second) = (connection(&database).await, connection(&database).await);
    write(&mut first, "before", 1, 1).await;
    let mut open = second.begin().await.unwrap();
    interleaving::insert(&mut open, 0, "open", 1, 1).await;
    let tail = Tail::connect(&options(&database)).await.unwrap();
    open.commit().await.unwrap();
    assert_eq!(poll_all(tail).await.1, [("open".to_owned(), 1)]);
}

#[tokio::test]
async fn rows_of_a_dump_are_found_dropped_and_raise_the_epoch_once() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    sqlx::query(
        "insert into outbox (slot, xid, account_id, unit, version, operation_index, operation_size, entry_hash, \
         event, created_at) values (3, '9000000000000', 'a', 'credits', 1, 0, 1, decode(repeat('00', 32), 'hex'), \
         '', now())",
    )
    .execute(&mut writer)
    .await
    .unwrap();
    let restored = Tail::connect(&options(&database)).await.unwrap();
    assert!(restored.was_restored());
    assert_eq!(restored.epoch(), 2);
    let rows: i64 = sqlx::query_scalar("select count(*) from outbox").fetch_one(&mut writer).await.unwrap();
    assert_eq!(rows, 0);
    write(&mut writer, "a", 2, 2).await;
    assert_eq!(poll_all(restored).await.1, [("a".to_owned(), 2)]);
    let again = Tail::connect(&options(&database)).await.unwrap();
    assert!(!again.was_restored());
    assert_eq!(again.epoch(), 2);
}

#[tokio::test]
async fn a_tail_is_level_until_somebody_commits() {
    // A server of its own: what others commit is news, too.
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let mut writer = connection(&database).await;
    let tail = level(Tail::connect(&options(&database)).await.unwrap()).await;
    write(&mut writer, "a", 1, 1).await;
    let (tail, is_level) = tail.is_level().await.unwrap();
    assert!(!is_level);
    let (tail, rows) = poll_all(tail).await;
    assert_eq!(rows, [("a".to_owned(), 1)], "the look has not moved it on");
    level(tail).await;
}

/// Polls until nothing is new; the server itself commits now and then.
async fn level(mut tail: Tail) -> Tail {
    let give_up_at = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        assert!(tokio::time::Instant::now() < give_up_at, "never level");
        let (looked, is_level) = tail.is_level().await.unwrap();
        if is_level {
            return looked;
        }
        tail = poll_all(looked).await.0;
    }
}

#[tokio::test]
async fn a_standby_is_refused() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    harness::restart_as_standby(&cluster).await;
    assert!(matches!(Tail::connect(&options(&database)).await, Err(TailError::Standby)));
}

/// The slot after the current.
async fn oldest_slot(writer: &mut PgConnection) -> i16 {
    sqlx::query_scalar(
        "select ((floor(extract(epoch from clock_timestamp()) / slot_seconds)::bigint + 1) % 16)::smallint \
         from stream_state",
    )
    .fetch_one(writer)
    .await
    .unwrap()
}

async fn write_to_slot(writer: &mut PgConnection, slot: i16, slots_old: i32) {
    sqlx::query(
        "insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, \
         event, created_at) select $1, 'a', 'credits', 1, 0, 1, decode(repeat('00', 32), 'hex'), '', \
         clock_timestamp() - make_interval(secs => slot_seconds * $2) from stream_state",
    )
    .bind(slot)
    .bind(slots_old)
    .execute(writer)
    .await
    .unwrap();
}

#[tokio::test]
async fn the_oldest_slot_is_emptied_once_its_rows_are_past_the_retention() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::Nothing);
    let oldest = oldest_slot(&mut writer).await;
    write_to_slot(&mut writer, oldest, 15).await;
    write_to_slot(&mut writer, (oldest + 1) % 16, 14).await;
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::Slot(oldest));
    let left: Vec<i16> = sqlx::query_scalar("select slot from outbox").fetch_all(&mut writer).await.unwrap();
    assert_eq!(left, [(oldest + 1) % 16]);
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::Nothing);
}

/// What is emptied is noted, which needs read committed: ours, whatever the role's default.
#[tokio::test]
async fn emptying_does_not_depend_on_the_databases_default_isolation() {
    let database = harness::database().await;
    let stricter =
        format!("alter database {} set default_transaction_isolation = 'repeatable read'", database.name());
    let mut admin = PgConnection::connect(database.superuser_url()).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(stricter)).execute(&mut admin).await.unwrap();
    let mut writer = connection(&database).await;
    let oldest = oldest_slot(&mut writer).await;
    write_to_slot(&mut writer, oldest, 15).await;
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::Slot(oldest));
    write(&mut writer, "a", 1, 1).await;
    let restored = "set session_replication_role = replica; update outbox set xid = '9000000000000'";
    sqlx::raw_sql(restored).execute(&mut admin).await.unwrap();
    assert!(Tail::connect(&options(&database)).await.unwrap().was_restored());
}

#[tokio::test]
async fn a_slot_with_rows_within_the_retention_is_left_alone() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let oldest = oldest_slot(&mut writer).await;
    write_to_slot(&mut writer, oldest, 15).await;
    write_to_slot(&mut writer, oldest, 2).await;
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::TooYoung(oldest));
}

#[tokio::test]
async fn a_writer_in_the_oldest_slot_makes_the_job_give_up_and_stays_unharmed() {
    let database = harness::database().await;
    let mut writer = connection(&database).await;
    let oldest = oldest_slot(&mut writer).await;
    write_to_slot(&mut writer, oldest, 15).await;
    let mut open = writer.begin().await.unwrap();
    write_to_slot(&mut open, oldest, 15).await;
    let refused = empty_oldest_slot(&options(&database)).await.unwrap_err();
    assert!(refused.is_lock_timeout());
    open.commit().await.unwrap();
    assert_eq!(empty_oldest_slot(&options(&database)).await.unwrap(), Emptied::Slot(oldest));
}

#[tokio::test]
async fn a_hint_is_heard_and_a_lost_listener_says_that_it_came_back() {
    let database = harness::database().await;
    let own = OwnHints::default();
    let mut listener = Listener::connect(&options(&database), own.clone()).await.unwrap();
    let other = || async { Notifier::connect(&options(&database), &OwnHints::default()).await.unwrap() };
    other().await.notify().await.unwrap();
    assert_eq!(listener.heard().await.unwrap(), Heard::Hint);
    end_listener(&database).await;
    assert_eq!(listener.heard().await.unwrap(), Heard::Reconnected);
    other().await.notify().await.unwrap();
    assert_eq!(listener.heard().await.unwrap(), Heard::Hint);
    // Its own hint is left out: the next thing it says is that it came back. It is sent, since another one listens.
    let mut another = Listener::connect(&options(&database), OwnHints::default()).await.unwrap();
    Notifier::connect(&options(&database), &own).await.unwrap().notify().await.unwrap();
    assert_eq!(another.heard().await.unwrap(), Heard::Hint);
    end_listener(&database).await;
    assert_eq!(listener.heard().await.unwrap(), Heard::Reconnected);
}

/// As an administrator may.
async fn end_listener(database: &TestDatabase) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and application_name like 'tallystick listener %'",
    )
    .execute(&mut connection(database).await)
    .await
    .unwrap();
}
