//! How a stream begins.

use std::time::Duration;

use domain::EntryHash;
use relay::Order;
use relay::SnapshotReason::{Initial, ResetDiverged, ResetTooOld};
use relay::{MAX_TARGETS, READS_AT_ONCE, RelayOptions, SubscribeError};
use tokio::time::timeout;

use crate::ledger::{LIMIT, Ledger, target};
use crate::reader::Reader;

#[tokio::test]
async fn without_a_version_a_snapshot_comes_first_then_changes() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("a", 3, 1).await;
    let targets = vec![target("a", None)];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until("a", 3).await;
    writer.append("a", 2, 1).await;
    reader.until("a", 5).await;
    assert_eq!(reader.snapshots, [("a".to_owned(), Initial, 3)]);
    assert_eq!(reader.events, ["a/4", "a/5"]);
}

#[tokio::test]
async fn a_balance_without_entries_is_zero_and_can_be_watched() {
    let ledger = Ledger::new().await;
    let targets = vec![target("new", None), target("other", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    assert_eq!(reader.snapshots, [("new".to_owned(), Initial, 0)]);
    let mut writer = ledger.writer().await;
    writer.append("new", 1, 1).await;
    writer.append("other", 1, 1).await;
    reader.until("new", 1).await;
    reader.until("other", 1).await;
    assert_eq!(reader.snapshots.len(), 1);
}

#[tokio::test]
async fn from_version_0_every_change_comes_over_several_pages() {
    let ledger = Ledger::new().await;
    let last = ledger.writer().await.append("a", 190, 7).await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until("a", last).await;
    assert!(reader.snapshots.is_empty());
    assert_eq!(reader.events.len(), 190 * 7);
}

#[tokio::test]
async fn a_stream_resumes_at_every_position_of_a_recorded_one() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", Some(0))];
    let mut recorded = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mut positions = vec![(0, EntryHash::default())];
    for _ in 0..20 {
        let last = writer.append("a", 1, 3).await;
        recorded.until("a", last).await;
        positions.push(recorded.have["a"]);
    }
    for (version, hash) in positions {
        let mut resumed = target("a", Some(version));
        resumed.after_hash = Some(hash);
        let targets = vec![resumed];
        let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
        reader.until("a", 60).await;
        let first = usize::try_from(version).unwrap();
        assert_eq!(reader.events, recorded.events[first..]);
        assert!(reader.snapshots.is_empty());
        reader.until_mark().await;
    }
}

#[tokio::test]
async fn another_history_is_reset_and_says_so() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 5, 1).await;
    ledger.writer().await.append("b", 5, 1).await;
    let mut forged = target("b", Some(3));
    forged.after_hash = Some(EntryHash([9; 32]));
    let targets = vec![target("a", Some(6)), forged, target("c", Some(1))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    let reset = |name: &str, version| (name.to_owned(), ResetDiverged, version);
    assert_eq!(reader.snapshots, [reset("a", 5), reset("b", 5), reset("c", 0)]);
    assert!(reader.events.is_empty());
}

#[tokio::test]
async fn ten_thousand_changes_behind_are_sent_and_one_more_is_too_old() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("a", 10_000, 1).await;
    writer.append("b", 10_001, 1).await;
    let targets = vec![target("a", Some(0)), target("b", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until("a", 10_000).await;
    reader.until("b", 10_001).await;
    assert_eq!(reader.snapshots, [("b".to_owned(), ResetTooOld, 10_001)]);
}

/// The race: a change is committed between subscribing and the first read, or between the read and the first
/// event. Many attach while a writer never pauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attaching_while_changes_are_committed_neither_loses_nor_repeats_one() {
    const VERSIONS: i64 = 300;
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let writing = tokio::spawn(async move {
        for _ in 0..VERSIONS / 2 {
            writer.append("hot", 1, 2).await;
        }
    });
    let mut readers = tokio::task::JoinSet::new();
    let mut attached = 0;
    while !writing.is_finished() {
        let after = (attached % 2 == 0).then_some(0);
        let targets = vec![target("hot", after), target("cold", None)];
        let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
        reader.step().await.unwrap();
        readers.spawn(async move { reader.until("hot", VERSIONS).await });
        attached += 1;
    }
    writing.await.unwrap();
    readers.join_all().await;
    assert!(attached > 10, "only {attached} attached while the writer wrote");
}

