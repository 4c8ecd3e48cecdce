//! RevokeGrant.

use proto::v1;
use proto::v1::{EntryKind, ShortfallPolicy};
use tonic::Code;

use crate::reads::grants_of;
use crate::served::{Served, fact, grant, reason, served, spend};
use crate::writes::{NO_GRANT, figures, hold, release, revoke};

/// A server on which account `a` was granted 100, with notes, and has spent 30 of them.
async fn granted() -> (Served, v1::Grant) {
    let served = served().await;
    let mut client = served.client();
    let request = v1::GrantCreditsRequest {
        reference: "order-7".to_owned(),
        metadata: [("order".to_owned(), "7".to_owned())].into(),
        ..grant("a", "g", 100)
    };
    let lot = client.grant_credits(request).await.unwrap().into_inner().grant.unwrap();
    client.spend_credits(spend("a", "s", 30)).await.unwrap();
    (served, lot)
}

fn parts(grant: &v1::Grant) -> (i64, i64, i64, i64) {
    let parts = grant.revocation.unwrap_or_default();
    (parts.expired, parts.taken, parts.owed, parts.forgiven)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_takes_what_remains_and_makes_the_rest_a_debt() {
    let (served, lot) = granted().await;
    let mut client = served.client();
    let part = client.revoke_grant(revoke("a", "v1", &lot.grant_id, 50)).await.unwrap().into_inner();
    assert_eq!(figures(part.balance.as_ref()), (20, 0, 0, 3));
    let changed = part.grant.unwrap();
    assert_eq!((changed.revoked, parts(&changed), changed.remaining), (50, (0, 50, 0, 0), 20));
    let expected = v1::Grant { revoked: 50, revocation: changed.revocation, remaining: 20, ..lot.clone() };
    assert_eq!(changed, expected);

    let all = client.revoke_grant(revoke("a", "v2", &lot.grant_id, 100)).await.unwrap().into_inner();
    assert_eq!(figures(all.balance.as_ref()), (0, 0, 30, 4));
    let entry = all.entry.unwrap();
    assert_eq!((entry.kind(), entry.debt_delta), (EntryKind::Revocation, 30));
    assert_eq!(entry.revocation, Some(v1::Revocation { taken: 20, owed: 30, ..Default::default() }));
    let changed = all.grant.unwrap();
    assert_eq!((parts(&changed), changed.closed_at), ((0, 70, 30, 0), entry.recorded_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortfall_can_be_forgiven_and_what_comes_back_later_is_kept() {
    let (served, lot) = granted().await;
    let mut client = served.client();
    let held = client.hold_credits(hold("a", "h", 60)).await.unwrap().into_inner();
    let request = v1::RevokeGrantRequest {
        shortfall_policy: ShortfallPolicy::Forgiven.into(),
        ..revoke("a", "v", &lot.grant_id, 100)
    };
    let revoked = client.revoke_grant(request).await.unwrap().into_inner();
    // 10 unheld were taken; 30 spent and 60 held are forgiven, since a hold is never broken.
    assert_eq!(
        (parts(&revoked.grant.unwrap()), figures(revoked.balance.as_ref())),
        ((0, 10, 0, 90), (0, 60, 0, 4))
    );
    let hold_id = held.hold.unwrap().hold_id;
    let released = client.release_hold(release("a", "r", &hold_id)).await.unwrap().into_inner();
    assert_eq!((released.released, figures(released.balance.as_ref())), (60, (0, 0, 0, 5)));
    assert_eq!(released.entry.unwrap().lines[0].reclaimed, 60);
    let request = v1::ListGrantsRequest { include_closed: true, ..grants_of("a") };
    let grants = client.list_grants(request).await.unwrap().into_inner().grants;
    assert_eq!((grants[0].revoked, parts(&grants[0])), (100, (0, 70, 0, 30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn up_and_down_by_the_same_amount_changes_nothing() {
    let (served, lot) = granted().await;
    let mut client = served.client();
    client.revoke_grant(revoke("a", "v1", &lot.grant_id, 100)).await.unwrap();
    let answer = client.revoke_grant(revoke("a", "v2", &lot.grant_id, 0)).await.unwrap().into_inner();
    assert_eq!(figures(answer.balance.as_ref()), (70, 0, 0, 4));
    let entry = answer.entry.unwrap();
    assert_eq!(entry.kind(), EntryKind::Reinstatement);
    assert_eq!(entry.revocation, Some(v1::Revocation { taken: -70, owed: -30, ..Default::default() }));
    assert_eq!(answer.grant.unwrap(), v1::Grant { remaining: 70, ..lot });
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_was_granted_or_an_unknown_grant_is_refused() {
    let (served, lot) = granted().await;
    let mut client = served.client();
    client.grant_credits(grant("b", "g", 1)).await.unwrap();
    let status = client.revoke_grant(revoke("a", "v", &lot.grant_id, 101)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "REVOCATION_OUT_OF_RANGE")
    );
    assert_eq!((fact(&status, "granted").as_str(), fact(&status, "revoked").as_str()), ("100", "101"));
    for (account, grant_id) in [("b", lot.grant_id.as_str()), ("a", NO_GRANT), ("nobody", NO_GRANT)] {
        let status = client.revoke_grant(revoke(account, "v", grant_id, 1)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "GRANT_NOT_FOUND"));
        assert_eq!(fact(&status, "grant_id"), grant_id);
    }
    assert_eq!(served.count("entries").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_answers_as_the_first_time_also_after_the_grant_was_filled_again() {
    let (served, lot) = granted().await;
    let mut client = served.client();
    let request = revoke("a", "v1", &lot.grant_id, 100);
    let first = client.revoke_grant(request.clone()).await.unwrap().into_inner();
    client.revoke_grant(revoke("a", "v2", &lot.grant_id, 10)).await.unwrap();
    let again = client.revoke_grant(request).await.unwrap().into_inner();
    assert_eq!(again, v1::RevokeGrantResponse { replayed: true, ..first });
    let other = v1::RevokeGrantRequest {
        shortfall_policy: ShortfallPolicy::Forgiven.into(),
        ..revoke("a", "v1", &lot.grant_id, 100)
    };
    assert_eq!(reason(&client.revoke_grant(other).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
}
