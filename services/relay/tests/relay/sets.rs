//! Targets that come and go on a live stream.

use std::time::Duration;

use domain::EntryHash;
use relay::SnapshotReason::{Conflated, Initial, ResetDiverged};
use relay::{AddError, MAX_QUEUED_EVENTS, MAX_TARGETS, Mode, Order, Subscription, Target};
use tokio::time::timeout;

use crate::ledger::{Ledger, account, target, unit};
use crate::reader::Reader;

fn set(targets: Vec<Target>) -> Order {
    Order { is_set: true, ..Order::new(targets, Duration::from_secs(1)) }
}

fn open(ledger: &Ledger, targets: Vec<Target>) -> Reader {
    Reader::new(ledger.relay.subscribe(set(targets.clone())).unwrap(), &targets)
}

/// Adds and removes the target, without reading in between.
fn churn(stream: &mut Subscription, target: &Target, times: usize) {
    for _ in 0..times {
        stream.add(target).unwrap();
        assert!(stream.remove(&target.account, &target.unit));
    }
}

/// Each `next` is dropped after a millisecond if it has nothing by then, as a reader that adds meanwhile would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_added_under_load_are_dense_from_their_own_start_and_current() {
    const VERSIONS: i64 = 300;
    let ledger = Ledger::new().await;
    let mut reader = open(&ledger, vec![target("a", Some(0))]);
    let names = ["a", "b", "c", "d"];
    let writers = names.map(|name| {
        let ledger = &ledger;
        async move {
            let mut writer = ledger.writer().await;
            for _ in 0..VERSIONS {
                writer.append(name, 1, 1).await;
            }
        }
    });
    let mut to_add = vec![target("d", Some(3)), target("c", None), target("b", Some(0))];
    let reading = async {
        while names.iter().any(|name| reader.version(name) < VERSIONS) {
            if let Ok(next) = timeout(Duration::from_millis(1), reader.subscription.next()).await {
                reader.take(next.unwrap().unwrap());
            }
            let at = i64::try_from(4 - to_add.len()).unwrap() * 50;
            if reader.version("a") >= at
                && let Some(target) = to_add.pop()
            {
                reader.add(&target);
            }
        }
    };
    tokio::join!(futures::future::join_all(writers), reading);
    reader.until_current(4).await;
    assert_eq!(reader.current.iter().filter(|name| *name == "a").count(), 1, "{:?}", reader.current);
    let resets: Vec<_> = reader.snapshots.iter().filter(|(name, ..)| name != "c").collect();
    assert!(resets.iter().all(|(name, reason, _)| name == "d" && *reason == ResetDiverged), "{resets:?}");
    assert_eq!(ledger.relay.health().watches, 4);
}

#[tokio::test]
async fn current_comes_behind_the_snapshot_or_the_changes_of_its_target() {
    let ledger = Ledger::new().await;
    let last = ledger.writer().await.append("long", 1200, 1).await;
    let mut reader = open(&ledger, vec![target("new", None)]);
    reader.until_current(1).await;
    assert_eq!((reader.current.as_slice(), reader.version("new")), (&["new".to_owned()][..], 0));
    reader.add(&target("long", Some(0)));
    reader.until_current(2).await;
    assert_eq!(reader.version("long"), last);
    // One that is where the balance is has nothing else to say.
    reader.remove(&target("long", None));
    reader.add(&target("long", Some(last)));
    reader.until_current(3).await;
    assert_eq!(reader.version("long"), last);
}

#[tokio::test]
async fn a_removed_target_is_silent_and_comes_back_as_a_new_one() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let a = target("a", None);
    let mut reader = open(&ledger, vec![a.clone(), target("b", Some(0))]);
    reader.until_current(2).await;
    for turn in 1..=20 {
        writer.append("a", 2, 1).await;
        writer.append("b", 1, 1).await;
        // What is queued of it goes, too: the reader would panic.
        reader.remove(&a);
        writer.append("a", 1, 1).await;
        writer.append("b", 1, 1).await;
        reader.until("b", turn * 2).await;
        assert_eq!(reader.version("a"), -1);
        reader.add(&a);
        reader.until("a", turn * 3).await;
    }
    assert!(reader.snapshots.iter().all(|(name, reason, _)| name == "a" && *reason == Initial));
    assert_eq!(reader.snapshots.len(), 21, "one for each time that it was asked for");
}

