//! The store of one process: its connections, its lanes, and the calls that the services make.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{AccountId, Unit};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::apply::EncodeEvent;
use crate::error::{ApplyError, StoreError};
use crate::inbox::{self, Unapplied};
use crate::lane::{Connections, Lanes, MAX_DETOURS, Shared};
use crate::measure::Measures;
use crate::policy::Policy;
use crate::request::{Answer, EventAnswer, EventState, Request};
use crate::stripe_event::StripeEvent;
use crate::tail::mutants::{self, Mutant};

/// The migrations, in order.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `postgres://…`; holds a password, so it is never logged.
    pub database_url: String,
    /// Batches that may run at once. Two use two cores; more help a database on a machine of its own.
    pub lanes: u32,
    /// Connections for reads.
    pub read_connections: u32,
    /// What every batch goes by.
    pub policy: Policy,
}

/// Longest wait for a connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Every statement of the store finds its rows by key. The planner does not know that: with the statistics of a
/// young or skewed table it scans the table or hashes it, and a cached plan keeps the mistake while the table
/// grows (measured: 10 ms instead of 0.2 ms for the keys of one batch at 10,000 operations). So the other ways
/// are switched off, and each connection plans a statement once. PostgreSQL manual, 20.7 "Query Planning".
pub(crate) const BY_KEY: [(&str, &str); 8] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // An `order by` that an index serves then also says which index.
    ("enable_sort", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];

/// How much is under way in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that no batch has taken yet.
    pub queued: usize,
    /// Requests that wait for accounts that others have locked.
    pub on_detours: usize,
    /// Connections for writes, in use and idle.
    pub writes: (usize, usize),
    /// Connections for reads, in use and idle.
    pub reads: (usize, usize),
}

fn connections(pool: &PgPool) -> (usize, usize) {
    let (open, idle) = (usize::try_from(pool.size()).unwrap_or(0), pool.num_idle());
    (open.saturating_sub(idle), idle)
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    options: StoreOptions,
    connect: PgConnectOptions,
    reads: PgPool,
    lanes: Lanes,
    committed: watch::Receiver<u64>,
}

