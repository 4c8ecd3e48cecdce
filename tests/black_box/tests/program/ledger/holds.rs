//! Credits that are reserved, used and given back.

use black_box::start;
use serde_json::Value;

use super::{assert_refused, call, figures, json, program};
use crate::{assert_healthy, next_event};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_captured_in_parts_extended_and_released() {
    let (_database, mut program, addr) = program().await;
    json(&addr, &["grant", "user_1", "100"]).await;
    let hold = ["hold", "user_1", "60", "--ttl", "10m", "--reference", "job_17", "--idempotency-key", "h1"];
    let held = json(&addr, &hold).await;
    assert_eq!(figures(&held), [40, 60, 0, 0]);
    let id = held["hold"]["hold_id"].as_str().unwrap();
    assert_eq!(json(&addr, &hold).await["replayed"], true);

    let captured = json(&addr, &["capture", "user_1", id, "20"]).await;
    assert_eq!((&captured["captured"], figures(&captured)), (&20.into(), [40, 40, 0, 0]));
    let extended = json(&addr, &["extend", "user_1", id, "--ttl", "1h"]).await;
    assert!(extended["hold"]["expires_at"].as_str() > held["hold"]["expires_at"].as_str(), "{extended}");
    assert_refused(&addr, &["capture", "user_1", id, "50"], "HOLD_EXCEEDED", "--allow-overage").await;
    let last = json(&addr, &["capture", "user_1", id, "50", "--allow-overage", "--final"]).await;
    assert_eq!(
        (&last["captured"], &last["overage"], figures(&last)),
        (&50.into(), &10.into(), [30, 0, 0, 0])
    );
    assert_refused(&addr, &["release", "user_1", id], "HOLD_CLOSED", "history --hold").await;

    let second = json(&addr, &["hold", "user_1", "30", "--ttl", "1m"]).await;
    let open = call(&addr, &["holds", "user_1"]).await;
    let id = second["hold"]["hold_id"].as_str().unwrap();
    assert_eq!(open.stdout.len(), 2, "{open:?}");
    assert!(open.stdout[1].starts_with(id) && open.stdout[1].contains("open"), "{open:?}");
    let released = json(&addr, &["release", "user_1", id]).await;
    assert_eq!((&released["released"], figures(&released)), (&30.into(), [30, 0, 0, 0]));
    let all = call(&addr, &["holds", "user_1", "--all", "--json"]).await;
    let states: Vec<Value> = all.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<&str> = states.iter().map(|hold| hold["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["HOLD_STATE_RELEASED", "HOLD_STATE_CAPTURED"]);
    let history = call(&addr, &["history", "user_1", "--hold", id]).await;
    assert_eq!(history.stdout.len(), 3, "{history:?}");
    assert!(history.stdout[1].contains("  release ") && history.stdout[2].contains("  hold "), "{history:?}");

    assert_refused(&addr, &["hold", "user_1", "31", "--ttl", "1m"], "INSUFFICIENT_CREDITS", "grant").await;
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeper_ends_a_hold_that_nobody_asks_about() {
    let (_database, mut program, addr) = program().await;
    json(&addr, &["grant", "user_1", "10"]).await;
    json(&addr, &["hold", "user_1", "4", "--ttl", "1s"]).await;
    // A watch does not settle anything: this comes from the sweeper alone.
    let mut watch = start(&["watch", "user_1", "--after-version", "2", "--json", "--addr", &addr]).await;
    let event = next_event(&mut watch).await;
    let entry = &event["changes"]["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["available"]),
        (&"ENTRY_KIND_HOLD_EXPIRY".into(), &10.into()),
        "{event}"
    );
    let metrics = black_box::http::get(program.ready.ops(), "/metrics").await;
    assert!(metrics.body.contains("tallystick_swept_balances_total 1\n"), "{}", metrics.body);
    assert_healthy(&mut program).await;
}