#[tokio::test]
async fn a_target_added_and_removed_100_000_times_leaves_nothing() {
    let ledger = Ledger::new().await;
    let mut reader = open(&ledger, vec![]);
    reader.until_mark().await;
    let empty = reader.token.clone().unwrap();
    let mut writer = ledger.writer().await;
    let a = target("a", None);
    for _ in 0..100 {
        churn(&mut reader.subscription, &a, 900);
        reader.add(&a);
        writer.append("a", 1, 1).await;
        churn(&mut reader.subscription, &target("b", Some(0)), 100);
        reader.remove(&a);
    }
    while let Some(told) = reader.subscription.next_ready().await.unwrap().unwrap() {
        reader.take(told);
    }
    assert_eq!(ledger.relay.health().watches, 0);
    reader.until_mark().await;
    assert_eq!(reader.token.clone().unwrap(), empty);
    assert!(reader.snapshots.is_empty() && reader.current.is_empty() && reader.sizes.is_empty());
    reader.add(&a);
    reader.until("a", 100).await;
}

#[tokio::test]
async fn a_set_without_targets_lives_on_bookmarks_and_a_dropped_one_watches_nothing() {
    let ledger = Ledger::new().await;
    let mut reader = open(&ledger, vec![]);
    assert!(reader.until_mark().await.in_sync);
    assert!(reader.until_mark().await.in_sync);
    for name in ["a", "b", "c"] {
        reader.add(&target(name, None));
    }
    assert_eq!(ledger.relay.health().watches, 3);
    reader.remove(&target("b", None));
    assert_eq!(ledger.relay.health().watches, 2);
    drop(reader);
    assert_eq!((ledger.relay.health().watches, ledger.relay.health().streams), (0, 0));
}

#[tokio::test]
async fn what_is_watched_already_or_too_much_is_not_added_and_the_stream_goes_on() {
    let ledger = Ledger::new().await;
    let mut reader = open(&ledger, vec![target("a", Some(0))]);
    let stream = &mut reader.subscription;
    assert_eq!(stream.add(&target("a", None)), Err(AddError::Watched));
    assert_eq!(stream.add(&target("b", Some(-1))), Err(AddError::NegativeVersion { actual: -1 }));
    for n in 1..MAX_TARGETS {
        stream.add(&target(&format!("t{n}"), None)).unwrap();
    }
    assert_eq!(stream.add(&target("b", None)), Err(AddError::TooManyTargets));
    assert!(!stream.remove(&account("b"), &unit()), "it was never watched");
    assert!(stream.remove(&account("t1"), &unit()));
    stream.add(&target("b", None)).unwrap();
    assert_eq!(ledger.relay.health().watches, MAX_TARGETS);
    ledger.writer().await.append("a", 3, 1).await;
    reader.until("a", 3).await;
    reader.until_current(MAX_TARGETS).await;
    assert_eq!(reader.snapshots.len(), MAX_TARGETS - 1);
}

#[tokio::test]
async fn a_new_connection_of_the_source_compares_added_targets_too() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("lost", 5, 1).await;
    let mut reader = open(&ledger, vec![target("a", Some(0)), target("removed", None)]);
    reader.add(&target("b", Some(0)));
    reader.add(&target("lost", None));
    reader.until_current(4).await;
    reader.remove(&target("removed", None));
    let connections = ledger.relay.health().connections;
    ledger.lose("lost").await;
    ledger.kill_tail().await;
    for name in ["a", "b", "removed"] {
        writer.append(name, 7, 1).await;
    }
    ledger.connected(connections + 1).await;
    reader.until("a", 7).await;
    reader.until("b", 7).await;
    while reader.version("lost") != 0 {
        reader.step().await.unwrap();
    }
    assert_eq!(reader.snapshots.last().unwrap(), &("lost".to_owned(), ResetDiverged, 0));
}

#[tokio::test]
async fn an_overflow_is_refilled_for_the_targets_that_are_left() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let mut paused = open(&ledger, vec![target("a", Some(0))]);
    paused.add(&target("b", Some(0)));
    paused.until_current(2).await;
    let mut witness = open(&ledger, vec![target("a", Some(0)), target("b", Some(0))]);
    let events = i64::try_from(MAX_QUEUED_EVENTS).unwrap();
    writer.append("a", events / 2 + 10, 1).await;
    let last = writer.append("b", events / 2 + 10, 1).await;
    witness.until("a", events / 2 + 10).await;
    witness.until("b", last).await;
    paused.remove(&target("a", None));
    paused.until("b", last).await;
    writer.append("a", 1, 1).await;
    let last = writer.append("b", 1, 1).await;
    paused.until("b", last).await;
    assert!(paused.snapshots.is_empty());
    paused.add(&target("a", None));
    paused.until("a", events / 2 + 11).await;
}

