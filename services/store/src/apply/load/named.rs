//! What commands name: holds, grants, entries to reverse; and the lots behind them. Each statement runs only when a
//! command of the batch, or a hold that is due, needs it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, Balance, Entry, EntryRef, GrantId, Lot, Reversible, Unit};
use sqlx::PgConnection;
use sqlx::types::{Json, Uuid};
use time::OffsetDateTime;

use super::Wanted;
use super::balances::columns;
use crate::apply::BalanceKey;
use crate::error::StoreError;
use crate::row::{CrossingRow, EntryRow, HoldRow, LotRow, to_time};

/// Adds what is wanted to the balances that exist.
///
/// Ids are ranges in order here, which the primary keys alone serve: as long as a table is empty another index on the
/// account looks as good, and a plan that is kept would walk all holds or lots of an account for one.
pub(super) async fn read_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    named_holds_in_tx(tx, balances, wanted).await?;
    due_holds_in_tx(tx, balances, wanted).await?;
    entries_in_tx(tx, balances, wanted).await?;
    lots_behind_in_tx(tx, balances, wanted).await
}

async fn named_holds_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    let ids = || wanted.iter().flat_map(|(key, wanted)| wanted.holds.iter().map(move |id| (key, id)));
    let hold_ids: Vec<Uuid> = ids().map(|(_, id)| id.uuid()).collect();
    if hold_ids.is_empty() {
        return Ok(());
    }
    let (accounts, units) = columns(ids().map(|(key, _)| key));
    let rows = sqlx::query_as!(
        HoldRow,
        r#"select h.account_id, h.hold_id, h.unit, h.version, h.last_version, h.amount, h.remaining, h.captured,
                  h.state, h.line_grants, h.line_remaining, h.created_at, h.expires_at, h.closed_at
           from unnest($1::text[], $2::text[], $3::uuid[]) as wanted(account_id, unit, hold_id)
           cross join lateral (
               select * from holds
               where account_id = wanted.account_id and hold_id between wanted.hold_id and wanted.hold_id
               order by hold_id limit 1
           ) as h
           where h.unit = wanted.unit"#,
        &accounts,
        &units,
        &hold_ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read holds"))?;
    add_holds(balances, rows)
}

