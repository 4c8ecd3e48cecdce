//! Reads of the journal: what streams and replayed answers are rebuilt from.

use domain::{AccountId, Entry, Unit};
use sqlx::PgExecutor;

use crate::error::StoreError;
use crate::row::EntryRow;

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
                  traceparent, metadata_digest, entry_hash
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
