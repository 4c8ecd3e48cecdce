//! WatchLedger over sockets: a projection's beginning under load, tokens, rights, limits, and every end of a stream.

use std::collections::BTreeMap;

use credits::{Limits, ServerConfig};
use prost::Message as _;
use proto::v1;
use proto::v1::watch_ledger_response::Event;
use sqlx::AssertSqlSafe;
use tonic::{Code, Status, Streaming};

use crate::bad_input::assert_names;
use crate::credentials::{AUDITOR, OPERATOR, READER, WRITER, assert_refused, with_key};
use crate::served::{Client, LIMIT, Served, config, fact, grant, reason, served, served_on, spend};
use crate::writes::{capture, hold};

type Stream = Streaming<v1::WatchLedgerResponse>;
type Token = bytes::Bytes;

/// A bookmark every second.
fn ledger(token: Token) -> v1::WatchLedgerRequest {
    let bookmark_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    v1::WatchLedgerRequest { resume_token: token, bookmark_interval, ..v1::WatchLedgerRequest::default() }
}

async fn open(client: &mut Client, request: v1::WatchLedgerRequest) -> Stream {
    client.watch_ledger(request).await.unwrap().into_inner()
}

async fn message(stream: &mut Stream) -> Result<Event, Status> {
    let message = tokio::time::timeout(LIMIT, stream.message()).await.expect("a message in time");
    Ok(message?.expect("the stream goes on").event.unwrap())
}

async fn next_token(stream: &mut Stream) -> Token {
    loop {
        if let Event::Bookmark(bookmark) = message(stream).await.unwrap() {
            assert!(bookmark.source_lag.is_some_and(|lag| lag.seconds >= 0));
            return bookmark.resume_token;
        }
    }
}

/// The token of now.
async fn token(client: &mut Client) -> Token {
    match message(&mut open(client, ledger(Token::new())).await).await.unwrap() {
        Event::Bookmark(bookmark) => bookmark.resume_token,
        other => panic!("the first message is no bookmark: {other:?}"),
    }
}

/// Entries until there are so many.
async fn entries(stream: &mut Stream, count: usize) -> Vec<v1::Entry> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let Event::Entries(entries) = message(stream).await.unwrap() {
            assert_whole(&entries.entries);
            seen.extend(entries.entries);
        }
    }
    seen
}

/// The end, which comes before a few bookmarks do.
async fn end(stream: &mut Stream) -> Status {
    let mut bookmarks = 0;
    loop {
        match message(stream).await {
            Err(status) => return status,
            Ok(Event::Bookmark(_)) => bookmarks += 1,
            Ok(_) => {}
        }
        assert!(bookmarks < 10, "the stream goes on");
    }
}

/// Operations come whole.
fn assert_whole(entries: &[v1::Entry]) {
    assert!(!entries.is_empty());
    for operation in entries.chunk_by(|a, b| a.operation_id == b.operation_id) {
        let indexes = operation.iter().map(|entry| entry.operation_index);
        assert!(indexes.eq(0..operation[0].operation_size), "{operation:?}");
    }
}

async fn export(client: &mut Client) -> Vec<v1::Entry> {
    let mut request = v1::ExportEntriesRequest { page_size: 7, ..v1::ExportEntriesRequest::default() };
    let mut seen: Vec<v1::Entry> = Vec::new();
    loop {
        let page = client.export_entries(request.clone()).await.unwrap().into_inner();
        seen.extend(page.entries);
        if page.end_reached {
            return seen;
        }
        let last = seen.last().unwrap();
        request.after_account_id.clone_from(&last.account_id);
        request.after_unit.clone_from(&last.unit);
        request.after_version = last.version;
    }
}

/// A projection: what it has of each balance, and the whole journal that it was told.
#[derive(Default)]
struct Projection {
    journal: BTreeMap<(String, String), Vec<v1::Entry>>,
}

impl Projection {
    /// At least once: what it has is the same again, and what is new is the next version.
    fn take(&mut self, entry: v1::Entry) {
        let versions = self.journal.entry((entry.account_id.clone(), entry.unit.clone())).or_default();
        let at = usize::try_from(entry.version - 1).unwrap();
        match versions.get(at) {
            Some(have) => assert_eq!(*have, entry),
            None => {
                assert_eq!(versions.len(), at, "a gap before {entry:?}");
                versions.push(entry);
            }
        }
    }

