//! Lots of a batch: new ones are made here, those that change become columns for `change.rs`.

use domain::{Change, Lot, Timestamp};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::decision::touched_lots;
use crate::apply::{BalanceKey, State};
use crate::error::StoreError;
use crate::row::to_time;

/// Lots that change, column by column. A lot is found by account, unit and version.
#[derive(Debug, Default)]
pub(super) struct LotColumns {
    pub(super) accounts: Vec<String>,
    pub(super) units: Vec<String>,
    pub(super) versions: Vec<i64>,
    pub(super) ids: Vec<Uuid>,
    pub(super) remaining: Vec<i64>,
    pub(super) held: Vec<i64>,
    pub(super) expired: Vec<i64>,
    pub(super) last_versions: Vec<i64>,
    pub(super) actives: Vec<bool>,
    pub(super) dues: Vec<Option<OffsetDateTime>>,
}

impl LotColumns {
    fn push(&mut self, (account, unit): &BalanceKey, lot: &Lot) -> Result<(), StoreError> {
        self.accounts.push(account.as_str().to_owned());
        self.units.push(unit.as_str().to_owned());
        self.versions.push(lot.version);
        self.ids.push(lot.grant_id.uuid());
        self.remaining.push(lot.remaining);
        self.held.push(lot.held);
        self.expired.push(lot.expired);
        self.last_versions.push(lot.last_version);
        self.actives.push(lot.active);
        self.dues.push(lot.due_at().map(to_time).transpose()?);
        Ok(())
    }
}

/// Inserts the lots that are new, and gives back those that change.
pub(super) async fn insert_new_in_tx(
    tx: &mut PgConnection,
    state: &State,
    now: OffsetDateTime,
) -> Result<LotColumns, StoreError> {
    let mut new = Vec::new();
    let mut changed = LotColumns::default();
    for (key, lot) in touched_lots(state) {
        if lot.change == Change::New {
            new.push((key, lot));
        } else {
            changed.push(key, lot)?;
        }
    }
    if !new.is_empty() {
        insert_in_tx(tx, &new, now).await?;
    }
    Ok(changed)
}

type LotOf<'a> = (&'a BalanceKey, &'a Lot);

fn times<'a>(
    lots: &[LotOf<'a>],
    time: fn(&Lot) -> Option<Timestamp>,
) -> Result<Vec<Option<OffsetDateTime>>, StoreError> {
    lots.iter().map(|(_, lot)| time(lot).map(to_time).transpose()).collect()
}

fn numbers(lots: &[LotOf<'_>], number: fn(&Lot) -> i64) -> Vec<i64> {
    lots.iter().map(|(_, lot)| number(lot)).collect()
}

async fn insert_in_tx(
    tx: &mut PgConnection,
    lots: &[LotOf<'_>],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let accounts: Vec<String> = lots.iter().map(|((account, _), _)| account.as_str().to_owned()).collect();
    let units: Vec<String> = lots.iter().map(|((_, unit), _)| unit.as_str().to_owned()).collect();
    let ids: Vec<Uuid> = lots.iter().map(|(_, lot)| lot.grant_id.uuid()).collect();
    let kinds: Vec<i16> = lots.iter().map(|(_, lot)| lot.kind.code()).collect();
    let priorities: Vec<i16> = lots.iter().map(|(_, lot)| i16::from(lot.priority.get())).collect();
    let actives: Vec<bool> = lots.iter().map(|(_, lot)| lot.active).collect();
    let cost = |lot: &Lot| lot.cost_basis.clone();
    let currencies: Vec<Option<String>> =
        lots.iter().map(|(_, lot)| cost(lot).map(|cost| cost.currency().to_owned())).collect();
    let costs: Vec<Option<i64>> =
        lots.iter().map(|(_, lot)| cost(lot).map(|cost| cost.minor_units())).collect();
    let effective = lots.iter().map(|(_, lot)| to_time(lot.effective_at)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"insert into grants (account_id, unit, grant_id, version, last_version, kind, priority, amount,
                               remaining, held, effective_at, expires_at, active, due_at, cost_currency,
                               cost_minor_units, created_at, closed_at)
           select account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining, held,
                  effective_at, expires_at, active, due_at, cost_currency, cost_minor_units, $17::timestamptz,
                  case when remaining = 0 then $17::timestamptz end
           from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::smallint[],
                       $7::smallint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[],
                       $12::timestamptz[], $13::bool[], $14::timestamptz[], $15::text[], $16::bigint[])
                as new(account_id, unit, grant_id, version, last_version, kind, priority, amount, remaining,
                       held, effective_at, expires_at, active, due_at, cost_currency, cost_minor_units)"#,
        &accounts,
        &units,
        &ids,
        &numbers(lots, |lot| lot.version),
        &numbers(lots, |lot| lot.last_version),
        &kinds,
        &priorities,
        &numbers(lots, |lot| lot.amount),
        &numbers(lots, |lot| lot.remaining),
        &numbers(lots, |lot| lot.held),
        &effective,
        &times(lots, |lot| lot.expires_at)? as &[Option<OffsetDateTime>],
        &actives,
        &times(lots, Lot::due_at)? as &[Option<OffsetDateTime>],
        &currencies as &[Option<String>],
        &costs as &[Option<i64>],
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write new grants"))?;
    Ok(())
}
