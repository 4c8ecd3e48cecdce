//! HoldCredits, CaptureHold, ExtendHold, ReleaseHold.

use proto::v1;
use proto::v1::{EntryKind, HoldState};
use tonic::{Code, Status};

use crate::served::{Served, fact, grant, reason, served, spend};
use crate::writes::{NO_HOLD, capture, extend, figures, hold, kinds, release};

/// A server on which account `a` has 100 credits and holds some of them.
async fn holding(amount: i64) -> (Served, v1::HoldCreditsResponse) {
    let served = served().await;
    served.client().grant_credits(grant("a", "g", 100)).await.unwrap();
    let held = served.client().hold_credits(hold("a", "h", amount)).await.unwrap().into_inner();
    (served, held)
}

fn id(held: &v1::HoldCreditsResponse) -> String {
    held.hold.as_ref().unwrap().hold_id.clone()
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, expected: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_answers_with_balance_entry_and_hold() {
    let served = served().await;
    let mut client = served.client();
    let granted = client.grant_credits(grant("a", "g", 100)).await.unwrap().into_inner();
    let request = v1::HoldCreditsRequest {
        reference: "job-1".to_owned(),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        ..hold("a", "h", 60)
    };
    let answer = client.hold_credits(request).await.unwrap().into_inner();
    assert_eq!(figures(answer.balance.as_ref()), (40, 60, 0, 2));
    let (hold, entry) = (answer.hold.unwrap(), answer.entry.unwrap());
    assert_eq!((hold.account_id.as_str(), hold.unit.as_str(), hold.hold_version), ("a", "credits", 2));
    assert_eq!((hold.amount, hold.remaining, hold.captured, hold.released), (60, 60, 0, 0));
    assert_eq!((hold.state(), &hold.closed_at), (HoldState::Open, &None));
    assert_eq!((hold.reference.as_str(), hold.metadata["a"].as_str()), ("job-1", "b"));
    assert_eq!(hold.created_at, entry.recorded_at);
    let span = |end: &Option<prost_types::Timestamp>| end.unwrap().seconds - hold.created_at.unwrap().seconds;
    assert_eq!((span(&hold.expires_at), span(&hold.latest_expires_at)), (3600, 30 * 24 * 3600));
    let grant_id = granted.grant.unwrap().grant_id;
    assert_eq!(hold.lines, [v1::HoldLine { grant_id: grant_id.clone(), remaining: 60 }]);
    assert_eq!((entry.kind(), entry.hold_id.as_str()), (EntryKind::Hold, hold.hold_id.as_str()));
    assert_eq!((entry.available_delta, entry.held_delta), (-60, 60));
    assert_eq!(
        (entry.lines[0].grant_id.as_str(), entry.hold_expires_at),
        (grant_id.as_str(), hold.expires_at)
    );
    assert_eq!(answer.entries, [entry]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_captured_in_parts_and_the_last_one_gives_back_the_rest() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let part = client.capture_hold(capture("a", "c1", &id(&held), 20)).await.unwrap().into_inner();
    assert_eq!((part.captured, part.overage, figures(part.balance.as_ref())), (20, 0, (40, 40, 0, 3)));
    let hold = part.hold.unwrap();
    assert_eq!((hold.remaining, hold.captured, hold.state()), (40, 20, HoldState::Open));

    let last = v1::CaptureHoldRequest { r#final: true, ..capture("a", "c2", &id(&held), 10) };
    let last = client.capture_hold(last).await.unwrap().into_inner();
    assert_eq!(kinds(&last.entries), [EntryKind::Capture, EntryKind::Release]);
    // The command's own entry is the first, the balance that after the last.
    assert_eq!(last.entry.as_ref(), last.entries.first());
    assert_eq!((last.captured, figures(last.balance.as_ref())), (10, (70, 0, 0, 5)));
    let hold = last.hold.unwrap();
    assert_eq!((hold.captured, hold.released, hold.remaining), (30, 30, 0));
    assert_eq!((hold.state(), hold.closed_at.is_some()), (HoldState::Captured, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_stays_open_when_all_of_it_is_captured() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let all = client.capture_hold(capture("a", "c", &id(&held), 60)).await.unwrap().into_inner();
    assert_eq!((all.hold.as_ref().unwrap().state(), all.hold.unwrap().remaining), (HoldState::Open, 0));
    let closing = v1::CaptureHoldRequest { r#final: true, ..capture("a", "f", &id(&held), 0) };
    let closed = client.capture_hold(closing).await.unwrap().into_inner();
    assert_eq!((closed.captured, closed.hold.unwrap().state()), (0, HoldState::Captured));
    assert_eq!(kinds(&closed.entries), [EntryKind::Capture]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_hold_is_taken_from_the_available_credits_when_allowed() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let beyond = capture("a", "c", &id(&held), 70);
    let status =
        assert_refused(client.capture_hold(beyond.clone()).await, Code::FailedPrecondition, "HOLD_EXCEEDED");
    assert_eq!((fact(&status, "remaining").as_str(), fact(&status, "required").as_str()), ("60", "70"));
    let allowed = v1::CaptureHoldRequest { allow_overage: true, ..beyond };
    let answer = client.capture_hold(allowed.clone()).await.unwrap().into_inner();
    assert_eq!((answer.captured, answer.overage, figures(answer.balance.as_ref())), (70, 10, (30, 0, 0, 3)));
    assert_eq!(answer.hold.unwrap().captured, 60);
    let too_much = v1::CaptureHoldRequest { idempotency_key: "c2".to_owned(), amount: 31, ..allowed };
    let answer = client.capture_hold(too_much).await;
    let status = assert_refused(answer, Code::FailedPrecondition, "INSUFFICIENT_CREDITS");
    assert_eq!((fact(&status, "available").as_str(), fact(&status, "required").as_str()), ("30", "31"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_everything_back_and_closes() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let answer = client.release_hold(release("a", "r", &id(&held))).await.unwrap().into_inner();
    assert_eq!((answer.released, figures(answer.balance.as_ref())), (60, (100, 0, 0, 3)));
    let hold = answer.hold.unwrap();
    assert_eq!((hold.state(), hold.released), (HoldState::Released, 60));
    for (index, request) in [1, 2].into_iter().zip(["c", "e"]) {
        let refused = match index {
            1 => client.capture_hold(capture("a", request, &id(&held), 1)).await.map(drop),
            _ => client.extend_hold(extend("a", request, &id(&held), 60)).await.map(drop),
        };
        let status = assert_refused(refused, Code::FailedPrecondition, "HOLD_CLOSED");
        assert_eq!((fact(&status, "hold_id"), fact(&status, "state").as_str()), (id(&held), "RELEASED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_moves_the_end_forward_only_and_not_beyond_30_days() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let first = held.hold.as_ref().unwrap().expires_at;
    let shorter = client.extend_hold(extend("a", "e1", &id(&held), 1)).await.unwrap().into_inner();
    assert_eq!(shorter.hold.unwrap().expires_at, first);
    let longer = client.extend_hold(extend("a", "e2", &id(&held), 7200)).await.unwrap().into_inner();
    let (hold, entry) = (longer.hold.unwrap(), longer.entry.unwrap());
    assert!(hold.expires_at.unwrap().seconds >= first.unwrap().seconds + 3600);
    assert_eq!((entry.kind(), entry.hold_expires_at), (EntryKind::HoldExtension, hold.expires_at));
    assert_eq!(figures(longer.balance.as_ref()), (40, 60, 0, 4));
    // From now on it would be a little longer than from the creation.
    let longest = client.extend_hold(extend("a", "e3", &id(&held), 30 * 24 * 3600)).await;
    let status = assert_refused(longest, Code::FailedPrecondition, "HOLD_LIFETIME_EXCEEDED");
    assert_eq!(fact(&status, "latest"), hold.latest_expires_at.unwrap().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_another_account_or_unit_is_not_found() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    client.grant_credits(grant("b", "g", 100)).await.unwrap();
    for (account, unit, hold_id) in
        [("b", "", id(&held)), ("a", "gems", id(&held)), ("a", "", NO_HOLD.to_owned())]
    {
        let unit = || unit.to_owned();
        let request = v1::CaptureHoldRequest { unit: unit(), ..capture(account, "c", &hold_id, 1) };
        let status = assert_refused(client.capture_hold(request).await, Code::NotFound, "HOLD_NOT_FOUND");
        assert_eq!(fact(&status, "hold_id"), hold_id);
        let request = v1::ExtendHoldRequest { unit: unit(), ..extend(account, "e", &hold_id, 60) };
        assert_refused(client.extend_hold(request).await, Code::NotFound, "HOLD_NOT_FOUND");
        let request = v1::ReleaseHoldRequest { unit: unit(), ..release(account, "r", &hold_id) };
        assert_refused(client.release_hold(request).await, Code::NotFound, "HOLD_NOT_FOUND");
    }
    assert_eq!(served.count("entries").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_to_hold_is_refused_with_the_figures() {
    let served = served().await;
    let mut client = served.client();
    let nothing = client.hold_credits(hold("nobody", "h", 5)).await;
    assert_refused(nothing, Code::FailedPrecondition, "INSUFFICIENT_CREDITS");
    served.assert_nothing_written().await;
    client.grant_credits(grant("a", "g", 37)).await.unwrap();
    let status = assert_refused(
        client.hold_credits(hold("a", "h", 50)).await,
        Code::FailedPrecondition,
        "INSUFFICIENT_CREDITS",
    );
    assert_eq!((fact(&status, "available").as_str(), fact(&status, "required").as_str()), ("37", "50"));
}

#[tokio::test(flavor = "multi_thread")]
async fn held_credits_cannot_be_spent() {
    let (served, _) = holding(60).await;
    let answer = served.client().spend_credits(spend("a", "s", 41)).await;
    assert_refused(answer, Code::FailedPrecondition, "INSUFFICIENT_CREDITS");
    served.client().spend_credits(spend("a", "s", 40)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_answer_as_the_first_time_also_after_the_hold_has_changed() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let part = capture("a", "c", &id(&held), 20);
    let captured = client.capture_hold(part.clone()).await.unwrap().into_inner();
    let later = extend("a", "e", &id(&held), 7200);
    let extended = client.extend_hold(later.clone()).await.unwrap().into_inner();
    let end = release("a", "r", &id(&held));
    let released = client.release_hold(end.clone()).await.unwrap().into_inner();
    client.spend_credits(spend("a", "s", 5)).await.unwrap();
    let entries = served.count("entries").await;

    let again = client.hold_credits(hold("a", "h", 60)).await.unwrap().into_inner();
    assert_eq!(again, v1::HoldCreditsResponse { replayed: true, ..held.clone() });
    let again = client.capture_hold(part).await.unwrap().into_inner();
    assert_eq!(again, v1::CaptureHoldResponse { replayed: true, ..captured });
    let again = client.extend_hold(later).await.unwrap().into_inner();
    assert_eq!(again, v1::ExtendHoldResponse { replayed: true, ..extended });
    let again = client.release_hold(end).await.unwrap().into_inner();
    assert_eq!(again, v1::ReleaseHoldResponse { replayed: true, ..released });
    assert_eq!(served.count("entries").await, entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_request_is_refused_whatever_its_rpc() {
    let (served, held) = holding(60).await;
    let mut client = served.client();
    let reused = "IDEMPOTENCY_KEY_REUSED";
    assert_refused(client.hold_credits(hold("a", "h", 61)).await, Code::AlreadyExists, reused);
    let longer = v1::HoldCreditsRequest { ttl: crate::writes::seconds(3601), ..hold("a", "h", 60) };
    assert_refused(client.hold_credits(longer).await, Code::AlreadyExists, reused);
    assert_refused(client.capture_hold(capture("a", "h", &id(&held), 60)).await, Code::AlreadyExists, reused);
    assert_refused(client.release_hold(release("a", "g", &id(&held))).await, Code::AlreadyExists, reused);
    client.capture_hold(capture("a", "c", &id(&held), 1)).await.unwrap();
    let closing = v1::CaptureHoldRequest { r#final: true, ..capture("a", "c", &id(&held), 1) };
    assert_refused(client.capture_hold(closing).await, Code::AlreadyExists, reused);
}
