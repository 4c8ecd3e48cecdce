//! Keys, scopes and covered accounts (I10).

use std::sync::Arc;

use credits::{ApiKey, Authentication, KeyRing, ServerConfig};
use proto::v1;
use proto::v1::balance_result::Result as Outcome;
use proto::v1::command::Command as Wish;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::batches::{commands, outcome};
use crate::reads::{batch, entries_of, grants_of};
use crate::served::{Served, balance_of, config, fact, grant, reason, served_with, spend};

pub(crate) const WRITER: [u8; 32] = [1; 32];
pub(crate) const READER: [u8; 32] = [2; 32];
pub(crate) const TEAM: [u8; 32] = [3; 32];
const STRANGER: [u8; 32] = [4; 32];
/// May do what only operators do, and nothing else.
pub(crate) const OPERATOR: [u8; 32] = [5; 32];
/// May export what is one team's.
pub(crate) const AUDITOR: [u8; 32] = [6; 32];

pub(crate) async fn served() -> Served {
    let hash = |key| ApiKey::new(key).hash();
    let file = format!(
        "[[keys]]\nid = \"writer\"\nhash = \"{}\"\nscopes = [\"grant\", \"spend\"]\n\
         [[keys]]\nid = \"reader\"\nhash = \"{}\"\nscopes = [\"read\"]\naccount = \"user_1\"\n\
         [[keys]]\nid = \"team\"\nhash = \"{}\"\nscopes = [\"read\", \"grant\", \"spend\", \"stripe\"]\n\
         account_prefix = \"team_\"\n\
         [[keys]]\nid = \"operator\"\nhash = \"{}\"\nscopes = [\"adjust\", \"ledger\", \"admin\"]\n\
         [[keys]]\nid = \"auditor\"\nhash = \"{}\"\nscopes = [\"ledger\"]\naccount_prefix = \"team_\"\n",
        hash(WRITER),
        hash(READER),
        hash(TEAM),
        hash(OPERATOR),
        hash(AUDITOR)
    );
    let ring = Arc::new(KeyRing::parse(&file).unwrap());
    served_with(ServerConfig { authentication: Authentication::Keys(ring), ..config() }).await
}

pub(crate) fn with_key<T>(message: T, key: [u8; 32]) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", ApiKey::new(key).text());
    request.metadata_mut().insert("authorization", value.parse().unwrap());
    request
}

fn watch(accounts: &[&str]) -> v1::WatchCreditsRequest {
    let target =
        |account: &&str| v1::WatchTarget { account_id: (*account).to_owned(), ..v1::WatchTarget::default() };
    v1::WatchCreditsRequest {
        targets: accounts.iter().map(target).collect(),
        ..v1::WatchCreditsRequest::default()
    }
}

