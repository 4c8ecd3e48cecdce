//! BatchGetBalances, ListEntries, ListGrants, ListUnits: what they answer when all is well, and item by item.

use std::time::Duration;

use credits::{ServerConfig, UnitPolicy};
use proto::v1;
use proto::v1::balance_result::Result as Outcome;
use tonic::{Code, Request};

use crate::served::{balance_of, config, fact, grant, reason, served, served_with, spend};

fn query(account: &str) -> v1::BalanceQuery {
    v1::BalanceQuery { account_id: account.to_owned(), ..v1::BalanceQuery::default() }
}

pub(crate) fn batch(queries: Vec<v1::BalanceQuery>) -> v1::BatchGetBalancesRequest {
    v1::BatchGetBalancesRequest { queries }
}

pub(crate) fn entries_of(account: &str) -> v1::ListEntriesRequest {
    v1::ListEntriesRequest { account_id: account.to_owned(), ..v1::ListEntriesRequest::default() }
}

pub(crate) fn grants_of(account: &str) -> v1::ListGrantsRequest {
    v1::ListGrantsRequest { account_id: account.to_owned(), ..v1::ListGrantsRequest::default() }
}

fn balance(result: &v1::BalanceResult) -> &v1::Balance {
    match &result.result {
        Some(Outcome::Balance(balance)) => balance,
        other => panic!("no balance: {other:?}"),
    }
}

