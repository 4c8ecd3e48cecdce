//! Holds as rows: reserved, captured, extended, released, over.

use domain::{Action, Capture, Denied, EntryKind, Expiry, Extend, Grant, HoldId, HoldState};

use crate::book::*;

const DAY: i64 = 86_400;

async fn held(book: &Book, id: &str, key: &str, amount: i64, ttl_s: i64) -> HoldId {
    operation(book.apply(hold(id, key, amount, ttl_s)).await).0.hold.unwrap().hold_id
}

#[tokio::test]
async fn a_hold_is_captured_in_parts_and_the_rest_goes_back_to_the_same_lots() {
    let book = Book::new().await;
    let (first, _) = operation(book.apply(grant("user_1", "a", 30)).await);
    let (second, _) = operation(book.apply(grant("user_1", "b", 100)).await);
    let (made, _) = operation(book.apply(hold("user_1", "h", 80, 600)).await);
    let hold_id = made.hold.as_ref().unwrap().hold_id;
    assert_eq!(book.figures("user_1").await, [50, 80, 0, 0]);
    book.verify("user_1").await;

    let (part, _) = operation(book.apply(capture("user_1", "c1", hold_id, 40, false)).await);
    let lines: Vec<_> = part.entries[0].lines.iter().map(|line| (line.grant_id, line.held)).collect();
    assert_eq!(lines, [(first.grants[0].grant_id, -30), (second.grants[0].grant_id, -10)]);
    let hold = part.hold.unwrap();
    assert_eq!((hold.remaining, hold.captured, hold.state), (40, 40, HoldState::Open));

    let over = denied(book.apply(capture("user_1", "c2", hold_id, 41, true)).await);
    assert_eq!(over, Denied::HoldExceeded { remaining: 40, required: 41 });
    let (last, _) = operation(book.apply(capture("user_1", "c3", hold_id, 15, true)).await);
    let kinds: Vec<_> = last.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Capture, EntryKind::Release]);
    let hold = last.hold.unwrap();
    assert_eq!(
        (hold.remaining, hold.captured, hold.released(), hold.state),
        (0, 55, 25, HoldState::Captured)
    );
    assert_eq!(book.figures("user_1").await, [75, 0, 0, 0]);
    let closed = denied(book.apply(release("user_1", "r", hold_id)).await);
    assert_eq!(closed, Denied::HoldClosed { hold_id, state: HoldState::Captured });
    book.verify("user_1").await;
}

#[tokio::test]
async fn overage_is_taken_whole_from_what_is_available_or_refused() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    let hold_id = held(&book, "user_1", "h", 60, 600).await;
    let beyond = |key, amount| {
        let capture = Capture { hold_id, amount, is_final: false, allow_overage: true };
        command("user_1", key, Action::Capture(capture))
    };
    let refused = denied(book.apply(beyond("c1", 101)).await);
    assert_eq!(refused, Denied::InsufficientCredits { available: 40, required: 41 });
    let (taken, _) = operation(book.apply(beyond("c2", 90)).await);
    assert_eq!(taken.entries[0].lines.len(), 1, "one line a lot");
    assert_eq!(book.figures("user_1").await, [10, 0, 0, 0]);
    assert_eq!(taken.hold.unwrap().captured, 60, "without overage");
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_hold_that_is_over_is_released_by_settlement_and_an_ended_lot_ends_with_it() {
    let book = Book::new().await;
    let ending = Grant { expiry: Expiry::At(in_seconds(DAY)), ..a_grant(50) };
    book.apply(command("user_1", "ends", Action::Grant(ending))).await.unwrap();
    book.apply(grant("user_1", "stays", 50)).await.unwrap();
    let hold_id = held(&book, "user_1", "h", 70, 2 * DAY).await;
    // Beyond the lot's end: held credits do not expire.
    book.clock("user_1", DAY + 60).await;
    assert_eq!(book.figures("user_1").await, [30, 70, 0, 0]);
    book.clock("user_1", 2 * DAY + 60).await;
    assert_eq!(book.figures("user_1").await, [50, 0, 0, 0]);
    let entries = book.store.entries_after(&account("user_1"), &credits(), 3, 10).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.delta.available)).collect();
    assert_eq!(kinds, [(EntryKind::HoldExpiry, 70), (EntryKind::Expiry, -50)]);
    let refused = denied(book.apply(capture("user_1", "c", hold_id, 1, false)).await);
    assert!(matches!(refused, Denied::HoldExpired { .. }), "{refused:?}");
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_heartbeat_moves_the_end_of_a_hold_but_never_back_nor_beyond_thirty_days() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    let hold_id = held(&book, "user_1", "h", 70, 60).await;
    let extend = |key, ttl_s: i64| {
        command("user_1", key, Action::Extend(Extend { hold_id, ttl_us: ttl_s * 1_000_000 }))
    };
    let (longer, _) = operation(book.apply(extend("e1", 3600)).await);
    let end = longer.hold.unwrap().expires_at;
    let (shorter, _) = operation(book.apply(extend("e2", 10)).await);
    assert_eq!(shorter.hold.unwrap().expires_at, end);
    book.clock("user_1", 3000).await;
    let beyond = denied(book.apply(extend("e3", 30 * DAY)).await);
    assert!(matches!(beyond, Denied::HoldLifetimeExceeded { .. }), "{beyond:?}");
    assert_eq!(book.figures("user_1").await, [30, 70, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn another_accounts_hold_is_not_found() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    book.apply(grant("user_2", "a", 100)).await.unwrap();
    let hold_id = held(&book, "user_1", "h", 70, 60).await;
    assert_eq!(denied(book.apply(release("user_2", "r", hold_id)).await), Denied::HoldNotFound { hold_id });
    assert_eq!(denied(book.apply(release("nobody", "r", hold_id)).await), Denied::HoldNotFound { hold_id });
    book.verify("user_1").await;
}

/// More holds and lots than one page, in one batch after another: the next due time is that of a hold that was not
/// loaded; `verify` compares it.
#[tokio::test]
async fn many_holds_on_many_lots_are_captured_and_released_side_by_side() {
    let book = Book::new().await;
    for n in 0..60 {
        book.apply(grant("user_1", &format!("g{n}"), 10)).await.unwrap();
    }
    let made = (0..50).map(|n| book.apply(hold("user_1", &format!("h{n}"), 11, 600 + n)));
    let holds: Vec<HoldId> = futures::future::join_all(made)
        .await
        .into_iter()
        .map(|answer| operation(answer).0.hold.unwrap().hold_id)
        .collect();
    assert_eq!(book.figures("user_1").await, [50, 550, 0, 0]);
    book.verify("user_1").await;
    let ended = holds.iter().enumerate().map(|(n, hold_id)| {
        let key = format!("e{n}");
        let request = match n % 3 {
            0 => release("user_1", &key, *hold_id),
            1 => capture("user_1", &key, *hold_id, 11, true),
            _ => capture("user_1", &key, *hold_id, 4, true),
        };
        book.apply(request)
    });
    for answer in futures::future::join_all(ended).await {
        answer.unwrap();
    }
    assert_eq!(book.figures("user_1").await, [600 - 17 * 11 - 16 * 4, 0, 0, 0]);
    book.verify("user_1").await;
}
