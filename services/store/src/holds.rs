//! Pages of one balance's holds, newest first.

use std::collections::BTreeMap;

use domain::{AccountId, Hold, Unit};
use sqlx::types::{Json, Uuid};
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::history::{MAX_LOOKED_AT, Page};
use crate::row::HoldRow;
use crate::store::Store;

/// A hold with what its call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHold {
    /// The hold as it stands.
    pub hold: Hold,
    /// The call's reference.
    pub reference: String,
    /// The call's pairs; empty once they were erased.
    pub metadata: BTreeMap<String, String>,
}

struct Row {
    hold_id: Uuid,
    version: i64,
    last_version: i64,
    amount: i64,
    remaining: i64,
    captured: i64,
    state: i16,
    line_grants: Vec<Uuid>,
    line_remaining: Vec<i64>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
    reference: String,
    metadata: Option<Json<BTreeMap<String, String>>>,
}

impl Store {
    /// The holds below version `before`, newest first, at most `limit`; only open ones, unless closed ones are asked
    /// for. A page looks at no more than [`MAX_LOOKED_AT`] holds; a balance has at most [`domain::MAX_OPEN_HOLDS`] open
    /// ones.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn holds_page(
        &self,
        (account, unit): (&AccountId, &Unit),
        with_closed: bool,
        before: i64,
        limit: i64,
    ) -> Result<Page<StoredHold>, StoreError> {
        // Two ways, so that a few open holds are found by their own index and not behind a million closed ones.
        let rows = sqlx::query_as!(
            Row,
            r#"with found as materialized (
                   (select * from holds where account_id = $1 and unit = $2 and closed_at is null and not $3)
                   union all
                   (select * from holds where account_id = $1 and unit = $2 and version < $4 and $3
                    order by version desc limit $6)
               ), page as (
                   select * from found where version < $4 order by version desc limit $5
               )
               select h.hold_id as "hold_id!", h.version as "version!", h.last_version as "last_version!",
                      h.amount as "amount!", h.remaining as "remaining!", h.captured as "captured!",
                      h.state as "state!", h.line_grants as "line_grants!",
                      h.line_remaining as "line_remaining!", h.created_at as "created_at!",
                      h.expires_at as "expires_at!", h.closed_at, e.reference as "reference!",
                      m.metadata as "metadata?: Json<BTreeMap<String, String>>"
               from page h
               -- Lateral, so that both are found by version: a join may walk the whole balance for each hold.
               cross join lateral (
                   select reference from entries
                   where account_id = $1 and unit = $2 and version = h.version limit 1
               ) as e
               left join lateral (
                   select metadata from entry_metadata
                   where account_id = $1 and unit = $2 and version = h.version limit 1
               ) as m on true
               order by h.version desc"#,
            account.as_str(),
            unit.as_str(),
            with_closed,
            before,
            limit,
            limit.min(MAX_LOOKED_AT)
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("read holds of a balance"))?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let holds = rows.into_iter().map(|row| row.into_stored(account, unit));
        let items = holds.collect::<Result<Vec<_>, _>>()?;
        let next_before = items.last().filter(|_| is_full).map(|last| last.hold.version);
        Ok(Page { items, next_before })
    }
}

impl Row {
    fn into_stored(self, account: &AccountId, unit: &Unit) -> Result<StoredHold, StoreError> {
        let hold = HoldRow {
            account_id: account.as_str().to_owned(),
            hold_id: self.hold_id,
            unit: unit.as_str().to_owned(),
            version: self.version,
            last_version: self.last_version,
            amount: self.amount,
            remaining: self.remaining,
            captured: self.captured,
            state: self.state,
            line_grants: self.line_grants,
            line_remaining: self.line_remaining,
            created_at: self.created_at,
            expires_at: self.expires_at,
            closed_at: self.closed_at,
        };
        let (_, hold) = hold.into_hold()?;
        let metadata = self.metadata.map(|Json(pairs)| pairs).unwrap_or_default();
        Ok(StoredHold { hold, reference: self.reference, metadata })
    }
}
