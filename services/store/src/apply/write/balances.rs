//! Balances of a batch: those that had no row are made here, the others become columns for `change.rs`.

use std::collections::BTreeSet;

use domain::{Balance, Timestamp};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::apply::decision::Decisions;
use crate::apply::{BalanceKey, State};
use crate::error::StoreError;
use crate::row::to_time;

/// Balances, column by column.
#[derive(Debug, Default)]
pub(super) struct BalanceColumns {
    pub(super) accounts: Vec<String>,
    pub(super) units: Vec<String>,
    pub(super) available: Vec<i64>,
    pub(super) held: Vec<i64>,
    pub(super) scheduled: Vec<i64>,
    pub(super) debt: Vec<i64>,
    pub(super) versions: Vec<i64>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) lasts: Vec<OffsetDateTime>,
    pub(super) open_lots: Vec<i32>,
    pub(super) open_holds: Vec<i32>,
    pub(super) armed: Vec<Option<serde_json::Value>>,
    pub(super) dues: Vec<Option<OffsetDateTime>>,
}

impl BalanceColumns {
    fn push(&mut self, balance: &Balance, now: Timestamp) -> Result<(), StoreError> {
        self.accounts.push(balance.account.as_str().to_owned());
        self.units.push(balance.unit.as_str().to_owned());
        self.available.push(balance.figures.available);
        self.held.push(balance.figures.held);
        self.scheduled.push(balance.figures.scheduled);
        self.debt.push(balance.figures.debt);
        self.versions.push(balance.version);
        self.hashes.push(balance.hash.0.to_vec());
        self.lasts.push(to_time(balance.last_effective_at.unwrap_or(now))?);
        self.open_lots.push(i32::try_from(balance.open_lots).map_err(|_| StoreError::Broken("open lots"))?);
        self.open_holds
            .push(i32::try_from(balance.open_holds).map_err(|_| StoreError::Broken("open holds"))?);
        let armed = balance.armed.iter().map(|(name, is_armed)| (name.clone(), (*is_armed).into()));
        self.armed.push((!balance.armed.is_empty()).then(|| serde_json::Value::Object(armed.collect())));
        self.dues.push(balance.next_due_at().map(to_time).transpose()?);
        Ok(())
    }
}

/// Inserts the balances that are new, and gives back those that change.
pub(super) async fn insert_new_in_tx(
    tx: &mut PgConnection,
    state: &State,
    decisions: &Decisions,
) -> Result<BalanceColumns, StoreError> {
    let entries = decisions.accepted.iter().flat_map(|accepted| &accepted.operation.entries);
    let changed: BTreeSet<BalanceKey> =
        entries.map(|entry| (entry.account.clone(), entry.unit.clone())).collect();
    let (mut new, mut old) = (BalanceColumns::default(), BalanceColumns::default());
    for key in &changed {
        let balance = state.balances.get(key).ok_or(StoreError::Broken("balance was not loaded"))?;
        // The account is locked: who had no row when it was read has none now.
        let columns = if state.new_balances.contains(key) { &mut new } else { &mut old };
        columns.push(balance, state.now)?;
    }
    if !new.accounts.is_empty() {
        insert_in_tx(tx, &new).await?;
    }
    Ok(old)
}

async fn insert_in_tx(tx: &mut PgConnection, columns: &BalanceColumns) -> Result<(), StoreError> {
    sqlx::query!(
        r#"insert into balances (account_id, unit, available, held, scheduled, debt, version, entry_hash,
                                 last_effective_at, open_lots, next_due_at, open_holds, armed)
           select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
                                $6::bigint[], $7::bigint[], $8::bytea[], $9::timestamptz[], $10::int[],
                                $11::timestamptz[], $12::int[], $13::jsonb[])"#,
        &columns.accounts,
        &columns.units,
        &columns.available,
        &columns.held,
        &columns.scheduled,
        &columns.debt,
        &columns.versions,
        &columns.hashes,
        &columns.lasts,
        &columns.open_lots,
        &columns.dues as &[Option<OffsetDateTime>],
        &columns.open_holds,
        &columns.armed as &[Option<serde_json::Value>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write new balances"))?;
    Ok(())
}
