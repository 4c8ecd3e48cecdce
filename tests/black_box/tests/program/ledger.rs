//! The commands of the whole ledger, against a running program: each does its work, shows it to programs with the
//! field names of the proto files, and says what to do when it is refused.

mod accounts;
mod corrections;
mod holds;
mod proofs;

use black_box::{Finished, Options, Program, run};
use serde_json::Value;

/// A program on a database of its own, and its address.
async fn program() -> (harness::TestDatabase, Program, String) {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let addr = program.ready.grpc().to_owned();
    (database, program, addr)
}

/// Runs a client command.
async fn call(addr: &str, arguments: &[&str]) -> Finished {
    run(&[arguments, &["--addr", addr]].concat()).await
}

/// The same for a program.
async fn json(addr: &str, arguments: &[&str]) -> Value {
    call(addr, &[arguments, &["--json"]].concat()).await.json()
}

/// A command that is refused with this reason, and says this.
async fn assert_refused(addr: &str, arguments: &[&str], reason: &str, hint: &str) {
    let refused = call(addr, arguments).await;
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains(&format!("error: {reason}: ")), "{refused:?}");
    assert!(refused.stderr.contains(hint), "{refused:?}");
}

/// `available`, `held`, `scheduled` and `debt` of an answer's balance.
fn figures(answer: &Value) -> [i64; 4] {
    let balance = &answer["balance"];
    ["available", "held", "scheduled", "debt"]
        .map(|name| balance[name].as_i64().unwrap_or_else(|| panic!("no {name}: {answer}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_new_command_has_help_with_examples() {
    for command in [
        "hold", "capture", "extend", "release", "holds", "reverse", "revoke", "adjust", "explain", "quote",
        "export", "verify", "account",
    ] {
        let help = run(&[command, "--help"]).await;
        assert_eq!(help.code(), 0, "{help:?}");
        let text = help.stdout.join("\n");
        assert!(text.contains("Examples:") && text.contains(&format!("  tallystick {command} ")), "{text}");
    }
}
