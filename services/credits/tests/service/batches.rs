//! ApplyBatch: order within an account, an outcome for each command, and retries that replay.

use std::time::{Duration, Instant};

use proto::v1;
use proto::v1::command::Command as Wish;
use proto::v1::command_result::Result as Outcome;
use tonic::{Code, Request};

use crate::served::{bad_fields, balance_of, grant, reason, served, spend};
use crate::writes::{adjust, capture, extend, hold, release, reverse, revoke};

fn grants(account: &str, key: &str, amount: i64) -> v1::Command {
    v1::Command { command: Some(Wish::Grant(grant(account, key, amount))) }
}

fn spends(account: &str, key: &str, amount: i64) -> v1::Command {
    v1::Command { command: Some(Wish::Spend(spend(account, key, amount))) }
}

pub(crate) fn commands(commands: Vec<v1::Command>) -> v1::ApplyBatchRequest {
    v1::ApplyBatchRequest { commands }
}

pub(crate) fn outcome(result: &v1::CommandResult) -> String {
    let (name, replayed, balance) = match result.result.as_ref().unwrap() {
        Outcome::Grant(done) => ("grant", done.replayed, &done.balance),
        Outcome::Spend(done) => ("spend", done.replayed, &done.balance),
        Outcome::Hold(done) => ("hold", done.replayed, &done.balance),
        Outcome::Capture(done) => ("capture", done.replayed, &done.balance),
        Outcome::Extend(done) => ("extend", done.replayed, &done.balance),
        Outcome::Release(done) => ("release", done.replayed, &done.balance),
        Outcome::Reverse(done) => ("reverse", done.replayed, &done.balance),
        Outcome::Revoke(done) => ("revoke", done.replayed, &done.balance),
        Outcome::Adjust(done) => ("adjust", done.replayed, &done.balance),
        Outcome::Error(error) => return error.reason.clone(),
    };
    format!("{name} {replayed} v{}", balance.as_ref().unwrap().version)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_its_outcome_at_its_index_and_a_refusal_stops_no_other() {
    let served = served().await;
    let mut client = served.client();
    let request = commands(vec![
        spends("a", "s0", 1),
        grants("a", "g", 10),
        grants("b", "g", 5),
        spends("a", "s1", 7),
        spends("a", "", 1),
        v1::Command { command: None },
        spends("a", "s2", 7),
        spends("a", "s3", 3),
        grants("a", "g", 11),
        grants("a", "g", 10),
        spends("b", "s", 5),
    ]);
    let results = client.apply_batch(request.clone()).await.unwrap().into_inner().results;
    let told: Vec<String> = results.iter().map(outcome).collect();
    let (none, bad) = ("INSUFFICIENT_CREDITS", "INVALID_FIELD");
    let expected = [
        none,
        "grant false v1",
        "grant false v1",
        "spend false v2",
        bad,
        bad,
        none,
        "spend false v3",
        "IDEMPOTENCY_KEY_REUSED",
        "grant true v1",
        "spend false v2",
    ];
    assert_eq!(told, expected);
    let Some(Outcome::Error(error)) = &results[4].result else { panic!("{:?}", results[4]) };
    assert_eq!((error.code, error.metadata["field"].as_str()), (3, "idempotency_key"));
    let Some(Outcome::Error(error)) = &results[6].result else { panic!("{:?}", results[6]) };
    assert_eq!((error.metadata["available"].as_str(), &error.retry_after), ("3", &None));

    let again = client.apply_batch(request).await.unwrap().into_inner().results;
    let told: Vec<String> = again.iter().map(outcome).collect();
    // Refusals are not stored; all credits are gone by now.
    let expected = expected.map(|outcome| outcome.replace("false", "true"));
    assert_eq!(told, expected);
    assert_eq!(served.count("operations").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_can_stand_in_a_batch() {
    let served = served().await;
    let mut client = served.client();
    let lot = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner().grant.unwrap();
    let spent = client.spend_credits(spend("a", "s", 10)).await.unwrap().into_inner().entry.unwrap();
    let held = client.hold_credits(hold("a", "h", 30)).await.unwrap().into_inner().hold.unwrap();
    let wishes = [
        Wish::Hold(hold("a", "0", 5)),
        Wish::Capture(capture("a", "1", &held.hold_id, 7)),
        Wish::Extend(extend("a", "2", &held.hold_id, 7200)),
        Wish::Release(release("a", "3", &held.hold_id)),
        Wish::Reverse(reverse("a", "4", &spent.entry_id)),
        Wish::Revoke(revoke("a", "5", &lot.grant_id, 20)),
        Wish::Adjust(adjust("a", "6", -1)),
    ];
    let wishes = wishes.into_iter().map(|wish| v1::Command { command: Some(wish) }).collect();
    let request = commands(wishes);
    let first = client.apply_batch(request.clone()).await.unwrap().into_inner().results;
    let told: Vec<String> = first.iter().map(outcome).collect();
    let expected = [
        "hold false v4",
        "capture false v5",
        "extend false v6",
        "release false v7",
        "reverse false v8",
        "revoke false v9",
        "adjust false v10",
    ];
    assert_eq!(told, expected);
    let again = client.apply_batch(request).await.unwrap().into_inner().results;
    let told: Vec<String> = again.iter().map(outcome).collect();
    assert_eq!(told, expected.map(|outcome| outcome.replace("false", "true")));
    harness::assert_invariants(served.database.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commands_of_one_account_are_applied_in_the_order_of_the_request() {
    let served = served().await;
    let mut client = served.client();
    // Any other order would refuse some: each pair leaves nothing.
    let pairs = (0..500)
        .flat_map(|n| [grants("hot", &format!("g{n}"), n + 1), spends("hot", &format!("s{n}"), n + 1)]);
    let request = commands(pairs.collect());
    let begun = Instant::now();
    let results = client.apply_batch(request.clone()).await.unwrap().into_inner().results;
    println!("1000 commands of one account: {:?}", begun.elapsed());
    for (index, result) in results.iter().enumerate() {
        let name = if index % 2 == 0 { "grant" } else { "spend" };
        assert_eq!(outcome(result), format!("{name} false v{}", index + 1));
    }
    let begun = Instant::now();
    let again = client.apply_batch(request).await.unwrap().into_inner().results;
    println!("replayed: {:?}", begun.elapsed());
    assert!(again.iter().all(|result| outcome(result).contains("true")));
    harness::assert_invariants(served.database.pool()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_accounts_are_served_beside_each_other() {
    let served = served().await;
    let mut client = served.client();
    let request = commands((0..1000).map(|n| grants(&format!("user_{n}"), "g", 1)).collect());
    let begun = Instant::now();
    let results = client.apply_batch(request).await.unwrap().into_inner().results;
    println!("1000 commands of 1000 accounts: {:?}", begun.elapsed());
    assert!(results.iter().all(|result| outcome(result) == "grant false v1"));
    assert_eq!(served.count("balances").await, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_others_lock_gets_nothing_done_and_a_retry_keeps_its_order() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("locked", "g", 1)).await.unwrap();
    let mut lock = served.database.pool().begin().await.unwrap();
    sqlx::raw_sql("select 1 from accounts where account_id = 'locked' for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    let mut request = vec![spends("locked", "first", 1), grants("free", "g", 1)];
    request.extend((0..100).map(|n| grants("locked", &format!("later{n}"), 1)));
    let mut impatient = Request::new(commands(request.clone()));
    impatient.set_timeout(Duration::from_millis(1500));
    let results = client.apply_batch(impatient).await.unwrap().into_inner().results;
    assert_eq!(outcome(&results[1]), "grant false v1");
    for result in results.iter().take(1).chain(results.iter().skip(2)) {
        let Some(Outcome::Error(error)) = &result.result else { panic!("{result:?}") };
        assert!(matches!(error.code, 4 | 10 | 14), "{error:?}");
    }
    lock.rollback().await.unwrap();
    let results = client.apply_batch(commands(request)).await.unwrap().into_inner().results;
    let told: Vec<String> = results.iter().map(outcome).collect();
    let version = |text: &String| text.rsplit('v').next().unwrap().parse::<i64>().unwrap();
    assert!(version(&told[0]) < version(&told[2]), "{told:?}");
    assert!(told[2..].windows(2).all(|pair| version(&pair[0]) < version(&pair[1])), "{told:?}");
    let left = client.get_balance(balance_of("locked")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((left.available, left.version), (100, 102));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_commands_or_with_too_many_is_refused_whole() {
    let served = served().await;
    for count in [0, 1001] {
        let request = commands(vec![grants("a", "k", 1); count]);
        let status = served.client().apply_batch(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert_eq!(bad_fields(&status), ["commands"]);
    }
    served.assert_nothing_written().await;
}
