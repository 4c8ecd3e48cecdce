//! The commands that read history and send batches, against a running program.

use black_box::{Options, Program, run};
use serde_json::Value;

use crate::assert_healthy;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_from_a_file_is_applied_in_order_and_can_be_sent_again() {
    let database = harness::database().await;
    let mut program = Program::start(&Options::dev_on(&database)).await;
    let addr = program.ready.grpc().to_string();
    let lines: String = (0..300)
        .map(|n| {
            let grant = format!(r#"{{"grant":{{"account_id":"user_1","idempotency_key":"g{n}","amount":5}}}}"#);
            let spend = format!(
                r#"{{"spend":{{"account_id":"user_1","idempotency_key":"s{n}","amount":5,"reference":"job_{n}"}}}}"#
            );
            format!("{grant}\n{spend}\n")
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &lines).unwrap();
    let path = file.path().to_str().unwrap();

    let sent = run(&["batch", path, "--size", "100", "--addr", &addr]).await;
    assert_eq!(sent.stdout, ["600 commands: 600 done, 0 done before, 0 not done"], "{sent:?}");
    let again = run(&["batch", path, "--addr", &addr, "--json"]).await;
    assert_eq!((again.code(), again.stdout.len()), (0, 600));
    let last: Value = serde_json::from_str(&again.stdout[599]).unwrap();
    assert_eq!((&last["line"], &last["result"]["spend"]["replayed"]), (&600.into(), &true.into()));
    assert_eq!(last["result"]["spend"]["balance"]["version"], 600);

    let history = run(&["history", "user_1", "--all", "--addr", &addr, "--json"]).await;
    let versions: Vec<i64> = history
        .stdout
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["version"].as_i64().unwrap())
        .collect();
    assert_eq!(versions, (1..=600).rev().collect::<Vec<i64>>());
    let job = run(&["history", "user_1", "--reference", "job_7", "--addr", &addr, "--json"]).await.json();
    assert_eq!((&job["kind"], &job["version"]), (&"ENTRY_KIND_SPEND".into(), &16.into()));
    let open = run(&["grants", "user_1", "--addr", &addr, "--json"]).await;
    let closed = run(&["grants", "user_1", "--closed", "--addr", &addr, "--json"]).await;
    assert_eq!((open.stdout.len(), closed.stdout.len()), (0, 300));
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_fault_is_refused_with_its_line_before_anything_is_sent() {
    let database = harness::database().await;
    let mut program = Program::start(&Options::dev_on(&database)).await;
    let addr = program.ready.grpc().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let good = r#"{"grant":{"account_id":"user_1","idempotency_key":"g","amount":5}}"#;
    std::fs::write(file.path(), format!("{good}\n{{\"grant\":7}}\n")).unwrap();
    let refused = run(&["batch", file.path().to_str().unwrap(), "--addr", &addr]).await;
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("line 2 is no command"), "{refused:?}");
    let balance = run(&["balance", "user_1", "--addr", &addr, "--json"]).await.json();
    assert_eq!(balance["balance"]["version"], 0);
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_without_anything_listening() {
    let wrong = run(&["check-config", "--roles", "credits"]).await;
    assert_eq!(wrong.code(), 2, "{wrong:?}");
    assert!(wrong.stderr.contains("--database-url is required"), "{wrong:?}");
    let edge = ["check-config", "--roles", "edge", "--credits-addr", "credits:7070"];
    let right = run(&[&edge[..], &["--stripe-webhook-secrets", "whsec_hidden"]].concat()).await;
    assert_eq!(right.code(), 0, "{right:?}");
    assert!(!format!("{right:?}").contains("whsec_hidden"));
}
