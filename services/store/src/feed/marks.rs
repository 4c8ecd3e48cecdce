//! Marks: snapshots that are left on the way, one about every [`MARK_EVERY`] changes, so that a reader who is hours behind
//! takes many small steps and not one that must be sorted whole for every page.
//!
//! Promises: a mark is a snapshot that this server had. Must not know: who reads. A mark that is missing, or left twice, costs time
//! and nothing else.

use sqlx::PgPool;

use crate::error::StoreError;

/// Changes between two marks.
pub const MARK_EVERY: i64 = 5000;

/// Leaves a mark when [`MARK_EVERY`] changes have come since the last one, and takes away those that lie before all slots;
/// says whether it did.
///
/// # Errors
/// [`StoreError::Database`]; try again later.
pub async fn leave_mark(pool: &PgPool) -> Result<bool, StoreError> {
    // The counting stops at the number that is wanted, by the index on xid.
    let left = sqlx::query!(
        r#"with source as materialized (
               select outbox_source() as source
           ), last as materialized (
               select source, coalesce((select max_mark.next_xid from outbox_marks as max_mark
                                        where max_mark.source = source.source
                                        order by max_mark.next_xid desc limit 1), '0'::xid8) as next_xid
               from source
           )
           insert into outbox_marks (source, next_xid, snapshot, taken_at)
           select source, pg_snapshot_xmax(pg_current_snapshot()), pg_current_snapshot(), clock_timestamp()
           from last
           where (select count(*) from (select from outbox where xid >= last.next_xid limit $1) as new) >= $1
             and (select count(*) from pg_snapshot_xip(pg_current_snapshot())) <= $2
           on conflict do nothing"#,
        MARK_EVERY,
        i64::try_from(super::MAX_IN_PROGRESS).unwrap_or(i64::MAX)
    )
    .execute(pool)
    .await
    .map_err(StoreError::during("leave a mark in the ledger"))?;
    if left.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "delete from outbox_marks
         where taken_at < clock_timestamp()
                          - make_interval(secs => (select slot_seconds from stream_state) * 16)"
    )
    .execute(pool)
    .await
    .map_err(StoreError::during("take old marks away"))?;
    Ok(true)
}
