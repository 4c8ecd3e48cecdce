//! A migrated database per test, cloned from a template that is migrated once per server.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use postgres::{Cluster, OWNER};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::server;

/// The database that carries the migrations and from which the others are cloned; it takes no connections.
const TEMPLATE: &str = "tallystick_template";
/// Enough for a test with two open transactions beside a batch or two; 20 tests at once stay below max_connections.
const POOL_CONNECTIONS: u32 = 8;
/// A test that waits longer for a connection has lost them.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(30);

/// A database of one test. Dropping it drops the database in the background, open connections included.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    superuser_url: String,
    maintenance_url: String,
    pool: PgPool,
}

impl TestDatabase {
    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The url for the role that owns the database and is no superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The url of the same database for the superuser.
    pub fn superuser_url(&self) -> &str {
        &self.superuser_url
    }

    /// A pool of at most 8 connections as the owner, opened when first used.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // With the process's end the server goes anyway, so nobody waits for this.
        let _ = reaper().send((self.maintenance_url.clone(), self.name.clone()));
    }
}

/// A fresh database with all migrations on the shared server.
///
/// # Panics
/// When the server cannot be started or a migration fails.
pub async fn database() -> TestDatabase {
    // In a blocking thread: the first call starts the server.
    let server = tokio::task::spawn_blocking(server::server).await.expect("the server starts");
    database_on(server).await
}

/// A fresh database with all migrations on a server of the test's own ([`crate::cluster`]).
///
/// # Panics
/// When the server does not answer or a migration fails.
pub async fn database_on(cluster: &Cluster) -> TestDatabase {
    let maintenance_url = cluster.superuser_url();
    let mut admin = PgConnection::connect(&maintenance_url).await.expect("connect as superuser");
    prepare_template(&mut admin, cluster).await;
    let name = format!("test_{}", Uuid::new_v4().simple());
    run(&mut admin, &format!("create database {name} template {TEMPLATE} owner {OWNER}")).await;
    let url = cluster.database_url_of(&name);
    let options = PgPoolOptions::new().max_connections(POOL_CONNECTIONS).acquire_timeout(ACQUIRE_LIMIT);
    let pool = options.connect_lazy(&url).expect("the url of a test database is valid");
    TestDatabase { superuser_url: cluster.superuser_url_of(&name), name, url, maintenance_url, pool }
}

/// Ends a server and starts it again as a standby that follows nobody.
///
/// # Panics
/// When the server does not end or start.
pub async fn restart_as_standby(cluster: &Cluster) {
    let mut admin = PgConnection::connect(&cluster.superuser_url()).await.expect("connect as superuser");
    let directory = first(&mut admin, "select current_setting('data_directory')").await.expect("a directory");
    cluster.kill().expect("the server ends");
    std::fs::write(std::path::Path::new(&directory).join("standby.signal"), "").expect("the file is written");
    cluster.start_again().expect("the server starts again");
}

/// Makes the template unless the server has it. Tests that come at once wait for the first by an advisory lock, which
/// ends with the connection also when that test is cancelled halfway; a template that takes connections is such a half.
async fn prepare_template(admin: &mut PgConnection, cluster: &Cluster) {
    run(admin, "select pg_advisory_lock(7461707374)").await;
    let exists = format!("select 1 from pg_database where datname = '{TEMPLATE}' and not datallowconn");
    if first(admin, &exists).await.is_none() {
        run(admin, &format!("drop database if exists {TEMPLATE} with (force)")).await;
        run(admin, &format!("create database {TEMPLATE} owner {OWNER}")).await;
        migrate(&cluster.database_url_of(TEMPLATE)).await;
        run(admin, &format!("alter database {TEMPLATE} with allow_connections false is_template true")).await;
        let durability = "select string_agg(name || '=' || setting, ' ' order by name) from pg_settings \
            where name in ('fsync', 'full_page_writes', 'synchronous_commit')";
        let durability = first(admin, durability).await.unwrap_or_default();
        eprintln!("harness: PostgreSQL on port {}: {durability}", cluster.port());
    }
    run(admin, "select pg_advisory_unlock(7461707374)").await;
}

/// Read at run time: a migration added since the last build of this crate counts.
async fn migrate(url: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let migrator = Migrator::new(dir).await.expect("read the migrations");
    let mut owner = PgConnection::connect(url).await.expect("connect as the owner of the template");
    migrator.run_direct(None, &mut owner, false).await.expect("migrate the template");
    owner.close().await.expect("close the connection to the template");
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let outcome = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    outcome.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn first(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection).await;
    let row = row.unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.map(|row| row.try_get_unchecked(0).expect("a text column"))
}

/// The thread that drops databases, with a runtime of its own: that of the test may be ending.
fn reaper() -> mpsc::Sender<(String, String)> {
    static REAPER: OnceLock<Mutex<mpsc::Sender<(String, String)>>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = mpsc::channel::<(String, String)>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for dropping databases");
            for (url, name) in receiver {
                // Best effort: a test of its own may have stopped the server.
                let _ = runtime.block_on(drop_database(&url, &name));
            }
        });
        Mutex::new(sender)
    };
    REAPER.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn drop_database(url: &str, name: &str) -> Result<(), sqlx::Error> {
    let mut admin = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("drop database if exists {name} with (force)")))
        .execute(&mut admin)
        .await?;
    admin.close().await
}
