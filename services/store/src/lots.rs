//! Pages of one balance's lots, newest first.

use std::collections::BTreeMap;

use domain::{AccountId, GrantKind, Lot, Timestamp, Unit};
use sqlx::types::{Json, Uuid};
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::history::{MAX_LOOKED_AT, Page};
use crate::row::{LotRow, from_time};
use crate::store::Store;

/// A lot with what stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// The lot as it stands.
    pub lot: Lot,
    /// When it was granted.
    pub created_at: Timestamp,
    /// When nothing remained any more.
    pub closed_at: Option<Timestamp>,
    /// The granting call's reference.
    pub reference: String,
    /// The granting call's pairs; empty once they were erased.
    pub metadata: BTreeMap<String, String>,
}

struct Row {
    account_id: String,
    unit: String,
    grant_id: Uuid,
    version: i64,
    last_version: i64,
    kind: i16,
    priority: i16,
    amount: i64,
    remaining: i64,
    held: i64,
    expired: i64,
    raises: Option<Vec<i64>>,
    effective_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    active: bool,
    cost_currency: Option<String>,
    cost_minor_units: Option<i64>,
    created_at: OffsetDateTime,
    closed_at: Option<OffsetDateTime>,
    reference: String,
    metadata: Option<Json<BTreeMap<String, String>>>,
}

impl Store {
    /// The open lots below version `before`, newest first, at most `limit`; of these kinds, or of all when there are
    /// none. A balance has at most [`domain::MAX_OPEN_LOTS`] of them.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn open_grants_page(
        &self,
        (account, unit): (&AccountId, &Unit),
        kinds: &[GrantKind],
        before: i64,
        limit: i64,
    ) -> Result<Page<StoredGrant>, StoreError> {
        // Materialized, so that a few open lots are found by their own index and not behind a million closed ones.
        let rows = sqlx::query_as!(
            Row,
            r#"with open as materialized (
                   select * from grants where account_id = $1 and unit = $2 and closed_at is null
               ), page as (
                   select * from open
                   where version < $3 and (cardinality($4::smallint[]) = 0 or kind = any($4))
                   order by version desc limit $5
               )
               select g.account_id as "account_id!", g.unit as "unit!", g.grant_id as "grant_id!",
                      g.version as "version!", g.last_version as "last_version!", g.kind as "kind!",
                      g.priority as "priority!", g.amount as "amount!", g.remaining as "remaining!",
                      g.held as "held!", g.expired as "expired!", g.raises, g.effective_at as "effective_at!", g.expires_at,
                      g.active as "active!", g.cost_currency, g.cost_minor_units,
                      g.created_at as "created_at!", g.closed_at, e.reference as "reference!",
                      m.metadata as "metadata?: Json<BTreeMap<String, String>>"
               from page g
               join entries e on e.account_id = g.account_id and e.unit = g.unit and e.version = g.version
               left join entry_metadata m on m.account_id = g.account_id and m.unit = g.unit
                                         and m.version = g.version
               order by g.version desc"#,
            account.as_str(),
            unit.as_str(),
            before,
            &codes(kinds),
            limit
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("read open lots"))?;
        page(rows, limit)
    }

    /// The same with closed lots. Looks at no more than [`MAX_LOOKED_AT`] of them.
    ///
    /// # Errors
    /// As [`Store::open_grants_page`].
    pub async fn grants_page(
        &self,
        (account, unit): (&AccountId, &Unit),
        kinds: &[GrantKind],
        before: i64,
        limit: i64,
    ) -> Result<Page<StoredGrant>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"with looked_at as materialized (
                   select * from grants where account_id = $1 and unit = $2 and version < $3
                   order by version desc limit $6
               ), page as (
                   select * from looked_at where cardinality($4::smallint[]) = 0 or kind = any($4)
                   order by version desc limit $5
               )
               select g.account_id as "account_id!", g.unit as "unit!", g.grant_id as "grant_id!",
                      g.version as "version!", g.last_version as "last_version!", g.kind as "kind!",
                      g.priority as "priority!", g.amount as "amount!", g.remaining as "remaining!",
                      g.held as "held!", g.expired as "expired!", g.raises, g.effective_at as "effective_at!", g.expires_at,
                      g.active as "active!", g.cost_currency, g.cost_minor_units,
                      g.created_at as "created_at!", g.closed_at, e.reference as "reference!",
                      m.metadata as "metadata?: Json<BTreeMap<String, String>>"
               from page g
               join entries e on e.account_id = g.account_id and e.unit = g.unit and e.version = g.version
               left join entry_metadata m on m.account_id = g.account_id and m.unit = g.unit
                                         and m.version = g.version
               order by g.version desc"#,
            account.as_str(),
            unit.as_str(),
            before,
            &codes(kinds),
            limit,
            MAX_LOOKED_AT
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("read lots of a balance"))?;
        let page = page(rows, limit)?;
        if page.next_before.is_some() {
            return Ok(page);
        }
        let next_before = self.looked_down_to(account, unit, before).await?;
        Ok(Page { next_before, ..page })
    }

    /// The version of the last lot that a page below `before` looks at, when it looks at as many as it may.
    async fn looked_down_to(
        &self,
        account: &AccountId,
        unit: &Unit,
        before: i64,
    ) -> Result<Option<i64>, StoreError> {
        sqlx::query_scalar!(
            r#"select version from grants where account_id = $1 and unit = $2 and version < $3
               order by version desc offset $4 limit 1"#,
            account.as_str(),
            unit.as_str(),
            before,
            MAX_LOOKED_AT - 1
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("find the end of a page of lots"))
    }
}

fn codes(kinds: &[GrantKind]) -> Vec<i16> {
    kinds.iter().map(|kind| kind.code()).collect()
}

/// A full page goes on below its last lot; one that is not full was all that was looked at.
fn page(rows: Vec<Row>, limit: i64) -> Result<Page<StoredGrant>, StoreError> {
    let items = rows.into_iter().map(StoredGrant::try_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = i64::try_from(items.len()).is_ok_and(|count| count >= limit);
    let next_before = items.last().filter(|_| is_full).map(|last| last.lot.version);
    Ok(Page { items, next_before })
}

impl TryFrom<Row> for StoredGrant {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let lot = LotRow {
            account_id: row.account_id,
            unit: row.unit,
            grant_id: row.grant_id,
            version: row.version,
            last_version: row.last_version,
            kind: row.kind,
            priority: row.priority,
            amount: row.amount,
            remaining: row.remaining,
            held: row.held,
            expired: row.expired,
            raises: row.raises,
            effective_at: row.effective_at,
            expires_at: row.expires_at,
            active: row.active,
            cost_currency: row.cost_currency,
            cost_minor_units: row.cost_minor_units,
        };
        let (_, lot) = lot.into_lot()?;
        Ok(Self {
            lot,
            created_at: from_time(row.created_at)?,
            closed_at: row.closed_at.map(from_time).transpose()?,
            reference: row.reference,
            metadata: row.metadata.map(|Json(pairs)| pairs).unwrap_or_default(),
        })
    }
}
