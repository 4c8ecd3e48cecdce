//! A Checkout event arrives as credits, once: the two commands of the README, and the same events again and again.

use black_box::journal::{Journal, count, rows};
use black_box::{Options, Program, api, run, start};
use serde_json::Value;
use sqlx::Row;

use crate::next_event;

/// `simulate checkout` of one starter pack with more flags; every delivery must be accepted.
async fn simulate(program: &Program, account: &str, more: &[&str]) -> Vec<Value> {
    let fixed = ["simulate", "checkout", "--account", account, "--pack", "starter", "--json"];
    let arguments = [fixed.as_slice(), &["--edge-addr", program.ready.edge()], more].concat();
    let finished = run(&arguments).await;
    assert_eq!(finished.code(), 0, "{finished:?}");
    let outcomes: Vec<Value> =
        finished.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(outcomes.iter().all(|outcome| outcome["status"] == 200), "{outcomes:?}");
    outcomes
}

async fn available(program: &Program, account: &str) -> Value {
    let answer = run(&["balance", account, "--json", "--addr", program.ready.grpc()]).await.json();
    answer["balance"]["available"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_delivered_over_and_over_grants_once_and_a_watcher_sees_it_arrive() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    let mut watch = start(&["watch", "user_1", "--json", "--addr", program.ready.grpc()]).await;
    let snapshot = next_event(&mut watch).await["snapshot"].clone();
    assert_eq!((&snapshot["balance"]["available"], &snapshot["balance"]["version"]), (&0.into(), &0.into()));

    let first = simulate(&program, "user_1", &["--session", "one"]).await;
    let changes = next_event(&mut watch).await["changes"].clone();
    assert_eq!(changes["entries"].as_array().unwrap().len(), 1, "{changes}");
    let entry = &changes["entries"][0];
    assert_eq!((&entry["kind"], &entry["version"]), (&"ENTRY_KIND_GRANT".into(), &1.into()));
    assert_eq!((&entry["available"], &entry["available_delta"]), (&1000.into(), &1000.into()));

    let same = ["--session", "one", "--duplicates", "9"];
    let again = simulate(&program, "user_1", &same).await;
    let others = simulate(&program, "user_1", &[&same[..], &["--new-event-ids"]].concat()).await;
    let flags = [&same[..], &["--new-event-ids", "--concurrency", "10"]].concat();
    let at_once = simulate(&program, "user_1", &flags).await;
    assert_eq!([first.len(), again.len(), others.len(), at_once.len()], [1, 10, 10, 10]);

    let answer = run(&["spend", "user_1", "30", "--json", "--addr", program.ready.grpc()]).await.json();
    assert_eq!(answer["balance"]["available"], 970);
    let entry = next_event(&mut watch).await["changes"]["entries"][0].clone();
    assert_eq!((&entry["version"], &entry["available"]), (&2.into(), &970.into()), "nothing came in between");

    let journal = Journal::read(program.ready.text("database_url")).await;
    assert_eq!(journal.credits_of("user_1").len(), 2);
    assert_eq!(count(database.pool(), "outbox where account_id = 'user_1' and version = 1").await, 1);
    assert_eq!(count(database.pool(), "stripe_claims where object_id = 'cs_test_one'").await, 1);
    let events = count(database.pool(), "stripe_events where state = 1 and account_id = 'user_1'").await;
    assert!(events > 20, "every event with an id of its own is in the inbox: {events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_first_deliveries_of_a_session_at_once_grant_once() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    for (account, more) in [("user_1", &["--new-event-ids"][..]), ("user_2", &[])] {
        let flags = [&["--duplicates", "9", "--concurrency", "10"], more].concat();
        assert_eq!(simulate(&program, account, &flags).await.len(), 10);
        assert_eq!(available(&program, account).await, 1000);
    }
    let journal = Journal::read(database.url()).await;
    assert_eq!((journal.credits_of("user_1").len(), journal.credits_of("user_2").len()), (1, 1));
    assert_eq!(count(database.pool(), "outbox").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_are_two_purchases() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    simulate(&program, "user_1", &[]).await;
    simulate(&program, "user_1", &["--quantity", "2"]).await;
    assert_eq!(available(&program, "user_1").await, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_does_not_say_paid_or_has_another_price_is_accepted_and_grants_nothing() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    simulate(&program, "user_1", &["--unpaid"]).await;
    simulate(&program, "user_1", &["--subtotal", "999"]).await;
    simulate(&program, "user_1", &["--subtotal", "0"]).await;
    simulate(&program, "user_1", &["--currency", "eur"]).await;
    simulate(&program, "user_1", &["--livemode"]).await;
    let api = api::Api::at(program.ready.grpc());
    let balance = api.balance(api::balance_of("user_1")).await.unwrap();
    assert_eq!((balance.available, balance.version), (0, 0));
    for table in ["entries", "operations", "outbox", "grants", "stripe_claims"] {
        assert_eq!(count(database.pool(), table).await, 0, "{table}");
    }
    let states =
        rows(database.pool(), "select state, count(*) from stripe_events group by 1 order by 1").await;
    let states: Vec<(i16, i64)> = states.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(states, [(1, 1), (2, 1), (3, 3)], "applied (pending), ignored (livemode), parked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_payment_grants_once_whichever_of_its_events_comes_first() {
    let database = harness::database().await;
    let program = Program::start(&Options::dev_on(&database)).await;
    for (account, order) in [("user_1", "happened"), ("user_2", "reversed"), ("user_3", "shuffled")] {
        let flags = ["--async", "--order", order, "--duplicates", "2", "--new-event-ids"];
        assert_eq!(simulate(&program, account, &flags).await.len(), 6);
        assert_eq!(available(&program, account).await, 1000, "{order}");
    }
    assert_eq!(count(database.pool(), "entries").await, 3);
    Journal::read(database.url()).await;
}