    fn all(self) -> Vec<v1::Entry> {
        self.journal.into_values().flatten().collect()
    }
}

/// Writers that run until they are told to stop: 4 accounts, each written by two of them.
fn load(served: &Served) -> (tokio_util::sync::CancellationToken, tokio::task::JoinSet<()>) {
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (mut client, stop) = (served.client(), stop.clone());
        writers.spawn(async move {
            let account = format!("user_{}", writer % 4);
            client.grant_credits(grant(&account, &format!("g{writer}"), 1_000_000)).await.unwrap();
            let mut turn = 0;
            while !stop.is_cancelled() {
                turn += 1;
                let key = format!("{writer}-{turn}");
                if turn % 5 == 0 {
                    // Two entries: what is left of the hold goes back.
                    let held = client.hold_credits(hold(&account, &key, 10)).await.unwrap().into_inner();
                    let hold_id = held.hold.unwrap().hold_id;
                    let used = v1::CaptureHoldRequest {
                        r#final: true,
                        ..capture(&account, &(key + "c"), &hold_id, 4)
                    };
                    client.capture_hold(used).await.unwrap();
                } else {
                    client.spend_credits(spend(&account, &key, 1)).await.unwrap();
                }
            }
        });
    }
    (stop, writers)
}

#[tokio::test(flavor = "multi_thread")]
async fn export_and_resume_under_load_are_the_whole_journal_also_over_many_streams() {
    let served = served().await;
    let mut client = served.client();
    for n in 0..30 {
        client.grant_credits(grant(&format!("old_{n}"), "g", 10)).await.unwrap();
    }
    let (stop, mut writers) = load(&served);
    harness::eventually("writers to be under way", LIMIT, || async { served.count("entries").await > 100 })
        .await;
    let mut at = token(&mut client).await;
    let mut projection = Projection::default();
    for entry in export(&mut client).await {
        projection.take(entry);
    }
    // Streams that end anywhere; each goes on from the last bookmark, and once the connection to the database is cut.
    for round in 0..4 {
        let mut stream = open(&mut client, ledger(at.clone())).await;
        let mut left = 20;
        while left > 0 {
            match message(&mut stream).await.unwrap() {
                Event::Entries(entries) => {
                    assert_whole(&entries.entries);
                    entries.entries.into_iter().for_each(|entry| projection.take(entry));
                    left -= 1;
                }
                Event::Bookmark(bookmark) => at = bookmark.resume_token,
                Event::GoAway(_) => panic!("nobody stops"),
            }
            if round == 2 && left == 10 {
                cut(&served).await;
            }
        }
    }
    stop.cancel();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let journal = export(&mut client).await;
    let mut stream = open(&mut client, ledger(at)).await;
    // A bookmark that was made after the last commit: all is there.
    for _ in 0..3 {
        loop {
            match message(&mut stream).await.unwrap() {
                Event::Entries(entries) => {
                    entries.entries.into_iter().for_each(|entry| projection.take(entry))
                }
                Event::Bookmark(_) => break,
                Event::GoAway(_) => panic!("nobody stops"),
            }
        }
    }
    assert_eq!(projection.all(), journal);
}

