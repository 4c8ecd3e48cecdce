//! What operators do to an account.

use domain::{AccountState, Denied, MAX_THRESHOLDS, Threshold};
use store::{AccountChange, AccountError, By, Policy, Store, StoreError, StoreOptions};

use crate::book::*;

const DAY: i64 = 86_400;

fn by() -> By {
    By { actor: "operator".to_owned(), reason: "because".to_owned() }
}

async fn audited(book: &Book) -> Vec<String> {
    sqlx::query_scalar("select action from account_audit order by audit_id")
        .fetch_all(book.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_account_is_frozen_closed_and_opened_again_and_each_change_is_audited() {
    let book = Book::new().await;
    let id = account("user_1");
    assert!(matches!(book.store.account(&id).await, Err(AccountError::NotFound)));
    book.apply(grant("user_1", "a", 10)).await.unwrap();
    let set = |state| {
        let change = AccountChange { state: Some(state), ..AccountChange::default() };
        let (store, id) = (&book.store, &id);
        async move { store.update_account(id, &change, &by()).await.unwrap().state }
    };
    assert_eq!(set(AccountState::Frozen).await, AccountState::Frozen);
    assert_eq!(denied(book.apply(spend("user_1", "s", 1)).await), Denied::AccountFrozen);
    set(AccountState::Closed).await;
    assert_eq!(denied(book.apply(grant("user_1", "g", 1)).await), Denied::AccountClosed);
    set(AccountState::Active).await;
    assert_eq!(left(book.apply(spend("user_1", "s", 1)).await), 9);
    assert_eq!(audited(&book).await, ["update"; 3]);
    let refused = sqlx::query("delete from account_audit").execute(book.pool()).await.unwrap_err();
    assert!(refused.to_string().contains("append-only"), "{refused}");
    book.verify("user_1").await;
}

#[tokio::test]
async fn thresholds_of_the_account_replace_those_of_the_installation() {
    let book = Book::new().await;
    let low = |name: &str, at| Threshold::try_new(name, credits(), at, at).unwrap();
    let store = Store::open(StoreOptions {
        database_url: book.database.url().to_owned(),
        lanes: 1,
        read_connections: 2,
        policy: Policy { thresholds: vec![low("default", 50)], ..policy() },
    })
    .unwrap();
    store.apply(grant("user_1", "a", 100), soon()).await.unwrap();
    let (spent, _) = operation(store.apply(spend("user_1", "s1", 60), soon()).await);
    assert_eq!(spent.entries[0].crossed[0].name, "default");
    let change = AccountChange { thresholds: Some(vec![low("own", 30)]), ..AccountChange::default() };
    let stored = store.update_account(&account("user_1"), &change, &by()).await.unwrap();
    assert_eq!(stored.thresholds, [low("own", 30)]);
    let (spent, _) = operation(store.apply(spend("user_1", "s2", 15), soon()).await);
    let names: Vec<_> = spent.entries[0].crossed.iter().map(|crossing| crossing.name.as_str()).collect();
    assert_eq!(names, ["own"]);
    let change = AccountChange { thresholds: Some(Vec::new()), ..AccountChange::default() };
    assert!(store.update_account(&account("user_1"), &change, &by()).await.unwrap().thresholds.is_empty());
    let many = (0..=MAX_THRESHOLDS).map(|n| low(&format!("t{n}"), 1)).collect();
    for bad in [many, vec![low("own", 30), low("own", 40)]] {
        let change = AccountChange { thresholds: Some(bad), ..AccountChange::default() };
        let refused = store.update_account(&account("user_1"), &change, &by()).await;
        assert!(matches!(refused, Err(AccountError::Store(StoreError::Broken(_)))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_erasure_deletes_the_bodies_of_the_accounts_events_but_of_parked_ones() {
    let book = Book::new().await;
    book.apply(grant("user_1", "a", 1)).await.unwrap();
    book.apply(grant("user_2", "a", 1)).await.unwrap();
    // More than one chunk; every tenth is parked, every other one has lost its body to age.
    sqlx::raw_sql(
        "insert into stripe_events (event_id, type, created_at, livemode, state, outcome, account_id, received_at)
         select 'evt_' || i, 't', now(), false, case when i % 10 = 0 then 3 else 1 end, 'granted',
                case when i <= 1200 then 'user_1' else 'user_2' end, now()
         from generate_series(1, 1300) i;
         insert into stripe_event_bodies (event_id, body)
         select event_id, 'x' from stripe_events where right(event_id, 1) in ('0', '2', '4', '6', '8')",
    )
    .execute(book.pool())
    .await
    .unwrap();
    let erased = book.store.erase_account_data(&account("user_1"), &by()).await.unwrap();
    assert_eq!(erased.bodies, 480);
    assert_eq!(count(book.pool(), "stripe_event_bodies").await, 120 + 50);
    let again = book.store.erase_account_data(&account("user_1"), &by()).await.unwrap();
    assert_eq!(again.bodies, 0);
}

#[tokio::test]
async fn an_erasure_blanks_metadata_and_leaves_a_sound_journal() {
    let book = Book::new().await;
    for n in 0..12_000 / 100 {
        let calls = (0..100).map(|m| {
            let mut request = grant("user_1", &format!("g{n}.{m}"), 1);
            if let store::Request::Command(command) = &mut request {
                command.context.metadata =
                    domain::Metadata::try_new([("name".to_owned(), "Ann".to_owned())]).unwrap();
            }
            book.apply(request)
        });
        // More than one chunk, but no more open lots than a balance may have.
        for answer in futures::future::join_all(calls).await {
            answer.unwrap();
        }
        book.apply(spend("user_1", &format!("s{n}"), 100)).await.unwrap();
    }
    let erased = book.store.erase_account_data(&account("user_1"), &by()).await.unwrap();
    assert_eq!((erased.entries, erased.bodies), (12_000, 0));
    let left: i64 = sqlx::query_scalar("select count(*) from entry_metadata where metadata is not null")
        .fetch_one(book.pool())
        .await
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(audited(&book).await, ["erase", "erased"]);
    let again = book.store.erase_account_data(&account("user_1"), &by()).await.unwrap();
    assert_eq!(again.entries, 0);
    assert!(book.store.account(&account("user_1")).await.unwrap().erased_at.is_some());
    let verified = book.store.verify(|_| {}).await.unwrap();
    assert_eq!((verified.entries, verified.entries_in_all, verified.balances), (12_120, 12_120, 1));
}

#[tokio::test]
async fn a_test_clock_goes_forward_and_settles_and_only_sandbox_accounts_have_one() {
    let book = Book::new().await;
    let ending = domain::Grant { expiry: domain::Expiry::At(in_seconds(DAY)), ..a_grant(50) };
    book.apply(command("user_1", "a", domain::Action::Grant(ending))).await.unwrap();
    let set = |at| {
        let store = &book.store;
        async move { store.set_test_clock(&account("user_1"), at, &by(), soon()).await }
    };
    let moved = set(in_seconds(DAY / 2)).await.unwrap();
    assert_eq!(moved.settled_operations, 0);
    let moved = set(in_seconds(2 * DAY)).await.unwrap();
    assert_eq!((moved.now, moved.settled_operations), (moved.now, 1));
    assert_eq!(book.figures("user_1").await, [0, 0, 0, 0]);
    let back = set(in_seconds(DAY)).await;
    assert!(matches!(back, Err(AccountError::ClockBackwards { .. })), "{back:?}");
    // The clock stands: a hold of an hour is not over however much real time passes, and reads do not loop.
    let held = book.apply(grant("user_1", "b", 10)).await;
    assert_eq!(operation(held).0.entries[0].recorded_at, moved.now);
    sqlx::query("update accounts set sandbox = false").execute(book.pool()).await.unwrap();
    assert!(matches!(set(in_seconds(3 * DAY)).await, Err(AccountError::NotSandbox)));
    book.verify("user_1").await;
}
