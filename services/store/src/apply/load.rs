//! Phase 3: read what the batch needs, after the locks: stored keys with their answers, the lots that may burn
//! or are due, the balances, and Stripe's keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{AccountId, Action, Balance, Figures, Lot, OperationId, Timestamp, Unit};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::lock::{Account, Locked};
use super::{BalanceKey, Item, State, Stored, Wait, stripe};
use crate::error::StoreError;
use crate::journal;
use crate::request::Request;
use crate::row::{LotRow, from_time, to_hash, to_time};

/// Lots of one balance that the first read takes in burn order; most batches burn from one or two.
const FIRST_PAGE: i64 = 32;
/// Each further read of a balance whose lots did not cover the demand takes this many times more.
const PAGE_GROWTH: i64 = 8;

/// Reads everything for the requests whose accounts are locked.
pub(super) async fn state_in_tx(
    tx: &mut PgConnection,
    items: &[&Item],
    locked: Locked,
    wait: Wait,
) -> Result<State, StoreError> {
    let is_locked = |id: &AccountId| matches!(locked.accounts.get(id), Some(Account::Locked(_)));
    let ours: Vec<&Request> =
        items.iter().map(|item| &item.request).filter(|request| is_locked(request.account())).collect();
    let stored = stored_in_tx(tx, &ours).await?;
    let stripe = stripe::state_in_tx(tx, &ours, wait).await?;
    let demands = demands(&ours);
    let mut balances = if demands.is_empty() {
        BTreeMap::new()
    } else {
        let mut balances = balances_in_tx(tx, &demands).await?;
        lots_in_tx(tx, &mut balances, &demands, locked.now).await?;
        balances
    };
    let mut new_balances = HashSet::new();
    for item in items {
        let key = (item.request.account().clone(), item.request.unit().clone());
        if !balances.contains_key(&key) {
            balances.insert(key.clone(), Balance::empty(key.0.clone(), key.1.clone()));
            new_balances.insert(key);
        }
    }
    let Locked { now, slot, accounts, created } = locked;
    Ok(State { now, slot, accounts, created, balances, new_balances, stored, stripe })
}

/// How much the batch could burn of each balance.
fn demands(requests: &[&Request]) -> BTreeMap<BalanceKey, i64> {
    let mut demands: BTreeMap<BalanceKey, i64> = BTreeMap::new();
    for request in requests {
        let demand = demands.entry((request.account().clone(), request.unit().clone())).or_default();
        if let Request::Command(command) = request
            && let Action::Spend(spend) = &command.action
        {
            *demand = demand.saturating_add(spend.amount);
        }
    }
    demands
}

/// The key of a request, for those that have one.
fn key(request: &Request) -> Option<(AccountId, String)> {
    match request {
        Request::Command(command) => Some((command.account.clone(), command.key.as_str().to_owned())),
        Request::Settle { .. } => None,
        Request::Stripe(stripe) => {
            let key = stripe::grant_key(&stripe.checkout);
            Some((stripe.checkout.account.clone(), key.as_str().to_owned()))
        }
    }
}

/// Operations that the batch's keys already name, with their answers as they were.
async fn stored_in_tx(
    tx: &mut PgConnection,
    requests: &[&Request],
) -> Result<HashMap<(AccountId, String), Stored>, StoreError> {
    let keys: BTreeSet<(AccountId, String)> = requests.iter().filter_map(|request| key(request)).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let (accounts, keys): (Vec<String>, Vec<String>) =
        keys.into_iter().map(|(account, key)| (account.as_str().to_owned(), key)).unzip();
    let rows = sqlx::query!(
        r#"select o.account_id, o.idempotency_key, o.operation_id, o.unit, o.rule_version, o.fingerprint,
                  o.first_version, o.entry_count
           from unnest($1::text[], $2::text[]) as wanted(account_id, idempotency_key)
           join operations o on o.account_id = wanted.account_id
                            and o.idempotency_key = wanted.idempotency_key"#,
        &accounts,
        &keys
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read idempotency keys"))?;

    if rows.is_empty() {
        return Ok(HashMap::new());
    }

    let mut ranges = Vec::with_capacity(rows.len());
    for row in &rows {
        let last = row.first_version + i64::from(row.entry_count) - 1;
        let balance = (AccountId::try_new(row.account_id.as_str())?, Unit::try_new(row.unit.as_str())?);
        ranges.push((balance, row.first_version, last));
    }
    let mut entries = journal::entries_of_ranges(&mut *tx, &ranges).await?;
    let ids = rows.iter().map(|row| (row.account_id.clone(), row.operation_id));
    let mut lots = lots_of_operations_in_tx(tx, ids.unzip()).await?;
    let mut stored = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = OperationId::from_uuid(row.operation_id);
        let entries = entries.remove(&id).unwrap_or_default();
        let operation = Stored {
            operation_id: id,
            rule_version: row.rule_version,
            fingerprint: row.fingerprint,
            grant: as_granted(lots.remove(&row.operation_id), &entries)?,
            entries,
        };
        stored.insert((AccountId::try_new(row.account_id)?, row.idempotency_key), operation);
    }
    Ok(stored)
}

