//! What lies ahead of a snapshot, and when a snapshot may be used.

use std::time::Duration;

use domain::Timestamp;
use sqlx::PgConnection;

use super::{FeedError, MAX_IN_PROGRESS, Mark, Snapshot};
use crate::error::StoreError;

/// Before a look whether the log has reached the disk by itself: under load others commit within it.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Look {
    snapshot: String,
    pub(super) now_us: i64,
    pub(super) insert_lsn: String,
    pub(super) is_on_disk: bool,
    mark: Option<String>,
    mark_us: Option<i64>,
}

impl Look {
    pub(super) fn present(&self) -> Result<Mark, FeedError> {
        mark(&self.snapshot, self.now_us)
    }

    pub(super) fn lookup_mark(&self) -> Result<Option<Mark>, FeedError> {
        let Some((snapshot, at_us)) = self.mark.as_ref().zip(self.mark_us) else { return Ok(None) };
        mark(snapshot, at_us).map(Some)
    }
}

fn mark(snapshot: &str, at_us: i64) -> Result<Mark, FeedError> {
    let snapshot = Snapshot::parse(snapshot).ok_or(StoreError::Corrupt("snapshot"))?;
    if snapshot.in_progress() > MAX_IN_PROGRESS {
        return Err(FeedError::TooManyInProgress);
    }
    Ok(Mark { snapshot, at: Timestamp::from_micros(at_us) })
}

/// The present, and the first mark whose snapshot is later than `previous`. A snapshot's xmax never goes back, so one with
/// a higher xmax was taken later and sees all that the earlier one saw.
pub(super) async fn look_ahead(
    connection: &mut PgConnection,
    previous: Option<&Snapshot>,
    source: &str,
) -> Result<Look, StoreError> {
    let previous = previous.map(ToString::to_string);
    sqlx::query_as!(
        Look,
        r#"select pg_current_snapshot()::text as "snapshot!",
                  (extract(epoch from clock_timestamp()) * 1000000)::bigint as "now_us!",
                  lsn::text as "insert_lsn!", pg_current_wal_flush_lsn() >= lsn as "is_on_disk!",
                  mark.snapshot::text as mark, (extract(epoch from mark.taken_at) * 1000000)::bigint as mark_us
           from pg_current_wal_insert_lsn() as lsn
           left join lateral (
               select snapshot, taken_at from outbox_marks
               where source = $2 and next_xid > pg_snapshot_xmax($1::text::pg_snapshot)
               order by next_xid limit 1
           ) as mark on true"#,
        previous,
        source
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::during("look ahead in the ledger"))
}

/// Waits until the log is on disk up to where it was just after a snapshot was taken. Every transaction that had ended in the
/// snapshot has a record before that, so after a crash the server goes on with higher ids, and none that the
/// snapshot calls ended is given out again. A commit that anybody waits for brings the rest to the disk as well; where none
/// comes (a rollback does not), an empty one of our own does.
pub(super) async fn on_disk(
    connection: &mut PgConnection,
    lsn: String,
    mut is_on_disk: bool,
) -> Result<(), StoreError> {
    const WAIT: &str = "wait for the log";
    while !is_on_disk {
        tokio::time::sleep(FLUSH_PAUSE).await;
        is_on_disk = sqlx::query_scalar!(
            r#"select pg_current_wal_flush_lsn() >= $1::text::pg_lsn as "flushed!""#,
            lsn
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::during(WAIT))?;
        if !is_on_disk {
            sqlx::query!(
                r#"select set_config('synchronous_commit', 'local', true) as a,
                          pg_logical_emit_message(true, 'tallystick', '')::text as b"#
            )
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::during(WAIT))?;
        }
    }
    Ok(())
}
