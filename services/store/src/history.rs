//! Pages of one balance's journal, newest first.
//!
//! Promises: a page looks at no more than [`MAX_LOOKED_AT`] entries, whatever the filters. Versions are dense and the
//! times of the writes never go back along them, so a time is found by bisection and a page is a range of the primary
//! key: no filter needs an index of its own.

use domain::{AccountId, Entry, EntryKind, GrantId, HoldId, Timestamp, Unit};
use futures::TryStreamExt;
use sqlx::types::Json;

use crate::error::StoreError;
use crate::journal;
use crate::row::{CrossingRow, EntryRow, to_time};
use crate::store::Store;

/// Most rows that one page looks at: about 20 ms of work, for any filter.
pub const MAX_LOOKED_AT: i64 = 10_000;
/// Most lines of all entries of one page, unless its first entry alone has more: with texts at their longest, an
/// answer stays below the 4 MiB that gRPC clients take.
const MAX_LINES: usize = 20_000;

/// Which entries of a balance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryFilter {
    /// Only these; empty: all.
    pub kinds: Vec<EntryKind>,
    /// Written at this time or later.
    pub recorded_from: Option<Timestamp>,
    /// Written before this time.
    pub recorded_until: Option<Timestamp>,
    /// With exactly this reference.
    pub reference: Option<String>,
    /// Having touched this lot.
    pub grant: Option<GrantId>,
    /// Of this hold.
    pub hold: Option<HoldId>,
}

/// What the filter names and the balance does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The grant.
    Grant(GrantId),
    /// The hold.
    Hold(HoldId),
}

/// Part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// May be empty although more follows.
    pub items: Vec<T>,
    /// The list goes on below this version; `None`: that was all.
    pub next_before: Option<i64>,
}

/// Versions `first..=last`.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: i64,
    last: i64,
}

impl Range {
    fn within(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
}

impl Store {
    /// The entries below version `before` that pass the filter, newest first, at most `limit`. `before` is at most the
    /// successor of the balance's version. The inner error: the balance does not have what the filter names.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn entries_page(
        &self,
        (account, unit): (&AccountId, &Unit),
        filter: &EntryFilter,
        before: i64,
        limit: i64,
    ) -> Result<Result<Page<Entry>, Unknown>, StoreError> {
        let mut range = Range { first: 1, last: before.saturating_sub(1) };
        if let Some(grant) = filter.grant {
            let Some(touched) = self.versions_of_grant(account, unit, grant).await? else {
                return Ok(Err(Unknown::Grant(grant)));
            };
            range = range.within(touched);
        }
        if let Some(hold) = filter.hold {
            let Some(touched) = self.versions_of_hold(account, unit, hold).await? else {
                return Ok(Err(Unknown::Hold(hold)));
            };
            range = range.within(touched);
        }
        if let Some(from) = filter.recorded_from {
            range.first = self.first_recorded(account, unit, range, from).await?;
        }
        if let Some(until) = filter.recorded_until {
            range.last = self.first_recorded(account, unit, range, until).await?.saturating_sub(1);
        }
        if range.first > range.last {
            return Ok(Ok(Page { items: Vec::new(), next_before: None }));
        }
        let floor = range.first.max(range.last.saturating_sub(MAX_LOOKED_AT - 1));
        let looked_at = Range { first: floor, last: range.last };
        let (items, is_whole) = self.filtered(account, unit, filter, looked_at, limit).await?;
        let seen_down_to = match items.last() {
            Some(last) if !is_whole => last.version,
            _ => floor,
        };
        let next_before = (seen_down_to > range.first).then_some(seen_down_to);
        Ok(Ok(Page { items, next_before }))
    }

    /// The versions between which a lot was touched, by the lot's own row. The unit is compared here, and the id is a
    /// range in order, which the primary key alone serves: a plan that was made while the table was empty would walk all
    /// lots of the account for ever.
    async fn versions_of_grant(
        &self,
        account: &AccountId,
        unit: &Unit,
        grant: GrantId,
    ) -> Result<Option<Range>, StoreError> {
        let row = sqlx::query!(
            r#"select unit, version, last_version from grants
               where account_id = $1 and grant_id between $2 and $2 order by grant_id"#,
            account.as_str(),
            grant.uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("read a grant's versions"))?;
        Ok(row
            .filter(|row| row.unit == unit.as_str())
            .map(|row| Range { first: row.version, last: row.last_version }))
    }

    /// The versions between which a hold was touched, as for a lot.
    async fn versions_of_hold(
        &self,
        account: &AccountId,
        unit: &Unit,
        hold: HoldId,
    ) -> Result<Option<Range>, StoreError> {
        let row = sqlx::query!(
            r#"select unit, version, last_version from holds
               where account_id = $1 and hold_id between $2 and $2 order by hold_id"#,
            account.as_str(),
            hold.uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("read a hold's versions"))?;
        Ok(row
            .filter(|row| row.unit == unit.as_str())
            .map(|row| Range { first: row.version, last: row.last_version }))
    }

