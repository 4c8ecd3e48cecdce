//! The whole journal by pages, in the byte order of (account, unit, version): for exports and for verification.

use domain::{AccountId, Entry, Unit};
use futures::TryStreamExt;
use sqlx::PgExecutor;
use sqlx::types::Json;

use crate::error::StoreError;
use crate::row::{CrossingRow, EntryRow};
use crate::store::Store;

/// A place in the journal; the default is its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// The last account that was read; empty: none.
    pub account_id: String,
    /// Its unit.
    pub unit: String,
    /// The version.
    pub version: i64,
}

impl Position {
    /// After this entry.
    #[must_use]
    pub fn after(entry: &Entry) -> Self {
        Self {
            account_id: entry.account.as_str().to_owned(),
            unit: entry.unit.as_str().to_owned(),
            version: entry.version,
        }
    }

    /// Before the first entry of a balance.
    #[must_use]
    pub fn before(account: &AccountId, unit: &Unit) -> Self {
        Self { account_id: account.as_str().to_owned(), unit: unit.as_str().to_owned(), version: 0 }
    }
}

impl Store {
    /// The next entries after a position of accounts that begin with `prefix`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn export_page(
        &self,
        prefix: &str,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        // Accounts with the prefix are one stretch of the key, which begins at the prefix itself.
        let first = Position { account_id: prefix.to_owned(), ..Position::default() };
        let is_before = after.account_id.as_str() < prefix;
        let after = if is_before { &first } else { after };
        let mut entries = entries_after(self.pool(), after, limit, usize::MAX).await?;
        entries.retain(|entry| entry.account.as_str().starts_with(prefix));
        Ok(entries)
    }
}

/// The next entries of the whole journal, fewer when they have more lines together than `max_lines`.
///
/// # Errors
/// [`StoreError`] when the database fails or a row cannot be used.
pub(crate) async fn entries_after(
    executor: impl PgExecutor<'_>,
    after: &Position,
    limit: i64,
    max_lines: usize,
) -> Result<Vec<Entry>, StoreError> {
    let mut rows = sqlx::query_as!(
        EntryRow,
        r#"select account_id, unit, version, operation_id, operation_index, operation_size, kind,
                  available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled, debt,
                  line_grants, line_deltas, reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                  traceparent, metadata_digest, entry_hash, hold_id, hold_expires_at,
                  related_version, crossed as "crossed: Json<Vec<CrossingRow>>", revoked, reclaimed
           from entries
           where (account_id, unit, version) > ($1 collate "C", $2 collate "C", $3)
           order by account_id, unit, version
           limit $4"#,
        after.account_id,
        after.unit,
        after.version,
        limit
    )
    .fetch(executor);
    let (mut entries, mut lines) = (Vec::new(), 0_usize);
    while let Some(row) = rows.try_next().await.map_err(StoreError::during("read the journal by pages"))? {
        lines = lines.saturating_add(row.line_grants.len());
        if lines > max_lines && !entries.is_empty() {
            break;
        }
        entries.push(Entry::try_from(row)?);
    }
    Ok(entries)
}
