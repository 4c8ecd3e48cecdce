//! Mode LATEST, and readers that want every change or nothing.

use std::time::Duration;

use relay::{Message, Mode, Order, SnapshotReason, Subscription, SubscriptionError, Target};

use crate::ledger::{Ledger, target};
use crate::reader::Reader;

const SECOND: Duration = Duration::from_secs(1);

fn latest(ledger: &Ledger, targets: Vec<Target>) -> Subscription {
    ledger.relay.subscribe(Order { mode: Mode::Latest, ..Order::new(targets, SECOND) }).unwrap()
}

/// Snapshots up to the version: each newer than the one before, and nothing else but bookmarks.
async fn snapshots_until(stream: &mut Subscription, version: i64) -> Vec<(SnapshotReason, i64)> {
    let mut seen: Vec<(SnapshotReason, i64)> = Vec::new();
    while seen.last().is_none_or(|(_, last)| *last < version) {
        match stream.next().await.unwrap().unwrap() {
            Message::Snapshot { balance, reason } => {
                assert!(seen.last().is_none_or(|(_, last)| *last < balance.version), "{seen:?}");
                seen.push((reason, balance.version));
            }
            Message::Bookmark { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_sends_snapshots_only_and_the_newest_state_in_the_end() {
    let ledger = Ledger::new().await;
    let mut stream = latest(&ledger, vec![target("a", None)]);
    assert_eq!(snapshots_until(&mut stream, 0).await, [(SnapshotReason::Initial, 0)]);
    let mut writer = ledger.writer().await;
    let writing = tokio::spawn(async move {
        for _ in 0..200 {
            writer.append("a", 1, 2).await;
        }
    });
    let seen = snapshots_until(&mut stream, 400).await;
    writing.await.unwrap();
    assert!(seen.iter().all(|(reason, _)| *reason == SnapshotReason::Conflated), "{seen:?}");
}

#[tokio::test]
async fn latest_of_a_reader_that_was_away_is_one_snapshot_however_much_happened() {
    let ledger = Ledger::new().await;
    let last = ledger.writer().await.append("a", 12_000, 1).await;
    let mut stream = latest(&ledger, vec![target("a", Some(1))]);
    assert_eq!(snapshots_until(&mut stream, last).await, [(SnapshotReason::Conflated, last)]);
    let mut stream = latest(&ledger, vec![target("a", Some(last + 1))]);
    assert_eq!(snapshots_until(&mut stream, last).await, [(SnapshotReason::ResetDiverged, last)]);
}

#[tokio::test]
async fn who_wants_history_gets_no_snapshot_when_it_is_too_old_and_the_others_go_on() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 10_001, 1).await;
    ledger.writer().await.append("b", 3, 1).await;
    let targets = vec![target("a", Some(0)), target("b", Some(0))];
    let order = Order { require_history: true, ..Order::new(targets.clone(), SECOND) };
    let mut reader = Reader::new(ledger.relay.subscribe(order).unwrap(), &targets);
    reader.until_mark().await;
    assert_eq!(reader.removed, [("a".to_owned(), 0, 1)]);
    assert!(reader.snapshots.is_empty());
    ledger.writer().await.append("a", 1, 1).await;
    let last = ledger.writer().await.append("b", 1, 1).await;
    reader.until("b", last).await;
    ledger.kill_tail().await;
    ledger.connected(2).await;
    reader.until_mark().await;
    assert_eq!((reader.version("a"), reader.removed.len()), (0, 1));
}

#[tokio::test]
async fn a_stream_that_loses_its_last_target_to_its_age_ends() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 10_003, 1).await;
    let targets = vec![target("a", Some(1))];
    let order = Order { require_history: true, ..Order::new(targets, SECOND) };
    let end = ledger.relay.subscribe(order).unwrap().next().await.unwrap().unwrap_err();
    let SubscriptionError::HistoryNotAvailable { version, oldest, .. } = end else { panic!("{end:?}") };
    assert_eq!((version, oldest), (1, 3));
}
