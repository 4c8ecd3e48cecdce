//! Erasure: what callers and Stripe told about a person, as far as it lies beside the journal. Figures, references and
//! reasons stay, since the hash chain covers them; metadata is covered by its digest only.

use domain::{AccountId, Timestamp};

use super::{AccountError, By, audit_in_tx};
use crate::error::StoreError;
use crate::row::from_time;
use crate::store::Store;

/// Entries whose metadata one statement blanks.
const CHUNK: i64 = 5_000;
/// Events whose bodies one statement deletes; a body has up to some hundred KiB.
const BODIES: i64 = 500;

/// What an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Entries whose metadata were blanked.
    pub entries: i64,
    /// Stored bodies of Stripe events that were deleted.
    pub bodies: i64,
    /// When it was done, by the database.
    pub at: Timestamp,
}

impl Store {
    /// Blanks an account's metadata and deletes the stored bodies of its Stripe events, but for parked ones, which are
    /// still to be applied. By chunks: a call that fails half-way is made again.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::Store`].
    pub async fn erase_account_data(&self, account: &AccountId, by: &By) -> Result<Erased, AccountError> {
        let (mut tx, _) = self.locked_account(account).await?;
        audit_in_tx(&mut tx, account, "erase", by, &serde_json::json!({})).await?;
        tx.commit().await.map_err(StoreError::during("commit"))?;

        let entries = self.blank_metadata(account).await?;
        let bodies = self.delete_bodies(account).await?;

        let (mut tx, _) = self.locked_account(account).await?;
        let at = sqlx::query_scalar!(
            r#"update accounts set erased_at = clock_timestamp() where account_id = $1 returning erased_at as "at!""#,
            account.as_str()
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during("note the erasure"))?;
        let detail = serde_json::json!({ "entries": entries, "bodies": bodies });
        audit_in_tx(&mut tx, account, "erased", by, &detail).await?;
        tx.commit().await.map_err(StoreError::during("commit"))?;
        Ok(Erased { entries, bodies, at: from_time(at)? })
    }

    async fn blank_metadata(&self, account: &AccountId) -> Result<i64, StoreError> {
        let mut blanked = 0_i64;
        let (mut unit, mut version) = (String::new(), 0);
        loop {
            let rows = sqlx::query!(
                r#"with chunk as materialized (
                       select unit, version from entry_metadata
                       where account_id = $1 and (unit, version) > ($2 collate "C", $3)
                       order by unit, version limit $4
                   ), blank as (
                       update entry_metadata m set metadata = null, erased_at = clock_timestamp()
                       from chunk
                       where m.account_id = $1 and m.unit = chunk.unit and m.version = chunk.version
                         and m.erased_at is null
                       returning 1 as one
                   )
                   select unit, version, (select count(*) from blank) as "blanked!"
                   from chunk order by unit desc, version desc limit 1"#,
                account.as_str(),
                unit,
                version,
                CHUNK
            )
            .fetch_optional(self.pool())
            .await
            .map_err(StoreError::during("blank metadata"))?;
            let Some(last) = rows else { return Ok(blanked) };
            blanked = blanked.saturating_add(last.blanked);
            (unit, version) = (last.unit, last.version);
        }
    }

    async fn delete_bodies(&self, account: &AccountId) -> Result<i64, StoreError> {
        let mut deleted = 0_i64;
        let mut event_id = String::new();
        loop {
            // The last event comes out of the index walk itself, so that events without a body are passed once.
            let row = sqlx::query!(
                r#"with chunk as materialized (
                       select event_id, state from stripe_events
                       where account_id = $1 and event_id > $2
                       order by event_id limit $3
                   ), gone as (
                       delete from stripe_event_bodies b using chunk
                       where b.event_id = chunk.event_id and chunk.state <> 3
                       returning 1 as one
                   )
                   select event_id, (select count(*) from gone) as "deleted!"
                   from chunk order by event_id desc limit 1"#,
                account.as_str(),
                event_id,
                BODIES
            )
            .fetch_optional(self.pool())
            .await
            .map_err(StoreError::during("delete event bodies"))?;
            let Some(last) = row else { return Ok(deleted) };
            deleted = deleted.saturating_add(last.deleted);
            event_id = last.event_id;
        }
    }
}