/// Holds whose time is over; looked for only where the balance says that something is due.
async fn due_holds_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    let mut nows: Vec<OffsetDateTime> = Vec::new();
    for (key, balance) in balances.iter().filter(|(_, balance)| balance.open_holds > 0) {
        let now = wanted.get(key).map(|wanted| wanted.now);
        if let Some(now) = now.filter(|now| balance.unloaded_due_at.is_some_and(|at| at <= *now)) {
            keys.push(key.clone());
            nows.push(to_time(now)?);
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let (accounts, units) = columns(keys.iter());
    let rows = sqlx::query_as!(
        HoldRow,
        r#"select h.account_id as "account_id!", h.hold_id as "hold_id!", h.unit as "unit!",
                  h.version as "version!", h.last_version as "last_version!", h.amount as "amount!",
                  h.remaining as "remaining!", h.captured as "captured!", h.state as "state!",
                  h.line_grants as "line_grants!", h.line_remaining as "line_remaining!",
                  h.created_at as "created_at!", h.expires_at as "expires_at!", h.closed_at
           from unnest($1::text[], $2::text[], $3::timestamptz[]) as wanted(account_id, unit, now)
           cross join lateral (
               select * from holds
               where account_id = wanted.account_id and unit = wanted.unit and closed_at is null
                 and expires_at <= wanted.now
               order by expires_at
           ) as h"#,
        &accounts,
        &units,
        &nows
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read due holds"))?;
    add_holds(balances, rows)
}

fn add_holds(balances: &mut BTreeMap<BalanceKey, Balance>, rows: Vec<HoldRow>) -> Result<(), StoreError> {
    for row in rows {
        let (key, hold) = row.into_hold()?;
        let Some(balance) = balances.get_mut(&key) else { continue };
        // A named one may be due, too.
        if balance.holds.iter().all(|known| known.hold_id != hold.hold_id) {
            balance.holds.push(hold);
        }
    }
    Ok(())
}

/// An entry of the journal, and how much of it came back.
struct ReversibleRow {
    reversed: i64,
    last_version: i64,
}

async fn entries_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    let names: Vec<(&BalanceKey, &EntryRef)> =
        wanted.iter().flat_map(|(key, wanted)| wanted.entries.iter().map(move |name| (key, name))).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (accounts, units) = columns(names.iter().map(|(key, _)| *key));
    let versions: Vec<i64> = names.iter().map(|(_, name)| name.version).collect();
    let rows = sqlx::query_as!(
        EntryRow,
        r#"select e.account_id, e.unit, e.version, e.operation_id, e.operation_index, e.operation_size, e.kind,
                  e.available_delta, e.held_delta, e.scheduled_delta, e.debt_delta,
                  e.available, e.held, e.scheduled, e.debt, e.line_grants, e.line_deltas,
                  e.reference, e.actor, e.on_behalf_of, e.reason, e.effective_at, e.recorded_at,
                  e.traceparent, e.metadata_digest, e.entry_hash, e.hold_id, e.hold_expires_at,
                  e.related_version, e.crossed as "crossed: Json<Vec<CrossingRow>>", e.revoked, e.reclaimed
           from unnest($1::text[], $2::text[], $3::bigint[]) as wanted(account_id, unit, version)
           cross join lateral (
               select * from entries
               where account_id = wanted.account_id and unit = wanted.unit and version = wanted.version limit 1
           ) as e"#,
        &accounts,
        &units,
        &versions
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read entries to reverse"))?;
    let reversed = sqlx::query!(
        r#"select r.account_id, r.unit, r.version, r.reversed, r.last_version
           from unnest($1::text[], $2::text[], $3::bigint[]) as wanted(account_id, unit, version)
           cross join lateral (
               select * from reversals
               where account_id = wanted.account_id and unit = wanted.unit and version = wanted.version limit 1
           ) as r"#,
        &accounts,
        &units,
        &versions
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read reversals"))?;
    let mut known = BTreeMap::new();
    for row in reversed {
        let key = (AccountId::try_new(row.account_id)?, Unit::try_new(row.unit)?, row.version);
        known.insert(key, ReversibleRow { reversed: row.reversed, last_version: row.last_version });
    }
    for row in rows {
        let entry = Entry::try_from(row)?;
        let key = (entry.account.clone(), entry.unit.clone(), entry.version);
        let row = known.get(&key).map_or((0, 0), |row| (row.reversed, row.last_version));
        let Some(balance) = balances.get_mut(&(key.0, key.1)) else { continue };
        balance.spends.extend(Reversible::lookup(&entry, row.0, row.1));
    }
    Ok(())
}

/// The lots behind holds and entries, and those that are named, unless they are there already.
async fn lots_behind_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    let mut missing: Vec<(BalanceKey, GrantId)> = Vec::new();
    for (key, balance) in balances.iter() {
        let mut ids: BTreeSet<GrantId> = BTreeSet::new();
        let lines = balance.holds.iter().filter(|hold| hold.is_open()).flat_map(|hold| &hold.lines);
        ids.extend(lines.filter(|line| line.remaining > 0).map(|line| line.grant_id));
        ids.extend(balance.spends.iter().flat_map(|spend| &spend.lines).map(|line| line.grant_id));
        ids.extend(wanted.get(key).iter().flat_map(|wanted| &wanted.grants));
        if ids.is_empty() {
            continue;
        }
        let loaded: BTreeSet<GrantId> = balance.lots.iter().map(|lot| lot.grant_id).collect();
        missing.extend(ids.difference(&loaded).map(|id| (key.clone(), *id)));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (accounts, units) = columns(missing.iter().map(|(key, _)| key));
    let ids: Vec<Uuid> = missing.iter().map(|(_, id)| id.uuid()).collect();
    let rows = sqlx::query_as!(
        LotRow,
        r#"select g.account_id, g.unit, g.grant_id, g.version, g.last_version, g.kind, g.priority, g.amount,
                  g.remaining, g.held, g.expired, g.raises, g.effective_at, g.expires_at, g.active,
                  g.cost_currency, g.cost_minor_units
           from unnest($1::text[], $2::text[], $3::uuid[]) as wanted(account_id, unit, grant_id)
           cross join lateral (
               select * from grants
               where account_id = wanted.account_id and grant_id between wanted.grant_id and wanted.grant_id
               order by grant_id limit 1
           ) as g
           where g.unit = wanted.unit"#,
        &accounts,
        &units,
        &ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read lots by id"))?;
    for row in rows {
        let (key, lot) = row.into_lot()?;
        let Some(balance) = balances.get_mut(&key) else { continue };
        if lot.is_empty() {
            balance.closed.push(lot);
        } else {
            balance.lots.push(lot);
        }
    }
    balances.values_mut().for_each(|balance| balance.lots.sort_unstable_by_key(Lot::burn_key));
    Ok(())
}
