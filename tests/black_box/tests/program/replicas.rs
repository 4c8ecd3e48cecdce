//! Two services on one PostgreSQL: what one writes, the watchers of the other see, and no account is overspent.

use std::time::Duration;

use black_box::history::{assert_truth, assert_watched};
use black_box::journal::{Journal, rows};
use black_box::load::{Load, Plan};
use black_box::{Options, Program, Watcher, api, seed};
use sqlx::Row;

use crate::credentials::Keys;
use crate::{LIMIT, assert_healthy};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_through_one_replica_reaches_a_watcher_of_the_other_while_a_strangers_transaction_is_open() {
    let database = harness::database().await;
    let keys = Keys::new().await;
    let options = keys.serve_on(&database);
    let (writer, reader) = tokio::join!(Program::start(&options), Program::start(&options));
    let api = api::Api::at(writer.ready.grpc()).with_key(&keys.all);
    let watched = vec!["user_1".to_owned()];
    let watcher = Watcher::start(reader.ready.grpc(), Some(&keys.all), &watched);
    watcher.in_sync(LIMIT).await;

    api.grant(api::grant("user_1", "before", 10)).await.unwrap();
    watcher.reaches("user_1", 1, LIMIT).await;

    // It has a transaction id, older than all that follow, and a row in the outbox's neighbourhood.
    let mut open = database.pool().begin().await.unwrap();
    let write = "insert into accounts (account_id, created_at) values ('stranger', now())";
    sqlx::raw_sql(write).execute(&mut *open).await.unwrap();
    for version in 2..=4 {
        api.spend(api::spend("user_1", &format!("while {version}"), 1)).await.unwrap();
        watcher.reaches("user_1", version, Duration::from_secs(5)).await;
    }
    open.rollback().await.unwrap();
    api.spend(api::spend("user_1", "after", 1)).await.unwrap();
    watcher.reaches("user_1", 5, LIMIT).await;

    let seen = watcher.finish();
    assert_watched(&seen, &Journal::read(database.url()).await);
    assert!(writer.stop().await.success() && reader.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_hammer_one_account_never_overspend_it_and_never_deadlock() {
    let seed = seed::choose("replicas");
    let database = harness::database().await;
    let options = Options::credits_on(&database);
    let (mut one, mut other) = tokio::join!(Program::start(&options), Program::start(&options));
    let addrs = vec![one.ready.grpc().to_owned(), other.ready.grpc().to_owned()];
    let accounts = vec!["team".to_owned()];
    let watchers: Vec<Watcher> = addrs.iter().map(|addr| Watcher::start(addr, None, &accounts)).collect();
    let load = Load::start(&Plan { addrs, api_key: None, accounts, workers: 16, seed });
    load.more_acknowledged(800, LIMIT).await;
    let calls = load.finish().await;

    let journal = Journal::read(database.url()).await;
    let tally = assert_truth(&calls, &journal);
    assert!(tally.refused > 0 && tally.unknown == 0, "{tally:?}");
    let entries = journal.credits_of("team");
    assert!(entries.iter().all(|entry| entry.after.available >= 0));
    for watcher in watchers {
        watcher.reaches("team", entries.last().unwrap().version, LIMIT).await;
        assert_watched(&watcher.finish(), &journal);
    }
    assert_healthy(&mut one).await;
    assert_healthy(&mut other).await;
    // Backends count their deadlocks when they end.
    assert!(one.stop().await.success() && other.stop().await.success());
    let statistics = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = rows(database.pool(), statistics).await[0].get(0);
    assert_eq!(deadlocks, 0);
    eprintln!("{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_sent_through_both_replicas_at_once_has_one_effect_and_two_equal_answers() {
    let database = harness::database().await;
    let options = Options::credits_on(&database);
    let (one, other) = tokio::join!(Program::start(&options), Program::start(&options));
    let (one, other) = (api::Api::at(one.ready.grpc()), api::Api::at(other.ready.grpc()));
    for round in 0..20 {
        let command = api::grant("user_1", &format!("key {round}"), 5);
        let (first, second) = tokio::join!(one.grant(command.clone()), other.grant(command));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_ne!(first.replayed, second.replayed, "round {round}");
        assert_eq!((first.operation_id, first.entries), (second.operation_id, second.entries));
        assert_eq!(first.balance, second.balance);
    }
    let journal = Journal::read(database.url()).await;
    assert_eq!(journal.credits_of("user_1").len(), 20);
}
