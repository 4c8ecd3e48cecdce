//! What operators do with accounts.

use black_box::run;

use super::{assert_refused, call, json, program};
use crate::assert_healthy;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_frozen_opened_given_thresholds_erased_and_moved_in_time() {
    let (_database, mut program, addr) = program().await;
    let unknown = ["account", "show", "user_1"];
    assert_refused(&addr, &unknown, "ACCOUNT_NOT_FOUND", "first write").await;
    json(&addr, &["grant", "user_1", "100", "--expires-in", "30d", "--metadata", "name=Ada"]).await;

    call(&addr, &["account", "freeze", "user_1", "--reason", "review 17"]).await;
    assert_refused(&addr, &["spend", "user_1", "1"], "ACCOUNT_FROZEN", "account unfreeze").await;
    let shown = call(&addr, &unknown).await;
    assert!(shown.stdout.join("\n").contains("frozen"), "{shown:?}");
    call(&addr, &["account", "unfreeze", "user_1", "--reason", "passed"]).await;

    let low = ["account", "thresholds", "user_1", "low:100:120", "--reason", "ticket 44"];
    let account = json(&addr, &low).await;
    assert_eq!(account["thresholds"][0]["rearm_at"], 120, "{account}");
    let crossed = json(&addr, &["spend", "user_1", "1"]).await;
    assert_eq!(crossed["entry"]["crossed"][0]["direction"], "CROSSING_DIRECTION_BELOW", "{crossed}");
    let history = call(&addr, &["history", "user_1", "--kind", "spend"]).await;
    assert!(history.stdout[1].contains("low below 100"), "{history:?}");

    let erased = json(&addr, &["account", "erase", "user_1", "--reason", "asked to"]).await;
    assert_eq!(erased["erased_entries"], 1, "{erased}");
    let moved = json(&addr, &["account", "clock", "user_1", "2099-01-01T00:00:00Z"]).await;
    assert_eq!(moved["settled_operations"], 1, "{moved}");
    assert_eq!(json(&addr, &["balance", "user_1"]).await["balance"]["available"], 0);
    call(&addr, &["account", "close", "user_1", "--reason", "has left"]).await;
    assert_refused(&addr, &["grant", "user_1", "1"], "ACCOUNT_CLOSED", "account unfreeze").await;

    for words in [&["account", "freeze", "user_1"][..], &["account", "thresholds", "user_1", "low"]] {
        assert_eq!(run(words).await.code(), 2, "{words:?}");
    }
    assert_healthy(&mut program).await;
}
