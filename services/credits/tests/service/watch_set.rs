//! WatchCreditSet: what becomes of targets that are asked for on a live stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credits::{Limits, ServerConfig, UnitPolicy};
use domain::Unit;
use harness::Proxy;
use proto::v1;
use proto::v1::TargetChangeState::{Added, Current, Removed};
use proto::v1::watch_credit_set_request::Command;
use proto::v1::watch_credit_set_response::Event;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::bad_input::assert_names;
use crate::credentials::{READER, WRITER, assert_refused, with_key};
use crate::served::{Client, LIMIT, config, fact, grant, reason, served, served_on, served_with, spend};

pub(crate) fn target(account: &str) -> v1::WatchTarget {
    v1::WatchTarget { account_id: account.to_owned(), ..v1::WatchTarget::default() }
}

fn targets(accounts: &[&str]) -> v1::WatchTargets {
    v1::WatchTargets { targets: accounts.iter().map(|account| target(account)).collect() }
}

fn request(command: Command) -> v1::WatchCreditSetRequest {
    v1::WatchCreditSetRequest { command: Some(command) }
}

fn add(accounts: &[&str]) -> v1::WatchCreditSetRequest {
    request(Command::Add(targets(accounts)))
}

fn remove(accounts: &[&str]) -> v1::WatchCreditSetRequest {
    request(Command::Remove(targets(accounts)))
}

fn open(accounts: &[&str]) -> v1::WatchCreditsRequest {
    v1::WatchCreditsRequest { targets: targets(accounts).targets, ..v1::WatchCreditsRequest::default() }
}

/// Both sides of a stream.
struct Set {
    ask: mpsc::UnboundedSender<v1::WatchCreditSetRequest>,
    told: Streaming<v1::WatchCreditSetResponse>,
}

type Asked = mpsc::UnboundedReceiver<v1::WatchCreditSetRequest>;

fn asked(
    asked: Asked,
) -> impl futures::Stream<Item = v1::WatchCreditSetRequest> + Send + Sync + 'static + use<> {
    futures::stream::unfold(asked, |mut asked| async { asked.recv().await.map(|next| (next, asked)) })
}

impl Set {
    async fn try_open(client: &mut Client, first: v1::WatchCreditSetRequest) -> Result<Self, Status> {
        let (ask, asks) = mpsc::unbounded_channel();
        ask.send(first).unwrap();
        let told = client.watch_credit_set(asked(asks)).await?.into_inner();
        Ok(Self { ask, told })
    }

    async fn open(client: &mut Client, accounts: &[&str]) -> Self {
        Self::try_open(client, request(Command::Open(open(accounts)))).await.unwrap()
    }

    fn ask(&self, request: v1::WatchCreditSetRequest) {
        self.ask.send(request).unwrap();
    }

    async fn next(&mut self) -> Event {
        let message = tokio::time::timeout(LIMIT, self.told.message()).await.expect("a message in time");
        message.unwrap().expect("the stream goes on").event.unwrap()
    }

    /// The next message that is no bookmark, in few words.
    async fn told(&mut self) -> String {
        loop {
            return match self.next().await {
                Event::Bookmark(_) => continue,
                Event::Snapshot(snapshot) => {
                    let reason = snapshot.reason().as_str_name().replace("SNAPSHOT_REASON_", "");
                    let balance = snapshot.balance.unwrap();
                    format!("{} {reason} v{} {}", balance.account_id, balance.version, balance.available)
                }
                Event::Changes(changes) => {
                    let versions: Vec<_> = changes.entries.iter().map(|entry| entry.version).collect();
                    format!("{} {versions:?}", changes.account_id)
                }
                Event::TargetChange(change) => {
                    let state = change.state().as_str_name().replace("TARGET_CHANGE_STATE_", "");
                    let error = change.error.map(|error| format!(" {}", error.reason));
                    format!("{} {state}{}", change.account_id, error.unwrap_or_default())
                }
                Event::GoAway(_) => "go away".to_owned(),
            };
        }
    }

