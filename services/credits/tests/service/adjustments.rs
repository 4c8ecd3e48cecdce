//! AdjustCredits.

use proto::v1;
use proto::v1::{EntryKind, GrantKind};
use tonic::Code;

use crate::served::{fact, grant, reason, served, spend};
use crate::writes::{adjust, figures};

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_added_as_a_lot_and_taken_in_burn_order() {
    let served = served().await;
    let mut client = served.client();
    let expires_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let request = v1::AdjustCreditsRequest {
        expires_at,
        reference: "T-7".to_owned(),
        metadata: [("by".to_owned(), "ops".to_owned())].into(),
        ..adjust("a", "up", 40)
    };
    let up = client.adjust_credits(request).await.unwrap().into_inner();
    assert_eq!(figures(up.balance.as_ref()), (40, 0, 0, 1));
    let (lot, entry) = (up.grant.unwrap(), up.entry.unwrap());
    assert_eq!((lot.kind(), lot.amount, lot.expires_at), (GrantKind::Adjustment, 40, expires_at));
    assert_eq!((lot.reference.as_str(), lot.metadata["by"].as_str()), ("T-7", "ops"));
    assert_eq!((entry.kind(), entry.reason.as_str()), (EntryKind::Adjustment, "ticket 7"));

    let down = client.adjust_credits(adjust("a", "down", -15)).await.unwrap().into_inner();
    assert_eq!(figures(down.balance.as_ref()), (25, 0, 0, 2));
    assert_eq!((down.grant, down.entry.unwrap().available_delta), (None, -15));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_available_cannot_be_taken() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 10)).await.unwrap();
    let status = client.adjust_credits(adjust("a", "d", -11)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "INSUFFICIENT_CREDITS"));
    assert_eq!((fact(&status, "available").as_str(), fact(&status, "required").as_str()), ("10", "11"));
    let status = client.adjust_credits(adjust("nobody", "d", -1)).await.unwrap_err();
    assert_eq!(reason(&status), "INSUFFICIENT_CREDITS");
    assert_eq!(served.count("accounts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_answer_as_the_first_time() {
    let served = served().await;
    let mut client = served.client();
    let up = client.adjust_credits(adjust("a", "up", 40)).await.unwrap().into_inner();
    client.spend_credits(spend("a", "s", 40)).await.unwrap();
    let again = client.adjust_credits(adjust("a", "up", 40)).await.unwrap().into_inner();
    assert_eq!(again, v1::AdjustCreditsResponse { replayed: true, ..up });
    let other = v1::AdjustCreditsRequest { reason: "other".to_owned(), ..adjust("a", "up", 40) };
    assert_eq!(reason(&client.adjust_credits(other).await.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
}
