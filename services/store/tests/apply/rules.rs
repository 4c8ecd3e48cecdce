//! Grants, spends, due changes and refusals, as rows.

use domain::{Action, Denied, EntryKind, Expiry, GrantKind, Spend};
use store::{ApplyError, Request};

use crate::book::*;

/// Lots that expire, more than one page of them, the soonest last in burn order: it is not loaded, and is next all the
/// same. `verify` compares `next_due_at` with the lots.
#[tokio::test]
async fn the_next_due_time_is_that_of_a_lot_that_was_not_loaded() {
    let book = Book::new().await;
    for n in 0..40 {
        let last = n == 39;
        let expiry = domain::Expiry::AfterSeconds(if last { 60 } else { 3600 + n });
        let priority = domain::Priority::try_new(if last { 100 } else { 10 }).unwrap();
        let lot = domain::Grant { expiry, priority, ..a_grant(10) };
        book.apply(command("user_1", &format!("g{n}"), domain::Action::Grant(lot))).await.unwrap();
    }
    assert_eq!(left(book.apply(spend("user_1", "one", 1)).await), 399);
    book.verify("user_1").await;
    // 39 lots are used up; the last one stays.
    assert_eq!(left(book.apply(spend("user_1", "most", 389)).await), 10);
    book.verify("user_1").await;
    book.age_lots("expires_at").await;
    assert_eq!(left(book.apply(grant("user_1", "after", 1)).await), 1);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_spend_burns_promotions_before_purchases_and_the_sooner_expiry_first() {
    let book = Book::new().await;
    let lot = |kind, expiry, amount| Action::Grant(domain::Grant { kind, expiry, ..a_grant(amount) });
    let purchase = lot(GrantKind::Purchase, Expiry::Never, 100);
    let late = lot(GrantKind::Purchase, Expiry::At(in_seconds(2000)), 10);
    let soon = lot(GrantKind::Purchase, Expiry::At(in_seconds(1000)), 10);
    let gift = lot(GrantKind::Promotion, Expiry::Never, 10);
    let mut ids = Vec::new();
    for (key, action) in [("purchase", purchase), ("late", late), ("soon", soon), ("gift", gift)] {
        let (operation, _) = operation(book.apply(command("user_1", key, action)).await);
        ids.push(operation.grants[0].grant_id);
    }
    let (spent, _) = operation(book.apply(spend("user_1", "s", 35)).await);
    let lines: Vec<_> = spent.entries[0].lines.iter().map(|line| (line.grant_id, line.available)).collect();
    assert_eq!(lines, [(ids[2], -10), (ids[1], -10), (ids[3], -10), (ids[0], -5)]);
    assert_eq!(spent.entries[0].after.available, 95);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_refusal_writes_nothing_not_even_an_account() {
    let book = Book::new().await;
    let refused = book.apply(spend("nobody", "s", 5)).await;
    assert_eq!(refused, Err(ApplyError::Denied(Denied::InsufficientCredits { available: 0, required: 5 })));
    let expired = Action::Grant(domain::Grant { expiry: Expiry::At(in_seconds(-5)), ..a_grant(5) });
    let refused = book.apply(command("nobody", "g", expired)).await;
    assert!(matches!(refused, Err(ApplyError::Denied(Denied::ExpiryNotInFuture { .. }))), "{refused:?}");
    for table in ["accounts", "balances", "grants", "operations", "entries", "outbox"] {
        assert_eq!(count(book.pool(), table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_partial_spend_takes_what_there_is_and_then_refuses() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 30)).await.unwrap();
    let partial = |key| command("user_1", key, Action::Spend(Spend { amount: 50, allow_partial: true }));
    assert_eq!(left(book.apply(partial("a")).await), 0);
    let refused = book.apply(partial("b")).await;
    assert_eq!(refused, Err(ApplyError::Denied(Denied::InsufficientCredits { available: 0, required: 50 })));
    book.verify("user_1").await;
}

#[tokio::test]
async fn an_expired_lot_is_settled_in_front_of_a_spend_that_is_then_refused() {
    let book = Book::new().await;
    let ending = Action::Grant(domain::Grant { expiry: Expiry::At(in_seconds(86_400)), ..a_grant(100) });
    book.apply(command("user_1", "g", ending)).await.unwrap();
    book.apply(grant("user_1", "keeps", 7)).await.unwrap();
    book.age_lots("expires_at").await;
    let refused = book.apply(spend("user_1", "s", 50)).await;
    assert_eq!(refused, Err(ApplyError::Denied(Denied::InsufficientCredits { available: 7, required: 50 })));
    let entries = book.store.entries_after(&account("user_1"), &credits(), 2, 10).await.unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((entries[0].kind, entries[0].delta.available), (EntryKind::Expiry, -100));
    assert_eq!(count(book.pool(), "operations").await, 2, "a settlement has no key");
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_scheduled_grant_becomes_available_by_settlement() {
    let book = Book::new().await;
    let later = Action::Grant(domain::Grant { effective_at: Some(in_seconds(86_400)), ..a_grant(100) });
    let (granted, _) = operation(book.apply(command("user_1", "g", later)).await);
    assert_eq!(granted.entries[0].after.scheduled, 100);
    let settle = Request::Settle { account: account("user_1"), unit: credits() };
    book.apply(settle.clone()).await.unwrap();
    assert_eq!(book.available("user_1").await, 0, "it is not due yet");
    book.age_lots("expires_at").await;
    let due = &book.store.balances(&[(account("user_1"), credits())]).await.unwrap()[0];
    assert!(due.is_due);
    book.apply(settle).await.unwrap();
    assert_eq!(book.available("user_1").await, 100);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_spend_over_many_lots_reads_as_many_pages_as_it_needs() {
    let book = Book::new().await;
    let grants: Vec<_> = (0..300).map(|n| grant("user_1", &format!("g{n}"), 10)).collect();
    let answers = grants.into_iter().map(|request| book.apply(request));
    for answer in futures::future::join_all(answers).await {
        answer.unwrap();
    }
    let (spent, _) = operation(book.apply(spend("user_1", "s", 2995)).await);
    assert_eq!(spent.entries[0].lines.len(), 300);
    assert_eq!(spent.entries[0].after.available, 5);
    book.verify("user_1").await;
}

#[tokio::test]
async fn a_frozen_account_takes_credits_but_gives_none_and_a_closed_one_does_neither() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 10)).await.unwrap();
    sqlx::query("update accounts set state = 2").execute(book.pool()).await.unwrap();
    assert_eq!(book.apply(spend("user_1", "s", 1)).await, Err(ApplyError::Denied(Denied::AccountFrozen)));
    assert_eq!(left(book.apply(grant("user_1", "g2", 10)).await), 20);
    sqlx::query("update accounts set state = 3").execute(book.pool()).await.unwrap();
    assert_eq!(book.apply(grant("user_1", "g3", 1)).await, Err(ApplyError::Denied(Denied::AccountClosed)));
    book.verify("user_1").await;
}

#[tokio::test]
async fn the_journal_refuses_updates_deletes_and_truncation() {
    let book = Book::new().await;
    book.apply(grant("user_1", "g", 10)).await.unwrap();
    for text in [
        "update entries set available = 11",
        "delete from entries",
        "truncate entries cascade",
        "update operations set rpc = 'x'",
        "delete from outbox",
        "update outbox set version = 7",
    ] {
        let error = sqlx::query(text).execute(book.pool()).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{text}: {error}");
    }
    let superuser: bool = sqlx::query_scalar("select rolsuper from pg_roles where rolname = current_user")
        .fetch_one(book.pool())
        .await
        .unwrap();
    assert!(!superuser, "the application's role is no superuser");
    book.verify("user_1").await;
}

#[tokio::test]
async fn metadata_lies_beside_the_journal_and_its_digest_in_it() {
    let book = Book::new().await;
    let mut request = grant("user_1", "g", 10);
    if let Request::Command(command) = &mut request {
        command.context.metadata =
            domain::Metadata::try_new([("order".to_owned(), "o-1".to_owned())]).unwrap();
    }
    let (granted, _) = operation(book.apply(request).await);
    assert!(granted.entries[0].metadata_digest.is_some());
    let text: String = sqlx::query_scalar("select metadata ->> 'order' from entry_metadata")
        .fetch_one(book.pool())
        .await
        .unwrap();
    assert_eq!(text, "o-1");
    book.verify("user_1").await;
}
