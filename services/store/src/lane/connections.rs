//! The connections that batches run on: those of the pool, a few of which stay out of it between two batches.
//!
//! Why: a connection that goes back to sqlx's pool is first asked whether it lives, which is a trip to the server for each
//! batch; and the pool gives out the one that has rested longest, so that batches go round over all connections
//! that there are, and each finds a server process whose caches are cold. Here the one used last goes first.
//!
//! Promises: no more are kept than there are lanes, so detours find theirs in the pool; one that came out of the pool
//! [`KEEP_FOR`] ago goes back instead of into a batch, so that the pool's limits on age and idleness hold for what is used.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::Instant;

/// How long a connection may stay out of the pool. Far below its idle time (10 minutes), and rare beside batches.
const KEEP_FOR: Duration = Duration::from_secs(60);

/// A connection in use.
pub(crate) struct Lent {
    pub(crate) connection: PoolConnection<Postgres>,
    since: Instant,
}

/// The pool, and what is kept out of it.
pub(crate) struct Connections {
    pool: PgPool,
    most_kept: usize,
    /// The one used last at the end.
    kept: Mutex<Vec<Lent>>,
}

impl Connections {
    /// Keeps at most `most_kept` connections of the pool.
    pub(crate) const fn new(pool: PgPool, most_kept: usize) -> Self {
        Self { pool, most_kept, kept: Mutex::new(Vec::new()) }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Lent>> {
        // The list is whole after every step, so a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One for a batch.
    ///
    /// # Errors
    /// Those of the pool.
    pub(crate) async fn acquire(&self) -> Result<Lent, sqlx::Error> {
        let kept = self.kept().pop();
        if let Some(lent) = kept.filter(|lent| lent.since.elapsed() < KEEP_FOR) {
            return Ok(lent);
        }
        let connection = self.pool.acquire().await?;
        Ok(Lent { connection, since: Instant::now() })
    }

    /// Takes one back whose batch was committed.
    pub(crate) fn give_back(&self, lent: Lent) {
        let mut kept = self.kept();
        if kept.len() < self.most_kept {
            kept.push(lent);
        }
    }

    /// How many are in use, and how many wait here or in the pool.
    pub(crate) fn in_use_and_idle(&self) -> (usize, usize) {
        let (kept, idle) = (self.kept().len(), self.pool.num_idle());
        let open = usize::try_from(self.pool.size()).unwrap_or(0);
        (open.saturating_sub(idle).saturating_sub(kept), idle.saturating_add(kept))
    }
}

impl Drop for Connections {
    /// The pool takes connections back in a task, and the runtime may be gone by now.
    fn drop(&mut self) {
        let kept = std::mem::take(self.kept.get_mut().unwrap_or_else(PoisonError::into_inner));
        kept.into_iter().for_each(|lent| drop(lent.connection.detach()));
    }
}
