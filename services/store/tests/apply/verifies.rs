//! Verification: a sound ledger passes, each kind of tampering is found and named.

use domain::{Action, Difference, Entry, Expiry, Grant, JournalCheck, Priority, Shortfall};
use futures::StreamExt;
use store::{Position, VerifyError};

use crate::book::*;

const REVOKED: &str = "grant.revoked (expired, taken, owed, forgiven)";

/// Versions of `user_1`: 1 grant, 2 spend, 3 hold, 4 capture, 5 reversal, 6 revocation, 7 release of which the revocation
/// keeps a part, 8 a lot that ends, 9 a hold of it, 10 capture of all that leaves the hold open, 11 its end and 12 the
/// lot's, by the account's clock, 13 grant, 14 a spend that closes the first lot.
async fn lively(book: &Book) {
    let (granted, _) = operation(book.apply(grant("user_1", "a", 100)).await);
    let lot = granted.grants[0].grant_id;
    let (spent, _) = operation(book.apply(spend("user_1", "s", 30)).await);
    let hold_id = operation(book.apply(hold("user_1", "h", 20, 600)).await).0.hold.unwrap().hold_id;
    book.apply(capture("user_1", "c", hold_id, 5, false)).await.unwrap();
    book.apply(reverse("user_1", "r", spent.entries[0].name(), Some(10))).await.unwrap();
    book.apply(revoke("user_1", "v", lot, 70, Shortfall::Forgiven)).await.unwrap();
    book.apply(release("user_1", "l", hold_id)).await.unwrap();
    let ending =
        Grant { expiry: Expiry::AfterSeconds(1000), priority: Priority::try_new(1).unwrap(), ..a_grant(9) };
    book.apply(command("user_1", "b", Action::Grant(ending))).await.unwrap();
    let hold_id = operation(book.apply(hold("user_1", "h2", 4, 500)).await).0.hold.unwrap().hold_id;
    book.apply(capture("user_1", "c2", hold_id, 4, false)).await.unwrap();
    book.clock("user_1", 2000).await;
    book.apply(grant("user_1", "g", 3)).await.unwrap();
    book.apply(spend("user_1", "s3", 5)).await.unwrap();
    book.apply(grant("user_2", "a", 7)).await.unwrap();
    book.apply(hold("user_2", "h", 2, 600)).await.unwrap();
}

