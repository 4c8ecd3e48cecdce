//! The journal of a database as it lies there, its hash chains checked.

use std::collections::BTreeMap;

use domain::{AccountId, Entry, EntryHash, OperationId, Unit};
use sqlx::{AssertSqlSafe, PgPool, Row};
use store::{Policy, Store, StoreOptions};

/// No test writes more entries of one balance.
const MOST_ENTRIES: i64 = 1_000_000;

/// A remembered idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id, as the API writes it.
    pub operation_id: String,
    /// Of which balance.
    pub unit: String,
    /// Its first entry.
    pub first_version: i64,
    /// Its entries.
    pub entry_count: i64,
}

/// All balances of a database, and all keys.
#[derive(Debug, Default)]
pub struct Journal {
    /// Entries by (account, unit), in the order of their versions.
    pub balances: BTreeMap<(String, String), Vec<Entry>>,
    /// Operations by (account, key).
    pub operations: BTreeMap<(String, String), Operation>,
}

impl Journal {
    /// Reads a database, checks every invariant of it, and computes every hash again.
    ///
    /// # Panics
    /// When an invariant or a hash does not hold, or the database cannot be read.
    pub async fn read(database_url: &str) -> Self {
        let store = Store::open(StoreOptions {
            database_url: database_url.to_owned(),
            lanes: 1,
            read_connections: 2,
            policy: Policy::new(|_| Vec::new()),
        })
        .expect("open the store");
        harness::assert_invariants(store.pool()).await;
        let mut journal = Self::default();
        for row in rows(store.pool(), "select account_id, unit from balances order by 1, 2").await {
            let (account, unit): (String, String) = (row.get(0), row.get(1));
            let (account_id, of) = (AccountId::try_new(account.clone()), Unit::try_new(unit.clone()));
            let (account_id, of) = (account_id.expect("a stored account"), of.expect("a stored unit"));
            let entries =
                store.entries_after(&account_id, &of, 0, MOST_ENTRIES).await.expect("read the journal");
            assert_chained(&entries);
            journal.balances.insert((account, unit), entries);
        }
        let operations = "select account_id, idempotency_key, operation_id, unit, first_version,
            entry_count::bigint from operations";
        for row in rows(store.pool(), operations).await {
            let operation = Operation {
                operation_id: OperationId::from_uuid(row.get(2)).to_string(),
                unit: row.get(3),
                first_version: row.get(4),
                entry_count: row.get(5),
            };
            journal.operations.insert((row.get(0), row.get(1)), operation);
        }
        store.pool().close().await;
        journal
    }

    /// The entries of the credits of an account; none when it has no balance.
    pub fn credits_of(&self, account: &str) -> &[Entry] {
        self.balances.get(&(account.to_owned(), "credits".to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The entries that an operation wrote.
    ///
    /// # Panics
    /// When they are not there.
    pub fn entries_of(&self, account: &str, operation: &Operation) -> &[Entry] {
        let entries = self.balances.get(&(account.to_owned(), operation.unit.clone()));
        let first = usize::try_from(operation.first_version - 1).expect("versions begin with 1");
        let count = usize::try_from(operation.entry_count).expect("a count");
        let entries = entries.and_then(|entries| entries.get(first..first + count));
        entries.unwrap_or_else(|| panic!("{operation:?} of {account} has no entries"))
    }
}

fn assert_chained(entries: &[Entry]) {
    let mut previous = EntryHash::default();
    for entry in entries {
        assert_eq!(entry.chained(previous), entry.hash, "hash of {entry:?}");
        previous = entry.hash;
    }
}

/// How many rows of a table a condition selects.
///
/// # Panics
/// When the database refuses.
pub async fn count(pool: &PgPool, from_where: &str) -> i64 {
    let rows = rows(pool, &format!("select count(*) from {from_where}")).await;
    rows.first().expect("a count has a row").get(0)
}

/// Rows of a query of a test's own. Prepared, so that numbers and booleans come as such.
///
/// # Panics
/// When the database refuses.
#[expect(
    clippy::disallowed_methods,
    reason = "what lies in the database is checked independently of the store"
)]
pub async fn rows(pool: &PgPool, sql: &str) -> Vec<sqlx::postgres::PgRow> {
    sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// A pool of two connections to a database that is not the harness's own.
///
/// # Panics
/// When the URL cannot be read.
pub fn pool(database_url: &str) -> PgPool {
    sqlx::postgres::PgPoolOptions::new()
        .max_connections(2)
        .connect_lazy(database_url)
        .expect("a database URL")
}