#[tokio::test]
async fn a_token_covers_the_targets_that_are_there_when_it_is_made() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    for name in ["a", "b", "c"] {
        writer.append(name, 5, 1).await;
    }
    let mut reader = open(&ledger, vec![target("a", None), target("b", None)]);
    reader.until_current(2).await;
    reader.remove(&target("a", None));
    reader.add(&target("c", None));
    reader.until_current(3).await;
    reader.until_mark().await;
    let seeds: Vec<(String, (i64, EntryHash))> = reader.have.clone().into_iter().collect();
    let token = reader.token.clone();
    for name in ["a", "b", "c"] {
        writer.append(name, 2, 1).await;
    }
    // Those of the order go on; one that is added later says itself where it is.
    let order = Order { resume_token: token, ..set(vec![target("a", None), target("b", None)]) };
    let mut resumed = Reader::new(ledger.relay.subscribe(order).unwrap(), &[]);
    resumed.have.extend(seeds.into_iter().filter(|(name, _)| name == "b"));
    resumed.add(&target("c", None));
    resumed.until_current(3).await;
    let mut told = resumed.snapshots.clone();
    told.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(told, [("a".to_owned(), Initial, 7), ("c".to_owned(), Initial, 7)]);
    assert_eq!(resumed.events, ["b/6", "b/7"]);
}

/// While the source stands still, and is not stale yet, the head is read and the target is current; the bookmark speaks
/// for the last poll, which was before the target was asked for.
#[tokio::test]
async fn a_bookmark_is_not_in_sync_before_a_poll_that_is_later_than_the_newest_target() {
    let ledger = Ledger::new().await;
    let mut reader = open(&ledger, vec![]);
    let mut admin = ledger.superuser().await;
    for turn in 0.. {
        while !reader.until_mark().await.in_sync {}
        let locked = "begin; lock table outbox in access exclusive mode";
        sqlx::raw_sql(locked).execute(&mut admin).await.unwrap();
        reader.add(&target(&format!("t{turn}"), None));
        // A machine that is busy for a second misses the moment: again then.
        let next = timeout(Duration::from_millis(1500), reader.until_mark()).await;
        sqlx::raw_sql("rollback").execute(&mut admin).await.unwrap();
        if next.is_ok_and(|mark| !mark.in_sync) {
            break;
        }
    }
    let told = reader.marks.len();
    assert!(reader.until_mark().await.in_sync);
    let [.., before, after] = &reader.marks[..=told] else { panic!("{:?}", reader.marks) };
    assert!(after.at - before.at < Duration::from_millis(900), "as soon as it can be said");
    assert!(!reader.current.is_empty());
}

#[tokio::test]
async fn who_wants_history_loses_its_last_target_and_keeps_the_set() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 12_000, 1).await;
    let targets = vec![target("a", Some(1))];
    let order = Order { require_history: true, ..set(targets.clone()) };
    let mut reader = Reader::new(ledger.relay.subscribe(order).unwrap(), &targets);
    reader.until_mark().await;
    assert_eq!(reader.removed, [("a".to_owned(), 1, 2000)]);
    assert_eq!((reader.current.len(), ledger.relay.health().watches), (0, 0));
    reader.have.clear();
    reader.add(&target("a", Some(11_990)));
    reader.until("a", 12_000).await;
}

#[tokio::test]
async fn latest_says_current_behind_the_state_of_an_added_target() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("a", 3, 1).await;
    let order = Order { mode: Mode::Latest, ..set(vec![]) };
    let mut reader = Reader::new(ledger.relay.subscribe(order).unwrap(), &[]);
    reader.add(&target("a", None));
    reader.until_current(1).await;
    assert_eq!(reader.snapshots, [("a".to_owned(), Initial, 3)]);
    writer.append("a", 1, 1).await;
    reader.until("a", 4).await;
    assert_eq!(reader.snapshots.last().unwrap(), &("a".to_owned(), Conflated, 4));
}