pub(crate) fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_valid_key_is_refused_and_writes_nothing() {
    let served = served().await;
    let mut client = served.client();
    let missing = "CREDENTIAL_MISSING";
    assert_refused(client.grant_credits(grant("a", "k", 1)).await, Code::Unauthenticated, missing);
    assert_refused(client.spend_credits(spend("a", "k", 1)).await, Code::Unauthenticated, missing);
    assert_refused(client.get_balance(balance_of("a")).await, Code::Unauthenticated, missing);
    assert_refused(client.watch_credits(watch(&["a"])).await, Code::Unauthenticated, missing);
    let event = v1::ApplyStripeEventRequest::default();
    assert_refused(client.apply_stripe_event(event).await, Code::Unauthenticated, missing);
    assert_refused(client.batch_get_balances(batch(vec![])).await, Code::Unauthenticated, missing);
    assert_refused(client.list_entries(entries_of("a")).await, Code::Unauthenticated, missing);
    assert_refused(client.list_grants(grants_of("a")).await, Code::Unauthenticated, missing);
    assert_refused(client.list_units(v1::ListUnitsRequest {}).await, Code::Unauthenticated, missing);

    let invalid = "CREDENTIAL_INVALID";
    let stranger = with_key(grant("a", "k", 1), STRANGER);
    assert_refused(client.grant_credits(stranger).await, Code::Unauthenticated, invalid);
    for value in ["", "Bearer", "Bearer tsk_", "Bearer \u{7f}x", "tsk_01", &"x".repeat(5000)] {
        let mut request = Request::new(grant("a", "k", 1));
        if let Ok(value) = MetadataValue::try_from(value) {
            request.metadata_mut().insert("authorization", value);
            assert_refused(client.grant_credits(request).await, Code::Unauthenticated, invalid);
        }
    }
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_only_what_its_scopes_say() {
    let served = served().await;
    let mut client = served.client();
    let denied = "PERMISSION_DENIED";
    let status = client.grant_credits(with_key(grant("user_1", "k", 1), READER)).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), fact(&status, "scope").as_str()), (denied, "grant"));
    let answer = client.spend_credits(with_key(spend("user_1", "k", 1), READER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let answer = client.get_balance(with_key(balance_of("user_1"), WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let answer = client.watch_credits(with_key(watch(&["user_1"]), WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let wish = v1::Command { command: Some(Wish::Grant(grant("user_1", "k", 1))) };
    let answer = client.apply_batch(with_key(commands(vec![wish]), READER)).await.unwrap().into_inner();
    assert_eq!(outcome(&answer.results[0]), denied);
    let answer = client.list_entries(with_key(entries_of("user_1"), WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let answer = client.list_grants(with_key(grants_of("user_1"), WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let answer = client.list_units(with_key(v1::ListUnitsRequest {}, WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let answer = client.batch_get_balances(with_key(batch(vec![]), WRITER)).await;
    assert_refused(answer, Code::PermissionDenied, denied);
    let event = v1::ApplyStripeEventRequest::default();
    assert_refused(client.apply_stripe_event(with_key(event, WRITER)).await, Code::PermissionDenied, denied);
    served.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_a_key_does_not_cover_is_named_and_costs_the_others_nothing() {
    use v1::watch_credits_response::Event;
    let served = served().await;
    let watched = with_key(watch(&["user_1", "team_1"]), TEAM);
    let mut stream = served.client().watch_credits(watched).await.unwrap().into_inner();
    let Some(Event::TargetChange(change)) = stream.message().await.unwrap().unwrap().event else {
        panic!("no target change")
    };
    assert_eq!((change.account_id.as_str(), change.unit.as_str()), ("user_1", "credits"));
    assert_eq!(change.state(), v1::TargetChangeState::Removed);
    assert_eq!(change.error.unwrap().reason, "ACCOUNT_NOT_COVERED");
    let Some(Event::Snapshot(first)) = stream.message().await.unwrap().unwrap().event else {
        panic!("no snapshot")
    };
    assert_eq!(first.balance.unwrap().account_id, "team_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_only_the_accounts_that_it_covers() {
    let served = served().await;
    let mut client = served.client();
    let outside = "ACCOUNT_NOT_COVERED";
    let answer = client.grant_credits(with_key(grant("user_1", "k", 1), TEAM)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    let answer = client.spend_credits(with_key(spend("xteam_1", "k", 1), TEAM)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    let status = client.get_balance(with_key(balance_of("user_2"), READER)).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), fact(&status, "account_id").as_str()), (outside, "user_2"));
    let answer = client.watch_credits(with_key(watch(&["user_1", "user_2"]), TEAM)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    let answer = client.list_entries(with_key(entries_of("user_2"), READER)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    let answer = client.list_grants(with_key(grants_of("user_2"), READER)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    let query = |account: &str| v1::BalanceQuery { account_id: account.to_owned(), ..Default::default() };
    let wish = |wish| v1::Command { command: Some(wish) };
    let foreign =
        vec![wish(Wish::Grant(grant("user_1", "k", 1))), wish(Wish::Spend(spend("xteam_1", "k", 1)))];
    let answer = client.apply_batch(with_key(commands(foreign), TEAM)).await.unwrap().into_inner();
    assert_eq!(answer.results.iter().map(outcome).collect::<Vec<_>>(), [outside, outside]);
    let both = batch(vec![query("user_2"), query("user_1")]);
    let results = client.batch_get_balances(with_key(both, READER)).await.unwrap().into_inner().results;
    let Some(Outcome::Error(error)) = &results[0].result else { panic!("{results:?}") };
    assert_eq!((error.reason.as_str(), error.metadata["account_id"].as_str()), (outside, "user_2"));
    assert!(matches!(&results[1].result, Some(Outcome::Balance(_))));
    let body = crate::stripe_events::checkout("a", "a", "user_1").body();
    let answer = client.apply_stripe_event(with_key(crate::served::signed(body), TEAM)).await;
    assert_refused(answer, Code::PermissionDenied, outside);
    served.assert_nothing_written().await;

    client.grant_credits(with_key(grant("team_1", "k", 1), TEAM)).await.unwrap();
    client.get_balance(with_key(balance_of("user_1"), READER)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_an_entry_is_the_key_whatever_the_request_says() {
    let served = served().await;
    let message = v1::GrantCreditsRequest { on_behalf_of: "root".to_owned(), ..grant("user_1", "k", 1) };
    let answer = served.client().grant_credits(with_key(message, WRITER)).await.unwrap().into_inner();
    let entry = answer.entry.unwrap();
    assert_eq!((entry.actor.as_str(), entry.on_behalf_of.as_str()), ("writer", "root"));
}
