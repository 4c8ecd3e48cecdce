//! GrantCredits, SpendCredits, GetBalance: what they answer when all is well, and what the ledger refuses.

use std::collections::BTreeSet;
use std::time::Duration;

use credits::UnitPolicy;
use domain::Unit;
use proto::v1;
use tonic::{Code, Request};

use crate::served::{balance_of, config, fact, grant, reason, served, served_with, spend};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_answers_with_balance_entry_and_lot() {
    let served = served().await;
    let request = v1::GrantCreditsRequest {
        unit: "minutes".to_owned(),
        kind: v1::GrantKind::Purchase.into(),
        priority: Some(7),
        expires_at: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        cost_basis: Some(v1::CostBasis { currency: "usd".to_owned(), minor_units: 999 }),
        reference: "order-1".to_owned(),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        reason: "because".to_owned(),
        on_behalf_of: "somebody".to_owned(),
        ..grant("user_1", "k1", 1000)
    };
    let mut request = Request::new(request);
    request.metadata_mut().insert("traceparent", TRACE.parse().unwrap());
    let answer = served.client().grant_credits(request).await.unwrap().into_inner();

    let balance = answer.balance.unwrap();
    assert_eq!((balance.account_id.as_str(), balance.unit.as_str()), ("user_1", "minutes"));
    assert_eq!((balance.available, balance.version), (1000, 1));
    let entry = answer.entry.unwrap();
    assert_eq!(entry.kind(), v1::EntryKind::Grant);
    assert_eq!((entry.actor.as_str(), entry.on_behalf_of.as_str()), ("anonymous", "somebody"));
    assert_eq!((entry.reference.as_str(), entry.reason.as_str()), ("order-1", "because"));
    assert_eq!(entry.traceparent, TRACE);
    assert_eq!((entry.entry_hash.len(), entry.metadata_digest.len()), (32, 32));
    assert_eq!(balance.entry_hash, entry.entry_hash);
    assert_eq!(answer.entries, std::slice::from_ref(&entry));
    assert_eq!((answer.operation_id.as_str(), answer.replayed), (entry.operation_id.as_str(), false));
    let lot = answer.grant.unwrap();
    assert_eq!((lot.amount, lot.remaining, lot.priority), (1000, 1000, 7));
    assert_eq!((lot.kind(), lot.grant_version), (v1::GrantKind::Purchase, 1));
    assert_eq!(lot.cost_basis.unwrap().minor_units, 999);
    assert_eq!(lot.metadata["a"], "b");
    assert_eq!(lot.expires_at.unwrap().seconds, 4_000_000_000);
    assert_eq!(lot.grant_id, entry.lines[0].grant_id);
    let stored: Option<String> =
        sqlx::query_scalar("select traceparent from outbox").fetch_one(served.database.pool()).await.unwrap();
    assert_eq!(stored.as_deref(), Some(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spend_takes_from_the_lots_and_a_partial_one_takes_what_there_is() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "g", 100)).await.unwrap();
    let answer = client.spend_credits(spend("user_1", "s", 30)).await.unwrap().into_inner();
    assert_eq!((answer.spent, answer.balance.unwrap().available), (30, 70));
    assert_eq!(answer.entry.unwrap().available_delta, -30);
    let partial = v1::SpendCreditsRequest { allow_partial: true, ..spend("user_1", "p", 500) };
    let answer = client.spend_credits(partial).await.unwrap().into_inner();
    assert_eq!((answer.spent, answer.balance.unwrap().version), (70, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_request_replays_the_first_answer() {
    let served = served().await;
    let mut client = served.client();
    let request =
        v1::GrantCreditsRequest { metadata: [("a".into(), "b".into())].into(), ..grant("user_1", "k", 100) };
    let first = client.grant_credits(request.clone()).await.unwrap().into_inner();
    let spent = client.spend_credits(spend("user_1", "s", 10)).await.unwrap().into_inner();
    let again = client.grant_credits(request).await.unwrap().into_inner();
    assert!(again.replayed);
    assert_eq!(v1::GrantCreditsResponse { replayed: false, ..again }, first);
    let again = client.spend_credits(spend("user_1", "s", 10)).await.unwrap().into_inner();
    assert_eq!(v1::SpendCreditsResponse { replayed: false, ..again }, spent);
    assert_eq!((served.count("entries").await, served.count("outbox").await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_request_is_refused() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "k", 100)).await.unwrap();
    let other = client.grant_credits(grant("user_1", "k", 101)).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
    let other_rpc = client.spend_credits(spend("user_1", "k", 100)).await.unwrap_err();
    assert_eq!(reason(&other_rpc), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(served.count("entries").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_available_is_refused_with_the_figures() {
    let served = served().await;
    let mut client = served.client();
    let none = client.spend_credits(spend("nobody", "s", 5)).await.unwrap_err();
    assert_eq!((none.code(), reason(&none).as_str()), (Code::FailedPrecondition, "INSUFFICIENT_CREDITS"));
    assert_eq!((fact(&none, "available").as_str(), fact(&none, "required").as_str()), ("0", "5"));
    served.assert_nothing_written().await;
    client.grant_credits(grant("user_1", "g", 37)).await.unwrap();
    let few = client.spend_credits(spend("user_1", "s", 50)).await.unwrap_err();
    assert_eq!((fact(&few, "available").as_str(), fact(&few, "required").as_str()), ("37", "50"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_never_had_an_entry_reads_as_zeros_at_version_0() {
    let served = served().await;
    let answer = served.client().get_balance(balance_of("nobody")).await.unwrap().into_inner();
    let expected =
        v1::Balance { account_id: "nobody".to_owned(), unit: "credits".to_owned(), ..v1::Balance::default() };
    assert_eq!(answer.balance, Some(expected));
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_shows_what_the_write_before_it_answered() {
    let served = served().await;
    let mut client = served.client();
    let written = client.grant_credits(grant("user_1", "g", 5)).await.unwrap().into_inner().balance.unwrap();
    let read = client.get_balance(balance_of("user_1")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!(read, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_meets_a_due_change_settles_it_first() {
    let served = served().await;
    served.grant_that_ended().await;
    let read = served.client().get_balance(balance_of("user_1")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((read.available, read.version, read.next_due_at), (0, 2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_says_when_time_changes_the_balance_next() {
    let served = served().await;
    let expires_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let request = v1::GrantCreditsRequest { expires_at, ..grant("user_1", "g", 10) };
    let written = served.client().grant_credits(request).await.unwrap().into_inner().balance.unwrap();
    let read = served.client().get_balance(balance_of("user_1")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((written.next_due_at, read.next_due_at), (None, expires_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn min_version_waits_for_the_write_and_gives_up_at_the_deadline() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "g", 10)).await.unwrap();
    let wanted = v1::GetBalanceRequest { min_version: Some(2), ..balance_of("user_1") };
    let mut impatient = Request::new(wanted.clone());
    impatient.set_timeout(Duration::from_millis(1500));
    let late = client.get_balance(impatient).await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "VERSION_NOT_REACHED"));
    assert_eq!((fact(&late, "version").as_str(), fact(&late, "min_version").as_str()), ("1", "2"));

    let mut other = served.client();
    let waiting = tokio::spawn(async move { other.get_balance(wanted).await });
    client.spend_credits(spend("user_1", "s", 1)).await.unwrap();
    let answer = waiting.await.unwrap().unwrap().into_inner().balance.unwrap();
    assert_eq!((answer.version, answer.available), (2, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_unit_is_refused_by_every_call() {
    let declared = BTreeSet::from([Unit::try_new("credits").unwrap()]);
    let served =
        served_with(credits::ServerConfig { units: UnitPolicy::Declared(declared), ..config() }).await;
    let mut client = served.client();
    let gems = "gems".to_owned();
    let granted =
        client.grant_credits(v1::GrantCreditsRequest { unit: gems.clone(), ..grant("a", "k", 1) }).await;
    let spent =
        client.spend_credits(v1::SpendCreditsRequest { unit: gems.clone(), ..spend("a", "k", 1) }).await;
    let read = client.get_balance(v1::GetBalanceRequest { unit: gems.clone(), ..balance_of("a") }).await;
    let target = v1::WatchTarget { account_id: "a".to_owned(), unit: gems, ..v1::WatchTarget::default() };
    let request = v1::WatchCreditsRequest { targets: vec![target], ..v1::WatchCreditsRequest::default() };
    let watched = client.watch_credits(request).await;
    for status in [granted.unwrap_err(), spent.unwrap_err(), read.unwrap_err(), watched.unwrap_err()] {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "UNKNOWN_UNIT"));
        assert_eq!(fact(&status, "unit"), "gems");
    }
    served.assert_nothing_written().await;
    client.grant_credits(grant("a", "k", 1)).await.unwrap();
}
