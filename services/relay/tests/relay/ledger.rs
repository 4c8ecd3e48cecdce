//! A database with a relay on it, and a writer that appends whatever history a test wants, as other replicas
//! would: under the account's lock, to balance, journal and outbox in one transaction.

use std::time::Duration;

use domain::{AccountId, Entry, Unit};
use harness::TestDatabase;
use relay::{Order, Relay, RelayOptions, Subscription, Target};
use sqlx::{Connection, PgConnection};
use store::{Policy, Store, StoreOptions};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything that must happen.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Ledger {
    pub database: TestDatabase,
    pub store: Store,
    pub relay: Relay,
    pub shutdown: CancellationToken,
}

/// What the writer puts into `outbox.event`, and what the store encodes entries to.
fn encode(entry: &Entry) -> Vec<u8> {
    format!("{}/{}", entry.account, entry.version).into_bytes()
}

pub fn open(url: &str) -> Store {
    Store::open(StoreOptions {
        database_url: url.to_owned(),
        lanes: 1,
        read_connections: 4,
        policy: Policy { new_accounts_are_sandbox: true, ..Policy::new(encode) },
    })
    .unwrap()
}

pub fn account(name: &str) -> AccountId {
    AccountId::try_new(name).unwrap()
}

pub fn unit() -> Unit {
    Unit::try_new("").unwrap()
}

pub fn target(name: &str, after_version: Option<i64>) -> Target {
    Target { account: account(name), unit: unit(), after_version, after_hash: None }
}

impl Ledger {
    pub async fn new() -> Self {
        Self::with(harness::database().await, RelayOptions::default())
    }

    pub fn with(database: TestDatabase, options: RelayOptions) -> Self {
        let store = open(database.url());
        let shutdown = CancellationToken::new();
        let relay = Relay::spawn(store.clone(), options, shutdown.clone());
        Self { database, store, relay, shutdown }
    }

    pub fn subscribe(&self, targets: Vec<Target>) -> Subscription {
        self.relay.subscribe(Order::new(targets, Duration::from_secs(1))).unwrap()
    }

    pub async fn writer(&self) -> Writer {
        Writer {
            connection: PgConnection::connect(self.database.url()).await.unwrap(),
            history: 1,
            padding: 0,
        }
    }

    pub async fn superuser(&self) -> PgConnection {
        PgConnection::connect(self.database.superuser_url()).await.unwrap()
    }

    /// Ends the tail's connection from the server's side.
    pub async fn kill_tail(&self) {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and application_name = 'tallystick tail'",
        )
        .execute(&mut self.superuser().await)
        .await
        .unwrap();
    }

    /// Takes the journal of an account away, as a failover that lost it would.
    pub async fn lose(&self, name: &str) {
        let lost = format!(
            "set session_replication_role = replica; \
             delete from entries where account_id = '{name}'; delete from balances where account_id = '{name}'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(lost)).execute(&mut self.superuser().await).await.unwrap();
    }

    /// Waits until the relay polls over its nth connection.
    pub async fn connected(&self, connections: u64) {
        harness::eventually("a new tail polls", LIMIT, async || {
            let health = self.relay.health();
            health.connections >= connections && !health.is_stale
        })
        .await;
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub struct Writer {
    pub connection: PgConnection,
    /// Goes into the hashes: another number, another history.
    pub history: i32,
    /// Bytes added to each event.
    pub padding: i32,
}

impl Writer {
    /// Appends operations of `size` entries each, in one transaction; the last version.
    pub async fn append(&mut self, name: &str, operations: i64, size: i64) -> i64 {
        let mut tx = self.connection.begin().await.unwrap();
        let last = append_in_tx(&mut tx, name, operations, size, (self.history, self.padding)).await;
        tx.commit().await.unwrap();
        last
    }
}

pub async fn append_in_tx(
    tx: &mut PgConnection,
    name: &str,
    operations: i64,
    size: i64,
    (history, padding): (i32, i32),
) -> i64 {
    sqlx::query("insert into accounts (account_id, created_at) values ($1, now()) on conflict do nothing")
        .bind(name)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("select state from accounts where account_id = $1 for no key update")
        .bind(name)
        .execute(&mut *tx)
        .await
        .unwrap();
    let version = sqlx::query_scalar::<_, i64>("select version from balances where account_id = $1")
        .bind(name)
        .fetch_optional(&mut *tx)
        .await
        .unwrap()
        .unwrap_or(0);
    let last = version + operations * size;
    for sql in [
        "insert into balances (account_id, unit, available, held, scheduled, debt, version, entry_hash, \
             last_effective_at, open_lots) \
         select $1, 'credits', $3, 0, 0, 0, $3, sha256(convert_to($1 || '/' || $3 || '/' || $5, 'UTF8')), now(), 1 \
         where $2 <= $3 and $4 > 0 and $6 >= 0 \
         on conflict (account_id, unit) do update set available = excluded.available, version = excluded.version, \
             entry_hash = excluded.entry_hash",
        "insert into entries (account_id, unit, version, operation_id, operation_index, operation_size, kind, \
             available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled, debt, \
             line_grants, line_deltas, actor, effective_at, recorded_at, entry_hash) \
         select $1, 'credits', v, gen_random_uuid(), (v - $2) % $4, $4, 1, 1, 0, 0, 0, v, 0, 0, 0, '{}', '{}', \
             'test', now(), now(), sha256(convert_to($1 || '/' || v || '/' || $5, 'UTF8')) \
         from generate_series($2, $3) as v where $6 >= 0",
        "insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, event, \
             created_at) \
         select (extract(epoch from clock_timestamp())::bigint / slot_seconds) % 16, $1, 'credits', v, \
             (v - $2) % $4, $4, sha256(convert_to($1 || '/' || v || '/' || $5, 'UTF8')), \
             convert_to($1 || '/' || v || repeat('.', $6), 'UTF8'), clock_timestamp() \
         from stream_state, generate_series($2, $3) as v",
    ] {
        sqlx::query(sql)
            .bind(name)
            .bind(version + 1)
            .bind(last)
            .bind(size)
            .bind(history)
            .bind(padding)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    last
}
