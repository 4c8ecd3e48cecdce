//! The watcher against a scripted service over a real socket.
#![allow(clippy::unwrap_used, reason = "the functions that tests share panic too")]

mod fake;

use std::time::Duration;

use client::{Update, WatchError, Watcher};
use fake::{Fake, Script};
use proto::v1::watch_credits_response::Event;
use proto::v1::*;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn snapshot(version: i64) -> Event {
    let balance = Balance {
        account_id: "a".to_owned(),
        unit: "credits".to_owned(),
        version,
        entry_hash: vec![1; 32].into(),
        ..Balance::default()
    };
    Event::Snapshot(Snapshot { balance: Some(balance), reason: SnapshotReason::Initial.into() })
}

fn change(version: i64) -> Event {
    let (account_id, unit) = ("a".to_owned(), "credits".to_owned());
    let entry = Entry {
        account_id: account_id.clone(),
        unit: unit.clone(),
        version,
        operation_size: 1,
        entry_hash: vec![2; 32].into(),
        ..Entry::default()
    };
    Event::Changes(Changes { account_id, unit, entries: vec![entry] })
}

fn bookmark(token: &'static [u8]) -> Event {
    Event::Bookmark(Bookmark { in_sync: true, resume_token: token.into(), ..Bookmark::default() })
}

fn go_away(token: &'static [u8], ms: i32) -> Event {
    let reconnect_after = Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 });
    Event::GoAway(GoAway { resume_token: token.into(), reconnect_after })
}

async fn watching(fake: &Fake) -> Watcher {
    Watcher::builder().endpoint(fake.serve().await).account("a").api_key("k").build().unwrap()
}

/// The next update, in a time that only a defect exceeds.
async fn next(watcher: &mut Watcher) -> Option<Result<Update, WatchError>> {
    tokio::time::timeout(Duration::from_secs(60), watcher.next()).await.unwrap()
}

async fn update(watcher: &mut Watcher) -> Update {
    next(watcher).await.unwrap().unwrap()
}

async fn broken(scripts: Vec<Script>, before: usize) -> (String, String) {
    let mut watcher = watching(&Fake::new(scripts)).await;
    for _ in 0..before {
        update(&mut watcher).await;
    }
    let error = next(&mut watcher).await.unwrap().unwrap_err();
    assert!(next(&mut watcher).await.is_none(), "it ended for good");
    let WatchError::ContractBroken { expected, got, .. } = error else { panic!("{error}") };
    (expected, got)
}

#[tokio::test]
async fn a_lost_stream_is_resumed_from_the_last_entry_and_token() {
    let first = Script::End(vec![snapshot(3), change(4), bookmark(b"t1"), change(5)]);
    let fake = Fake::new(vec![first, Script::Hang(vec![change(6)])]);
    let mut watcher = watching(&fake).await;
    assert!(matches!(update(&mut watcher).await, Update::Snapshot { .. }));
    assert!(matches!(update(&mut watcher).await, Update::Changes { .. }));
    assert_eq!(update(&mut watcher).await, Update::InSync);
    assert!(matches!(update(&mut watcher).await, Update::Bookmark { in_sync: true, .. }));
    assert!(matches!(update(&mut watcher).await, Update::Changes { .. }));
    assert!(matches!(update(&mut watcher).await, Update::Disconnected { .. }));
    assert_eq!(update(&mut watcher).await, Update::Reconnected);
    let Update::Changes { entries, .. } = update(&mut watcher).await else { panic!("no changes") };
    assert_eq!(entries[0].version, 6);
    let seen = fake.seen();
    assert_eq!(seen[0].0.get("authorization").unwrap(), "Bearer k");
    assert_eq!(seen[0].1.targets[0].after_version, None);
    let again = &seen[1].1;
    assert_eq!(again.targets[0].after_version, Some(5));
    assert_eq!((&again.targets[0].after_hash[..], &again.resume_token[..]), (&[2; 32][..], &b"t1"[..]));
}

#[tokio::test]
async fn a_go_away_is_followed_after_the_time_that_it_names() {
    let fake = Fake::new(vec![Script::Hang(vec![snapshot(3), go_away(b"t2", 30)])]);
    let mut watcher = watching(&fake).await;
    update(&mut watcher).await;
    let Update::Disconnected { retry_in, .. } = update(&mut watcher).await else { panic!("still there") };
    assert_eq!(retry_in, Duration::from_millis(30));
    assert_eq!(update(&mut watcher).await, Update::Reconnected);
    assert_eq!(&fake.seen()[1].1.resume_token[..], b"t2");
}

