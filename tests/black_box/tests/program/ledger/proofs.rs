//! Exports and verifications: what adds up is said to, and what does not is named.

use black_box::{run, run_with};

use super::{call, json, program};
use crate::assert_healthy;

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_journal_is_checked_offline_and_a_changed_one_is_found_out() {
    let (database, mut program, addr) = program().await;
    json(&addr, &["grant", "user_1", "100"]).await;
    json(&addr, &["hold", "user_1", "40", "--ttl", "1h"]).await;
    json(&addr, &["spend", "user_1", "30", "--reference", "job_17"]).await;
    json(&addr, &["grant", "user_1", "7", "--unit", "minutes"]).await;
    json(&addr, &["grant", "user_10", "5"]).await;

    let exported = call(&addr, &["export", "user_1"]).await;
    assert_eq!((exported.code(), exported.stdout.len()), (0, 4), "{exported:?}");
    let whole = exported.stdout.join("\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(file.path(), &whole).unwrap();
    // A variable that names a database does not get in the way of a file.
    let sound = run_with(&["verify", "--file", path], &[("TALLYSTICK_DATABASE_URL", database.url())]).await;
    assert_eq!(sound.code(), 0, "{sound:?}");
    assert!(sound.stdout[0].contains("entries 4, balances 2"), "{sound:?}");

    let without = |line: usize| {
        let lines = exported.stdout.iter().enumerate().filter(|(index, _)| *index != line);
        lines.map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    };
    let id = exported.stdout[2].split("\"entry_id\":\"").nth(1).unwrap().split('"').next().unwrap();
    for (text, expected) in [
        (whole.replace("job_17", "job_18"), "user_1 credits, version 3: entry_hash"),
        (without(1), "user_1 credits, version 3: version is 3, should be 2"),
        (whole.replace(id, "credits/3/0000000000000000"), "user_1 credits, version 3: what no hash covers"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let differs = run(&["verify", "--file", path]).await;
        assert_eq!(differs.code(), 1, "{differs:?}");
        assert!(differs.stderr.contains(expected), "{differs:?}");
    }
    std::fs::write(file.path(), "{}").unwrap();
    assert_eq!(run(&["verify", "--file", path]).await.code(), 2);

    let sound = run(&["verify", "--database-url", database.url()]).await;
    assert!(sound.code() == 0 && sound.stdout[0].contains("entries 5, balances 3"), "{sound:?}");
    let neither = run(&["verify"]).await;
    assert!(neither.code() == 2 && neither.stderr.contains("--database-url"), "{neither:?}");
    assert_healthy(&mut program).await;
}