fn error(result: &v1::BalanceResult) -> &v1::Error {
    match &result.result {
        Some(Outcome::Error(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_balances_come_in_the_order_of_their_queries_and_bad_ones_stand_alone() {
    let declared = ["credits", "minutes"].map(|unit| domain::Unit::try_new(unit).unwrap());
    let units = UnitPolicy::Declared(declared.into());
    let served = served_with(ServerConfig { units, ..config() }).await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 5)).await.unwrap();
    let minutes = v1::GrantCreditsRequest { unit: "minutes".to_owned(), ..grant("a", "m", 7) };
    client.grant_credits(minutes).await.unwrap();
    let queries = vec![
        v1::BalanceQuery { unit: "minutes".to_owned(), ..query("a") },
        query("nobody"),
        query("a b"),
        v1::BalanceQuery { unit: "gems".to_owned(), ..query("a") },
        query("a"),
        query("a"),
        v1::BalanceQuery { min_version: Some(-1), ..query("a") },
    ];
    let results = client.batch_get_balances(batch(queries)).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 7);
    assert_eq!((balance(&results[0]).available, balance(&results[0]).unit.as_str()), (7, "minutes"));
    assert_eq!((balance(&results[1]).version, balance(&results[1]).account_id.as_str()), (0, "nobody"));
    let bad = error(&results[2]);
    assert_eq!(
        (bad.code, bad.reason.as_str(), bad.metadata["field"].as_str()),
        (3, "INVALID_FIELD", "account_id")
    );
    assert_eq!(error(&results[3]).reason, "UNKNOWN_UNIT");
    let single = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!((balance(&results[4]), balance(&results[5])), (&single, &single));
    assert_eq!(error(&results[6]).metadata["field"], "min_version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_settles_what_is_due_and_waits_for_each_version() {
    let served = served().await;
    served.grant_that_ended().await;
    let mut client = served.client();
    client.grant_credits(grant("b", "g", 10)).await.unwrap();
    let wanting = |version| v1::BalanceQuery { min_version: Some(version), ..query("b") };

    let mut other = served.client();
    let queries = vec![query("user_1"), wanting(2), wanting(1)];
    let waiting = tokio::spawn(async move { other.batch_get_balances(batch(queries)).await });
    client.spend_credits(spend("b", "s", 1)).await.unwrap();
    let results = waiting.await.unwrap().unwrap().into_inner().results;
    assert_eq!((balance(&results[0]).available, balance(&results[0]).version), (0, 2));
    assert_eq!((balance(&results[1]).available, balance(&results[1]).version), (9, 2));

    let mut impatient = Request::new(batch(vec![query("b"), wanting(99)]));
    impatient.set_timeout(Duration::from_millis(1500));
    let results = client.batch_get_balances(impatient).await.unwrap().into_inner().results;
    assert_eq!(balance(&results[0]).version, 2);
    let late = error(&results[1]);
    assert_eq!((late.reason.as_str(), late.metadata["version"].as_str()), ("VERSION_NOT_REACHED", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_read_by_pages_until_its_beginning() {
    let served = served().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner();
    for n in 0..4 {
        let request =
            v1::SpendCreditsRequest { reference: format!("job-{}", n % 2), ..spend("a", &n.to_string(), 1) };
        client.spend_credits(request).await.unwrap();
    }
    let mut request = v1::ListEntriesRequest { page_size: 2, ..entries_of("a") };
    let mut seen = Vec::new();
    loop {
        let page = client.list_entries(request.clone()).await.unwrap().into_inner();
        assert!(page.entries.len() <= 2);
        seen.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|entry| entry.version).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert_eq!(seen.last(), granted.entry.as_ref());

    let filtered = v1::ListEntriesRequest {
        kinds: vec![v1::EntryKind::Spend.into()],
        reference: "job-1".to_owned(),
        grant_id: granted.grant.unwrap().grant_id,
        ..entries_of("a")
    };
    let page = client.list_entries(filtered).await.unwrap().into_inner();
    assert_eq!(page.entries.iter().map(|entry| entry.version).collect::<Vec<_>>(), [5, 3]);
    let none = client.list_entries(entries_of("nobody")).await.unwrap().into_inner();
    assert_eq!(none, v1::ListEntriesResponse::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_another_query_is_refused() {
    let served = served().await;
    let mut client = served.client();
    for key in ["1", "2", "3"] {
        client.grant_credits(grant("a", key, 1)).await.unwrap();
    }
    let request = v1::ListEntriesRequest { page_size: 1, ..entries_of("a") };
    let token = client.list_entries(request).await.unwrap().into_inner().next_page_token;
    let page_token = || token.clone();
    let larger = v1::ListEntriesRequest { page_size: 7, page_token: page_token(), ..entries_of("a") };
    assert_eq!(client.list_entries(larger).await.unwrap().into_inner().entries.len(), 2);
    for bad in [
        v1::ListEntriesRequest { page_token: page_token(), ..entries_of("b") },
        v1::ListEntriesRequest { page_token: page_token(), reference: "x".to_owned(), ..entries_of("a") },
        v1::ListEntriesRequest { page_token: "x".repeat(100_000), ..entries_of("a") },
    ] {
        let status = client.list_entries(bad).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BAD_PAGE_TOKEN"));
    }
    let lots = v1::ListGrantsRequest { page_token: page_token(), ..grants_of("a") };
    assert_eq!(reason(&client.list_grants(lots).await.unwrap_err()), "BAD_PAGE_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_by_a_grant_of_another_account_finds_no_grant() {
    let served = served().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("a", "g", 1)).await.unwrap().into_inner();
    let grant_id = granted.grant.unwrap().grant_id;
    let request = v1::ListEntriesRequest { grant_id: grant_id.clone(), ..entries_of("b") };
    let status = client.list_entries(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "GRANT_NOT_FOUND"));
    assert_eq!(fact(&status, "grant_id"), grant_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn lots_are_listed_as_they_stand_and_closed_ones_when_asked_for() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "1", 3)).await.unwrap();
    let request = v1::GrantCreditsRequest {
        metadata: [("order".to_owned(), "7".to_owned())].into(),
        reference: "order-7".to_owned(),
        kind: v1::GrantKind::Purchase.into(),
        ..grant("a", "2", 5)
    };
    let second = client.grant_credits(request).await.unwrap().into_inner().grant.unwrap();
    client.spend_credits(spend("a", "s", 4)).await.unwrap();
    let open = client.list_grants(grants_of("a")).await.unwrap().into_inner();
    assert_eq!(open.grants, [v1::Grant { remaining: 4, ..second }]);
    assert_eq!(open.next_page_token, "");
    let mut request = v1::ListGrantsRequest { include_closed: true, page_size: 1, ..grants_of("a") };
    let page = client.list_grants(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.grants[0].reference, "order-7");
    request.page_token = page.next_page_token;
    let page = client.list_grants(request).await.unwrap().into_inner();
    assert_eq!((page.grants[0].amount, page.grants[0].remaining), (3, 0));
    assert!(page.grants[0].closed_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn lots_and_entries_show_what_time_has_done_by_now() {
    let served = served().await;
    served.grant_that_ended().await;
    let mut client = served.client();
    assert_eq!(client.list_grants(grants_of("user_1")).await.unwrap().into_inner().grants, []);
    let entries = client.list_entries(entries_of("user_1")).await.unwrap().into_inner().entries;
    assert_eq!(entries[0].kind(), v1::EntryKind::Expiry);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_are_those_of_the_catalogue() {
    let served = served().await;
    let units = served.client().list_units(v1::ListUnitsRequest {}).await.unwrap().into_inner().units;
    let credits =
        v1::UnitDefinition { unit: "credits".to_owned(), scale: 0, display_name: "Credits".to_owned() };
    assert_eq!(units, [credits]);
}
