//! Changes as they happen.

use domain::{Action, Command, Context, Expiry, Grant, GrantKind, IdempotencyKey, Priority};
use relay::{MAX_QUEUED_EVENTS, Order, Relay, RelayOptions, WakeUps};
use sqlx::Connection;
use store::Request;
use tokio::time::Instant;

use crate::ledger::{LIMIT, Ledger, account, append_in_tx, open, target, unit};
use crate::reader::Reader;

fn grant(name: &str, key: &str) -> Request {
    let grant = Grant {
        amount: 10,
        kind: GrantKind::Purchase,
        priority: Priority::try_new(50).unwrap(),
        effective_at: None,
        expiry: Expiry::Never,
        cost_basis: None,
    };
    let key = IdempotencyKey::try_new(key).unwrap();
    let command = Command::try_new(account(name), unit(), key, Context::default(), Action::Grant(grant));
    Request::Command(command.unwrap())
}

#[tokio::test]
async fn a_write_through_one_process_reaches_a_reader_of_another() {
    let ledger = Ledger::new().await;
    let other = Relay::spawn(open(ledger.database.url()), RelayOptions::default(), ledger.shutdown.clone());
    let targets = vec![target("a", Some(0))];
    let mut here = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let there = other.subscribe(Order::new(targets.clone(), std::time::Duration::from_secs(1))).unwrap();
    let mut there = Reader::new(there, &targets);
    for version in 1..=20 {
        ledger.store.apply(grant("a", &format!("k{version}")), Instant::now() + LIMIT).await.unwrap();
        here.until("a", version).await;
        there.until("a", version).await;
    }
    assert_eq!(here.have, there.have);
}

#[tokio::test]
async fn poll_only_mode_needs_no_listener() {
    let options = RelayOptions { wake_ups: WakeUps::PollOnly, ..RelayOptions::default() };
    let ledger = Ledger::with(harness::database().await, options);
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    ledger.writer().await.append("a", 3, 1).await;
    reader.until("a", 3).await;
}

#[tokio::test]
async fn a_writer_that_stays_open_delays_nobody_and_is_delivered_when_it_commits() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0)), target("slow", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let mut slow = ledger.writer().await;
    let mut open = slow.connection.begin().await.unwrap();
    append_in_tx(&mut open, "slow", 1, 1, (1, 0)).await;
    let mut writer = ledger.writer().await;
    for version in 1..=50 {
        writer.append("a", 1, 1).await;
        reader.until("a", version).await;
    }
    assert_eq!(reader.version("slow"), 0);
    open.commit().await.unwrap();
    reader.until("slow", 1).await;
}

/// Fewer than a queue holds, and more than one would take at once who takes a few and goes on from there.
#[tokio::test]
async fn a_burst_arrives_whole_though_nothing_follows() {
    let ledger = Ledger::new().await;
    let targets = vec![target("a", Some(0))];
    let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
    reader.until_mark().await;
    let burst = i64::try_from(MAX_QUEUED_EVENTS).unwrap() - 1;
    ledger.writer().await.append("a", burst, 1).await;
    reader.until("a", burst).await;
}

#[tokio::test]
async fn a_reader_that_pauses_gets_what_its_queue_could_not_hold_from_the_journal() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", Some(0)), target("b", Some(0))];
    let mut paused = Reader::new(ledger.subscribe(targets.clone()), &targets);
    paused.until_mark().await;
    let mut witness = Reader::new(ledger.subscribe(targets.clone()), &targets);
    let turns = i64::try_from(MAX_QUEUED_EVENTS).unwrap() / 2 + 20;
    for turn in 1..=turns {
        writer.append("a", 1, 3).await;
        writer.append("b", 1, 1).await;
        witness.until("a", turn * 3).await;
        witness.until("b", turn).await;
    }
    // The witness has them all, so the follower has offered them all to the paused reader's queue.
    paused.until("a", turns * 3).await;
    paused.until("b", turns).await;
    assert!(paused.snapshots.is_empty());
    assert!(paused.sizes.iter().any(|size| *size > 3), "pages of the journal, not single operations");
    writer.append("a", 1, 1).await;
    paused.until("a", turns * 3 + 1).await;
}

/// Nothing follows that would show what was lost.
#[tokio::test]
async fn a_queue_that_is_one_change_too_short_loses_none() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", Some(0))];
    let mut paused = Reader::new(ledger.subscribe(targets.clone()), &targets);
    paused.until_mark().await;
    let mut witness = Reader::new(ledger.subscribe(targets.clone()), &targets);
    for changes in [i64::try_from(MAX_QUEUED_EVENTS).unwrap(), 1] {
        let last = writer.append("a", changes, 1).await;
        witness.until("a", last).await;
    }
    paused.until("a", witness.version("a")).await;
}

#[tokio::test]
async fn operations_stay_whole_however_large() {
    let ledger = Ledger::new().await;
    let mut writer = ledger.writer().await;
    let targets = vec![target("a", Some(0))];
    let mut live = Reader::new(ledger.subscribe(targets.clone()), &targets);
    live.until_mark().await;
    let mut last = 0;
    // Smaller than a queue, larger than a queue, larger than a page of the journal.
    for size in [7, 300, 1200, 2, 499, 500, 501] {
        last = writer.append("a", 1, size).await;
    }
    live.until("a", last).await;
    let mut resumed = Reader::new(ledger.subscribe(targets.clone()), &targets);
    resumed.until("a", last).await;
    assert_eq!(live.events, resumed.events);
    assert!(live.snapshots.is_empty() && resumed.snapshots.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_many_balances_see_the_same_histories() {
    const BALANCES: i64 = 8;
    const TURNS: i64 = 60;
    let ledger = Ledger::new().await;
    let name = |n: i64| format!("b{n}");
    let mut writers = tokio::task::JoinSet::new();
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let targets: Vec<_> =
            (0..BALANCES).filter(|n| number % (n + 1) < 2).map(|n| target(&name(n), Some(0))).collect();
        let mut reader = Reader::new(ledger.subscribe(targets.clone()), &targets);
        readers.spawn(async move {
            for target in targets {
                let account = target.account.to_string();
                while reader.version(&account) < TURNS * 2 {
                    reader.step().await.unwrap();
                }
            }
        });
    }
    for writer_number in 0..2 {
        let mut writer = ledger.writer().await;
        writers.spawn(async move {
            for turn in 0..TURNS * BALANCES {
                writer.append(&name((turn + writer_number) % BALANCES), 1, 1).await;
            }
        });
    }
    writers.join_all().await;
    readers.join_all().await;
}