/// The lots that these operations made, as they are now; a lot has the id of its operation.
async fn lots_of_operations_in_tx(
    tx: &mut PgConnection,
    (accounts, ids): (Vec<String>, Vec<Uuid>),
) -> Result<HashMap<Uuid, Lot>, StoreError> {
    let rows = sqlx::query_as!(
        LotRow,
        r#"select g.account_id, g.unit, g.grant_id, g.version, g.last_version, g.kind, g.priority, g.amount,
                  g.remaining, g.held, g.effective_at, g.expires_at, g.active, g.cost_currency,
                  g.cost_minor_units
           from unnest($1::text[], $2::uuid[]) as wanted(account_id, grant_id)
           join grants g on g.account_id = wanted.account_id and g.grant_id = wanted.grant_id"#,
        &accounts,
        &ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read stored grants"))?;
    rows.into_iter().map(|row| row.into_lot().map(|(_, lot)| (lot.grant_id.uuid(), lot))).collect()
}

/// The lot of a stored grant as it was right after the granting entry; `None` for other operations.
fn as_granted(lot: Option<Lot>, entries: &[domain::Entry]) -> Result<Option<Lot>, StoreError> {
    let Some(own) = entries.last().filter(|entry| entry.kind == domain::EntryKind::Grant) else {
        return Ok(None);
    };
    let mut lot = lot.ok_or(StoreError::Corrupt("operation without its grant"))?;
    let line = own.lines.first().ok_or(StoreError::Corrupt("grant without a line"))?;
    lot.remaining = line.available + line.scheduled;
    lot.held = 0;
    lot.last_version = lot.version;
    lot.active = lot.effective_at <= own.recorded_at;
    Ok(Some(lot))
}

/// Puts the open lots into their balances: all that are due, and in burn order enough for the demand.
async fn lots_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    demands: &BTreeMap<BalanceKey, i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut short: Vec<BalanceKey> = balances.keys().cloned().collect();
    let mut page = FIRST_PAGE;
    while !short.is_empty() {
        let rows = lot_page_in_tx(tx, balances, &short, page, now).await?;
        for key in &short {
            balances.entry(key.clone()).and_modify(|balance| balance.lots.clear());
        }
        let mut seen = HashSet::new();
        for (key, lot) in rows {
            // A due lot may stand in the page too.
            if seen.insert(lot.grant_id) {
                balances.entry(key).and_modify(|balance| balance.lots.push(lot));
            }
        }
        let needs_more = |key: &BalanceKey| {
            let loaded = balances.get(key).map_or(&[][..], |balance| balance.lots.as_slice());
            // Fewer rows than a page: there are no more.
            let full = i64::try_from(loaded.len()).is_ok_and(|count| count >= page);
            full && lasting(loaded, now) < demands.get(key).copied().unwrap_or(0)
        };
        short.retain(needs_more);
        page = page.saturating_mul(PAGE_GROWTH);
    }
    balances.values_mut().for_each(|balance| balance.lots.sort_unstable_by_key(Lot::burn_key));
    unloaded_in_tx(tx, balances).await
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

/// The next due time of the lots that were not loaded, for balances that have any due time.
async fn unloaded_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
) -> Result<(), StoreError> {
    let expecting = || balances.values().filter(|balance| balance.unloaded_due_at.is_some());
    if expecting().next().is_none() {
        return Ok(());
    }
    let keys: Vec<BalanceKey> =
        expecting().map(|balance| (balance.account.clone(), balance.unit.clone())).collect();
    let loaded: Vec<Uuid> =
        expecting().flat_map(|balance| &balance.lots).map(|lot| lot.grant_id.uuid()).collect();
    let (accounts, units) = columns(keys.iter());
    let rows = sqlx::query!(
        r#"select wanted.account_id as "account_id!", wanted.unit as "unit!",
                  (select g.due_at from grants g
                   where g.account_id = wanted.account_id and g.unit = wanted.unit and g.closed_at is null
                     and g.due_at is not null and g.grant_id <> all($3)
                   order by g.due_at limit 1) as "due_at: OffsetDateTime"
           from unnest($1::text[], $2::text[]) as wanted(account_id, unit)"#,
        &accounts,
        &units,
        &loaded
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

/// The balances, without lots yet. Until those are loaded, all of its lots are unloaded: the next due time is theirs.
async fn balances_in_tx(
    tx: &mut PgConnection,
    demands: &BTreeMap<BalanceKey, i64>,
) -> Result<BTreeMap<BalanceKey, Balance>, StoreError> {
    let (accounts, units) = columns(demands.keys());
    let rows = sqlx::query!(
        r#"select b.account_id, b.unit, b.available, b.held, b.scheduled, b.debt, b.version, b.entry_hash,
                  b.last_effective_at, b.open_lots, b.next_due_at
           from unnest($1::text[], $2::text[]) as wanted(account_id, unit)
           join balances b on b.account_id = wanted.account_id and b.unit = wanted.unit"#,
        &accounts,
        &units
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read balances"))?;

    let mut balances = BTreeMap::new();
    for row in rows {
        let key = (AccountId::try_new(row.account_id)?, Unit::try_new(row.unit)?);
        let balance = Balance {
            account: key.0.clone(),
            unit: key.1.clone(),
            figures: Figures {
                available: row.available,
                held: row.held,
                scheduled: row.scheduled,
                debt: row.debt,
            },
            version: row.version,
            hash: to_hash(&row.entry_hash)?,
            last_effective_at: Some(from_time(row.last_effective_at)?),
            open_lots: i64::from(row.open_lots),
            unloaded_due_at: row.next_due_at.map(from_time).transpose()?,
            lots: Vec::new(),
            closed: Vec::new(),
        };
        balances.insert(key, balance);
    }
    Ok(balances)
}
