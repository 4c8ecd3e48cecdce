//! Reversals, revocations and adjustments as rows.

use domain::{Action, Denied, EntryKind, Expiry, Grant, GrantId, GrantKind, Parts, Shortfall};

use crate::book::*;

const DAY: i64 = 86_400;

async fn granted(book: &Book, key: &str, grant: Grant) -> GrantId {
    let answer = book.apply(command("user_1", key, Action::Grant(grant))).await;
    operation(answer).0.grants[0].grant_id
}

#[tokio::test]
async fn a_spend_comes_back_last_line_first_and_never_more_than_was_taken() {
    let book = Book::new().await;
    let first = granted(&book, "a", a_grant(30)).await;
    let second = granted(&book, "b", a_grant(100)).await;
    let (spent, _) = operation(book.apply(spend("user_1", "s", 90)).await);
    let entry = spent.entries[0].name();
    let (back, _) = operation(book.apply(reverse("user_1", "r1", entry, Some(70))).await);
    let lines: Vec<_> = back.entries[0].lines.iter().map(|line| (line.grant_id, line.available)).collect();
    assert_eq!(lines, [(second, 60), (first, 10)]);
    assert_eq!(back.entries[0].reverses, Some(3));
    book.verify("user_1").await;
    let over = denied(book.apply(reverse("user_1", "r2", entry, Some(21))).await);
    assert_eq!(over, Denied::ReversalExceeded { reversible: 20, required: 21 });
    operation(book.apply(reverse("user_1", "r3", entry, None)).await);
    assert_eq!(book.figures("user_1").await, [130, 0, 0, 0]);
    let over = denied(book.apply(reverse("user_1", "r4", entry, None)).await);
    assert_eq!(over, Denied::ReversalExceeded { reversible: 0, required: 1 });
    book.verify("user_1").await;
}

#[tokio::test]
async fn only_spends_and_captures_of_this_balance_can_be_reversed() {
    let book = Book::new().await;
    let (made, _) = operation(book.apply(grant("user_1", "a", 30)).await);
    let (spent, _) = operation(book.apply(spend("user_1", "s", 5)).await);
    book.apply(grant("user_2", "a", 30)).await.unwrap();
    let entry = made.entries[0].name();
    assert_eq!(
        denied(book.apply(reverse("user_1", "r", entry, None)).await),
        Denied::EntryNotFound { entry }
    );
    let entry = spent.entries[0].name();
    assert_eq!(
        denied(book.apply(reverse("user_2", "r", entry, None)).await),
        Denied::EntryNotFound { entry }
    );
    let forged = domain::EntryRef { digits: [0; 8], ..entry };
    let refused = denied(book.apply(reverse("user_1", "r", forged, None)).await);
    assert_eq!(refused, Denied::EntryNotFound { entry: forged });
    book.verify("user_1").await;
}