    async fn tells(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.told().await, *expected);
        }
    }

    async fn bookmark(&mut self) -> v1::Bookmark {
        loop {
            match self.next().await {
                Event::Bookmark(bookmark) => return bookmark,
                Event::GoAway(away) => panic!("{away:?}"),
                _ => {}
            }
        }
    }

    /// How it ends, without another message.
    async fn end(&mut self) -> Status {
        loop {
            match tokio::time::timeout(LIMIT, self.told.message()).await.expect("an end in time") {
                Ok(message) => {
                    let event = message.expect("an error").event.unwrap();
                    assert!(matches!(event, Event::Bookmark(_)), "{event:?}");
                }
                Err(status) => return status,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_is_added_then_told_then_current_and_a_removed_one_is_silent() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("b", "g", 10)).await.unwrap();
    let mut set = Set::open(&mut client, &["a"]).await;
    set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    set.ask(add(&["b"]));
    set.tells(&["b ADDED", "b INITIAL v1 10", "b CURRENT"]).await;
    client.grant_credits(grant("a", "g", 5)).await.unwrap();
    set.tells(&["a [1]"]).await;
    set.ask(remove(&["a"]));
    set.tells(&["a REMOVED"]).await;
    client.spend_credits(spend("a", "s", 1)).await.unwrap();
    client.spend_credits(spend("b", "s", 1)).await.unwrap();
    set.tells(&["b [2]"]).await;
    // Again: a new target, from where it says.
    let from = v1::WatchTarget { after_version: Some(1), ..target("a") };
    set.ask(request(Command::Add(v1::WatchTargets { targets: vec![from] })));
    set.tells(&["a ADDED", "a [2]", "a CURRENT"]).await;
    // Whether it is there or not, what is removed is answered.
    set.ask(remove(&["never", "a"]));
    set.tells(&["never REMOVED", "a REMOVED"]).await;
    set.ask(add(&["a"]));
    set.tells(&["a ADDED", "a INITIAL v2 4", "a CURRENT"]).await;
    assert!(set.bookmark().await.in_sync);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_may_begin_and_become_empty_and_lives_on_bookmarks() {
    let served = served().await;
    let mut client = served.client();
    let first = v1::WatchCreditsRequest {
        bookmark_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..open(&[])
    };
    let mut set = Set::try_open(&mut client, request(Command::Open(first))).await.unwrap();
    let empty = set.bookmark().await;
    assert!(empty.in_sync);
    set.ask(add(&["a"]));
    set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    assert!(set.bookmark().await.resume_token.len() > empty.resume_token.len());
    set.ask(remove(&["a"]));
    set.tells(&["a REMOVED"]).await;
    let again = set.bookmark().await;
    assert!(again.in_sync);
    assert_eq!(again.resume_token, empty.resume_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_target_costs_the_others_nothing() {
    let declared = BTreeSet::from([Unit::try_new("").unwrap()]);
    let served = served_with(ServerConfig { units: UnitPolicy::Declared(declared), ..config() }).await;
    let mut client = served.client();
    let gems = |account| v1::WatchTarget { unit: "gems".to_owned(), ..target(account) };
    let first = v1::WatchCreditsRequest { targets: vec![gems("a"), target("a")], ..open(&[]) };
    let mut set = Set::try_open(&mut client, request(Command::Open(first))).await.unwrap();
    set.tells(&["a REMOVED UNKNOWN_UNIT", "a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    let mixed = v1::WatchTargets { targets: vec![target("a"), gems("b"), target("b")] };
    set.ask(request(Command::Add(mixed)));
    set.tells(&["b REMOVED UNKNOWN_UNIT", "a REMOVED ALREADY_WATCHED", "b ADDED"]).await;
    set.tells(&["b INITIAL v0 0", "b CURRENT"]).await;
    // The one that was there goes on.
    client.grant_credits(grant("a", "g", 5)).await.unwrap();
    set.tells(&["a [1]"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_only_refused_targets_stays_open() {
    let served = crate::credentials::served().await;
    let mut client = served.client();
    let (ask, asks) = mpsc::unbounded_channel();
    ask.send(request(Command::Open(open(&["user_2"])))).unwrap();
    let told = client.watch_credit_set(with_key(asked(asks), READER)).await.unwrap().into_inner();
    let mut set = Set { ask, told };
    set.tells(&["user_2 REMOVED ACCOUNT_NOT_COVERED"]).await;
    set.ask(add(&["user_1", "user_3"]));
    set.tells(&["user_3 REMOVED ACCOUNT_NOT_COVERED", "user_1 ADDED", "user_1 INITIAL v0 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_needs_the_scope_read() {
    let served = crate::credentials::served().await;
    let mut client = served.client();
    let first = || {
        let (ask, asks) = mpsc::unbounded_channel();
        ask.send(request(Command::Open(open(&[])))).unwrap();
        asked(asks)
    };
    let (denied, missing) = ("PERMISSION_DENIED", "CREDENTIAL_MISSING");
    let refused = client.watch_credit_set(with_key(first(), WRITER)).await;
    assert_refused(refused, Code::PermissionDenied, denied);
    assert_refused(client.watch_credit_set(first()).await, Code::Unauthenticated, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_at_most_a_thousand_targets_and_a_removed_one_makes_room() {
    let served = served().await;
    let mut client = served.client();
    let names: Vec<String> = (0..999).map(|n| format!("user_{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut set = Set::open(&mut client, &names).await;
    for _ in 0..3 * 999 {
        set.told().await;
    }
    set.ask(add(&["a", "b"]));
    set.tells(&["a ADDED"]).await;
    let Event::TargetChange(change) = set.next().await else { panic!("no answer") };
    let error = change.error.unwrap();
    assert_eq!((change.account_id.as_str(), error.code), ("b", Code::ResourceExhausted as i32));
    assert_eq!((error.reason.as_str(), error.metadata["limit"].as_str()), ("TOO_MANY_TARGETS", "1000"));
    set.tells(&["a INITIAL v0 0", "a CURRENT"]).await;
    set.ask(remove(&["user_7"]));
    set.ask(add(&["b"]));
    set.tells(&["user_7 REMOVED", "b ADDED", "b INITIAL v0 0", "b CURRENT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_finished_asking_is_told_on() {
    let served = served().await;
    let mut client = served.client();
    let set = Set::open(&mut client, &[]).await;
    set.ask(add(&["a"]));
    let Set { ask, told } = set;
    drop(ask);
    let (ask, _) = mpsc::unbounded_channel();
    let mut set = Set { ask, told };
    set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    client.grant_credits(grant("a", "g", 5)).await.unwrap();
    set.tells(&["a [1]"]).await;
    assert!(set.bookmark().await.in_sync);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_ends_the_call_and_names_its_field() {
    let served = served().await;
    let mut client = served.client();
    let none = v1::WatchCreditSetRequest::default();
    for first in [none.clone(), add(&["a"]), remove(&["a"])] {
        assert_names(&Set::try_open(&mut client, first).await.err().unwrap(), "command");
    }
    let (ask, asks) = mpsc::unbounded_channel();
    drop(ask);
    assert_names(&client.watch_credit_set(asked(asks)).await.unwrap_err(), "command");
    let bad_version = v1::WatchTarget { after_version: Some(-1), ..target("a") };
    let many: Vec<String> = (0..1001).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (bad, field) in [
        (none, "command"),
        (request(Command::Open(open(&[]))), "command"),
        (add(&[]), "add.targets"),
        (add(&many), "add.targets"),
        (add(&["a", "a b"]), "add.targets[1].account_id"),
        (add(&["b", "c", "b"]), "add.targets[2]"),
        (
            request(Command::Add(v1::WatchTargets { targets: vec![bad_version] })),
            "add.targets[0].after_version",
        ),
        (remove(&[]), "remove.targets"),
        (remove(&[""]), "remove.targets[0].account_id"),
    ] {
        let mut set = Set::open(&mut client, &["a"]).await;
        set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
        set.ask(bad);
        assert_names(&set.end().await, field);
    }
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_and_watches_of_one_caller_share_a_limit_and_a_set_that_is_left_makes_room() {
    let limits = Limits { streams_per_principal: 2, ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    let mut client = served.client();
    let set = Set::open(&mut client, &["a"]).await;
    let _watch = client.watch_credits(open(&["a"])).await.unwrap();
    let full = Set::try_open(&mut client, request(Command::Open(open(&[])))).await.err().unwrap();
    assert_eq!(reason(&full), "TOO_MANY_STREAMS");
    assert_eq!(fact(&full, "limit"), "2");
    drop(set);
    harness::eventually("room for a stream", LIMIT, || {
        let mut client = client.clone();
        async move { Set::try_open(&mut client, request(Command::Open(open(&[])))).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addition_settles_what_is_due() {
    let served = served().await;
    served.grant_that_ended().await;
    let mut set = Set::open(&mut served.client(), &[]).await;
    set.ask(add(&["user_1"]));
    set.tells(&["user_1 ADDED", "user_1 INITIAL v2 0", "user_1 CURRENT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addition_while_the_database_is_away_is_refused_and_can_be_tried_again() {
    let database = harness::database().await;
    let (proxy, url) = Proxy::for_url(database.url()).await;
    let served = served_on(database, &url, config()).await;
    let mut set = Set::open(&mut served.client(), &["a"]).await;
    set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    proxy.refuse();
    proxy.cut();
    set.ask(add(&["b", "c"]));
    set.tells(&["b REMOVED DATABASE_UNAVAILABLE", "c REMOVED DATABASE_UNAVAILABLE"]).await;
    proxy.admit();
    loop {
        set.ask(add(&["b"]));
        match set.told().await.as_str() {
            "b ADDED" => break,
            told => assert_eq!(told, "b REMOVED DATABASE_UNAVAILABLE"),
        }
    }
    set.tells(&["b INITIAL v0 0", "b CURRENT"]).await;
    served.client().grant_credits(grant("a", "g", 5)).await.unwrap();
    set.tells(&["a [1]"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_told_to_go_gets_a_token_of_the_targets_that_it_has_then() {
    let limits = Limits { stream_age: Duration::from_secs(1), ..Limits::default() };
    let served = served_with(ServerConfig { limits, ..config() }).await;
    let mut client = served.client();
    for account in ["a", "b"] {
        client.grant_credits(grant(account, "g", 10)).await.unwrap();
    }
    let mut set = Set::open(&mut client, &["a"]).await;
    set.tells(&["a ADDED", "a INITIAL v1 10", "a CURRENT"]).await;
    set.ask(add(&["b"]));
    set.tells(&["b ADDED", "b INITIAL v1 10", "b CURRENT"]).await;
    set.ask(remove(&["a"]));
    set.tells(&["a REMOVED"]).await;
    let away = loop {
        if let Event::GoAway(away) = set.next().await {
            break away;
        }
    };
    assert!(set.told.message().await.unwrap().is_none(), "the end of an old stream is OK");
    client.spend_credits(spend("b", "s", 4)).await.unwrap();
    let again = v1::WatchCreditsRequest { resume_token: away.resume_token, ..open(&["b", "a"]) };
    let mut set = Set::try_open(&mut client, request(Command::Open(again))).await.unwrap();
    let mut told = Vec::new();
    while told.iter().filter(|told: &&String| told.ends_with("CURRENT")).count() < 2 {
        told.push(set.told().await);
    }
    told.sort_unstable();
    assert_eq!(told, ["a ADDED", "a CURRENT", "a INITIAL v1 10", "b ADDED", "b CURRENT", "b [2]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_a_process_that_ends_is_told_to_go_before() {
    let served = served().await;
    let mut set = Set::open(&mut served.client(), &["a"]).await;
    set.bookmark().await;
    served.shutdown.cancel();
    while set.told().await != "go away" {}
    assert_eq!(reason(&set.end().await), "SHUTTING_DOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_a_fast_reader_is_answered_in_order_under_load() {
    const TURNS: usize = 300;
    let served = served().await;
    let mut client = served.client();
    let mut set = Set::open(&mut client, &["steady"]).await;
    set.tells(&["steady ADDED", "steady INITIAL v0 0", "steady CURRENT"]).await;
    for _ in 0..TURNS {
        set.ask(add(&["a"]));
        set.ask(remove(&["a"]));
    }
    let writing = tokio::spawn(async move {
        for turn in 0..100 {
            for account in ["a", "steady"] {
                client.grant_credits(grant(account, &turn.to_string(), 1)).await.unwrap();
            }
        }
    });
    let (mut steady, mut removed, mut is_there) = (Vec::new(), 0, false);
    while removed < TURNS || steady.len() < 100 {
        match set.next().await {
            Event::TargetChange(change) => {
                let (was_there, state) = (is_there, change.state());
                is_there = state != Removed;
                assert!(was_there == (state != Added), "{change:?}");
                assert!(change.error.is_none() && matches!(state, Added | Current | Removed), "{change:?}");
                removed += usize::from(state == Removed);
            }
            Event::Changes(changes) if changes.account_id == "steady" => {
                steady.extend(changes.entries.iter().map(|entry| entry.version));
            }
            Event::Snapshot(_) | Event::Changes(_) => assert!(is_there, "nothing of a removed target"),
            Event::Bookmark(_) => {}
            Event::GoAway(away) => panic!("{away:?}"),
        }
    }
    writing.await.unwrap();
    assert_eq!(steady, (1..=100).collect::<Vec<i64>>());
}

/// Each command is answered with 1000 messages. What the reader does not take is not asked for, either: commands wait in
/// HTTP/2 on its own side.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_no_answers_is_not_heard_any_further() {
    const COMMANDS: usize = 5000;
    let served = served().await;
    let names: Vec<String> = (0..1000).map(|n| format!("user_{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let removal = remove(&names);
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let first = request(Command::Open(open(&[])));
    let asks = futures::stream::iter((0..=COMMANDS).map(move |turn| {
        counter.store(turn, Ordering::Relaxed);
        if turn == 0 { first.clone() } else { removal.clone() }
    }));
    let stuck = served.client().watch_credit_set(asks).await.unwrap().into_inner();
    let (mut last, mut looks) = (0, 0);
    harness::eventually("the commands stop", LIMIT, || {
        let now = taken.load(Ordering::Relaxed);
        looks = if now > 1 && now == last { looks + 1 } else { 0 };
        last = now;
        let stands_still = looks > 50;
        async move { stands_still }
    })
    .await;
    assert!(taken.load(Ordering::Relaxed) < COMMANDS / 2, "{taken:?}");
    // Others are served, over the same connection.
    let mut other = served.client();
    let mut set = Set::open(&mut other, &["a"]).await;
    set.tells(&["a ADDED", "a INITIAL v0 0", "a CURRENT"]).await;
    drop(stuck);
}
