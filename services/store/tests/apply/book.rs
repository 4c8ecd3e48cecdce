//! A database with an open store, and short ways to ask it for things.

use std::time::Duration;

use domain::{
    AccountId, Action, Adjust, Capture, Command, Context, Denied, Entry, EntryRef, Expiry, Figures, Grant,
    GrantId, GrantKind, HoldId, IdempotencyKey, NewHold, Operation, OperationId, Priority, Release, Reverse,
    Revoke, Shortfall, Spend, Timestamp, Unit,
};
use harness::TestDatabase;
use sqlx::PgPool;
use sqlx::types::Uuid;
use store::{Answer, ApplyError, Item, Policy, Request, Store, StoreOptions};
use tokio::time::Instant;

pub(crate) struct Book {
    pub(crate) database: TestDatabase,
    pub(crate) store: Store,
}

/// The store does not care how an event is encoded.
pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    format!("{entry:?}").into_bytes()
}

pub(crate) fn open(url: &str) -> Store {
    Store::open(StoreOptions {
        database_url: url.to_owned(),
        lanes: 2,
        read_connections: 4,
        policy: policy(),
    })
    .unwrap()
}

pub(crate) fn policy() -> Policy {
    Policy { new_accounts_are_sandbox: true, ..Policy::new(encode) }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn account(id: &str) -> AccountId {
    AccountId::try_new(id).unwrap()
}

pub(crate) fn credits() -> Unit {
    Unit::try_new("").unwrap()
}

pub(crate) fn a_grant(amount: i64) -> Grant {
    Grant {
        amount,
        kind: GrantKind::Purchase,
        priority: Priority::default(),
        effective_at: None,
        expiry: Expiry::Never,
        cost_basis: None,
    }
}

pub(crate) fn command(id: &str, key: &str, action: Action) -> Request {
    let key = IdempotencyKey::try_new(key).unwrap();
    let context = Context { actor: "test".to_owned(), ..Context::default() };
    Request::Command(Command::try_new(account(id), credits(), key, context, action).unwrap())
}

pub(crate) fn grant(id: &str, key: &str, amount: i64) -> Request {
    command(id, key, Action::Grant(a_grant(amount)))
}

pub(crate) fn spend(id: &str, key: &str, amount: i64) -> Request {
    command(id, key, Action::Spend(Spend { amount, allow_partial: false }))
}

pub(crate) fn hold(id: &str, key: &str, amount: i64, ttl_s: i64) -> Request {
    command(id, key, Action::Hold(NewHold { amount, ttl_us: ttl_s * 1_000_000 }))
}

pub(crate) fn capture(id: &str, key: &str, hold_id: HoldId, amount: i64, is_final: bool) -> Request {
    command(id, key, Action::Capture(Capture { hold_id, amount, is_final, allow_overage: false }))
}

pub(crate) fn release(id: &str, key: &str, hold_id: HoldId) -> Request {
    command(id, key, Action::Release(Release { hold_id }))
}

pub(crate) fn reverse(id: &str, key: &str, entry: EntryRef, amount: Option<i64>) -> Request {
    command(id, key, Action::Reverse(Reverse { entry, amount }))
}

pub(crate) fn revoke(id: &str, key: &str, grant_id: GrantId, revoked: i64, shortfall: Shortfall) -> Request {
    command(id, key, Action::Revoke(Revoke { grant_id, revoked, shortfall: Some(shortfall) }))
}

pub(crate) fn adjust(id: &str, key: &str, delta: i64) -> Request {
    let context = Context { actor: "test".to_owned(), reason: "why".to_owned(), ..Context::default() };
    let key = IdempotencyKey::try_new(key).unwrap();
    let action = Action::Adjust(Adjust { delta, expires_at: None });
    Request::Command(Command::try_new(account(id), credits(), key, context, action).unwrap())
}

pub(crate) fn item(request: Request) -> Item {
    Item { request, operation_id: OperationId::from_uuid(Uuid::now_v7()), commit_tried: false }
}

/// The operation of an answer, and whether it was replayed.
pub(crate) fn operation(answer: Result<Answer, ApplyError>) -> (Operation, bool) {
    match answer {
        Ok(Answer::Operation { operation, replayed }) => (operation, replayed),
        other => panic!("no operation: {other:?}"),
    }
}

/// Why the rules refused.
pub(crate) fn denied(answer: Result<Answer, ApplyError>) -> Denied {
    match answer {
        Err(ApplyError::Denied(denied)) => denied,
        other => panic!("not refused by the rules: {other:?}"),
    }
}

/// What is available after an operation.
pub(crate) fn left(answer: Result<Answer, ApplyError>) -> i64 {
    store::last_entry(&operation(answer).0).unwrap().after.available
}

pub(crate) async fn count(pool: &PgPool, table: &str) -> i64 {
    let text = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(pool).await.unwrap()
}

/// Waits until this many backends of the database wait for a lock.
pub(crate) async fn blocked(pool: &PgPool, backends: i64) {
    harness::eventually("a backend waits for a lock", Duration::from_secs(10), || async {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        waiting >= backends
    })
    .await;
}

impl Book {
    pub(crate) async fn new() -> Self {
        let database = harness::database().await;
        let store = open(database.url());
        Self { database, store }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) async fn apply(&self, request: Request) -> Result<Answer, ApplyError> {
        self.store.apply(request, soon()).await
    }

    pub(crate) async fn available(&self, id: &str) -> i64 {
        let rows = self.store.balances(&[(account(id), credits())]).await.unwrap();
        rows.first().map_or(0, |row| row.figures.available)
    }

    /// available, held, scheduled, debt.
    pub(crate) async fn figures(&self, id: &str) -> [i64; 4] {
        let rows = self.store.balances(&[(account(id), credits())]).await.unwrap();
        let Figures { available, held, scheduled, debt } =
            rows.first().map_or_else(Figures::default, |row| row.figures);
        [available, held, scheduled, debt]
    }

    /// Gives an account a clock of its own that stands `seconds` from now, and settles what is due by it.
    pub(crate) async fn clock(&self, id: &str, seconds: i64) {
        sqlx::query("update accounts set test_clock_at = clock_timestamp() + $2 * interval '1 second' where account_id = $1")
            .bind(id)
            .bind(seconds)
            .execute(self.pool())
            .await
            .unwrap();
        self.apply(Request::Settle { account: account(id), unit: credits() }).await.unwrap();
    }

    /// Recomputes the hash chain of a balance, and checks every invariant of the database, twice: by SQL, and from the
    /// journal alone.
    pub(crate) async fn verify(&self, id: &str) {
        harness::assert_invariants(self.pool()).await;
        let entries = self.store.entries_after(&account(id), &credits(), 0, 1_000_000).await.unwrap();
        let mut previous = domain::EntryHash::default();
        for entry in entries {
            assert_eq!(entry.chained(previous), entry.hash, "hash of version {}", entry.version);
            previous = entry.hash;
        }
        if let Err(error) = self.store.verify(|_| {}).await {
            panic!("{error}");
        }
    }

    /// Moves a lot's times into the past, as if it had been granted earlier.
    pub(crate) async fn age_lots(&self, column: &str) {
        let text = format!(
            "update grants set effective_at = effective_at - interval '30 days',
                               {column} = {column} - interval '20 days', due_at = due_at - interval '20 days'"
        );
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(self.pool()).await.unwrap();
        let text = "update balances b set next_due_at =
            (select min(due_at) from grants g where g.account_id = b.account_id and closed_at is null)";
        sqlx::query(text).execute(self.pool()).await.unwrap();
    }
}

pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap()).plus_seconds(seconds)
}
