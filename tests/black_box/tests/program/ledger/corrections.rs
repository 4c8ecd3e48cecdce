//! Spends and grants taken back, corrections by hand, and what explains a balance.

use super::{assert_refused, call, figures, json, program};
use crate::assert_healthy;

#[tokio::test(flavor = "multi_thread")]
async fn spends_are_reversed_grants_revoked_and_balances_adjusted_and_explained() {
    let (_database, mut program, addr) = program().await;
    let grant = json(&addr, &["grant", "user_1", "100", "--kind", "purchase"]).await;
    let then = grant["entry"]["recorded_at"].as_str().unwrap().to_owned();
    let lot = grant["grant"]["grant_id"].as_str().unwrap();
    let spend = json(&addr, &["spend", "user_1", "30"]).await;
    let entry = spend["entry"]["entry_id"].as_str().unwrap();

    let reversed = json(&addr, &["reverse", "user_1", entry, "10"]).await;
    assert_eq!((&reversed["reversed"], figures(&reversed)), (&10.into(), [80, 0, 0, 0]));
    let over = ["reverse", "user_1", entry, "21"];
    assert_refused(&addr, &over, "REVERSAL_EXCEEDED", "leave the amount out").await;

    let revoked = json(&addr, &["revoke", "user_1", lot, "90", "--shortfall", "forgiven"]).await;
    assert_eq!((&revoked["grant"]["revoked"], figures(&revoked)), (&90.into(), [0, 0, 0, 0]), "{revoked}");
    let grants = call(&addr, &["grants", "user_1", "--closed"]).await;
    assert!(grants.stdout[1].contains("90 revoked (80 taken, 10 forgiven)"), "{grants:?}");
    assert_refused(&addr, &["revoke", "user_1", lot, "101"], "REVOCATION_OUT_OF_RANGE", "grants").await;

    let added = json(&addr, &["adjust", "user_1", "50", "--reason", "ticket 42"]).await;
    assert_eq!(figures(&added), [50, 0, 0, 0]);
    let taken = call(&addr, &["adjust", "user_1", "-20", "--reason", "ticket 43"]).await;
    assert!(taken.stdout[0].contains("-20: user_1 has 30 credits"), "{taken:?}");
    let unreasoned = call(&addr, &["adjust", "user_1", "-20"]).await;
    assert!(unreasoned.code() == 2 && unreasoned.stderr.contains("--reason"), "{unreasoned:?}");

    let quote = json(&addr, &["quote", "user_1", "12"]).await;
    assert_eq!((&quote["spent"], figures(&quote)), (&12.into(), [18, 0, 0, 0]));
    let refused = call(&addr, &["quote", "user_1", "31"]).await;
    assert_eq!(refused.code(), 0);
    assert!(refused.stdout[0].starts_with("would be refused: INSUFFICIENT_CREDITS"), "{refused:?}");

    let explained = json(&addr, &["explain", "user_1"]).await;
    let terms = explained["terms"].as_array().unwrap();
    assert_eq!(terms.iter().map(|term| term["amount"].as_i64().unwrap()).sum::<i64>(), 30, "{explained}");
    assert!(call(&addr, &["explain", "user_1"]).await.stdout.last().unwrap().contains("30"));
    let past = json(&addr, &["balance", "user_1", "--at", &then]).await;
    assert_eq!((figures(&past), &past["balance"]["version"]), ([100, 0, 0, 0], &1.into()));
    assert_healthy(&mut program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_every_command() {
    let (_database, mut program, addr) = program().await;
    json(&addr, &["grant", "user_1", "100"]).await;
    let spend = json(&addr, &["spend", "user_1", "10"]).await;
    let hold = json(&addr, &["hold", "user_1", "20", "--ttl", "1m"]).await;
    let lot = spend["entry"]["lines"][0]["grant_id"].as_str().unwrap();
    let (entry, hold) = (&spend["entry"]["entry_id"], &hold["hold"]["hold_id"]);
    let line = |name: &str, key: &str, more: &str| {
        format!("{{\"{name}\":{{\"account_id\":\"user_1\",\"idempotency_key\":\"{key}\",{more}}}}}\n")
    };
    let lines = [
        line("hold", "1", r#""amount":5,"ttl":"60s""#),
        line("capture", "2", &format!(r#""hold_id":{hold},"amount":3"#)),
        line("extend", "3", &format!(r#""hold_id":{hold},"ttl":"600s""#)),
        line("release", "4", &format!(r#""hold_id":{hold}"#)),
        line("reverse", "5", &format!(r#""entry_id":{entry}"#)),
        line("revoke", "6", &format!(r#""grant_id":"{lot}","revoked":1"#)),
        line("adjust", "7", r#""delta":-2,"reason":"ticket 43""#),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.concat()).unwrap();
    let path = file.path().to_str().unwrap();
    let sent = call(&addr, &["batch", path]).await;
    assert_eq!(sent.stdout, ["7 commands: 7 done, 0 done before, 0 not done"], "{sent:?}");
    // 100 - 5 held - 3 captured - 1 revoked - 2 adjusted.
    let balance = json(&addr, &["balance", "user_1"]).await;
    assert_eq!(figures(&balance), [89, 5, 0, 0]);
    assert_healthy(&mut program).await;
}
