//! Balances with their lots, and whether any key of the batch is stored already: one statement for most batches.
//!
//! A second one reads stored keys, which are rare; another the next due time where a balance has one; others the lots of
//! a balance whose first page did not cover the demand.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::{AccountId, Balance, Figures, Lot, Timestamp, Unit};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::apply::BalanceKey;
use crate::error::StoreError;
use crate::row::{LotRow, array_literal, from_time, to_hash, to_time};

/// Lots of one balance that the first read takes in burn order; most batches burn from one or two.
const FIRST_PAGE: i64 = 32;
/// Each further read of a balance whose lots did not cover the demand takes this many times more.
const PAGE_GROWTH: i64 = 8;
/// A column that a left join left out where it must not.
const MISSING: StoreError = StoreError::Corrupt("column of a balance or lot");

/// What was read.
pub(super) struct Read {
    pub(super) balances: BTreeMap<BalanceKey, Balance>,
    pub(super) has_stored_keys: bool,
}

/// Reads the balances that exist, each with all lots that are due and, in burn order, enough for its demand.
pub(super) async fn read_in_tx(
    tx: &mut PgConnection,
    keys: &BTreeSet<(AccountId, String)>,
    demands: &BTreeMap<BalanceKey, i64>,
    now: Timestamp,
) -> Result<Read, StoreError> {
    let mut read = first_in_tx(tx, keys, demands, now).await?;
    further_lots_in_tx(tx, &mut read.balances, demands, now).await?;
    read.balances.values_mut().for_each(|balance| balance.lots.sort_unstable_by_key(Lot::burn_key));
    unloaded_in_tx(tx, &mut read.balances, now).await?;
    Ok(read)
}