#[tokio::test]
async fn a_gap_and_a_repetition_end_the_watch_loudly() {
    for version in [6, 4, 3] {
        let told = broken(vec![Script::Hang(vec![snapshot(3), change(4), change(version)])], 2).await;
        assert_eq!(told, ("version 5".to_owned(), format!("version {version}")));
    }
    // Also across streams: updates are snapshot, disconnected, reconnected.
    let scripts = vec![Script::End(vec![snapshot(3)]), Script::Hang(vec![change(5)])];
    assert_eq!(broken(scripts, 3).await.0, "version 4");
}

#[tokio::test]
async fn what_no_retry_changes_ends_the_watch() {
    use Code::*;
    for code in [InvalidArgument, PermissionDenied, Unauthenticated, OutOfRange, NotFound, Unimplemented] {
        let fake = Fake::new(vec![Script::Refuse(Status::new(code, "as told"))]);
        let mut watcher = watching(&fake).await;
        let error = next(&mut watcher).await.unwrap().unwrap_err();
        assert!(matches!(&error, WatchError::Refused(status) if status.code() == code), "{error}");
        assert!(next(&mut watcher).await.is_none());
        assert_eq!(fake.seen().len(), 1, "{code:?}");
    }
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_status_asks() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(300)));
    let status = Status::with_error_details(Code::Unavailable, "busy", details);
    let mut watcher = watching(&Fake::new(vec![Script::Refuse(status)])).await;
    let Update::Disconnected { retry_in, .. } = update(&mut watcher).await else { panic!("not refused") };
    assert_eq!(retry_in, Duration::from_millis(300));
    assert_eq!(update(&mut watcher).await, Update::Reconnected);
}

#[tokio::test]
async fn the_second_endpoint_is_tried_after_the_first_failed() {
    // A port that was free a moment ago: nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fake = Fake::new(vec![Script::Hang(vec![snapshot(3)])]);
    let builder = Watcher::builder().endpoint(format!("http://{dead}")).endpoint(fake.serve().await);
    let mut watcher = builder.account("a").build().unwrap();
    assert!(matches!(update(&mut watcher).await, Update::Disconnected { .. }));
    assert_eq!(update(&mut watcher).await, Update::Reconnected);
    assert!(matches!(update(&mut watcher).await, Update::Snapshot { .. }));
}

#[tokio::test]
async fn a_watch_that_fails_fast_tries_again_only_after_its_first_message() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = |endpoint: String| Watcher::builder().endpoint(endpoint).account("a").fail_fast(true);
    let mut watcher = builder(format!("http://{dead}")).build().unwrap();
    let error = next(&mut watcher).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, WatchError::Unreachable { endpoint, .. } if *endpoint == format!("http://{dead}/"))
    );
    assert!(next(&mut watcher).await.is_none());

    let busy = || Script::Refuse(Status::unavailable("busy"));
    let mut watcher = builder(Fake::new(vec![busy()]).serve().await).build().unwrap();
    let error = next(&mut watcher).await.unwrap().unwrap_err();
    assert!(matches!(&error, WatchError::Refused(status) if status.message() == "busy"), "{error}");

    let fake = Fake::new(vec![Script::End(vec![snapshot(3)]), busy()]);
    let mut watcher = builder(fake.serve().await).build().unwrap();
    assert!(matches!(update(&mut watcher).await, Update::Snapshot { .. }));
    assert!(matches!(update(&mut watcher).await, Update::Disconnected { .. }));
    assert!(matches!(update(&mut watcher).await, Update::Disconnected { .. }));
    assert_eq!(update(&mut watcher).await, Update::Reconnected);
}

#[tokio::test]
async fn a_removed_target_is_told_and_the_last_one_ends_the_watch() {
    let change = TargetChange {
        account_id: "a".to_owned(),
        unit: "credits".to_owned(),
        state: TargetChangeState::Removed.into(),
        error: None,
    };
    let mut watcher = watching(&Fake::new(vec![Script::Hang(vec![Event::TargetChange(change)])])).await;
    assert!(matches!(update(&mut watcher).await, Update::Removed { .. }));
    assert!(next(&mut watcher).await.is_none());
}

#[tokio::test]
async fn silence_of_three_intervals_is_stale() {
    let fake = Fake::new(Vec::new());
    let builder = Watcher::builder().endpoint(fake.serve().await).account("a");
    let mut watcher = builder.bookmark_interval(Duration::from_millis(10)).build().unwrap();
    assert_eq!(update(&mut watcher).await, Update::Stale);
}