/// Nothing follows that would show what was lost.
#[tokio::test]
async fn a_lone_change_that_is_committed_while_a_stream_attaches_arrives() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    for round in 0..20 {
        let name = format!("r{round}");
        let targets = vec![target(&name, None)];
        let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
        tokio::join!(reader.until(&name, 1), writer.append(&name, 1, 1));
    }
}

#[tokio::test]
async fn a_thousand_targets_attach_at_once() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let names: Vec<String> = (0..MAX_TARGETS).map(|n| format!("t{n}")).collect();
    writer.append("t0", 1, 1).await;
    writer.append("t999", 2, 1).await;
    let targets: Vec<_> = names.iter().map(|name| target(name, None)).collect();
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mark = reader.until_mark().await;
    assert!(mark.in_sync);
    assert_eq!(reader.snapshots.len(), MAX_TARGETS);
    assert_eq!((reader.version("t0"), reader.version("t1"), reader.version("t999")), (1, 0, 2));
}

#[tokio::test]
async fn requests_outside_the_limits_are_refused_by_name() {
    let options = RelayOptions { max_streams: 1, ..RelayOptions::default() };
    let ledger = Ledger::with(harness::database().await, options);
    let second = Duration::from_secs(1);
    let many = (0..=MAX_TARGETS).map(|n| target(&format!("t{n}"), None)).collect();
    for (targets, interval, expected) in [
        (vec![], second, SubscribeError::NoTargets),
        (many, second, SubscribeError::TooManyTargets { actual: MAX_TARGETS + 1 }),
        (vec![target("a", None), target("a", Some(1))], second, SubscribeError::DuplicateTarget { index: 1 }),
        (vec![target("a", Some(-1))], second, SubscribeError::NegativeVersion { index: 0, actual: -1 }),
        (
            vec![target("a", None)],
            Duration::from_millis(999),
            SubscribeError::BookmarkInterval { actual: Duration::from_millis(999) },
        ),
    ] {
        assert_eq!(ledger.relay.subscribe(Order::new(targets, interval)).unwrap_err(), expected);
    }
    let first = ledger.subscribe(vec![target("a", None)]);
    let refused = ledger.relay.subscribe(Order::new(vec![target("b", None)], second)).unwrap_err();
    assert_eq!(refused, SubscribeError::TooManyStreams { limit: 1 });
    assert_eq!(ledger.relay.health().watches, 1);
    drop(first);
    assert_eq!((ledger.relay.health().watches, ledger.relay.health().streams), (0, 0));
    drop(ledger.subscribe(vec![target("b", None)]));
}

/// HTTP/2 leaves a stream wherever it stands when its reader takes nothing. Here each stands in its second read.
#[tokio::test]
async fn readers_that_stand_still_while_they_catch_up_keep_nobody_from_the_journal() {
    let ledger = Ledger::new().await;
    let last = ledger.writer().await.append("a", 900, 1).await;
    let mut streams: Vec<_> = (0..2 * READS_AT_ONCE)
        .map(|_| ledger.subscribe(vec![target("new", None), target("a", Some(0))]))
        .collect();
    let mut stuck = Vec::new();
    for stream in &mut streams {
        timeout(LIMIT, stream.next()).await.expect("a message in time").unwrap().unwrap();
        let mut next = Box::pin(stream.next());
        let _ = futures::poll!(&mut next);
        stuck.push(next);
    }
    let targets = vec![target("a", Some(0))];
    Reader::new(ledger.subscribe(targets.clone()), &targets).until("a", last).await;
    drop(stuck);
}
