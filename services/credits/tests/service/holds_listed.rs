//! ListHolds, and ListEntries of one hold.

use proto::v1;
use proto::v1::{EntryKind, HoldState};
use tonic::Code;

use crate::bad_input::assert_names;
use crate::credentials::{READER, WRITER, assert_refused, with_key};
use crate::reads::entries_of;
use crate::served::{fact, grant, reason, served};
use crate::writes::{NO_HOLD, capture, hold, kinds, release};

pub(crate) fn holds_of(account: &str) -> v1::ListHoldsRequest {
    v1::ListHoldsRequest { account_id: account.to_owned(), ..v1::ListHoldsRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_listed_as_they_stand_and_closed_ones_when_asked_for() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 100)).await.unwrap();
    let request = v1::HoldCreditsRequest {
        reference: "job-1".to_owned(),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        ..hold("a", "1", 10)
    };
    let first = client.hold_credits(request).await.unwrap().into_inner().hold.unwrap();
    let second = client.hold_credits(hold("a", "2", 20)).await.unwrap().into_inner().hold.unwrap();
    client.capture_hold(capture("a", "c", &first.hold_id, 4)).await.unwrap();
    client.release_hold(release("a", "r", &second.hold_id)).await.unwrap();

    let open = client.list_holds(holds_of("a")).await.unwrap().into_inner();
    let lines = first.lines.iter().map(|line| v1::HoldLine { remaining: 6, ..line.clone() }).collect();
    assert_eq!(open.holds, [v1::Hold { remaining: 6, captured: 4, lines, ..first.clone() }]);
    assert_eq!(open.next_page_token, "");

    let mut request = v1::ListHoldsRequest { include_closed: true, page_size: 1, ..holds_of("a") };
    let page = client.list_holds(request.clone()).await.unwrap().into_inner();
    assert_eq!(
        (page.holds[0].hold_id.as_str(), page.holds[0].state()),
        (second.hold_id.as_str(), HoldState::Released)
    );
    assert!(page.holds[0].closed_at.is_some());
    request.page_token = page.next_page_token;
    let page = client.list_holds(request.clone()).await.unwrap().into_inner();
    assert_eq!(page.holds[0].hold_id, first.hold_id);
    let other = v1::ListHoldsRequest { include_closed: false, ..request };
    assert_eq!(reason(&client.list_holds(other).await.unwrap_err()), "BAD_PAGE_TOKEN");
    let none = client.list_holds(holds_of("nobody")).await.unwrap().into_inner();
    assert_eq!(none, v1::ListHoldsResponse::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_whose_time_is_over_is_not_listed_as_open() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 100)).await.unwrap();
    client.hold_credits(hold("a", "h", 10)).await.unwrap();
    served.pass("a", 7200).await;
    assert_eq!(client.list_holds(holds_of("a")).await.unwrap().into_inner().holds, []);
    let request = v1::ListHoldsRequest { include_closed: true, ..holds_of("a") };
    let holds = client.list_holds(request).await.unwrap().into_inner().holds;
    assert_eq!((holds[0].state(), holds[0].released), (HoldState::Expired, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_narrowed_to_a_hold() {
    let served = served().await;
    let mut client = served.client();
    client.grant_credits(grant("a", "g", 100)).await.unwrap();
    let held = client.hold_credits(hold("a", "h", 10)).await.unwrap().into_inner().hold.unwrap().hold_id;
    client.hold_credits(hold("a", "other", 10)).await.unwrap();
    client.capture_hold(capture("a", "c", &held, 4)).await.unwrap();
    client.grant_credits(grant("a", "g2", 100)).await.unwrap();
    client.release_hold(release("a", "r", &held)).await.unwrap();
    let of_hold = |hold_id: &str| v1::ListEntriesRequest { hold_id: hold_id.to_owned(), ..entries_of("a") };
    let page = client.list_entries(of_hold(&held)).await.unwrap().into_inner();
    assert_eq!(kinds(&page.entries), [EntryKind::Release, EntryKind::Capture, EntryKind::Hold]);
    assert!(page.entries.iter().all(|entry| entry.hold_id == held));
    let captures = v1::ListEntriesRequest { kinds: vec![EntryKind::Capture.into()], ..of_hold(&held) };
    assert_eq!(client.list_entries(captures).await.unwrap().into_inner().entries.len(), 1);

    for (account, hold_id) in [("b", held.as_str()), ("a", NO_HOLD)] {
        let request = v1::ListEntriesRequest { account_id: account.to_owned(), ..of_hold(hold_id) };
        let status = client.list_entries(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "HOLD_NOT_FOUND"));
        assert_eq!(fact(&status, "hold_id"), hold_id);
    }
    assert_names(&client.list_entries(of_hold("ho_7")).await.unwrap_err(), "hold_id");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_named_and_the_scope_is_read() {
    let served = served().await;
    let mut client = served.client();
    let bad = |field, request| (field, request);
    for (field, request) in [
        bad("account_id", holds_of("a\0")),
        bad("unit", v1::ListHoldsRequest { unit: "A".to_owned(), ..holds_of("a") }),
        bad("page_size", v1::ListHoldsRequest { page_size: 1001, ..holds_of("a") }),
        bad("page_size", v1::ListHoldsRequest { page_size: -1, ..holds_of("a") }),
    ] {
        assert_names(&client.list_holds(request).await.unwrap_err(), field);
    }
    let token = v1::ListHoldsRequest { page_token: "x".repeat(100_000), ..holds_of("a") };
    assert_eq!(reason(&client.list_holds(token).await.unwrap_err()), "BAD_PAGE_TOKEN");

    let served = crate::credentials::served().await;
    let mut client = served.client();
    let code = Code::PermissionDenied;
    let answer = client.list_holds(with_key(holds_of("user_1"), WRITER)).await;
    assert_refused(answer, code, "PERMISSION_DENIED");
    let answer = client.list_holds(with_key(holds_of("user_2"), READER)).await;
    assert_refused(answer, code, "ACCOUNT_NOT_COVERED");
    client.list_holds(with_key(holds_of("user_1"), READER)).await.unwrap();
}
