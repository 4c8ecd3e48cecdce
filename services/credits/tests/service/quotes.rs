//! QuoteSpend and ExplainBalance: what a spend would do, and where a balance comes from.

use proto::v1;
use proto::v1::{CrossingDirection, EntryKind, GrantKind};
use tonic::Code;

use crate::admin::{admin, thresholds};
use crate::bad_input::assert_names;
use crate::credentials::{READER, WRITER, assert_refused, with_key};
use crate::served::{balance_of, grant, served, spend};
use crate::writes::{adjust, figures, hold, revoke};

fn quote(account: &str, amount: i64) -> v1::QuoteSpendRequest {
    v1::QuoteSpendRequest { account_id: account.to_owned(), amount, ..v1::QuoteSpendRequest::default() }
}

fn explain(account: &str) -> v1::ExplainBalanceRequest {
    v1::ExplainBalanceRequest { account_id: account.to_owned(), ..v1::ExplainBalanceRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_tells_what_the_spend_then_does_and_writes_nothing() {
    let served = served().await;
    let mut client = served.client();
    let first = v1::GrantCreditsRequest { priority: Some(1), ..grant("a", "g1", 30) };
    client.grant_credits(first).await.unwrap();
    client.grant_credits(grant("a", "g2", 70)).await.unwrap();
    admin(&served).update_account(thresholds("a", &[("low", 60, 60)])).await.unwrap();
    let before = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance.unwrap();
    let quoted = client.quote_spend(quote("a", 50)).await.unwrap().into_inner();
    assert_eq!((quoted.spent, &quoted.error), (50, &None));
    let left = quoted.balance.unwrap();
    assert_eq!(figures(Some(&left)), (50, 0, 0, before.version));
    assert_eq!(left.entry_hash, before.entry_hash);
    let crossed = quoted.crossed;
    assert_eq!((crossed[0].name.as_str(), crossed[0].direction()), ("low", CrossingDirection::Below));

    assert_eq!(served.count("entries").await, 2);
    let after = client.get_balance(balance_of("a")).await.unwrap().into_inner().balance.unwrap();
    assert_eq!(after, before);
    let spent = client.spend_credits(spend("a", "s", 50)).await.unwrap().into_inner().entry.unwrap();
    assert_eq!((spent.lines, spent.crossed), (quoted.lines, crossed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_tells_the_refusal_that_the_spend_would_get() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 30)).await.unwrap();
    let quoted = client.quote_spend(quote("a", 31)).await.unwrap().into_inner();
    let error = quoted.error.unwrap();
    assert_eq!((error.code, error.reason.as_str()), (9, "INSUFFICIENT_CREDITS"));
    assert_eq!((error.metadata["available"].as_str(), error.metadata["required"].as_str()), ("30", "31"));
    assert_eq!((quoted.spent, quoted.lines.len()), (0, 0));
    assert_eq!(figures(quoted.balance.as_ref()), (30, 0, 0, 1));

    let partial = v1::QuoteSpendRequest { allow_partial: true, ..quote("a", 31) };
    let quoted = client.quote_spend(partial).await.unwrap().into_inner();
    assert_eq!((quoted.spent, figures(quoted.balance.as_ref())), (30, (0, 0, 0, 1)));
    let nobody = client.quote_spend(quote("nobody", 1)).await.unwrap().into_inner();
    assert_eq!(nobody.error.unwrap().reason, "INSUFFICIENT_CREDITS");
    assert_eq!(served.count("accounts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_is_explained_as_the_sum_that_it_is() {
    let served = served().await;
    let mut client = served.client();
    let bought = v1::GrantCreditsRequest { kind: GrantKind::Purchase.into(), ..grant("a", "g1", 1000) };
    let lot = client.grant_credits(bought).await.unwrap().into_inner().grant.unwrap();
    client.grant_credits(grant("a", "g2", 10)).await.unwrap();
    for key in ["s1", "s2", "s3"] {
        client.spend_credits(spend("a", key, 200)).await.unwrap();
    }
    client.hold_credits(hold("a", "h", 100)).await.unwrap();
    client.adjust_credits(adjust("a", "d", -7)).await.unwrap();
    client.revoke_grant(revoke("a", "v", &lot.grant_id, 1000)).await.unwrap();
    let explained = client.explain_balance(explain("a")).await.unwrap().into_inner();
    let balance = explained.balance.unwrap();
    let total = balance.available + balance.held + balance.scheduled - balance.debt;
    assert_eq!(explained.terms.iter().map(|term| term.amount).sum::<i64>(), total);
    let term = |kind: EntryKind, grant_kind: GrantKind| {
        let found = explained.terms.iter().find(|t| t.kind() == kind && t.grant_kind() == grant_kind);
        found.map(|term| (term.amount, term.entry_count))
    };
    assert_eq!(term(EntryKind::Grant, GrantKind::Purchase), Some((1000, 1)));
    assert_eq!(term(EntryKind::Grant, GrantKind::Promotion), Some((10, 1)));
    assert_eq!(term(EntryKind::Spend, GrantKind::Unspecified), Some((-600, 3)));
    assert_eq!(term(EntryKind::Revocation, GrantKind::Unspecified), Some((-1000, 1)));
    assert!(explained.terms.iter().all(|term| term.first_at.is_some() && term.last_at.is_some()));
    assert!(explained.text.starts_with(&format!("{total} = ")), "{}", explained.text);
    assert!(explained.text.contains("1000 bought on ") && explained.text.contains(" - 600 spent"));

    let nobody = client.explain_balance(explain("nobody")).await.unwrap().into_inner();
    assert_eq!((nobody.terms.len(), nobody.text.as_str()), (0, "0 = 0"));
    assert_eq!(nobody.balance.unwrap().version, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named_and_the_scope_is_read() {
    let served = served().await;
    let mut client = served.client();
    for (field, request) in [
        ("account_id", quote("", 1)),
        ("unit", v1::QuoteSpendRequest { unit: "A".to_owned(), ..quote("a", 1) }),
        ("amount", quote("a", 0)),
        ("amount", quote("a", i64::MAX)),
    ] {
        assert_names(&client.quote_spend(request).await.unwrap_err(), field);
    }
    assert_names(&client.explain_balance(explain("a b")).await.unwrap_err(), "account_id");
    let unit = v1::ExplainBalanceRequest { unit: "a\0".to_owned(), ..explain("a") };
    assert_names(&client.explain_balance(unit).await.unwrap_err(), "unit");

    let served = crate::credentials::served().await;
    let mut client = served.client();
    let code = Code::PermissionDenied;
    let (denied, outside) = ("PERMISSION_DENIED", "ACCOUNT_NOT_COVERED");
    assert_refused(client.quote_spend(with_key(quote("user_1", 1), WRITER)).await, code, denied);
    assert_refused(client.quote_spend(with_key(quote("user_2", 1), READER)).await, code, outside);
    assert_refused(client.explain_balance(with_key(explain("user_1"), WRITER)).await, code, denied);
    assert_refused(client.explain_balance(with_key(explain("user_2"), READER)).await, code, outside);
    client.quote_spend(with_key(quote("user_1", 1), READER)).await.unwrap();
    client.explain_balance(with_key(explain("user_1"), READER)).await.unwrap();
}
