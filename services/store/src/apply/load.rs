//! Phase 3: read what the batch needs, after the locks: stored keys with their answers, the lots that may burn
//! or are due, the balances, the holds, grants and entries that commands name, and Stripe's keys.

pub(super) mod balances;
mod named;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{
    AccountId, Action, Balance, EntryRef, GrantId, HoldId, Lot, OperationId, Revoked, Timestamp, Unit,
};
use sqlx::PgConnection;
use sqlx::types::{Json, Uuid};

use super::lock::{self, Account, Locked};
use super::stripe::StripeState;
use super::{BalanceKey, Item, State, Stored, Wait, stripe};
use crate::error::StoreError;
use crate::journal;
use crate::policy::Policy;
use crate::request::Request;
use crate::result::ResultRow;
use crate::row::LotRow;

/// Reads everything for the requests whose accounts are locked.
pub(super) async fn state_in_tx(
    tx: &mut PgConnection,
    items: &[&Item],
    locked: Locked,
    wait: Wait,
    policy: &Policy,
) -> Result<State, StoreError> {
    let is_locked = |id: &AccountId| matches!(locked.accounts.get(id), Some(Account::Locked(_)));
    let ours: Vec<&Request> =
        items.iter().map(|item| &item.request).filter(|request| is_locked(request.account())).collect();
    let stripe = stripe::state_in_tx(tx, &ours, wait).await?;
    let wanted = wanted(&ours, &locked, &stripe);
    let (mut balances, mut stored) = (BTreeMap::new(), HashMap::new());
    if !wanted.is_empty() {
        let keys: BTreeSet<(AccountId, String)> = ours.iter().flat_map(|request| keys(request)).collect();
        let read = balances::read_in_tx(tx, &keys, &wanted).await?;
        balances = read.balances;
        named::read_in_tx(tx, &mut balances, &wanted).await?;
        balances::unloaded_in_tx(tx, &mut balances, &wanted).await?;
        if read.has_stored_keys {
            stored = stored_in_tx(tx, keys).await?;
        }
    }
    let mut new_balances = HashSet::new();
    let named = items.iter().map(|item| (item.request.account().clone(), item.request.unit().clone()));
    for key in named.chain(wanted.into_keys()) {
        if !balances.contains_key(&key) {
            balances.insert(key.clone(), Balance::empty(key.0.clone(), key.1.clone()));
            new_balances.insert(key);
        }
    }
    for balance in balances.values_mut() {
        let own = match locked.accounts.get(&balance.account) {
            Some(Account::Locked(account)) => account.thresholds.as_deref(),
            _ => None,
        };
        let thresholds = own.unwrap_or(&policy.thresholds).iter();
        balance.thresholds =
            thresholds.filter(|threshold| *threshold.unit() == balance.unit).cloned().collect();
    }
    let Locked { now, slot, accounts, created } = locked;
    Ok(State { now, slot, accounts, created, balances, new_balances, stored, stripe })
}

/// What the batch could need of one balance.
#[derive(Debug)]
pub(in crate::apply) struct Wanted {
    /// Most that it can burn.
    pub(super) demand: i64,
    /// The time of its account.
    pub(super) now: Timestamp,
    pub(super) holds: BTreeSet<HoldId>,
    pub(super) grants: BTreeSet<GrantId>,
    pub(super) entries: BTreeSet<EntryRef>,
}

pub(super) fn wanted(
    requests: &[&Request],
    locked: &Locked,
    stripe: &StripeState,
) -> BTreeMap<BalanceKey, Wanted> {
    let mut wanted: BTreeMap<BalanceKey, Wanted> = BTreeMap::new();
    for request in requests {
        let now = lock::clock(&locked.accounts, request.account(), locked.now);
        let nothing = || Wanted {
            demand: 0,
            now,
            holds: BTreeSet::new(),
            grants: BTreeSet::new(),
            entries: BTreeSet::new(),
        };
        if let Request::Stripe(request) = request {
            for lot in stripe.wanted_lots(request) {
                let of_lot = wanted.entry((request.account.clone(), lot.unit)).or_insert_with(nothing);
                of_lot.demand = of_lot.demand.saturating_add(lot.demand);
                of_lot.grants.insert(lot.grant_id);
            }
            for unit in StripeState::granted_units(request) {
                wanted.entry((request.account.clone(), unit)).or_insert_with(nothing);
            }
        }
        let key = (request.account().clone(), request.unit().clone());
        let of_balance = wanted.entry(key).or_insert_with(nothing);
        if let Request::Command(command) = request {
            of_balance.demand = of_balance.demand.saturating_add(command.action.demand());
            of_balance.holds.extend(command.action.hold_id());
            match &command.action {
                Action::Revoke(revoke) => of_balance.grants.extend([revoke.grant_id]),
                Action::Reverse(reverse) => of_balance.entries.extend([reverse.entry]),
                _ => {}
            }
        }
    }
    wanted
}

/// The keys of what a request may do, as far as they are known before it is decided.
fn keys(request: &Request) -> Vec<(AccountId, String)> {
    match request {
        Request::Command(command) => vec![(command.account.clone(), command.key.as_str().to_owned())],
        Request::Settle { .. } => Vec::new(),
        Request::Stripe(stripe) => stripe::grant_keys(stripe),
    }
}

/// Operations that the batch's keys already name, with their answers as they were.
async fn stored_in_tx(
    tx: &mut PgConnection,
    keys: BTreeSet<(AccountId, String)>,
) -> Result<HashMap<(AccountId, String), Stored>, StoreError> {
    let (accounts, keys): (Vec<String>, Vec<String>) =
        keys.into_iter().map(|(account, key)| (account.as_str().to_owned(), key)).unzip();
    let rows = sqlx::query!(
        r#"select o.account_id, o.idempotency_key, o.operation_id, o.unit, o.rule_version, o.fingerprint,
                  o.first_version, o.entry_count, o.result as "result: Json<ResultRow>"
           from unnest($1::text[], $2::text[]) as wanted(account_id, idempotency_key)
           cross join lateral (
               select * from operations
               where account_id = wanted.account_id and idempotency_key = wanted.idempotency_key limit 1
           ) as o"#,
        &accounts,
        &keys
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::during("read idempotency keys"))?;

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
        let (hold, grants) = match row.result {
            Some(Json(result)) => result.into_parts()?,
            None => (None, as_granted(lots.remove(&row.operation_id), &entries)?.into_iter().collect()),
        };
        let operation = Stored {
            operation_id: id,
            rule_version: row.rule_version,
            fingerprint: row.fingerprint,
            entries,
            grants,
            hold,
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
                  g.remaining, g.held, g.expired, g.raises, g.effective_at, g.expires_at, g.active, g.cost_currency,
                  g.cost_minor_units
           from unnest($1::text[], $2::uuid[]) as wanted(account_id, grant_id)
           cross join lateral (
               select * from grants
               where account_id = wanted.account_id and grant_id between wanted.grant_id and wanted.grant_id
               order by grant_id limit 1
           ) as g"#,
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
    let Some(own) = entries.first().filter(|entry| entry.kind == domain::EntryKind::Grant) else {
        return Ok(None);
    };
    let mut lot = lot.ok_or(StoreError::Corrupt("operation without its grant"))?;
    let line = own.lines.first().ok_or(StoreError::Corrupt("grant without a line"))?;
    lot.remaining = line.available + line.scheduled;
    (lot.held, lot.expired) = (0, 0);
    lot.revoked = Revoked::default();
    lot.last_version = lot.version;
    lot.active = lot.effective_at <= own.recorded_at;
    Ok(Some(lot))
}