/// Ends the connections of ledger streams, as an administrator or a network may.
async fn cut(served: &Served) {
    let sql = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'tallystick ledger'";
    sqlx::raw_sql(sql).execute(served.database.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_the_very_entries_that_writes_answer_each_once_over_a_lost_connection() {
    let served = served().await;
    let mut client = served.client();
    let mut stream = open(&mut client, ledger(Token::new())).await;
    let first = next_token(&mut stream).await;
    let granted = client.grant_credits(grant("a", "g", 10)).await.unwrap().into_inner();
    assert_eq!(entries(&mut stream, 1).await, granted.entries);
    cut(&served).await;
    let spent = client.spend_credits(spend("a", "s", 4)).await.unwrap().into_inner();
    assert_eq!(entries(&mut stream, 1).await, spent.entries);
    let second = next_token(&mut stream).await;
    let again = [granted.entries, spent.entries].concat();
    assert_eq!(entries(&mut open(&mut client, ledger(first)).await, 2).await, again);
    let more = client.spend_credits(spend("a", "s2", 1)).await.unwrap().into_inner();
    assert_eq!(entries(&mut open(&mut client, ledger(second)).await, 1).await, more.entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_shows_its_accounts_alone_and_its_token_is_of_no_other() {
    let served = served().await;
    let mut client = served.client();
    let of_team = |token| v1::WatchLedgerRequest { account_prefix: "team_".to_owned(), ..ledger(token) };
    let mut stream = open(&mut client, of_team(Token::new())).await;
    let team = next_token(&mut stream).await;
    client.grant_credits(grant("user_1", "g", 10)).await.unwrap();
    let granted = client.grant_credits(grant("team_1", "g", 10)).await.unwrap().into_inner();
    assert_eq!(entries(&mut stream, 1).await, granted.entries);
    assert_eq!(entries(&mut open(&mut client, of_team(team.clone())).await, 1).await, granted.entries);
    assert_bad_token(&mut client, team).await;
}

async fn assert_bad_token(client: &mut Client, token: Token) {
    let status = end(&mut open(client, ledger(token)).await).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BAD_RESUME_TOKEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_changed_foreign_or_of_another_stream_is_refused() {
    let (served, another, third) = (served().await, served().await, served().await);
    let mut client = served.client();
    let token = token(&mut client).await;
    let mut changed = token.to_vec();
    changed[30] ^= 1;
    assert_bad_token(&mut client, changed.into()).await;
    assert_bad_token(&mut client, token.slice(..token.len() - 1)).await;
    assert_bad_token(&mut client, Token::from_static(b"x")).await;
    // Databases of tests are clones, keys included.
    assert_compacted(&end(&mut open(&mut another.client(), ledger(token.clone())).await).await);
    let rekey = "update stream_state set token_key = decode(repeat('ab', 32), 'hex')";
    sqlx::raw_sql(rekey).execute(third.database.pool()).await.unwrap();
    assert_bad_token(&mut third.client(), token).await;
    let watched = v1::WatchCreditsRequest {
        targets: vec![v1::WatchTarget { account_id: "a".to_owned(), ..v1::WatchTarget::default() }],
        bookmark_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..v1::WatchCreditsRequest::default()
    };
    let mut stream = client.watch_credits(watched).await.unwrap().into_inner();
    let of_credits = loop {
        let event = stream.message().await.unwrap().unwrap().event;
        if let Some(v1::watch_credits_response::Event::Bookmark(bookmark)) = event {
            break bookmark.resume_token;
        }
    };
    assert_bad_token(&mut client, of_credits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_ends_old_tokens_and_streams_that_are_behind_and_no_others() {
    // A server of its own: transactions of other tests would leave a doubt, and then rows are said to be gone.
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let url = database.url().to_owned();
    let served = served_on(database, &url, config()).await;
    let mut client = served.client();
    let old = token(&mut client).await;
    client.grant_credits(grant("a", "g", 10)).await.unwrap();
    let mut live = open(&mut client, ledger(Token::new())).await;
    let new = next_token(&mut live).await;
    sqlx::raw_sql("truncate outbox").execute(served.database.pool()).await.unwrap();
    assert_compacted(&end(&mut open(&mut client, ledger(old)).await).await);
    let spent = client.spend_credits(spend("a", "s", 4)).await.unwrap().into_inner();
    assert_eq!(entries(&mut live, 1).await, spent.entries);
    assert_eq!(entries(&mut open(&mut client, ledger(new)).await, 1).await, spent.entries);
    // A restore, a failover: what the operator raises when nothing else tells.
    let raise = "update stream_state set epoch = epoch + 1";
    sqlx::raw_sql(raise).execute(served.database.pool()).await.unwrap();
    client.spend_credits(spend("a", "s2", 1)).await.unwrap();
    assert_compacted(&end(&mut live).await);
}

fn assert_compacted(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::OutOfRange, "COMPACTED"));
    assert!(fact(status, "oldest").ends_with('Z'), "{status:?}");
}

/// A reader that takes nothing holds no transaction: slots are emptied under it, and the memory for it is a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_delays_no_truncate_and_is_told_when_it_reads_on() {
    let served = served().await;
    let mut client = served.client();
    let at = token(&mut client).await;
    // 24 MB: more than the page, its messages and all buffers on the way.
    let entry = v1::Entry { reference: "r".repeat(12_000), ..v1::Entry::default() };
    let entry: String = entry.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, event, \
         created_at) select 3, 'a', 'credits', v, 0, 1, decode(repeat('00', 32), 'hex'), decode('{entry}', 'hex'), now() \
         from generate_series(1, 2000) v"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(served.database.pool()).await.unwrap();
    let mut stream = open(&mut client, ledger(at)).await;
    let Event::Entries(first) = message(&mut stream).await.unwrap() else { panic!("no entries") };
    assert!(!first.entries.is_empty());
    let idle = "select count(*) = 1 from pg_stat_activity where datname = current_database()
                and application_name = 'tallystick ledger' and state = 'idle'";
    harness::eventually("the stream to hold still", LIMIT, || async {
        sqlx::query_scalar::<_, bool>(idle).fetch_one(served.database.pool()).await.unwrap()
    })
    .await;
    let mut emptier = served.database.pool().acquire().await.unwrap();
    sqlx::raw_sql("set lock_timeout = '50ms'; truncate outbox_03").execute(&mut *emptier).await.unwrap();
    assert_compacted(&end(&mut stream).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_the_scope_ledger_and_all_accounts_that_it_asks_for() {
    let served = crate::credentials::served().await;
    let mut client = served.client();
    for key in [READER, WRITER] {
        let answer = client.watch_ledger(with_key(ledger(Token::new()), key)).await;
        assert_refused(answer, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    client.watch_ledger(with_key(ledger(Token::new()), OPERATOR)).await.unwrap();
    let of =
        |prefix: &str| v1::WatchLedgerRequest { account_prefix: prefix.to_owned(), ..ledger(Token::new()) };
    for outside in ["", "team", "user_1"] {
        let answer = client.watch_ledger(with_key(of(outside), AUDITOR)).await;
        assert_refused(answer, Code::PermissionDenied, "ACCOUNT_NOT_COVERED");
    }
    client.watch_ledger(with_key(of("team_"), AUDITOR)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named() {
    let served = served().await;
    let mut client = served.client();
    type Fault = (&'static str, fn(&mut v1::WatchLedgerRequest));
    let faults: &[Fault] = &[
        ("account_prefix", |r| r.account_prefix = "a b".to_owned()),
        ("account_prefix", |r| r.account_prefix = "a".repeat(129)),
        ("resume_token", |r| r.resume_token = vec![1; 65_537].into()),
        ("bookmark_interval", |r| r.bookmark_interval = Some(prost_types::Duration { seconds: 0, nanos: 1 })),
        ("bookmark_interval", |r| {
            r.bookmark_interval = Some(prost_types::Duration { seconds: 3601, nanos: 0 })
        }),
    ];
    for (field, spoil) in faults {
        let mut request = ledger(Token::new());
        spoil(&mut request);
        assert_names(&client.watch_ledger(request).await.unwrap_err(), field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_four_places_and_a_closed_stream_makes_room() {
    let served = served().await;
    let mut client = served.client();
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(open(&mut client, ledger(Token::new())).await);
    }
    let full = client.watch_ledger(ledger(Token::new())).await.unwrap_err();
    assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    assert_eq!((fact(&full, "limit").as_str(), fact(&full, "per").as_str()), ("4", "process"));
    streams.pop();
    harness::eventually("room for a stream", LIMIT, || {
        let mut client = client.clone();
        async move { client.watch_ledger(ledger(Token::new())).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_says_go_away_with_a_token_and_an_old_stream_ends_with_ok() {
    let served = served().await;
    let mut client = served.client();
    let mut stream = open(&mut client, ledger(Token::new())).await;
    next_token(&mut stream).await;
    let granted = client.grant_credits(grant("a", "g", 10)).await.unwrap().into_inner();
    assert_eq!(entries(&mut stream, 1).await, granted.entries);
    served.shutdown.cancel();
    let go_away = loop {
        if let Event::GoAway(go_away) = message(&mut stream).await.unwrap() {
            break go_away;
        }
    };
    assert!(go_away.reconnect_after.is_some());
    let status = end(&mut stream).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));

    let limits = Limits { stream_age: std::time::Duration::from_secs(2), ..Limits::default() };
    let url = served.database.url().to_owned();
    let next = served_on(served.database, &url, ServerConfig { limits, ..config() }).await;
    let mut client = next.client();
    let spent = client.spend_credits(spend("a", "s", 4)).await.unwrap().into_inner();
    let mut stream = open(&mut client, ledger(go_away.resume_token)).await;
    assert_eq!(entries(&mut stream, 1).await, spent.entries);
    let old = loop {
        if let Event::GoAway(old) = message(&mut stream).await.unwrap() {
            break old;
        }
    };
    assert!(!old.resume_token.is_empty());
    assert!(stream.message().await.unwrap().is_none());
}
