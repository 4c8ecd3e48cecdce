//! What is read beside pages: quotes, explanations, balances at a time, holds, exports.

use domain::{Denied, EntryKind, GrantKind, Threshold, Unit};
use store::{AccountChange, By, EntryFilter, Position, Request, Unknown};

use crate::book::*;

fn as_command(request: Request) -> domain::Command {
    let Request::Command(command) = request else { panic!("no command") };
    command
}

#[tokio::test]
async fn a_quote_says_what_a_spend_would_do_and_writes_nothing() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    let tables = ["accounts", "balances", "grants", "operations", "entries", "outbox"];
    let mut before = Vec::new();
    for table in tables {
        before.push(count(book.pool(), table).await);
    }
    let quote = book.store.quote(&as_command(spend("user_1", "q", 30))).await.unwrap();
    let operation = quote.outcome.unwrap();
    assert_eq!((operation.entries[0].delta.available, operation.entries[0].after.available), (-30, 70));
    assert_eq!((quote.balance.version, quote.balance.figures.available), (1, 100));
    let quote = book.store.quote(&as_command(spend("user_1", "q", 101))).await.unwrap();
    assert_eq!(quote.outcome, Err(Denied::InsufficientCredits { available: 100, required: 101 }));
    let quote = book.store.quote(&as_command(spend("nobody", "q", 1))).await.unwrap();
    assert_eq!(quote.outcome, Err(Denied::InsufficientCredits { available: 0, required: 1 }));
    for (table, before) in tables.iter().zip(before) {
        assert_eq!(count(book.pool(), table).await, before, "{table}");
    }
}

#[tokio::test]
async fn a_quote_sees_what_is_due_and_the_state_of_the_account() {
    let book = Book::new().await;
    let ending = domain::Grant { expiry: domain::Expiry::At(in_seconds(1000)), ..a_grant(50) };
    book.apply(command("user_1", "a", domain::Action::Grant(ending))).await.unwrap();
    sqlx::query("update accounts set test_clock_at = clock_timestamp() + interval '1 hour'")
        .execute(book.pool())
        .await
        .unwrap();
    let quote = book.store.quote(&as_command(spend("user_1", "q", 1))).await.unwrap();
    assert_eq!(quote.outcome, Err(Denied::InsufficientCredits { available: 0, required: 1 }));
    assert_eq!((quote.balance.figures.available, quote.settled.available), (50, 0));
    sqlx::query("update accounts set state = 2").execute(book.pool()).await.unwrap();
    let quote = book.store.quote(&as_command(spend("user_1", "q", 1))).await.unwrap();
    assert_eq!(quote.outcome, Err(Denied::AccountFrozen));
}

#[tokio::test]
async fn a_quote_names_the_thresholds_of_the_account_that_it_would_cross() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 100)).await.unwrap();
    let low = Threshold::try_new("low", credits(), 50, 50).unwrap();
    let change = AccountChange { thresholds: Some(vec![low]), ..AccountChange::default() };
    let by = By { actor: "operator".to_owned(), reason: "because".to_owned() };
    book.store.update_account(&account("user_1"), &change, &by).await.unwrap();
    for round in 0..2 {
        let quote = book.store.quote(&as_command(spend("user_1", "q", 60))).await.unwrap();
        let crossed = &quote.outcome.unwrap().entries[0].crossed;
        assert_eq!((crossed.len(), crossed[0].name.as_str()), (1, "low"), "round {round}");
    }
    let quote = book.store.quote(&as_command(spend("user_1", "q", 50))).await.unwrap();
    assert!(quote.outcome.unwrap().entries[0].crossed.is_empty(), "not below 50");
    let (spent, _) = operation(book.apply(spend("user_1", "q", 60)).await);
    assert_eq!(spent.entries[0].crossed[0].name, "low", "trials have fired nothing");
}

#[tokio::test]
async fn an_explanation_sums_to_the_balance() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 1000)).await.unwrap();
    for n in 0..3 {
        book.apply(spend("user_1", &format!("s{n}"), 100)).await.unwrap();
    }
    book.apply(hold("user_1", "h", 50, 600)).await.unwrap();
    book.apply(adjust("user_1", "up", 5)).await.unwrap();
    let explained = book.store.explain(&account("user_1"), &credits()).await.unwrap();
    let terms: Vec<_> =
        explained.terms.iter().map(|t| (t.kind, t.grant_kind, t.amount, t.entry_count)).collect();
    assert_eq!(
        terms,
        [
            (EntryKind::Grant, Some(GrantKind::Purchase), 1000, 1),
            (EntryKind::Spend, None, -300, 3),
            (EntryKind::Adjustment, Some(GrantKind::Adjustment), 5, 1),
        ]
    );
    assert_eq!((explained.figures.available, explained.figures.held), (655, 50));
    let nobody = book.store.explain(&account("nobody"), &credits()).await.unwrap();
    assert_eq!((nobody.version, nobody.terms.len()), (0, 0));
}

