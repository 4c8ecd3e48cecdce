//! Lines for a machine: what belongs together has one trace id, a changed balance has its figures, and no secret, key or
//! body gets out, however much is logged.

use std::collections::BTreeMap;

use black_box::webhook::{self, paid_checkout};
use black_box::{Options, Program, STOP_LIMIT, Watcher, api};
use serde_json::Value;

use super::collector::Collector;
use crate::LIMIT;
use crate::credentials::Keys;

const SECRETS: &str = "TALLYSTICK_STRIPE_WEBHOOK_SECRETS";
const SECRET: &str = "whsec_mustneverbeseen1";
/// In a Stripe body, where nobody looks for it.
const BODY_MARKER: &str = "marker-in-a-stripe-body";
/// The value of a command's metadata.
const METADATA_MARKER: &str = "marker-in-metadata";

/// The lines of a program that has ended.
async fn log_of(mut program: Program) -> Vec<String> {
    assert!(program.process.terminate(STOP_LIMIT).await.success());
    let text = program.process.all_stderr(LIMIT).await;
    text.lines().map(str::to_owned).collect()
}

fn parsed(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_key_body_or_metadata_gets_out_when_everything_is_logged() {
    let (database, collector) = (harness::database().await, Collector::start().await);
    let keys = Keys::new().await;
    let loud = |options: Options| {
        let options = options.arguments(&["--log", "trace", "--log-format", "json"]).whole_log();
        options.traced_to(&collector.url).variable(SECRETS, SECRET)
    };
    let credits = Program::start(&loud(keys.serve_on(&database))).await;
    let options = Options::edge_for(credits.ready.grpc(), SECRET);
    let edge = Program::start(&loud(options.variable("TALLYSTICK_EDGE_API_KEY", &keys.edge))).await;
    let watcher = Watcher::start(credits.ready.grpc(), Some(&keys.reader), &["user_1".to_owned()]);
    watcher.in_sync(LIMIT).await;

    let mut event = paid_checkout("evt_1", "cs_1", "user_1");
    event["data"]["object"]["metadata"]["note"] = Value::from(BODY_MARKER);
    assert_eq!(webhook::deliver(edge.ready.edge(), SECRET, &event).await.status, 200);
    assert_eq!(webhook::deliver(edge.ready.edge(), "whsec_other", &event).await.status, 400);
    let api = api::Api::at(credits.ready.grpc()).with_key(&keys.all);
    let mut spend = api::spend("user_1", "key_1", 7);
    spend.metadata.insert("note".to_owned(), METADATA_MARKER.to_owned());
    api.spend(spend.clone()).await.unwrap();
    spend.idempotency_key = "key_2".to_owned();
    spend.amount = 1_000_000;
    api.spend(spend).await.unwrap_err();
    watcher.reaches("user_1", 2, LIMIT).await;
    drop(watcher);

    let password = database.url().split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password = password.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    let password =
        password.filter(|password| password.len() >= 8).expect("a password to look for").to_owned();
    let (edge, credits) = (log_of(edge).await, log_of(credits).await);
    assert!(edge.len() > 20 && credits.len() > 100, "{} and {} lines", edge.len(), credits.len());
    let spans: Vec<String> = collector.spans().iter().map(|span| format!("{span:?}")).collect();
    assert!(spans.iter().any(|span| span.contains("deliver")), "{spans:?}");
    let bare = |key: &str| key.rsplit('_').next().unwrap().to_owned();
    let secrets = [
        ("the webhook secret", SECRET.to_owned()),
        ("the edge's key", bare(&keys.edge)),
        ("a caller's key", bare(&keys.all)),
        ("a reader's key", bare(&keys.reader)),
        ("the database's password", password),
        ("a body", BODY_MARKER.to_owned()),
        ("metadata", METADATA_MARKER.to_owned()),
    ];
    // Every place that tells one is named: lists of bytes, too, are bodies.
    let mut leaks: BTreeMap<String, String> = BTreeMap::new();
    for (place, lines) in [("the edge's log", edge), ("the credits role's log", credits), ("a span", spans)] {
        for (what, secret) in &secrets {
            let as_bytes = format!("{:?}", secret.as_bytes());
            let as_bytes = as_bytes.trim_matches(['[', ']']);
            let leak = lines.iter().find(|line| line.contains(secret) || line.contains(as_bytes));
            if let Some(line) = leak {
                leaks.insert(format!("{what} in {place}"), line.chars().take(600).collect());
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_balance_is_told_with_its_figures_and_every_line_of_its_request_has_its_trace() {
    let database = harness::database().await;
    let options = Options::dev_on(&database).whole_log();
    let program = Program::start(&options.arguments(&[
        "--log",
        "info,tallystick::ledger=debug",
        "--log-format",
        "json",
    ]))
    .await;
    let event = paid_checkout("evt_1", "cs_1", "user_1");
    assert_eq!(webhook::deliver(program.ready.edge(), webhook::DEV_SECRET, &event).await.status, 200);
    let api = api::Api::at(program.ready.grpc());
    api.spend(api::spend("user_1", "key_1", 30)).await.unwrap();
    let stored: String = sqlx::query_scalar("select traceparent from entries where version = 1")
        .fetch_one(database.pool())
        .await
        .unwrap();
    let lines = log_of(program).await;
    let hint = lines.iter().filter(|line| !line.starts_with('{')).count();
    assert!(hint < 8, "only dev's hint is no JSON: {lines:#?}");
    let lines: Vec<String> = lines.into_iter().filter(|line| line.starts_with('{')).collect();
    let lines = parsed(&lines);
    let ledger: Vec<&Value> = lines.iter().filter(|line| line["target"] == "tallystick::ledger").collect();
    let [grant, spend] = ledger.as_slice() else { panic!("{ledger:#?}") };
    for (line, version, kind, before, after) in [(grant, 1, "Grant", 0, 1000), (spend, 2, "Spend", 1000, 970)]
    {
        assert_eq!((&line["account"], &line["unit"]), (&"user_1".into(), &"credits".into()), "{line}");
        assert_eq!((&line["version"], &line["kind"]), (&version.into(), &kind.into()), "{line}");
        assert_eq!(
            (&line["available_before"], &line["available"]),
            (&before.into(), &after.into()),
            "{line}"
        );
        for figure in ["held_before", "held", "scheduled_before", "scheduled", "debt_before", "debt"] {
            assert_eq!(line[figure], 0, "{line}");
        }
        assert!(line["operation_id"].as_str().is_some_and(|id| id.starts_with("op_")), "{line}");
        assert_eq!(line["actor"], "anonymous", "{line}");
    }
    let trace_id = &stored[3..35];
    assert_eq!(grant["trace_id"], trace_id);
    for message in ["webhook committed", "Stripe event"] {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("no line `{message}`: {lines:#?}"));
        assert_eq!(line["trace_id"], trace_id, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_not_logged_unless_somebody_asks() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database).whole_log()).await;
    let api = api::Api::at(program.ready.grpc());
    api.grant(api::grant("user_1", "key_1", 30)).await.unwrap();
    let lines = log_of(program).await;
    assert!(!lines.iter().any(|line| line.contains("balance changed")), "{lines:#?}");
}