/// One row per lot, or per balance without lots; one row at least, for the keys.
///
/// `limit 1` keeps the planner from turning a join round: to it a table that was empty when it was analysed has one
/// row, and a plan that begins there reads the whole table for every batch, however large it has become (measured: 966
/// spends a second where 4,829 are done otherwise).
async fn first_in_tx(
    tx: &mut PgConnection,
    keys: &BTreeSet<(AccountId, String)>,
    demands: &BTreeMap<BalanceKey, i64>,
    now: Timestamp,
) -> Result<Read, StoreError> {
    let (key_accounts, key_texts): (Vec<String>, Vec<String>) =
        keys.iter().map(|(account, key)| (account.as_str().to_owned(), key.clone())).unzip();
    let (accounts, units) = columns(demands.keys());
    let rows = sqlx::query!(
        r#"select exists (
                      select from unnest($1::text[], $2::text[]) as wanted(account_id, idempotency_key)
                      cross join lateral (
                          select from operations o
                          where o.account_id = wanted.account_id and o.idempotency_key = wanted.idempotency_key
                          limit 1
                      ) as stored
                  ) as "has_stored_keys!",
                  found.account_id as "account_id?", found.unit as "unit?", found.available as "available?",
                  found.held as "held?", found.scheduled as "scheduled?", found.debt as "debt?",
                  found.version as "version?", found.entry_hash as "entry_hash?",
                  found.last_effective_at as "last_effective_at?", found.open_lots as "open_lots?",
                  found.next_due_at as "next_due_at?",
                  lot.grant_id as "grant_id?", lot.version as "lot_version?",
                  lot.last_version as "lot_last_version?", lot.kind as "kind?", lot.priority as "priority?",
                  lot.amount as "amount?", lot.remaining as "remaining?", lot.held as "lot_held?",
                  lot.effective_at as "effective_at?", lot.expires_at as "expires_at?", lot.active as "active?",
                  lot.cost_currency as "cost_currency?", lot.cost_minor_units as "cost_minor_units?"
           from (select) as once
           left join (
               select b.* from unnest($3::text[], $4::text[]) as wanted(account_id, unit)
               cross join lateral (
                   select * from balances
                   where account_id = wanted.account_id and unit = wanted.unit limit 1
               ) as b
           ) as found on true
           left join lateral (
               (select * from grants
                where account_id = found.account_id and unit = found.unit and closed_at is null and active
                order by priority, expires_at, kind, version
                limit $5)
               union all
               (select * from grants
                where account_id = found.account_id and unit = found.unit and closed_at is null
                  and found.next_due_at <= $6 and due_at <= $6
                order by due_at)
           ) as lot on true"#,
        &key_accounts,
        &key_texts,
        &accounts,
        &units,
        FIRST_PAGE,
        to_time(now)?
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read balances"))?;

    let has_stored_keys = rows.first().is_some_and(|row| row.has_stored_keys);
    let mut balances: BTreeMap<BalanceKey, Balance> = BTreeMap::new();
    let mut seen = HashSet::new();
    for row in rows {
        let (Some(account), Some(unit)) = (row.account_id, row.unit) else { continue };
        let key = (AccountId::try_new(account.as_str())?, Unit::try_new(unit.as_str())?);
        if !balances.contains_key(&key) {
            let balance = Balance {
                account: key.0.clone(),
                unit: key.1.clone(),
                figures: Figures {
                    available: row.available.ok_or(MISSING)?,
                    held: row.held.ok_or(MISSING)?,
                    scheduled: row.scheduled.ok_or(MISSING)?,
                    debt: row.debt.ok_or(MISSING)?,
                },
                version: row.version.ok_or(MISSING)?,
                hash: to_hash(&row.entry_hash.ok_or(MISSING)?)?,
                last_effective_at: row.last_effective_at.map(from_time).transpose()?,
                open_lots: i64::from(row.open_lots.ok_or(MISSING)?),
                // Until the lots are loaded, all are unloaded: the next due time is theirs.
                unloaded_due_at: row.next_due_at.map(from_time).transpose()?,
                lots: Vec::new(),
                closed: Vec::new(),
            };
            balances.insert(key.clone(), balance);
        }
        let Some(grant_id) = row.grant_id else { continue };
        // A due lot may stand in the page too.
        if !seen.insert(grant_id) {
            continue;
        }
        let lot = LotRow {
            account_id: account,
            unit,
            grant_id,
            version: row.lot_version.ok_or(MISSING)?,
            last_version: row.lot_last_version.ok_or(MISSING)?,
            kind: row.kind.ok_or(MISSING)?,
            priority: row.priority.ok_or(MISSING)?,
            amount: row.amount.ok_or(MISSING)?,
            remaining: row.remaining.ok_or(MISSING)?,
            held: row.lot_held.ok_or(MISSING)?,
            effective_at: row.effective_at.ok_or(MISSING)?,
            expires_at: row.expires_at,
            active: row.active.ok_or(MISSING)?,
            cost_currency: row.cost_currency,
            cost_minor_units: row.cost_minor_units,
        };
        let (_, lot) = lot.into_lot()?;
        balances.entry(key).and_modify(|balance| balance.lots.push(lot));
    }
    Ok(Read { balances, has_stored_keys })
}