#[tokio::test]
async fn a_balance_is_read_as_it_was_at_any_time() {
    let book = Book::new().await;
    let mut times = Vec::new();
    for n in 1..=20 {
        let (granted, _) = operation(book.apply(grant("user_1", &format!("g{n}"), n)).await);
        times.push(granted.entries[0].effective_at);
    }
    let (id, unit) = (account("user_1"), credits());
    for (place, at) in (1_i64..).zip(&times) {
        let entry = book.store.entry_at(&id, &unit, 20, *at).await.unwrap().unwrap();
        let newest = times.iter().filter(|time| *time <= at).count();
        assert_eq!(entry.version, i64::try_from(newest).unwrap(), "{place}");
    }
    assert_eq!(book.store.entry_at(&id, &unit, 20, in_seconds(-1000)).await.unwrap(), None);
    assert_eq!(book.store.entry_at(&id, &unit, 20, in_seconds(1000)).await.unwrap().unwrap().version, 20);
    assert_eq!(book.store.entry_at(&account("nobody"), &unit, 0, in_seconds(0)).await.unwrap(), None);
}

#[tokio::test]
async fn holds_are_listed_by_pages_open_ones_or_all_and_their_entries_found() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 1000)).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(
            operation(book.apply(hold("user_1", &format!("h{n}"), 10, 600)).await).0.hold.unwrap().hold_id,
        );
    }
    for (n, hold_id) in ids.iter().enumerate().take(3) {
        book.apply(capture("user_1", &format!("c{n}"), *hold_id, 10, true)).await.unwrap();
    }
    let (id, unit) = (account("user_1"), credits());
    let page = |with_closed, before| {
        let (store, id, unit) = (&book.store, &id, &unit);
        async move { store.holds_page((id, unit), with_closed, before, 3).await.unwrap() }
    };
    let first = page(true, i64::MAX).await;
    let second = page(true, first.next_before.unwrap()).await;
    let third = page(true, second.next_before.unwrap()).await;
    let found: Vec<_> = [&first, &second, &third]
        .iter()
        .flat_map(|page| &page.items)
        .map(|stored| stored.hold.hold_id)
        .collect();
    assert_eq!(found, ids.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(third.next_before, None);
    let open = page(false, i64::MAX).await;
    let rest = page(false, open.next_before.unwrap()).await;
    assert_eq!((open.items.len(), rest.items.len(), rest.next_before), (3, 1, None));
    assert_eq!(rest.items[0].hold.hold_id, ids[3]);

    let filter = EntryFilter { hold: Some(ids[0]), ..EntryFilter::default() };
    let entries = book.store.entries_page((&id, &unit), &filter, 100, 10).await.unwrap().unwrap();
    let kinds: Vec<_> = entries.items.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Capture, EntryKind::Hold]);
    let other = domain::HoldId::from_uuid(sqlx::types::Uuid::now_v7());
    let filter = EntryFilter { hold: Some(other), ..EntryFilter::default() };
    let unknown = book.store.entries_page((&id, &unit), &filter, 100, 10).await.unwrap();
    assert_eq!(unknown, Err(Unknown::Hold(other)));
}

#[tokio::test]
async fn the_journal_is_exported_by_pages_in_byte_order() {
    let book = Book::new().await;
    for id in ["b", "a", "a1", "A", "a/x"] {
        for n in 0..3 {
            book.apply(grant(id, &format!("g{n}"), 1)).await.unwrap();
        }
    }
    let all = |prefix: &'static str| {
        let store = &book.store;
        async move {
            let (mut position, mut read) = (Position::default(), Vec::new());
            loop {
                let page = store.export_page(prefix, &position, 2).await.unwrap();
                let Some(last) = page.last() else { return read };
                position = Position::after(last);
                read.extend(page.iter().map(|entry| (entry.account.to_string(), entry.version)));
            }
        }
    };
    let read = all("").await;
    assert_eq!(read.len(), 15);
    assert!(read.is_sorted());
    assert_eq!(all("a").await.len(), 9);
    assert_eq!(all("a1").await.len(), 3);
    assert_eq!(all("zz").await.len(), 0);
    assert_eq!(Unit::try_new("").unwrap(), credits());
}
