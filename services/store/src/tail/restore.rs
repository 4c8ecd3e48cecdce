//! What the tail must know about the server before its first poll: that it is a primary, and that the outbox
//! was written by it.
//!
//! A dump carries the outbox's `xid` column as data. Rows whose xid this server has not reached cannot be its
//! own: the database was restored. They would be delivered as if new, once the server's counter passes them.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::error::StoreError;
use crate::outbox::{LOCK_TRIES, lock_pause};

/// The first look at a server, all of one snapshot.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) standby: bool,
    pub(crate) epoch: i64,
    pub(crate) snapshot: String,
    pub(crate) from_another_server: bool,
}

/// A row that is visible and has an xid that is not below `xmax` was not written by this server: `xmax` is one
/// past the last transaction that had ended.
pub(crate) async fn look(connection: &mut PgConnection) -> Result<Look, StoreError> {
    sqlx::query_as!(
        Look,
        r#"select pg_is_in_recovery() as "standby!", epoch, pg_current_snapshot()::text as "snapshot!",
                  exists (select from outbox where xid >= pg_snapshot_xmax(pg_current_snapshot()))
                      or coalesce(emptied_xid >= pg_snapshot_xmax(pg_current_snapshot()), false)
                      as "from_another_server!"
           from stream_state"#
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::during("open the outbox tail"))
}

/// Empties the outbox and raises the epoch, in one transaction. The journal keeps everything; watchers read it.
pub(crate) async fn start_new_epoch(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let tried = try_new_epoch(connection).await;
        match tried {
            Err(error) if error.is_lock_timeout() && tries < LOCK_TRIES => pause().await,
            other => return other,
        }
    }
}

async fn pause() {
    let pause: Duration = lock_pause();
    tokio::time::sleep(pause).await;
}

async fn try_new_epoch(connection: &mut PgConnection) -> Result<(), StoreError> {
    const EMPTY: &str = "empty a restored outbox";
    let mut tx = connection.begin().await.map_err(StoreError::during(EMPTY))?;
    // The row lock lets one of several replicas do it; the others find the rows gone. The short lock_timeout:
    // TRUNCATE queues in front of every insert, so it must not wait long behind a writer.
    sqlx::query!("select set_config('lock_timeout', '50ms', true)")
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(EMPTY))?;
    sqlx::query!("select epoch from stream_state for update")
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(EMPTY))?;
    if look(&mut tx).await?.from_another_server {
        sqlx::query!("truncate outbox").execute(&mut *tx).await.map_err(StoreError::during(EMPTY))?;
        sqlx::query!(
            "update stream_state set epoch = epoch + 1, emptied_xid = null, emptied_in = null,
                                     kept_since = clock_timestamp()"
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::during(EMPTY))?;
    }
    tx.commit().await.map_err(StoreError::during(EMPTY))
}