impl Store {
    /// Opens the store. Connections are made when they are needed, so a database that is down now may come up
    /// later.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the URL cannot be read.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let parsed = PgConnectOptions::from_str(&options.database_url);
        let connect = parsed.map_err(StoreError::during("read the database URL"))?;
        let connect = connect.application_name("tallystick");
        let writes = connect.clone().options([
            // A lock that is not granted in time sends the batch into another try.
            ("lock_timeout", "2s"),
            ("statement_timeout", "5s"),
            // A process that dies or stalls in a transaction must not keep its locks.
            ("idle_in_transaction_session_timeout", "2s"),
            ("tcp_user_timeout", "5s"),
            ("default_transaction_isolation", "read committed"),
        ]);
        let writes = writes.options(BY_KEY);
        let lanes = usize::try_from(options.lanes).unwrap_or(1);
        let detours = u32::try_from(MAX_DETOURS).unwrap_or(1);
        // A connection is not tried before each batch: a dead one fails its batch, which is tried again.
        let write_pool = PgPoolOptions::new()
            .max_connections(options.lanes.saturating_add(detours))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(primary(connection)))
            .connect_lazy_with(writes);
        let reads = PgPoolOptions::new()
            .max_connections(options.read_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(primary(connection)))
            .connect_lazy_with(
                connect
                    .clone()
                    .options([
                        ("statement_timeout", "10s"),
                        // The inbox is written here too: nothing may hold its locks for long.
                        ("lock_timeout", "2s"),
                        ("idle_in_transaction_session_timeout", "2s"),
                        ("tcp_user_timeout", "5s"),
                    ])
                    .options(BY_KEY),
            );
        let (committed, receiver) = watch::channel(0);
        let shared = Shared {
            connections: Connections::new(write_pool, lanes),
            policy: options.policy.clone(),
            committed,
            detours: Mutex::new(HashMap::new()),
            detour_permits: Semaphore::new(MAX_DETOURS),
            tasks: TaskTracker::new(),
            measures: Measures::default(),
        };
        let lanes = Lanes::spawn(lanes, shared);
        Ok(Self(Arc::new(Inner { options, connect, reads, lanes, committed: receiver })))
    }

    /// Applies a request: queued, batched, committed, answered.
    ///
    /// # Errors
    /// [`ApplyError`]; each variant says whether anything can have been written.
    pub async fn apply(&self, request: Request, deadline: Instant) -> Result<Answer, ApplyError> {
        self.0.lanes.submit(request, deadline).await
    }

    /// Applies requests of one account in their order, each with an answer of its own. One that is left undone (not:
    /// refused by the rules) leaves all behind it undone, so that the whole can be sent again. The caller bounds their
    /// number; all are queued at once.
    ///
    /// # Errors
    /// As [`Store::apply`], for each.
    pub async fn apply_in_order(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, ApplyError>> {
        self.0.lanes.submit_in_order(requests, deadline).await
    }

    /// Applies whatever is due on a balance.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub async fn settle(&self, account: AccountId, unit: Unit, deadline: Instant) -> Result<(), ApplyError> {
        self.apply(Request::Settle { account, unit }, deadline).await.map(|_| ())
    }

    /// Stores an event that changes no balance.
    ///
    /// # Errors
    /// [`StoreError`] when it was not stored.
    pub async fn record_event(
        &self,
        event: &StripeEvent,
        state: EventState,
        unapplied: &Unapplied<'_>,
    ) -> Result<EventAnswer, StoreError> {
        let mut connection = self.read_connection().await?;
        inbox::record(&mut connection, event, state, unapplied).await
    }

    /// Takes no new requests and finishes the queued ones.
    pub async fn drain(&self) {
        self.0.lanes.drain().await;
    }

    /// For reads, from the primary.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.0.reads
    }

    /// For connections of one's own.
    #[must_use]
    pub fn connect_options(&self) -> &PgConnectOptions {
        &self.0.connect
    }

    /// Raised after every commit of this process.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.clone()
    }

    /// What is counted.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        self.0.lanes.measures()
    }

    /// How much is under way at this moment.
    #[must_use]
    pub fn load(&self) -> Load {
        let (queued, on_detours) = self.0.lanes.waiting();
        Load { queued, on_detours, writes: self.0.lanes.connections(), reads: connections(&self.0.reads) }
    }

    /// What every batch goes by.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.options.policy
    }

    /// How entries are encoded.
    #[must_use]
    pub fn encode(&self) -> EncodeEvent {
        self.0.options.policy.encode
    }

    pub(crate) async fn read_connection(
        &self,
    ) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, StoreError> {
        self.0.reads.acquire().await.map_err(StoreError::during("acquire a connection"))
    }
}

/// Takes a new connection only when it leads to a primary. A standby is behind, so what is read there would contradict
/// what was sent and acknowledged. A primary becomes a standby by a restart alone, which ends its connections.
async fn primary(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_standby = sqlx::query_scalar!(r#"select pg_is_in_recovery() as "is_standby!""#);
    if is_standby.fetch_one(connection).await? && !mutants::is(Mutant::RelayOnAStandby) {
        return Err(sqlx::Error::Protocol("the server is a standby".to_owned()));
    }
    Ok(())
}

/// Brings a database's schema up to date. Safe to run by several processes at once.
///
/// # Errors
/// [`StoreError`] when the database cannot be reached or a migration fails.
pub async fn migrate(database_url: &str) -> Result<(), StoreError> {
    // A connection of its own: a pool would hide why there is none until its time is up.
    let connection = PgConnection::connect(database_url).await;
    let mut connection = connection.map_err(StoreError::during("connect"))?;
    MIGRATOR.run(&mut connection).await.map_err(StoreError::Migrate)?;
    connection.close().await.map_err(StoreError::during("close the connection"))
}
