//! Verification: a sound ledger passes, each kind of tampering is found and named.

use domain::{Difference, Shortfall};
use store::VerifyError;

use crate::book::*;

async fn lively(book: &Book) {
    let (granted, _) = operation(book.apply(grant("user_1", "a", 100)).await);
    let lot = granted.grants[0].grant_id;
    let (spent, _) = operation(book.apply(spend("user_1", "s", 30)).await);
    let hold_id = operation(book.apply(hold("user_1", "h", 20, 600)).await).0.hold.unwrap().hold_id;
    book.apply(capture("user_1", "c", hold_id, 5, false)).await.unwrap();
    book.apply(reverse("user_1", "r", spent.entries[0].name(), Some(10))).await.unwrap();
    book.apply(revoke("user_1", "v", lot, 60, Shortfall::Owed)).await.unwrap();
    book.apply(grant("user_2", "a", 7)).await.unwrap();
}

/// Does `sql` with triggers off, and verifies.
async fn tampered(sql: &'static str) -> Difference {
    let book = Book::new().await;
    lively(&book).await;
    book.store.verify(|_| {}).await.unwrap();
    let triggers = |state: &str| {
        let text = format!("alter table entries {state} trigger entries_append_only");
        async { sqlx::query(sqlx::AssertSqlSafe(text)).execute(book.pool()).await.unwrap() }
    };
    triggers("disable").await;
    sqlx::raw_sql(sql).execute(book.pool()).await.unwrap();
    triggers("enable").await;
    match book.store.verify(|_| {}).await {
        Err(VerifyError::Difference(difference)) => *difference,
        other => panic!("not found: {other:?}"),
    }
}

#[tokio::test]
async fn a_sound_ledger_passes_and_tells_its_progress() {
    let book = Book::new().await;
    lively(&book).await;
    let mut last = None;
    let verified = book.store.verify(|progress| last = Some(progress)).await.unwrap();
    assert_eq!((verified.balances, Some(verified)), (2, last));
    assert_eq!(verified.entries, verified.entries_in_all);
    book.verify("user_1").await;
}

#[tokio::test]
async fn tampering_is_found_and_named() {
    for (sql, version, what) in [
        ("update entries set reason = 'x' where version = 2 and account_id = 'user_1'", 2, "entry_hash"),
        ("update entries set available = 71 where version = 2", 2, "entry_hash"),
        ("delete from entries where version = 3 and account_id = 'user_1'", 4, "version"),
        ("update balances set available = available + 1 where account_id = 'user_2'", 1, "balance.available"),
        (
            "update balances set entry_hash = decode(repeat('00', 32), 'hex') where account_id = 'user_2'",
            1,
            "balance.entry_hash",
        ),
        ("update grants set remaining = remaining - 1 where account_id = 'user_2'", 1, "the open lots"),
        ("update holds set remaining = remaining - 1", 6, "the open holds"),
        ("delete from entry_metadata; delete from entries where account_id = 'user_2'", 1, "the journal"),
        ("delete from balances where account_id = 'user_2'", 1, "the balance"),
    ] {
        let found = tampered(sql).await;
        assert_eq!((found.version, found.what), (version, what), "{sql}: {found}");
    }
}
