//! ReverseSpend.

use proto::v1;
use proto::v1::EntryKind;
use tonic::Code;

use crate::served::{Served, fact, grant, reason, served, spend};
use crate::writes::{NO_ENTRY, capture, figures, hold, reverse, revoke};

/// A server on which account `a` has spent 50 of two lots of 30 and 70.
async fn spent() -> (Served, v1::SpendCreditsResponse) {
    let served = served().await;
    let mut client = served.client();
    let first = v1::GrantCreditsRequest { priority: Some(1), ..grant("a", "g1", 30) };
    client.grant_credits(first).await.unwrap();
    client.grant_credits(grant("a", "g2", 70)).await.unwrap();
    let spent = client.spend_credits(spend("a", "s", 50)).await.unwrap().into_inner();
    (served, spent)
}

fn id(spent: &v1::SpendCreditsResponse) -> String {
    spent.entry.as_ref().unwrap().entry_id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spend_is_given_back_in_parts_last_lot_first() {
    let (served, spent) = spent().await;
    let mut client = served.client();
    let part = v1::ReverseSpendRequest { amount: Some(25), ..reverse("a", "r1", &id(&spent)) };
    let part = client.reverse_spend(part).await.unwrap().into_inner();
    assert_eq!((part.reversed, figures(part.balance.as_ref())), (25, (75, 0, 0, 4)));
    let entry = part.entry.unwrap();
    assert_eq!((entry.kind(), entry.available_delta), (EntryKind::Reversal, 25));
    let own = spent.entry.as_ref().unwrap();
    assert!(!entry.reversed_entry_id.is_empty() && own.entry_id.starts_with(&entry.reversed_entry_id));
    let back: Vec<(&str, i64)> =
        entry.lines.iter().map(|line| (line.grant_id.as_str(), line.available_delta)).collect();
    let paid: Vec<&str> = own.lines.iter().map(|line| line.grant_id.as_str()).collect();
    assert_eq!(back, [(paid[1], 20), (paid[0], 5)]);
    assert_eq!((part.entries.len(), part.grants.len()), (1, 0));

    let rest = client.reverse_spend(reverse("a", "r2", &id(&spent))).await.unwrap().into_inner();
    assert_eq!((rest.reversed, figures(rest.balance.as_ref())), (25, (100, 0, 0, 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_than_was_taken_comes_back() {
    let (served, spent) = spent().await;
    let mut client = served.client();
    let request = |key, amount| v1::ReverseSpendRequest { amount, ..reverse("a", key, &id(&spent)) };
    client.reverse_spend(request("r1", Some(30))).await.unwrap();
    let status = client.reverse_spend(request("r2", Some(21))).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "REVERSAL_EXCEEDED"));
    assert_eq!((fact(&status, "reversible").as_str(), fact(&status, "required").as_str()), ("20", "21"));
    client.reverse_spend(request("r3", None)).await.unwrap();
    let status = client.reverse_spend(request("r4", None)).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), fact(&status, "reversible").as_str()), ("REVERSAL_EXCEEDED", "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_is_given_back_with_its_overage() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 100)).await.unwrap();
    let hold_id = client.hold_credits(hold("a", "h", 60)).await.unwrap().into_inner().hold.unwrap().hold_id;
    let request = v1::CaptureHoldRequest { allow_overage: true, ..capture("a", "c", &hold_id, 70) };
    let captured = client.capture_hold(request).await.unwrap().into_inner();
    let entry_id = captured.entry.unwrap().entry_id;
    let answer = client.reverse_spend(reverse("a", "r", &entry_id)).await.unwrap().into_inner();
    assert_eq!((answer.reversed, figures(answer.balance.as_ref())), (70, (100, 0, 0, 4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_repays_debt_first() {
    let served = served().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner();
    let spent = client.spend_credits(spend("a", "s", 100)).await.unwrap().into_inner();
    let grant_id = granted.grant.unwrap().grant_id;
    let owing = client.revoke_grant(revoke("a", "v", &grant_id, 40)).await.unwrap().into_inner();
    assert_eq!(figures(owing.balance.as_ref()), (0, 0, 40, 3));
    let answer = client.reverse_spend(reverse("a", "r", &id(&spent))).await.unwrap().into_inner();
    assert_eq!((answer.reversed, figures(answer.balance.as_ref())), (100, (60, 0, 0, 4)));
    assert_eq!(answer.entry.unwrap().debt_delta, -40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_spend_of_the_balance_is_not_found() {
    let (served, spent) = spent().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("b", "g", 10)).await.unwrap().into_inner();
    let own_grant = granted.entry.unwrap().entry_id;
    for (account, entry_id) in [("b", id(&spent)), ("b", own_grant), ("a", NO_ENTRY.to_owned())] {
        let status = client.reverse_spend(reverse(account, "r", &entry_id)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "ENTRY_NOT_FOUND"));
        assert_eq!(fact(&status, "entry_id"), entry_id);
    }
    assert_eq!(served.count("entries").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_answers_as_the_first_time_and_another_request_is_refused() {
    let (served, spent) = spent().await;
    let mut client = served.client();
    let request = v1::ReverseSpendRequest { amount: Some(10), ..reverse("a", "r", &id(&spent)) };
    let first = client.reverse_spend(request.clone()).await.unwrap().into_inner();
    client.reverse_spend(reverse("a", "r2", &id(&spent))).await.unwrap();
    let again = client.reverse_spend(request).await.unwrap().into_inner();
    assert_eq!(again, v1::ReverseSpendResponse { replayed: true, ..first });
    let other = v1::ReverseSpendRequest { amount: Some(11), ..reverse("a", "r", &id(&spent)) };
    assert_eq!(reason(&client.reverse_spend(other).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
}
