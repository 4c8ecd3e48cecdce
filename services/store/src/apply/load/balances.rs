//! Balances with their lots, and whether any key of the batch is stored already: one statement for most batches.
//!
//! A second one reads stored keys, which are rare; another the next due time where a balance has one; others the lots of
//! a balance whose first page did not cover the demand.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::{AccountId, Armed, Balance, Change, Figures, Hold, Lot, Timestamp, Unit};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::Wanted;
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
pub(in crate::apply) struct Read {
    pub(in crate::apply) balances: BTreeMap<BalanceKey, Balance>,
    pub(super) has_stored_keys: bool,
}

/// Reads the balances that exist, each with all lots that are due and, in burn order, enough for its demand.
pub(in crate::apply) async fn read_in_tx(
    tx: &mut PgConnection,
    keys: &BTreeSet<(AccountId, String)>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<Read, StoreError> {
    let mut read = first_in_tx(tx, keys, wanted).await?;
    further_lots_in_tx(tx, &mut read.balances, wanted).await?;
    read.balances.values_mut().for_each(|balance| balance.lots.sort_unstable_by_key(Lot::burn_key));
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
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<Read, StoreError> {
    let (key_accounts, key_texts): (Vec<String>, Vec<String>) =
        keys.iter().map(|(account, key)| (account.as_str().to_owned(), key.clone())).unzip();
    let (accounts, units) = columns(wanted.keys());
    let nows = wanted.values().map(|wanted| to_time(wanted.now)).collect::<Result<Vec<_>, _>>()?;
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
                  found.open_holds as "open_holds?", found.next_due_at as "next_due_at?",
                  found.armed as "armed?: Json<Armed>",
                  lot.grant_id as "grant_id?", lot.version as "lot_version?",
                  lot.last_version as "lot_last_version?", lot.kind as "kind?", lot.priority as "priority?",
                  lot.amount as "amount?", lot.remaining as "remaining?", lot.held as "lot_held?",
                  lot.expired as "expired?", lot.raises as "raises?",
                  lot.effective_at as "effective_at?", lot.expires_at as "expires_at?", lot.active as "active?",
                  lot.cost_currency as "cost_currency?", lot.cost_minor_units as "cost_minor_units?"
           from (select) as once
           left join (
               select b.*, wanted.now
               from unnest($3::text[], $4::text[], $6::timestamptz[]) as wanted(account_id, unit, now)
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
                  and found.next_due_at <= found.now and due_at <= found.now
                order by due_at)
           ) as lot on true"#,
        &key_accounts,
        &key_texts,
        &accounts,
        &units,
        FIRST_PAGE,
        &nows
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
                open_holds: i64::from(row.open_holds.ok_or(MISSING)?),
                // Until lots and holds are loaded, all are unloaded: the next due time is theirs.
                unloaded_due_at: row.next_due_at.map(from_time).transpose()?,
                armed: row.armed.map(|Json(armed)| armed).unwrap_or_default(),
                ..Balance::empty(key.0.clone(), key.1.clone())
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
            expired: row.expired.ok_or(MISSING)?,
            raises: row.raises,
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
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    let mut page = FIRST_PAGE;
    loop {
        let short: Vec<BalanceKey> = balances
            .iter()
            .filter(|(key, balance)| {
                // Fewer rows than a page: there are no more.
                let full = i64::try_from(balance.lots.len()).is_ok_and(|count| count >= page);
                full && wanted.get(*key).is_some_and(|wanted| {
                    lasting(&balance.lots, wanted.now) < wanted.demand.min(balance.figures.available)
                })
            })
            .map(|(key, _)| key.clone())
            .collect();
        if short.is_empty() {
            return Ok(());
        }
        page = page.saturating_mul(PAGE_GROWTH);
        let rows = lot_page_in_tx(tx, balances, &short, page, wanted).await?;
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
    short: &[BalanceKey],
    page: i64,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<Vec<(BalanceKey, Lot)>, StoreError> {
    let (accounts, units) = columns(short.iter());
    // Nothing is due where no time is given.
    let due_until = |key: &BalanceKey| {
        let due_at = balances.get(key).and_then(|balance| balance.unloaded_due_at)?;
        wanted.get(key).map(|wanted| wanted.now).filter(|now| due_at <= *now)
    };
    let due_until: Vec<Option<OffsetDateTime>> =
        short.iter().map(|key| due_until(key).map(to_time).transpose()).collect::<Result<_, _>>()?;
    let rows = sqlx::query_as!(
        LotRow,
        r#"select lot.account_id as "account_id!", lot.unit as "unit!", lot.grant_id as "grant_id!",
                  lot.version as "version!", lot.last_version as "last_version!", lot.kind as "kind!",
                  lot.priority as "priority!", lot.amount as "amount!", lot.remaining as "remaining!",
                  lot.held as "held!", lot.expired as "expired!", lot.raises, lot.effective_at as "effective_at!", lot.expires_at,
                  lot.active as "active!", lot.cost_currency, lot.cost_minor_units
           from unnest($1::text[], $2::text[], $4::timestamptz[]) as wanted(account_id, unit, due_until)
           cross join lateral (
               (select * from grants
                where account_id = wanted.account_id and unit = wanted.unit and closed_at is null and active
                order by priority, expires_at, kind, version
                limit $3)
               union all
               (select * from grants
                where account_id = wanted.account_id and unit = wanted.unit and closed_at is null
                  and due_at <= wanted.due_until
                order by due_at)
           ) as lot"#,
        &accounts,
        &units,
        page,
        &due_until as &[Option<OffsetDateTime>]
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read lots"))?;
    rows.into_iter().map(LotRow::into_lot).collect()
}

/// The next due time of the lots and holds that were not loaded. Asked for balances alone that have a due time and more
/// of them open than were loaded; of those the loaded ones are few beside the index entries that a scan would pass
/// otherwise.
pub(super) async fn unloaded_in_tx(
    tx: &mut PgConnection,
    balances: &mut BTreeMap<BalanceKey, Balance>,
    wanted: &BTreeMap<BalanceKey, Wanted>,
) -> Result<(), StoreError> {
    for balance in balances.values_mut().filter(|balance| are_all_loaded(balance)) {
        balance.unloaded_due_at = None;
    }
    let mut columns = Columns::default();
    for (key, balance) in balances.iter().filter(|(_, balance)| balance.unloaded_due_at.is_some()) {
        let now = wanted.get(key).map(|wanted| wanted.now).ok_or(StoreError::Broken("balance not wanted"))?;
        columns.push(balance, now)?;
    }
    if columns.accounts.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select wanted.account_id as "account_id!", wanted.unit as "unit!",
                  least(
                      (select g.due_at from grants g
                       where g.account_id = wanted.account_id and g.unit = wanted.unit and g.closed_at is null
                         and g.due_at > wanted.now and g.grant_id <> all(wanted.lots)
                       order by g.due_at limit 1),
                      (select h.expires_at from holds h
                       where h.account_id = wanted.account_id and h.unit = wanted.unit and h.closed_at is null
                         and wanted.has_holds and h.expires_at > wanted.now and h.hold_id <> all(wanted.holds)
                       order by h.expires_at limit 1)
                  ) as "due_at: OffsetDateTime"
           from (
               select account_id, unit, lots::uuid[] as lots, holds::uuid[] as holds, has_holds, now
               from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::timestamptz[])
                    as texts(account_id, unit, lots, holds, has_holds, now)
               -- So that the text is read once a balance, not once a lot.
               offset 0
           ) as wanted"#,
        &columns.accounts,
        &columns.units,
        &columns.lots,
        &columns.holds,
        &columns.has_holds,
        &columns.nows
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

fn are_all_loaded(balance: &Balance) -> bool {
    let covers = |open: i64, loaded: usize| usize::try_from(open).is_ok_and(|open| open <= loaded);
    let holds = balance.holds.iter().filter(|hold| hold.is_open()).count();
    covers(balance.open_lots, balance.lots.len()) && covers(balance.open_holds, holds)
}

/// Balances whose unloaded lots and holds have a due time, column by column.
#[derive(Default)]
struct Columns {
    accounts: Vec<String>,
    units: Vec<String>,
    /// What was loaded and is due one day, as array literals.
    lots: Vec<String>,
    holds: Vec<String>,
    has_holds: Vec<bool>,
    nows: Vec<OffsetDateTime>,
}

impl Columns {
    fn push(&mut self, balance: &Balance, now: Timestamp) -> Result<(), StoreError> {
        debug_assert!(balance.lots.iter().all(|lot| lot.change == Change::None), "read before decided");
        // What is due now was loaded, and the scan begins after it.
        let later = |due_at: Option<Timestamp>| due_at.is_some_and(|at| at > now);
        let lots = balance.lots.iter().filter(|lot| later(lot.due_at()));
        let holds = balance.holds.iter().filter(|hold| later(Hold::due_at(hold)));
        self.accounts.push(balance.account.as_str().to_owned());
        self.units.push(balance.unit.as_str().to_owned());
        self.lots.push(array_literal(lots.map(|lot| lot.grant_id.uuid())));
        self.holds.push(array_literal(holds.map(|hold| hold.hold_id.uuid())));
        self.has_holds.push(balance.open_holds > 0);
        self.nows.push(to_time(now)?);
        Ok(())
    }
}

pub(super) fn columns<'a>(keys: impl Iterator<Item = &'a BalanceKey>) -> (Vec<String>, Vec<String>) {
    keys.map(|(account, unit)| (account.as_str().to_owned(), unit.as_str().to_owned())).unzip()
}
