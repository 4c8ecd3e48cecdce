//! One page of a step, out of the outbox.

use domain::{AccountId, Unit};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::PAGE_BYTES;
use crate::error::StoreError;
use crate::export::Position;
use crate::row::to_hash;
use crate::tail::OutboxRow;

/// The rows as a stream, up to the end of an operation at which the page is full; and whether the step has no more.
///
/// - The first part has the transactions that had not begun in the earlier snapshot, the second those that were in progress.
/// - The later snapshot is a subquery, so that it is read once and not for every row.
pub(super) async fn read_page(
    connection: &mut PgConnection,
    from: &str,
    to: &str,
    after: &Position,
    prefix: &str,
    limit: i64,
) -> Result<(Vec<OutboxRow>, bool), StoreError> {
    let mut stream = sqlx::query_as!(
        Row,
        r#"select account_id as "account_id!", unit as "unit!", version as "version!",
                  operation_index as "operation_index!", operation_size as "operation_size!",
                  entry_hash as "entry_hash!", event as "event!", traceparent
           from (
               select * from outbox
               where xid >= pg_snapshot_xmax($1::text::pg_snapshot)
                 and xid < pg_snapshot_xmax($2::text::pg_snapshot)
               union all
               select * from outbox
               where xid = any(array(select pg_snapshot_xip($1::text::pg_snapshot)))
           ) as step
           where pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))
             and (account_id, unit, version) > ($3 collate "C", $4 collate "C", $5)
             and starts_with(account_id, $6)
           order by account_id, unit, version
           limit $7"#,
        from,
        to,
        after.account_id,
        after.unit,
        after.version,
        prefix,
        limit
    )
    .fetch(connection);
    let (mut rows, mut bytes, mut read) = (Vec::new(), 0_usize, 0_i64);
    let mut whole = 0;
    while let Some(row) = stream.try_next().await.map_err(StoreError::during("read a page of the ledger"))? {
        read = read.saturating_add(1);
        let row = OutboxRow::try_from(row)?;
        bytes = bytes.saturating_add(row.event.len());
        let ends_operation = row.operation_index.saturating_add(1) >= row.operation_size;
        rows.push(row);
        if ends_operation {
            whole = rows.len();
            if bytes >= PAGE_BYTES {
                return Ok((rows, false));
            }
        }
    }
    rows.truncate(whole);
    Ok((rows, read < limit))
}

#[derive(Debug)]
struct Row {
    account_id: String,
    unit: String,
    version: i64,
    operation_index: i32,
    operation_size: i32,
    entry_hash: Vec<u8>,
    event: Vec<u8>,
    traceparent: Option<String>,
}

impl TryFrom<Row> for OutboxRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            account: AccountId::try_new(row.account_id)?,
            unit: Unit::try_new(row.unit)?,
            version: row.version,
            operation_index: row.operation_index,
            operation_size: row.operation_size,
            hash: to_hash(&row.entry_hash)?,
            event: row.event.into(),
            traceparent: row.traceparent,
        })
    }
}