/// Reads on where a full page of lots did not cover the demand.
async fn further_lots_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    demands: &BTreeMap<BalanceKey, i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut page = FIRST_PAGE;
    loop {
        let short: Vec<BalanceKey> = balances
            .iter()
            .filter(|(key, balance)| {
                // Fewer rows than a page: there are no more.
                let full = i64::try_from(balance.lots.len()).is_ok_and(|count| count >= page);
                full && lasting(&balance.lots, now) < demands.get(*key).copied().unwrap_or(0)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if short.is_empty() {
            return Ok(());
        }
        page = page.saturating_mul(PAGE_GROWTH);
        let rows = lot_page_in_tx(tx, balances, &short, page, now).await?;
        for key in short {
            balances.entry(key).and_modify(|balance| balance.lots.clear());
        }
        let mut seen = HashSet::new();
        for (key, lot) in rows {
            if seen.insert(lot.grant_id) {
                balances.entry(key).and_modify(|balance| balance.lots.push(lot));
            }
        }
    }
}

/// What the loaded lots can give once everything due is settled.
fn lasting(lots: &[Lot], now: Timestamp) -> i64 {
    let lasts = |lot: &&Lot| lot.expires_at.is_none_or(|at| at > now);
    lots.iter().filter(lasts).map(Lot::available).fold(0, i64::saturating_add)
}

/// One page of lots in burn order, and every due lot, of each balance. Due lots are looked for only where the balance
/// says that something is due; until they are settled, it does.
async fn lot_page_in_tx(
    tx: &mut PgConnection,
    balances: &BTreeMap<BalanceKey, Balance>,
    wanted: &[BalanceKey],
    page: i64,
    now: Timestamp,
) -> Result<Vec<(BalanceKey, Lot)>, StoreError> {
    let (accounts, units) = columns(wanted.iter());
    let is_due =
        |key| balances.get(key).and_then(|balance| balance.unloaded_due_at).is_some_and(|at| at <= now);
    let due: Vec<bool> = wanted.iter().map(is_due).collect();
    let rows = sqlx::query_as!(
        LotRow,
        r#"select lot.account_id as "account_id!", lot.unit as "unit!", lot.grant_id as "grant_id!",
                  lot.version as "version!", lot.last_version as "last_version!", lot.kind as "kind!",
                  lot.priority as "priority!", lot.amount as "amount!", lot.remaining as "remaining!",
                  lot.held as "held!", lot.effective_at as "effective_at!", lot.expires_at,
                  lot.active as "active!", lot.cost_currency, lot.cost_minor_units
           from unnest($1::text[], $2::text[], $5::bool[]) as wanted(account_id, unit, due)
           cross join lateral (
               (select * from grants
                where account_id = wanted.account_id and unit = wanted.unit and closed_at is null and active
                order by priority, expires_at, kind, version
                limit $3)
               union all
               (select * from grants
                where account_id = wanted.account_id and unit = wanted.unit and closed_at is null
                  and wanted.due and due_at <= $4
                order by due_at)
           ) as lot"#,
        &accounts,
        &units,
        page,
        to_time(now)?,
        &due
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read lots"))?;
    rows.into_iter().map(LotRow::into_lot).collect()
}

/// The next due time of the lots that were not loaded. Asked for balances alone that have a due time and more open lots
/// than were loaded; of those the loaded ones are few beside the index entries that a scan would pass otherwise.
async fn unloaded_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for balance in balances.values_mut() {
        if usize::try_from(balance.open_lots).is_ok_and(|open| open <= balance.lots.len()) {
            balance.unloaded_due_at = None;
        }
    }
    let expecting = || balances.values().filter(|balance| balance.unloaded_due_at.is_some());
    let keys: Vec<BalanceKey> =
        expecting().map(|balance| (balance.account.clone(), balance.unit.clone())).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let loaded = expecting().map(|balance| {
        // What is due now was loaded, and the scan begins after it.
        let later = balance.lots.iter().filter(|lot| lot.due_at().is_some_and(|at| at > now));
        array_literal(later.map(|lot| lot.grant_id.uuid()))
    });
    let loaded: Vec<String> = loaded.collect();
    let (accounts, units) = columns(keys.iter());
    let rows = sqlx::query!(
        r#"select wanted.account_id as "account_id!", wanted.unit as "unit!",
                  (select g.due_at from grants g
                   where g.account_id = wanted.account_id and g.unit = wanted.unit and g.closed_at is null
                     and g.due_at > $4 and g.grant_id <> all(wanted.loaded)
                   order by g.due_at limit 1) as "due_at: OffsetDateTime"
           from (
               select account_id, unit, loaded::uuid[] as loaded
               from unnest($1::text[], $2::text[], $3::text[]) as texts(account_id, unit, loaded)
               -- So that the text is read once a balance, not once a lot.
               offset 0
           ) as wanted"#,
        &accounts,
        &units,
        &loaded,
        to_time(now)?
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read due times"))?;
    for row in rows {
        let due_at = row.due_at.map(from_time).transpose()?;
        let key = (AccountId::try_new(row.account_id)?, Unit::try_new(row.unit)?);
        balances.entry(key).and_modify(|balance| balance.unloaded_due_at = due_at);
    }
    Ok(())
}

fn columns<'a>(keys: impl Iterator<Item = &'a BalanceKey>) -> (Vec<String>, Vec<String>) {
    keys.map(|(account, unit)| (account.as_str().to_owned(), unit.as_str().to_owned())).unzip()
}