    /// The balance as it was at a time that is over: its last entry that counted by then; `None` before the first.
    /// `version` is the balance's present one.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn entry_at(
        &self,
        account: &AccountId,
        unit: &Unit,
        version: i64,
        at: Timestamp,
    ) -> Result<Option<Entry>, StoreError> {
        // Versions are dense and effective times never go back along them.
        let later = sqlx::query_scalar!(
            r#"with recursive search(low, high) as (
                   select 1::bigint, $3::bigint + 1
                   union all
                   select case when e.effective_at <= $4 then e.version + 1 else search.low end,
                          case when e.effective_at <= $4 then search.high else e.version end
                   from search
                   -- Lateral, so that it is found by version: a join may walk the whole balance for each step.
                   cross join lateral (
                       select version, effective_at from entries
                       where account_id = $1 and unit = $2 and version = (search.low + search.high) / 2 limit 1
                   ) as e
                   where search.low < search.high
               )
               select low as "low!" from search where low = high"#,
            account.as_str(),
            unit.as_str(),
            version,
            to_time(at)?
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("find a time in the journal"))?;
        let last = later.ok_or(StoreError::Corrupt("the journal has a gap"))?.saturating_sub(1);
        let entries = journal::entries_between(self.pool(), account, unit, last, last).await?;
        Ok(entries.into_iter().next())
    }

    /// The first version of the range that was written at `at` or later; the successor of its last when none was.
    async fn first_recorded(
        &self,
        account: &AccountId,
        unit: &Unit,
        range: Range,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        if range.first > range.last {
            return Ok(range.first);
        }
        let found = sqlx::query_scalar!(
            r#"with recursive search(low, high) as (
                   select $3::bigint, $4::bigint + 1
                   union all
                   select case when e.recorded_at < $5 then e.version + 1 else search.low end,
                          case when e.recorded_at < $5 then search.high else e.version end
                   from search
                   -- Lateral, so that it is found by version: a join may walk the whole balance for each step.
                   cross join lateral (
                       select version, recorded_at from entries
                       where account_id = $1 and unit = $2 and version = (search.low + search.high) / 2 limit 1
                   ) as e
                   where search.low < search.high
               )
               select low as "low!" from search where low = high"#,
            account.as_str(),
            unit.as_str(),
            range.first,
            range.last,
            to_time(at)?
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("find a time in the journal"))?;
        found.ok_or(StoreError::Corrupt("the journal has a gap"))
    }

    /// What passes of a range, newest first, and whether the whole range was seen.
    async fn filtered(
        &self,
        account: &AccountId,
        unit: &Unit,
        filter: &EntryFilter,
        range: Range,
        limit: i64,
    ) -> Result<(Vec<Entry>, bool), StoreError> {
        let kinds: Vec<i16> = filter.kinds.iter().map(|kind| kind.code()).collect();
        let mut rows = sqlx::query_as!(
            EntryRow,
            r#"select account_id, unit, version, operation_id, operation_index, operation_size, kind,
                      available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled,
                      debt, line_grants, line_deltas, reference, actor, on_behalf_of, reason, effective_at,
                      recorded_at, traceparent, metadata_digest, entry_hash, hold_id, hold_expires_at,
                      related_version, crossed as "crossed: Json<Vec<CrossingRow>>", revoked, reclaimed
               from entries
               where account_id = $1 and unit = $2 and version between $3 and $4
                 and (cardinality($5::smallint[]) = 0 or kind = any($5))
                 and ($6::text is null or reference = $6)
                 and ($7::uuid is null or $7 = any(line_grants))
                 and ($8::uuid is null or hold_id = $8)
               order by version desc
               limit $9"#,
            account.as_str(),
            unit.as_str(),
            range.first,
            range.last,
            &kinds,
            filter.reference.as_deref(),
            filter.grant.map(GrantId::uuid),
            filter.hold.map(HoldId::uuid),
            limit
        )
        .fetch(self.pool());
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines = 0_usize;
        while let Some(row) =
            rows.try_next().await.map_err(StoreError::during("read a page of the journal"))?
        {
            lines = lines.saturating_add(row.line_grants.len());
            if lines > MAX_LINES && !entries.is_empty() {
                return Ok((entries, false));
            }
            entries.push(Entry::try_from(row)?);
        }
        let is_full = i64::try_from(entries.len()).is_ok_and(|count| count >= limit);
        Ok((entries, !is_full))
    }
}
