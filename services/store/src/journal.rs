//! Reads of the journal: what streams and replayed answers are rebuilt from.

use std::collections::HashMap;

use domain::{AccountId, Entry, OperationId, Unit};
use sqlx::PgExecutor;
use sqlx::types::Json;

use crate::error::StoreError;
use crate::row::{CrossingRow, EntryRow};

/// Entries of one balance with versions `first..=last`, in order. The caller bounds the range.
///
/// # Errors
/// [`StoreError`] when the database fails or a row cannot be used.
pub(crate) async fn entries_between(
    executor: impl PgExecutor<'_>,
    account: &AccountId,
    unit: &Unit,
    first: i64,
    last: i64,
) -> Result<Vec<Entry>, StoreError> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"select account_id, unit, version, operation_id, operation_index, operation_size, kind,
                  available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled, debt,
                  line_grants, line_deltas, reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                  traceparent, metadata_digest, entry_hash, hold_id, hold_expires_at,
                  related_version, crossed as "crossed: Json<Vec<CrossingRow>>", revoked, reclaimed
           from entries where account_id = $1 and unit = $2 and version between $3 and $4
           order by version"#,
        account.as_str(),
        unit.as_str(),
        first,
        last
    )
    .fetch_all(executor)
    .await
    .map_err(StoreError::during("read the journal"))?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// Entries of many version ranges, by operation and in version order. The caller bounds the ranges.
///
/// # Errors
/// [`StoreError`] when the database fails or a row cannot be used.
pub(crate) async fn entries_of_ranges(
    executor: impl PgExecutor<'_>,
    ranges: &[((AccountId, Unit), i64, i64)],
) -> Result<HashMap<OperationId, Vec<Entry>>, StoreError> {
    let accounts: Vec<String> = ranges.iter().map(|((id, _), ..)| id.as_str().to_owned()).collect();
    let units: Vec<String> = ranges.iter().map(|((_, unit), ..)| unit.as_str().to_owned()).collect();
    let firsts: Vec<i64> = ranges.iter().map(|(_, first, _)| *first).collect();
    let lasts: Vec<i64> = ranges.iter().map(|(.., last)| *last).collect();
    let rows = sqlx::query_as!(
        EntryRow,
        r#"select e.account_id, e.unit, e.version, e.operation_id, e.operation_index, e.operation_size, e.kind,
                  e.available_delta, e.held_delta, e.scheduled_delta, e.debt_delta,
                  e.available, e.held, e.scheduled, e.debt, e.line_grants, e.line_deltas,
                  e.reference, e.actor, e.on_behalf_of, e.reason, e.effective_at, e.recorded_at,
                  e.traceparent, e.metadata_digest, e.entry_hash, e.hold_id, e.hold_expires_at,
                  e.related_version, e.crossed as "crossed: Json<Vec<CrossingRow>>", e.revoked, e.reclaimed
           from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
                as wanted(account_id, unit, first_version, last_version)
           join entries e on e.account_id = wanted.account_id and e.unit = wanted.unit
                         and e.version between wanted.first_version and wanted.last_version"#,
        &accounts,
        &units,
        &firsts,
        &lasts
    )
    .fetch_all(executor)
    .await
    .map_err(StoreError::during("read stored operations"))?;
    let mut operations: HashMap<OperationId, Vec<Entry>> = HashMap::new();
    for row in rows {
        let entry = Entry::try_from(row)?;
        operations.entry(entry.operation_id).or_default().push(entry);
    }
    operations.values_mut().for_each(|entries| entries.sort_unstable_by_key(|entry| entry.version));
    Ok(operations)
}
