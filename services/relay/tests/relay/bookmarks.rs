//! What a bookmark proves, and when there is none.

use std::time::Duration;

use harness::Proxy;
use relay::{Order, Relay, RelayOptions};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::ledger::{LIMIT, Ledger, open, target};
use crate::reader::Reader;

/// Longer than the bookmarks' interval here, and than the first one takes.
const QUIET: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn the_first_bookmark_comes_at_once_in_sync_behind_the_attach() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 900, 1).await;
    let targets = vec![target("a", Some(0)), target("b", None)];
    let subscription =
        ledger.relay.subscribe(Order::new(targets.clone(), Duration::from_secs(3600))).unwrap();
    let mut reader = Reader::new(subscription, &targets);
    let mark = reader.until_mark().await;
    assert!(mark.in_sync);
    assert_eq!((reader.version("a"), reader.version("b")), (900, 0));
}

#[tokio::test]
async fn a_due_bookmark_waits_behind_what_is_queued() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0))];
    let mut paused = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mut witness = Reader::new(ledger.subscribe(targets.clone()), &targets);
    paused.until_mark().await;
    ledger.writer().await.append("a", 5, 1).await;
    witness.until("a", 5).await;
    // Three bookmarks of the witness: by then one of the paused reader is due, with five changes in its queue.
    for _ in 0..3 {
        witness.until_mark().await;
    }
    paused.until_mark().await;
    assert_eq!(paused.version("a"), 5);
}

/// Whatever was committed before `arrival - source_lag` came before the bookmark: also after overflows, and
/// whatever is committed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_committed_up_to_a_bookmark_was_sent_before_it() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mut writer = ledger.writer().await;
    let writing = tokio::spawn(async move {
        let mut commits = Vec::new();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            let version = writer.append("a", if commits.len() % 50 == 49 { 400 } else { 1 }, 1).await;
            commits.push((Instant::now(), version));
        }
        commits
    });
    let mut proofs = Vec::new();
    while proofs.len() < 4 {
        let mark = reader.until_mark().await;
        // The arrival is noted a moment after the lag was computed.
        let slack = Duration::from_millis(5);
        proofs.push((mark.at - mark.source_lag - slack, reader.version("a")));
    }
    let commits = writing.await.unwrap();
    let last = commits.last().unwrap().1;
    for (proven, sent) in proofs {
        let newest = commits.iter().filter(|(at, _)| *at < proven).map(|(_, version)| *version).max();
        assert!(newest.unwrap_or(0) <= sent, "{newest:?} was committed, {sent} was sent");
    }
    reader.until("a", last).await;
}

#[tokio::test]
async fn bookmarks_stop_while_the_source_is_stale_and_come_back_with_it() {
    let ledger = Ledger::new().await;
    let (proxy, url) = Proxy::for_url(ledger.database.url()).await;
    let relay = Relay::spawn(open(&url), RelayOptions::default(), ledger.shutdown.clone());
    let targets = vec![target("a", Some(0))];
    let subscription = relay.subscribe(Order::new(targets.clone(), Duration::from_secs(1))).unwrap();
    let mut reader = Reader::new(subscription, &targets);
    reader.until_mark().await;
    proxy.refuse();
    proxy.cut();
    harness::eventually("the source is stale", LIMIT, async || relay.health().is_stale).await;
    let mut writer = ledger.writer().await;
    writer.append("a", 2, 1).await;
    // A bookmark from before may be under way; after it there is none, however long one waits.
    while let Ok(next) = timeout(QUIET, reader.subscription.next()).await {
        reader.take(next.unwrap().unwrap());
        let mark = reader.marks.last().unwrap();
        assert!(relay.health().source_lag.unwrap() >= mark.source_lag);
    }
    assert_eq!(reader.version("a"), 0);
    proxy.admit();
    let mark = reader.until_mark().await;
    assert!(mark.source_lag < Duration::from_secs(2));
    assert_eq!(reader.version("a"), 2, "what happened meanwhile came before the bookmark");
}

/// A standby is behind, and its snapshots do not list what is in progress: what it says contradicts what others were told,
/// and nothing can be proved there.
#[tokio::test]
async fn a_standby_gives_nothing() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let url = database.url().to_owned();
    harness::restart_as_standby(&cluster).await;
    let shutdown = CancellationToken::new();
    let _ended = shutdown.clone().drop_guard();
    let relay = Relay::spawn(open(&url), RelayOptions::default(), shutdown);
    let targets = vec![target("a", None)];
    let subscription = relay.subscribe(Order::new(targets.clone(), Duration::from_secs(1))).unwrap();
    let mut reader = Reader::new(subscription, &targets);
    let next = timeout(QUIET, reader.subscription.next()).await;
    assert!(next.is_err(), "{next:?}");
    assert!(relay.health().is_stale);
}
