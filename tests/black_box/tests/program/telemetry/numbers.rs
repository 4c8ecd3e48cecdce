//! `/metrics` after some traffic: series that a dashboard needs, with the right counts, in a format that a scraper reads.

use std::collections::BTreeMap;

use black_box::webhook::{self, DEV_SECRET, now_s, paid_checkout, signed};
use black_box::{Options, Program, Watcher, api, http};
use tonic::Code;

use crate::LIMIT;

/// Series by name and labels, as they are written.
async fn scrape(program: &Program) -> BTreeMap<String, f64> {
    let reply = http::get(program.ready.ops(), "/metrics").await;
    assert_eq!(reply.status, 200);
    parse(&reply.body)
}

/// OpenMetrics text as far as we use it: every sample belongs to a family that was declared with type and help before.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut series = BTreeMap::new();
    let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end:\n{text}"));
    for line in body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(families.insert(name, kind).is_none(), "declared twice: {line}");
        } else if !line.starts_with("# HELP ") && !line.starts_with("# UNIT ") {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let bare = name.split('{').next().unwrap_or(name);
            let is_of = |family: &&str| {
                let suffix = bare.strip_prefix(*family);
                suffix
                    .is_some_and(|rest| ["", "_total", "_bucket", "_count", "_sum", "_info"].contains(&rest))
            };
            assert!(families.keys().any(is_of), "not declared: {line}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    series
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_say_what_happened() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let watcher = Watcher::start(program.ready.grpc(), None, &["user_1".to_owned()]);
    watcher.in_sync(LIMIT).await;
    let event = paid_checkout("evt_1", "cs_1", "user_1");
    let edge = program.ready.edge();
    assert_eq!(webhook::deliver(edge, DEV_SECRET, &event).await.status, 200);
    assert_eq!(webhook::deliver(edge, DEV_SECRET, &event).await.status, 200);
    assert_eq!(webhook::deliver(edge, "whsec_other", &event).await.status, 400);
    let other = br#"{"id":"evt_2","type":"invoice.created","data":{"object":{}}}"#;
    assert_eq!(
        http::post(edge, webhook::PATH, &[signed(DEV_SECRET, now_s(), other)], other).await.status,
        200
    );
    let api = api::Api::at(program.ready.grpc());
    for number in 0..3 {
        api.spend(api::spend("user_1", &format!("key_{number}"), 100)).await.unwrap();
    }
    let refused = api.spend(api::spend("user_1", "key_9", 1_000_000)).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    watcher.reaches("user_1", 4, LIMIT).await;

    let series = scrape(&program).await;
    let value = |name: &str| *series.get(name).unwrap_or_else(|| panic!("{name} is not in {series:#?}"));
    for (name, expected) in [
        (r#"tallystick_webhooks_total{outcome="committed"}"#, 3.0),
        (r#"tallystick_webhooks_total{outcome="invalid"}"#, 1.0),
        (r#"tallystick_webhooks_total{outcome="overloaded"}"#, 0.0),
        (r#"tallystick_webhook_duration_seconds_count{outcome="committed"}"#, 3.0),
        (r#"tallystick_stripe_events_total{state="applied"}"#, 1.0),
        (r#"tallystick_stripe_events_total{state="duplicate"}"#, 1.0),
        (r#"tallystick_stripe_events_total{state="ignored"}"#, 1.0),
        (r#"tallystick_stripe_events_total{state="parked"}"#, 0.0),
        (r#"tallystick_rpc_requests_total{rpc="ApplyStripeEvent",code="OK"}"#, 3.0),
        (r#"tallystick_rpc_requests_total{rpc="SpendCredits",code="OK"}"#, 3.0),
        (r#"tallystick_rpc_requests_total{rpc="SpendCredits",code="FAILED_PRECONDITION"}"#, 1.0),
        (r#"tallystick_rpc_duration_seconds_count{rpc="SpendCredits"}"#, 4.0),
        ("tallystick_rpc_in_flight", 1.0),
        // Two deliveries and four spends, one after the other; the ignored event needs no batch.
        ("tallystick_batch_requests_count", 6.0),
        ("tallystick_batch_requests_sum", 6.0),
        ("tallystick_queue_wait_seconds_count", 6.0),
        (r#"tallystick_apply_phase_duration_seconds_count{phase="commit"}"#, 6.0),
        (r#"tallystick_apply_phase_duration_seconds_count{phase="lock"}"#, 6.0),
        ("tallystick_commits_total", 6.0),
        ("tallystick_batch_retries_total", 0.0),
        ("tallystick_detours_total", 0.0),
        ("tallystick_lane_queue_depth", 0.0),
        ("tallystick_detour_queue_depth", 0.0),
        ("tallystick_watch_streams", 1.0),
        ("tallystick_watched_balances", 1.0),
        ("tallystick_watch_entries_total", 4.0),
        ("tallystick_watch_slow_readers_total", 0.0),
        ("tallystick_relay_rows_total", 4.0),
        ("tallystick_relay_connections_total", 1.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    // One poll may take up several changes, which then share a message.
    assert!((1.0..=4.0).contains(&value(r#"tallystick_watch_messages_total{type="changes"}"#)));
    let write = |state| value(&format!(r#"tallystick_database_connections{{pool="write",state="{state}"}}"#));
    assert!(write("used") + write("idle") >= 1.0);
    assert!(value("tallystick_relay_poll_duration_seconds_count") > 4.0);
    assert!((0.0..5.0).contains(&value("tallystick_relay_source_lag_seconds")));
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(!series.keys().any(|name| name.contains("user_1")), "an account is no label");
    assert!(program.stop().await.success());
}
