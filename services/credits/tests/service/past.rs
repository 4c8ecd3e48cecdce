//! GetBalance and BatchGetBalances `at`: a balance as it was.

use proto::v1;
use proto::v1::balance_result::Result as Outcome;

use crate::admin::{account_of, admin, clock};
use crate::bad_input::{assert_names, moment};
use crate::reads::batch;
use crate::served::{balance_of, grant, served, spend};
use crate::writes::figures;

type Moment = prost_types::Timestamp;

fn at(account: &str, at: Moment) -> v1::GetBalanceRequest {
    v1::GetBalanceRequest { at: Some(at), ..balance_of(account) }
}

/// 100 credits that end one day.
fn ending(account: &str) -> v1::GrantCreditsRequest {
    v1::GrantCreditsRequest { expires_at: moment(3_900_000_000, 0), ..grant(account, "g", 100) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_read_as_it_was() {
    let served = served().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner().entry.unwrap();
    let start = granted.effective_at.unwrap();
    let later = |seconds| Moment { seconds: start.seconds + seconds, ..start };
    for (key, minute) in [("1", 1), ("2", 2), ("3", 3)] {
        admin(&served).set_test_clock(clock("a", Some(later(minute * 60)))).await.unwrap();
        client.spend_credits(spend("a", key, 10)).await.unwrap();
    }
    let cases = [
        (0, (100, 0, 0, 1)),
        (59, (100, 0, 0, 1)),
        (60, (90, 0, 0, 2)),
        (179, (80, 0, 0, 3)),
        (180, (70, 0, 0, 4)),
    ];
    for (seconds, expected) in cases {
        let balance = client.get_balance(at("a", later(seconds))).await.unwrap().into_inner().balance;
        assert_eq!(figures(balance.as_ref()), expected, "{seconds}");
    }
    let before = client.get_balance(at("a", later(-1))).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((figures(Some(&before)), before.entry_hash.len(), before.updated_at), ((0, 0, 0, 0), 0, None));
    let then = client.get_balance(at("a", later(60))).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((then.updated_at, then.next_due_at, then.entry_hash.len()), (Some(later(60)), None, 32));
    let nobody = client.get_balance(at("nobody", start)).await.unwrap().into_inner().balance.unwrap();
    assert_eq!(nobody.version, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_ended_by_then_is_gone_then() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "first", 1)).await.unwrap();
    let account = admin(&served).get_account(account_of("a")).await.unwrap().into_inner().account.unwrap();
    let created_at = account.created_at.unwrap();
    let later = |seconds| Moment { seconds: created_at.seconds + seconds, ..created_at };
    let request = v1::GrantCreditsRequest { expires_at: Some(later(60)), ..grant("a", "g", 10) };
    client.grant_credits(request).await.unwrap();
    served.pass("a", 3600).await;
    for (seconds, available) in [(59, 11), (60, 1), (3600, 1)] {
        let balance = client.get_balance(at("a", later(seconds))).await.unwrap().into_inner().balance;
        assert_eq!(balance.unwrap().available, available, "{seconds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_by_which_something_will_be_due_and_a_version_to_wait_for_are_refused() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(ending("a")).await.unwrap();
    for bad in [(4_000_000_000, 0), (-1, 0), (i64::MAX, 0), (1, -1)] {
        let request = v1::GetBalanceRequest { at: moment(bad.0, bad.1), ..balance_of("a") };
        assert_names(&client.get_balance(request).await.unwrap_err(), "at");
    }
    let both = v1::GetBalanceRequest { at: moment(1, 0), min_version: Some(1), ..balance_of("a") };
    assert_names(&client.get_balance(both).await.unwrap_err(), "at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reads_now_and_then_beside_each_other() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(ending("a")).await.unwrap();
    let query = |at| v1::BalanceQuery { account_id: "a".to_owned(), at, ..v1::BalanceQuery::default() };
    let both = v1::BalanceQuery { min_version: Some(1), ..query(moment(1, 0)) };
    let queries = vec![query(None), query(moment(1, 0)), query(moment(4_000_000_000, 0)), both];
    let results = client.batch_get_balances(batch(queries)).await.unwrap().into_inner().results;
    let told: Vec<(i64, String)> = results
        .iter()
        .map(|result| match result.result.as_ref().unwrap() {
            Outcome::Balance(balance) => (balance.available, String::new()),
            Outcome::Error(error) => (-1, error.metadata["field"].clone()),
        })
        .collect();
    let at = || "at".to_owned();
    assert_eq!(told, [(100, String::new()), (0, String::new()), (-1, at()), (-1, at())]);
}