/// A lot and a hold end on the first page and are touched again on the second, beyond the 5,000 entries of the first.
#[tokio::test]
async fn what_ended_pages_ago_is_compared_when_its_last_entry_was_read() {
    let book = Book::new().await;
    let lot = operation(book.apply(grant("user_1", "a", 10)).await).0.grants[0].grant_id;
    let hold_id = operation(book.apply(hold("user_1", "h", 4, 600)).await).0.hold.unwrap().hold_id;
    book.apply(capture("user_1", "c", hold_id, 4, false)).await.unwrap();
    book.apply(spend("user_1", "s", 6)).await.unwrap();
    book.apply(grant("user_1", "b", 10_000)).await.unwrap();
    for n in 0..13 {
        let calls = (0..400).map(|m| book.apply(spend("user_1", &format!("s{n}.{m}"), 1)));
        for answer in futures::future::join_all(calls).await {
            answer.unwrap();
        }
    }
    book.apply(release("user_1", "l", hold_id)).await.unwrap();
    book.apply(revoke("user_1", "v", lot, 5, Shortfall::Forgiven)).await.unwrap();
    let mut pages = 0;
    let verified = book.store.verify(|_| pages += 1).await.unwrap();
    assert!(pages > 3, "{pages} calls for two pages");
    assert_eq!(verified.entries, 5 + 13 * 400 + 2);
    for (sql, what) in [
        // A row that says it was not touched again is compared as it stood then.
        ("update grants set last_version = 4 where version = 1", REVOKED),
        ("update grants set last_version = 5207, revoked_forgiven = 4 where version = 1", REVOKED),
        (
            "update grants set revoked_forgiven = 5, raises = '{0,0,0,5}' where version = 1;
             update holds set last_version = 3",
            "hold.state",
        ),
    ] {
        sqlx::raw_sql(sql).execute(book.pool()).await.unwrap();
        let Err(VerifyError::Difference(found)) = book.store.verify(|_| {}).await else { panic!("{sql}") };
        assert_eq!(found.what, what, "{found}");
    }
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

/// A long look is kept away from the primary; everything else is kept away from a standby, which is behind.
#[tokio::test]
async fn a_standby_can_be_verified_and_is_used_for_nothing_else() {
    let cluster = harness::cluster();
    let database = harness::database_on(&cluster).await;
    let store = open(database.url());
    let book = Book { database, store };
    lively(&book).await;
    harness::restart_as_standby(&cluster).await;
    assert_eq!(book.store.verify(|_| {}).await.unwrap().balances, 2);
    let refused = book.store.balances(&[]).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
}

#[tokio::test]
async fn tampering_is_found_and_named() {
    let chain = [
        ("update entries set reason = 'x' where version = 2 and account_id = 'user_1'", 2, "entry_hash"),
        ("update entries set available = 71 where version = 2", 2, "entry_hash"),
        ("delete from entries where version = 3 and account_id = 'user_1'", 4, "version"),
        ("delete from entries where version = 14", 13, "balance.version"),
        ("delete from entry_metadata; delete from entries where account_id = 'user_2'", 2, "the journal"),
    ];
    let balances = [
        ("update balances set available = available + 1 where account_id = 'user_2'", 2, "balance.available"),
        (
            "update balances set entry_hash = decode(repeat('00', 32), 'hex') where account_id = 'user_2'",
            2,
            "balance.entry_hash",
        ),
        ("update balances set open_lots = 7 where account_id = 'user_1'", 14, "balance.open_lots"),
        ("update balances set open_holds = 7 where account_id = 'user_1'", 14, "balance.open_holds"),
        ("delete from balances where account_id = 'user_2'", 2, "the balance"),
    ];
    let lots = [
        ("update grants set remaining = remaining - 1 where account_id = 'user_2'", 2, "grant.remaining"),
        ("update grants set held = 1 where account_id = 'user_2'", 2, "grant.held"),
        ("update grants set expired = 4 where expired = 5", 12, "grant.expired"),
        ("update grants set amount = 101 where version = 1 and account_id = 'user_1'", 14, "grant.amount"),
        (
            "update grants set revoked_taken = 69, revoked_forgiven = 1 where revoked_taken = 70",
            14,
            REVOKED,
        ),
        (
            "update grants set raises = '{0,69,0,1}' where revoked_taken = 70",
            14,
            "grant.raises (expired, taken, owed, forgiven)",
        ),
        ("update grants set last_version = 99 where version = 8", 12, "grant.last_version"),
        ("delete from grants where version = 8", 12, "the grant"),
        (
            "insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining,
                                 effective_at, active, created_at, closed_at)
             values ('user_2', 'credits', gen_random_uuid(), 2, 2, 5, 50, 1, 0, now(), true, now(), now())",
            2,
            "the number of grants",
        ),
    ];
    let holds = [
        ("update holds set captured = 6 where version = 3", 7, "hold.captured"),
        ("update holds set remaining = 1 where account_id = 'user_2'", 2, "hold.remaining"),
        ("update holds set line_remaining = '{1}' where account_id = 'user_2'", 2, "hold lines"),
        (
            "update holds set expires_at = expires_at + interval '1 second' where version = 9",
            11,
            "hold.expires_at (microseconds)",
        ),
        ("update holds set state = 4 where version = 3", 7, "hold.state"),
        ("delete from holds where version = 9", 11, "the hold"),
    ];
    let reversals = [
        ("update reversals set reversed = 9", 5, "reversal.reversed"),
        ("delete from reversals", 5, "the reversal"),
        ("insert into reversals values ('user_1', 'credits', 10, 1, 11)", 14, "the number of reversals"),
    ];
    let cases = chain.into_iter().chain(balances).chain(lots).chain(holds).chain(reversals);
    let checks = cases.map(|(sql, version, what)| async move {
        let found = tampered(sql).await;
        assert_eq!((found.version, found.what), (version, what), "{sql}: {found}");
    });
    futures::stream::iter(checks).buffer_unordered(4).collect::<()>().await;
}

type Change = fn(&mut Vec<Entry>);

#[tokio::test]
async fn an_exported_journal_is_checked_without_a_database() {
    let book = Book::new().await;
    lively(&book).await;
    let entries = book.store.export_page("user_1", &Position::default(), 1000).await.unwrap();
    let check = |change: Change| {
        let mut entries = entries.clone();
        change(&mut entries);
        let mut check = JournalCheck::new(account("user_1"), credits());
        entries.iter().try_for_each(|entry| check.check(entry)).map(|()| check)
    };
    let sound = check(|_| {}).unwrap();
    assert_eq!((sound.version(), sound.hash(), sound.is_whole()), (14, entries[13].hash, true));
    assert_eq!(sound.figures().available, 3);
    let changes: [(Change, i64, &str); 6] = [
        (|entries| entries[6].actor = "other".to_owned(), 7, "entry_hash"),
        (|entries| entries[3].hash = entries[4].hash, 4, "entry_hash"),
        (|entries| drop(entries.remove(2)), 4, "version"),
        (|entries| entries.insert(2, entries[1].clone()), 2, "version"),
        (|entries| entries[0].account = account("user_2"), 1, "account"),
        // By somebody who can make hashes.
        (
            |entries| {
                entries[0].lines[0].available += 1;
                entries[0].hash = entries[0].chained(domain::EntryHash::default());
            },
            1,
            "sum of the lines",
        ),
    ];
    for (change, version, what) in changes {
        let found = check(change).unwrap_err();
        assert_eq!((found.version, found.what), (version, what), "{found}");
    }
}
