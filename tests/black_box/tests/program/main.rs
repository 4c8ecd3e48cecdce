//! The program from outside: real processes, real sockets, a real PostgreSQL, and faults in the middle of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share panic too")]

mod bad_input;
mod bench;
mod checkout;
mod commands;
mod crash;
mod credentials;
mod data_dir;
mod day;
mod hammer;
mod ledger;
mod lifecycle;
mod replicas;
mod rolling;
mod telemetry;
mod webhook;

use std::time::Duration;

use black_box::{Process, Program};
use serde_json::Value;

/// Far more than anything takes; a test that waits this long has found a defect.
const LIMIT: Duration = Duration::from_secs(30);

/// The next message of a `watch --json` that is no bookmark.
async fn next_event(watch: &mut Process) -> Value {
    loop {
        let message: Value = serde_json::from_str(&watch.line(LIMIT).await).unwrap();
        if message.get("bookmark").is_none() {
            return message;
        }
    }
}

/// The program runs, becomes ready, and has not panicked on the way. After a crash of the database a watcher may have
/// everything, out of the journal, before the relay's next try to reach the outbox.
async fn assert_healthy(program: &mut Program) {
    assert!(program.process.is_alive());
    for path in ["/healthz", "/readyz"] {
        harness::eventually(path, LIMIT, async || {
            black_box::http::get(program.ready.ops(), path).await.status == 200
        })
        .await;
    }
    let log = program.process.stderr();
    assert!(!log.contains("panicked"), "{log}");
}
