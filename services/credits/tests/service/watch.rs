//! WatchCredits: what a reader receives, and how many streams there may be.

use std::time::Duration;

use credits::{Limits, ServerConfig};
use proto::v1;
use proto::v1::watch_credits_response::Event;
use tonic::{Code, Streaming};

use crate::served::{LIMIT, config, fact, grant, reason, served, served_with, spend};
use crate::writes::{capture, hold, reverse};

type Stream = Streaming<v1::WatchCreditsResponse>;

fn target(account: &str) -> v1::WatchTarget {
    v1::WatchTarget { account_id: account.to_owned(), ..v1::WatchTarget::default() }
}

fn watch(targets: Vec<v1::WatchTarget>) -> v1::WatchCreditsRequest {
    v1::WatchCreditsRequest { targets, ..v1::WatchCreditsRequest::default() }
}

async fn next(stream: &mut Stream) -> Event {
    let message = tokio::time::timeout(LIMIT, stream.message()).await.expect("a message in time");
    message.unwrap().expect("the stream goes on").event.unwrap()
}

/// The next message that is no bookmark.
async fn next_change(stream: &mut Stream) -> Event {
    loop {
        match next(stream).await {
            Event::Bookmark(_) => {}
            event => return event,
        }
    }
}

async fn next_entries(stream: &mut Stream) -> Vec<v1::Entry> {
    match next_change(stream).await {
        Event::Changes(changes) => changes.entries,
        event => panic!("{event:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_starts_with_a_snapshot_and_goes_on_with_the_very_entries_that_writes_answer() {
    let served = served().await;
    let mut client = served.client();
    let mut stream = client.watch_credits(watch(vec![target("user_1")])).await.unwrap().into_inner();
    let Event::Snapshot(first) = next(&mut stream).await else { panic!("no snapshot") };
    assert_eq!(first.reason(), v1::SnapshotReason::Initial);
    let zero = first.balance.unwrap();
    assert_eq!((zero.version, zero.available, zero.entry_hash.len()), (0, 0, 0));
    let granted = client.grant_credits(grant("user_1", "g", 10)).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, granted.entries);
    let spent = client.spend_credits(spend("user_1", "s", 4)).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, spent.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bookmark_says_in_sync() {
    let served = served().await;
    let mut stream = served
        .client()
        .watch_credits(watch(vec![target("user_1"), target("user_2")]))
        .await
        .unwrap()
        .into_inner();
    let mut snapshots = 0;
    loop {
        match next(&mut stream).await {
            Event::Snapshot(_) => snapshots += 1,
            Event::Bookmark(bookmark) if bookmark.in_sync => break,
            Event::Bookmark(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(snapshots, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_after_a_version_and_shows_a_history_that_is_not_its_own() {
    let served = served().await;
    let mut client = served.client();
    let first = client.grant_credits(grant("user_1", "g", 10)).await.unwrap().into_inner().entry.unwrap();
    let second = client.spend_credits(spend("user_1", "s", 4)).await.unwrap().into_inner().entry.unwrap();
    let resumed =
        v1::WatchTarget { after_version: Some(1), after_hash: first.entry_hash.clone(), ..target("user_1") };
    let mut stream = client.watch_credits(watch(vec![resumed])).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, std::slice::from_ref(&second));
    let all = v1::WatchTarget { after_version: Some(0), ..target("user_1") };
    let mut stream = client.watch_credits(watch(vec![all])).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, [first, second]);
    for (version, hash) in [(99, vec![]), (1, vec![7; 32])] {
        let lost =
            v1::WatchTarget { after_version: Some(version), after_hash: hash.into(), ..target("user_1") };
        let mut stream = client.watch_credits(watch(vec![lost])).await.unwrap().into_inner();
        let Event::Snapshot(reset) = next_change(&mut stream).await else { panic!("no snapshot") };
        assert_eq!((reset.reason(), reset.balance.unwrap().version), (v1::SnapshotReason::ResetDiverged, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attach_settles_what_is_due() {
    let served = served().await;
    served.grant_that_ended().await;
    let mut client = served.client();
    let mut stream = client.watch_credits(watch(vec![target("user_1")])).await.unwrap().into_inner();
    let Event::Snapshot(first) = next(&mut stream).await else { panic!("no snapshot") };
    let balance = first.balance.unwrap();
    assert_eq!((balance.available, balance.version), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_has_so_many_streams_and_a_closed_one_makes_room() {
    let limits = Limits { streams_per_principal: 2, ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    let mut client = served.client();
    let one = client.watch_credits(watch(vec![target("a")])).await.unwrap();
    let _two = client.watch_credits(watch(vec![target("a")])).await.unwrap();
    let full = client.watch_credits(watch(vec![target("a")])).await.unwrap_err();
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    assert_eq!((fact(&full, "limit").as_str(), fact(&full, "per").as_str()), ("2", "caller"));
    drop(one);
    harness::eventually("room for a stream", Duration::from_secs(10), || {
        let mut client = client.clone();
        async move { client.watch_credits(watch(vec![target("a")])).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_balances_fit_one_stream() {
    let served = served().await;
    let mut client = served.client();
    let targets = (0..1000).map(|n| target(&format!("user_{n}"))).collect();
    let mut stream = client.watch_credits(watch(targets)).await.unwrap().into_inner();
    for _ in 0..1000 {
        let Event::Snapshot(_) = next_change(&mut stream).await else { panic!("no snapshot") };
    }
    let granted = client.grant_credits(grant("user_777", "g", 1)).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, granted.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_two_entries_comes_as_one_message_with_all_that_its_entries_say() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "g", 100)).await.unwrap();
    let from_start = v1::WatchTarget { after_version: Some(1), ..target("user_1") };
    let mut stream = client.watch_credits(watch(vec![from_start])).await.unwrap().into_inner();
    let held = client.hold_credits(hold("user_1", "h", 60)).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, held.entries);
    let hold_id = held.hold.unwrap().hold_id;
    let last = v1::CaptureHoldRequest { r#final: true, ..capture("user_1", "c", &hold_id, 10) };
    let captured = client.capture_hold(last).await.unwrap().into_inner();
    assert_eq!(captured.entries.len(), 2);
    assert_eq!(next_entries(&mut stream).await, captured.entries);
    let spent = captured.entry.unwrap().entry_id;
    let reversed = client.reverse_spend(reverse("user_1", "r", &spent)).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, reversed.entries);
}

/// Reads up to the GoAway; gives its token and how the stream ended.
async fn until_the_end(stream: &mut Stream) -> (v1::GoAway, Option<tonic::Status>) {
    let away = loop {
        if let Event::GoAway(away) = next(stream).await {
            break away;
        }
    };
    let end = tokio::time::timeout(LIMIT, stream.message()).await.expect("an end in time");
    (away, end.map(|message| assert!(message.is_none(), "{message:?}")).err())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_stream_is_told_to_go_and_its_token_goes_on_where_it_was() {
    let limits = Limits { stream_age: Duration::from_millis(300), ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "g", 10)).await.unwrap();
    let mut stream = client.watch_credits(watch(vec![target("user_1")])).await.unwrap().into_inner();
    let (away, end) = until_the_end(&mut stream).await;
    assert!(end.is_none(), "{end:?}");
    let pause = away.reconnect_after.unwrap();
    assert!(pause.seconds <= 1 && !away.resume_token.is_empty(), "{away:?}");
    let spent = client.spend_credits(spend("user_1", "s", 4)).await.unwrap().into_inner();
    let resumed =
        v1::WatchCreditsRequest { resume_token: away.resume_token, ..watch(vec![target("user_1")]) };
    let mut stream = client.watch_credits(resumed).await.unwrap().into_inner();
    assert_eq!(next_entries(&mut stream).await, spent.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_a_process_that_ends_is_told_to_go_before() {
    let served = served().await;
    let mut stream = served.client().watch_credits(watch(vec![target("user_1")])).await.unwrap().into_inner();
    while !matches!(next(&mut stream).await, Event::Bookmark(_)) {}
    served.shutdown.cancel();
    let (away, end) = until_the_end(&mut stream).await;
    assert!(!away.resume_token.is_empty());
    assert_eq!(reason(&end.unwrap()), "SHUTTING_DOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_snapshots_and_a_foreign_token_is_refused() {
    let served = served().await;
    let mut client = served.client();
    let mode = v1::WatchMode::Latest.into();
    let latest = v1::WatchCreditsRequest { mode, ..watch(vec![target("user_1")]) };
    let mut stream = client.watch_credits(latest).await.unwrap().into_inner();
    let Event::Snapshot(_) = next_change(&mut stream).await else { panic!("no snapshot") };
    client.grant_credits(grant("user_1", "g", 10)).await.unwrap();
    let Event::Snapshot(newest) = next_change(&mut stream).await else { panic!("no snapshot") };
    assert_eq!(newest.reason(), v1::SnapshotReason::Conflated);
    assert_eq!(newest.balance.unwrap().available, 10);
    let resume_token = "x".repeat(40).into();
    let forged = v1::WatchCreditsRequest { resume_token, ..watch(vec![target("user_1")]) };
    let mut stream = client.watch_credits(forged).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(reason(&status), "BAD_RESUME_TOKEN");
    for bad in [
        v1::WatchCreditsRequest { mode: 9, ..watch(vec![target("user_1")]) },
        v1::WatchCreditsRequest { resume_token: vec![0; 65_537].into(), ..watch(vec![target("user_1")]) },
    ] {
        assert_eq!(reason(&client.watch_credits(bad).await.unwrap_err()), "INVALID_FIELD");
    }
}
