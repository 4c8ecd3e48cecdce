//! Lost connections, lost tails and restored dumps.

use relay::SnapshotReason::ResetDiverged;

use crate::ledger::{Ledger, target};
use crate::reader::Reader;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_loses_its_connection_again_and_again_leaves_no_gap() {
    const VERSIONS: i64 = 200;
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0)), target("idle", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    ledger.connected(1).await;
    let mut writer = ledger.writer().await;
    let writing = tokio::spawn(async move {
        for _ in 0..VERSIONS {
            writer.append("a", 1, 1).await;
        }
    });
    for connection in 2..=6 {
        ledger.kill_tail().await;
        ledger.connected(connection).await;
    }
    writing.await.unwrap();
    reader.until("a", VERSIONS).await;
    assert_eq!(reader.snapshots.len(), 1, "the idle one's, and no other");
}

#[tokio::test]
async fn a_failover_that_lost_a_tail_is_shown_on_live_streams() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("a", 5, 1).await;
    writer.append("kept", 5, 1).await;
    let targets = vec![target("a", Some(0)), target("kept", Some(0)), target("gone", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    writer.append("gone", 2, 1).await;
    reader.until("a", 5).await;
    reader.until("kept", 5).await;
    reader.until("gone", 2).await;
    // What the reader has seen never happened: versions 3–5 are lost, others took their place.
    let rewrite = "set session_replication_role = replica; \
         delete from entries where account_id = 'a' and version > 2; \
         delete from entries where account_id = 'gone'; delete from balances where account_id = 'gone'; \
         update balances set version = 2 where account_id = 'a'; \
         set session_replication_role = origin";
    sqlx::raw_sql(rewrite).execute(&mut ledger.superuser().await).await.unwrap();
    writer.history = 2;
    ledger.kill_tail().await;
    ledger.connected(2).await;
    writer.append("a", 4, 1).await;
    writer.append("kept", 1, 1).await;
    reader.until("kept", 6).await;
    while reader.version("a") != 6 || reader.version("gone") != 0 {
        reader.step().await.unwrap();
    }
    let resets: Vec<_> = reader.snapshots.iter().filter(|(_, reason, _)| *reason == ResetDiverged).collect();
    assert_eq!(resets.len(), 2, "{:?}", reader.snapshots);
    assert!(resets.iter().all(|(name, ..)| name != "kept"));
}

#[tokio::test]
async fn a_restored_dump_raises_the_epoch_and_streams_go_on() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    writer.append("a", 3, 1).await;
    reader.until("a", 3).await;
    assert_eq!(ledger.relay.health().epoch, 1);
    sqlx::query(
        "insert into outbox (slot, xid, account_id, unit, version, operation_index, operation_size, entry_hash, \
         event, created_at) values (3, '9000000000000', 'a', 'credits', 4, 0, 1, decode(repeat('00', 32), 'hex'), \
         '', now())",
    )
    .execute(&mut writer.connection)
    .await
    .unwrap();
    ledger.kill_tail().await;
    ledger.connected(2).await;
    assert_eq!(ledger.relay.health().epoch, 2);
    writer.append("a", 3, 1).await;
    reader.until("a", 6).await;
    assert!(reader.snapshots.is_empty());
}

#[tokio::test]
async fn more_bytes_than_a_poll_may_hold_are_read_from_the_journal() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    let mut writer = ledger.writer().await;
    writer.padding = 2000;
    writer.append("a", 5000, 1).await;
    reader.until("a", 5000).await;
    assert!(reader.snapshots.is_empty());
    assert!(ledger.relay.health().connections > 1, "the tail jumped to now");
}

#[tokio::test]
async fn shutdown_ends_streams_and_tasks() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    ledger.shutdown.cancel();
    let ended = loop {
        if let Err(error) = reader.step().await {
            break error;
        }
    };
    assert!(matches!(ended, relay::SubscriptionError::Stopping));
    assert!(reader.subscription.next().await.is_none());
    ledger.relay.stopped().await;
}