#[tokio::test]
async fn what_would_return_to_an_ended_lot_becomes_a_compensation() {
    let book = Book::new().await;
    granted(&book, "a", Grant { expiry: Expiry::At(in_seconds(DAY)), ..a_grant(30) }).await;
    let (spent, _) = operation(book.apply(spend("user_1", "s", 20)).await);
    book.clock("user_1", 2 * DAY).await;
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0]);
    let (back, _) = operation(book.apply(reverse("user_1", "r", spent.entries[0].name(), None)).await);
    let lot = &back.grants[0];
    assert_eq!((lot.kind, lot.amount, lot.remaining), (GrantKind::Compensation, 20, 20));
    assert!(lot.expires_at.is_some());
    assert_eq!(book.figures("user_1").await, [20, 0, 0, 0]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_revocation_that_is_owed_takes_from_other_lots_and_then_makes_debt_and_lowering_undoes_it() {
    let book = Book::new().await;
    let bought = granted(&book, "a", a_grant(100)).await;
    book.apply(spend("user_1", "s", 80)).await.unwrap();
    granted(&book, "b", a_grant(30)).await;
    let (raised, _) = operation(book.apply(revoke("user_1", "up", bought, 100, Shortfall::Owed)).await);
    let parts = Parts { taken: 20, owed: 80, ..Parts::default() };
    assert_eq!(raised.entries[0].revocation, Some(parts));
    assert_eq!(raised.grants[0].revoked.parts(), parts);
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 50]);
    book.verify("user_1").await;
    // What comes in repays the debt first.
    operation(book.apply(grant("user_1", "c", 60)).await);
    assert_eq!(book.figures("user_1").await, [10, 0, 0, 0]);
    let (lowered, _) = operation(book.apply(revoke("user_1", "down", bought, 0, Shortfall::Owed)).await);
    assert_eq!(lowered.entries[0].kind, EntryKind::Reinstatement);
    assert_eq!(lowered.grants[0].revoked.total(), 0);
    assert_eq!(book.figures("user_1").await, [110, 0, 0, 0]);
    let refused = denied(book.apply(revoke("user_1", "more", bought, 101, Shortfall::Owed)).await);
    assert_eq!(refused, Denied::RevocationOutOfRange { granted: 100, revoked: 101 });
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_hold_is_not_broken_and_what_it_releases_is_kept_by_the_revocation() {
    let book = Book::new().await;
    let bought = granted(&book, "a", a_grant(100)).await;
    let hold_id = operation(book.apply(hold("user_1", "h", 60, 600)).await).0.hold.unwrap().hold_id;
    let (raised, _) = operation(book.apply(revoke("user_1", "up", bought, 100, Shortfall::Forgiven)).await);
    let parts = Parts { taken: 40, forgiven: 60, ..Parts::default() };
    assert_eq!(raised.grants[0].revoked.parts(), parts);
    assert_eq!(book.figures("user_1").await, [0, 60, 0, 0]);
    let (used, _) = operation(book.apply(capture("user_1", "c", hold_id, 25, true)).await);
    assert_eq!(used.entries[1].lines[0].reclaimed, 35);
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0]);
    let parts: (i64, i64) = sqlx::query_as("select revoked_taken, revoked_forgiven from grants")
        .fetch_one(book.pool())
        .await
        .unwrap();
    assert_eq!(parts, (75, 25));
    book.verify("user_1").await;
}

#[tokio::test]
async fn what_had_expired_counts_first() {
    let book = Book::new().await;
    let ending = granted(&book, "a", Grant { expiry: Expiry::At(in_seconds(DAY)), ..a_grant(100) }).await;
    book.apply(spend("user_1", "s", 30)).await.unwrap();
    book.clock("user_1", 2 * DAY).await;
    let (raised, _) = operation(book.apply(revoke("user_1", "up", ending, 80, Shortfall::Owed)).await);
    let parts = Parts { expired: 70, owed: 10, ..Parts::default() };
    assert_eq!(raised.grants[0].revoked.parts(), parts);
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 10]);
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_adjustment_adds_a_lot_of_its_own_or_takes_in_burn_order() {
    let book = Book::new().await;
    let (added, _) = operation(book.apply(adjust("user_1", "up", 50)).await);
    assert_eq!(added.grants[0].kind, GrantKind::Adjustment);
    assert_eq!(added.entries[0].kind, EntryKind::Adjustment);
    assert_eq!(left(book.apply(adjust("user_1", "down", -20)).await), 30);
    let refused = denied(book.apply(adjust("user_1", "too much", -31)).await);
    assert_eq!(refused, Denied::InsufficientCredits { available: 30, required: 31 });
    assert_eq!(
        denied(book.apply(adjust("nobody", "d", -1)).await),
        Denied::InsufficientCredits { available: 0, required: 1 }
    );
    book.verify("user_1").await;
}

#[tokio::test]
async fn thresholds_of_the_account_are_crossed_once_and_stay_with_the_entry() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    let thresholds = r#"[{"name": "low", "unit": "credits", "at": 50, "rearm_at": 80},
                         {"name": "other", "unit": "gems", "at": 50, "rearm_at": 80}]"#;
    sqlx::query("update accounts set thresholds = $1::jsonb")
        .bind(thresholds)
        .execute(book.pool())
        .await
        .unwrap();
    for (key, amount, crossed) in [("s1", 50, 0), ("s2", 1, 1), ("s3", 1, 0)] {
        let (spent, _) = operation(book.apply(spend("user_1", key, amount)).await);
        assert_eq!(spent.entries[0].crossed.len(), crossed, "{key}");
    }
    let (rearmed, _) = operation(book.apply(grant("user_1", "b", 40)).await);
    assert_eq!(rearmed.entries[0].crossed[0].direction, domain::Direction::Rearmed);
    let stored = book.store.entries_after(&account("user_1"), &credits(), 2, 1).await.unwrap();
    assert_eq!((stored[0].crossed[0].name.as_str(), stored[0].crossed[0].at), ("low", 50));
    book.verify("user_1").await;
}
