//! The database side of a run: the server that is the primary now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::TestDatabase;
use postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time::timeout;

/// Most time that a statement of the harness may take: servers are frozen and killed under it.
const STATEMENT_LIMIT: Duration = Duration::from_secs(20);

/// The primary, and the name of the database, which every successor has too.
#[derive(Debug)]
pub(crate) struct Source {
    primary: Mutex<Arc<Cluster>>,
    database: TestDatabase,
    /// Held by whoever does something to the server.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

impl Source {
    /// A server of its own, with a migrated database.
    pub(crate) async fn start() -> Self {
        let cluster = blocking(harness::cluster).await;
        let database = harness::database_on(&cluster).await;
        Self { primary: Mutex::new(Arc::new(cluster)), database, gate: tokio::sync::Mutex::default() }
    }

    pub(crate) fn primary(&self) -> Arc<Cluster> {
        Arc::clone(&self.primary.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another server is the primary from now on. Gives the old one.
    pub(crate) fn replace(&self, primary: Arc<Cluster>) -> Arc<Cluster> {
        std::mem::replace(&mut *self.primary.lock().unwrap_or_else(PoisonError::into_inner), primary)
    }

    /// The name of the database.
    pub(crate) fn name(&self) -> &str {
        self.database.name()
    }

    /// For the owner of the database.
    pub(crate) fn url(&self) -> String {
        self.primary().database_url_of(self.name())
    }

    /// For the superuser.
    pub(crate) fn superuser_url(&self) -> String {
        self.primary().superuser_url_of(self.name())
    }

    /// The first column of the rows of a statement, as the superuser.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        ask(&self.superuser_url(), sql).await
    }
}

/// The first column of the rows of a statement; it must be text.
pub(crate) async fn ask(url: &str, sql: &str) -> Result<Vec<String>, sqlx::Error> {
    let asked = async {
        let mut connection = PgConnection::connect(url).await?;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        rows.iter().map(|row| row.try_get_unchecked(0)).collect()
    };
    timeout(STATEMENT_LIMIT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Runs something that blocks, such as the start of a server.
///
/// # Panics
/// When it does.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work ends")
}
