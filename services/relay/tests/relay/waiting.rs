//! Waiting for a version.

use std::time::Duration;

use relay::WaitError;
use tokio::time::Instant;

use crate::ledger::{LIMIT, Ledger, account, unit};

#[tokio::test]
async fn a_version_that_is_there_is_answered_at_once_and_a_later_one_when_it_comes() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    writer.append("a", 2, 1).await;
    let (a, unit) = (account("a"), unit());
    let there = ledger.relay.wait_for_version(&a, &unit, 2, Instant::now() + LIMIT).await.unwrap();
    assert_eq!(there.version, 2);
    let relay = ledger.relay.clone();
    let waiting = tokio::spawn(async move {
        relay.wait_for_version(&account("a"), &crate::ledger::unit(), 5, Instant::now() + LIMIT).await
    });
    harness::eventually("somebody waits", LIMIT, async || ledger.relay.health().watches == 1).await;
    for _ in 0..4 {
        writer.append("a", 1, 1).await;
    }
    assert!(waiting.await.unwrap().unwrap().version >= 5);
    assert_eq!(ledger.relay.health().watches, 0);
}

#[tokio::test]
async fn a_version_that_does_not_come_says_where_the_balance_is() {
    let ledger = Ledger::new().await;
    ledger.writer().await.append("a", 2, 1).await;
    // The first read opens connections, which may take longer than the deadline below.
    ledger.relay.wait_for_version(&account("a"), &unit(), 2, Instant::now() + LIMIT).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let late = ledger.relay.wait_for_version(&account("a"), &unit(), 3, deadline).await.unwrap_err();
    assert!(matches!(late, WaitError::NotReached { reached: Some(2) }), "{late:?}");
}
