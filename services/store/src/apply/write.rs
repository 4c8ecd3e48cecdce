//! Phase 5: write what was decided. The ledger is written set-based, so that its statements do not grow in number
//! with the batch; Stripe's rows are in `write/stripe.rs`.

mod stripe;

use std::collections::BTreeSet;

use domain::{Balance, Change, Entry, Lot, RULE_VERSION, Timestamp};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::decision::{Decisions, touched_lots};
use super::{BalanceKey, EncodeEvent, State};
use crate::error::StoreError;
use crate::row::to_time;

/// Writes everything, ledger first.
pub(super) async fn decisions_in_tx(
    tx: &mut PgConnection,
    state: &State,
    decisions: &Decisions,
    encode: EncodeEvent,
) -> Result<(), StoreError> {
    let now = to_time(state.now)?;
    let entries: Vec<&Entry> = decisions.accepted.iter().flat_map(|a| &a.operation.entries).collect();
    if !entries.is_empty() {
        balances_in_tx(tx, state, &entries).await?;
        lots_in_tx(tx, state, now).await?;
        operations_in_tx(tx, decisions, now).await?;
        entries_in_tx(tx, &entries).await?;
        metadata_in_tx(tx, decisions).await?;
        outbox_in_tx(tx, state, &entries, encode, now).await?;
    }
    if !decisions.stripe.events.is_empty() {
        stripe::events_in_tx(tx, &decisions.stripe.events, now).await?;
        stripe::claims_in_tx(tx, decisions, now).await?;
        stripe::purchases_in_tx(tx, decisions, now).await?;
    }
    unused_accounts_in_tx(tx, state).await
}

/// An account that was about to be made for a command that was then refused: a refusal writes nothing.
async fn unused_accounts_in_tx(tx: &mut PgConnection, state: &State) -> Result<(), StoreError> {
    let is_used = |id: &str| state.balances.iter().any(|((a, _), b)| a.as_str() == id && b.version > 0);
    let unused: Vec<String> = state.created.iter().filter(|id| !is_used(id)).cloned().collect();
    if unused.is_empty() {
        return Ok(());
    }
    // Another batch may have made the account and its first balance in the meantime: then it stays.
    sqlx::query!(
        r#"delete from accounts a where a.account_id = any($1)
           and not exists (select from balances b where b.account_id = a.account_id)
           and a.xmin::text = (pg_current_xact_id()::xid)::text"#,
        &unused
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("remove unused accounts"))?;
    Ok(())
}

fn text(keys: &[&BalanceKey]) -> (Vec<String>, Vec<String>) {
    keys.iter().map(|(account, unit)| (account.as_str().to_owned(), unit.as_str().to_owned())).unzip()
}

/// The columns of the balances that changed, row by row.
#[derive(Default)]
struct BalanceColumns {
    accounts: Vec<String>,
    units: Vec<String>,
    available: Vec<i64>,
    held: Vec<i64>,
    scheduled: Vec<i64>,
    debt: Vec<i64>,
    versions: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    lasts: Vec<OffsetDateTime>,
    open_lots: Vec<i32>,
    dues: Vec<Option<OffsetDateTime>>,
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
        self.dues.push(balance.next_due_at().map(to_time).transpose()?);
        Ok(())
    }
}

async fn balances_in_tx(tx: &mut PgConnection, state: &State, entries: &[&Entry]) -> Result<(), StoreError> {
    let key = |entry: &&Entry| (entry.account.clone(), entry.unit.clone());
    let changed: BTreeSet<BalanceKey> = entries.iter().map(key).collect();
    // The account is locked: who has no version yet has no row, and nobody else makes it.
    let is_new = |key: &BalanceKey| state.new_balances.contains(key);
    let (mut new, mut old) = (BalanceColumns::default(), BalanceColumns::default());
    for key in &changed {
        let balance = state.balances.get(key).ok_or(StoreError::Broken("balance was not loaded"))?;
        let columns = if is_new(key) { &mut new } else { &mut old };
        columns.push(balance, state.now)?;
    }
    if !new.accounts.is_empty() {
        insert_balances_in_tx(tx, &new).await?;
    }
    if !old.accounts.is_empty() {
        update_balances_in_tx(tx, &old).await?;
    }
    Ok(())
}

async fn insert_balances_in_tx(tx: &mut PgConnection, columns: &BalanceColumns) -> Result<(), StoreError> {
    sqlx::query!(
        r#"insert into balances (account_id, unit, available, held, scheduled, debt, version, entry_hash,
                                 last_effective_at, open_lots, next_due_at)
           select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[],
                                $6::bigint[], $7::bigint[], $8::bytea[], $9::timestamptz[], $10::int[],
                                $11::timestamptz[])"#,
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
        &columns.dues as &[Option<OffsetDateTime>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write new balances"))?;
    Ok(())
}

async fn update_balances_in_tx(tx: &mut PgConnection, columns: &BalanceColumns) -> Result<(), StoreError> {
    let updated = sqlx::query!(
        r#"update balances b
           set available = new.available, held = new.held, scheduled = new.scheduled, debt = new.debt,
               version = new.version, entry_hash = new.entry_hash, last_effective_at = new.last_effective_at,
               open_lots = new.open_lots, next_due_at = new.next_due_at
           from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                       $7::bigint[], $8::bytea[], $9::timestamptz[], $10::int[], $11::timestamptz[])
                as new(account_id, unit, available, held, scheduled, debt, version, entry_hash,
                       last_effective_at, open_lots, next_due_at)
           where b.account_id = new.account_id and b.unit = new.unit"#,
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
        &columns.dues as &[Option<OffsetDateTime>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write balances"))?;
    all_updated(updated.rows_affected(), columns.accounts.len(), "a loaded balance is gone")
}

/// Every row that was read under the account's lock must still be there.
fn all_updated(updated: u64, wanted: usize, otherwise: &'static str) -> Result<(), StoreError> {
    let all = usize::try_from(updated).is_ok_and(|rows| rows == wanted);
    if all { Ok(()) } else { Err(StoreError::Broken(otherwise)) }
}

async fn lots_in_tx(tx: &mut PgConnection, state: &State, now: OffsetDateTime) -> Result<(), StoreError> {
    let (new, changed): (Vec<_>, Vec<_>) =
        touched_lots(state).partition(|(_, lot)| lot.change == Change::New);
    if !new.is_empty() {
        insert_lots_in_tx(tx, &new, now).await?;
    }
    if !changed.is_empty() {
        update_lots_in_tx(tx, &changed, now).await?;
    }
    Ok(())
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

async fn insert_lots_in_tx(
    tx: &mut PgConnection,
    lots: &[LotOf<'_>],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let keys: Vec<&BalanceKey> = lots.iter().map(|(key, _)| *key).collect();
    let (accounts, units) = text(&keys);
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

async fn update_lots_in_tx(
    tx: &mut PgConnection,
    lots: &[LotOf<'_>],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let keys: Vec<&BalanceKey> = lots.iter().map(|(key, _)| *key).collect();
    let (accounts, units) = text(&keys);
    let ids: Vec<Uuid> = lots.iter().map(|(_, lot)| lot.grant_id.uuid()).collect();
    let actives: Vec<bool> = lots.iter().map(|(_, lot)| lot.active).collect();
    let updated = sqlx::query!(
        r#"update grants g
           set remaining = new.remaining, held = new.held, last_version = new.last_version,
               active = new.active, due_at = new.due_at,
               closed_at = case when new.remaining = 0 then $8::timestamptz end
           from unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bool[],
                       $7::timestamptz[], $9::text[], $10::bigint[])
                as new(account_id, grant_id, remaining, held, last_version, active, due_at, unit, version)
           where g.account_id = new.account_id and g.unit = new.unit and g.version = new.version
             and g.grant_id = new.grant_id"#,
        &accounts,
        &ids,
        &numbers(lots, |lot| lot.remaining),
        &numbers(lots, |lot| lot.held),
        &numbers(lots, |lot| lot.last_version),
        &actives,
        &times(lots, Lot::due_at)? as &[Option<OffsetDateTime>],
        now,
        &units,
        &numbers(lots, |lot| lot.version)
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write grants"))?;
    all_updated(updated.rows_affected(), lots.len(), "a loaded lot is gone")
}

async fn operations_in_tx(
    tx: &mut PgConnection,
    decisions: &Decisions,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let keyed: Vec<_> = decisions
        .accepted
        .iter()
        .filter_map(|accepted| {
            let first = accepted.operation.entries.first()?;
            accepted.keyed.as_ref().map(|keyed| (accepted, keyed, first))
        })
        .collect();
    if keyed.is_empty() {
        return Ok(());
    }
    let accounts: Vec<String> = keyed.iter().map(|(_, _, first)| first.account.as_str().to_owned()).collect();
    let units: Vec<String> = keyed.iter().map(|(_, _, first)| first.unit.as_str().to_owned()).collect();
    let keys: Vec<String> = keyed.iter().map(|(_, keyed, _)| keyed.key.clone()).collect();
    let ids: Vec<Uuid> = keyed.iter().map(|(accepted, _, _)| accepted.operation.id.uuid()).collect();
    let rpcs: Vec<String> = keyed.iter().map(|(_, keyed, _)| keyed.rpc.to_owned()).collect();
    let fingerprints: Vec<Vec<u8>> = keyed.iter().map(|(_, keyed, _)| keyed.fingerprint.to_vec()).collect();
    let versions: Vec<i64> = keyed.iter().map(|(_, _, first)| first.version).collect();
    let counts: Vec<i32> = keyed.iter().map(|(_, _, first)| first.operation_size).collect();
    sqlx::query!(
        r#"insert into operations (account_id, idempotency_key, operation_id, unit, rpc, rule_version,
                                   fingerprint, first_version, entry_count, created_at)
           select account_id, idempotency_key, operation_id, unit, rpc, $9, fingerprint, first_version,
                  entry_count, $10
           from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::bytea[],
                       $7::bigint[], $8::int[])
                as new(account_id, idempotency_key, operation_id, unit, rpc, fingerprint, first_version,
                       entry_count)"#,
        &accounts,
        &keys,
        &ids,
        &units,
        &rpcs,
        &fingerprints,
        &versions,
        &counts,
        RULE_VERSION,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write operations"))?;
    Ok(())
}

/// A PostgreSQL array literal: arrays of arrays cannot be unnested to different lengths, so each row's lines
/// travel as text.
fn array_literal<T: std::fmt::Display>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    format!("{{{}}}", values.join(","))
}

async fn entries_in_tx(tx: &mut PgConnection, entries: &[&Entry]) -> Result<(), StoreError> {
    let number = |of: fn(&Entry) -> i64| -> Vec<i64> { entries.iter().map(|entry| of(entry)).collect() };
    let word = |of: fn(&Entry) -> &str| -> Vec<String> {
        entries.iter().map(|entry| of(entry).to_owned()).collect()
    };
    let moment = |of: fn(&Entry) -> Timestamp| entries.iter().map(|entry| to_time(of(entry))).collect();
    let effective: Result<Vec<OffsetDateTime>, StoreError> = moment(|entry| entry.effective_at);
    let recorded: Result<Vec<OffsetDateTime>, StoreError> = moment(|entry| entry.recorded_at);
    let ids: Vec<Uuid> = entries.iter().map(|entry| entry.operation_id.uuid()).collect();
    let indexes: Vec<i32> = entries.iter().map(|entry| entry.operation_index).collect();
    let sizes: Vec<i32> = entries.iter().map(|entry| entry.operation_size).collect();
    let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind.code()).collect();
    let grants: Vec<String> = entries
        .iter()
        .map(|entry| array_literal(entry.lines.iter().map(|line| line.grant_id.uuid())))
        .collect();
    let deltas: Vec<String> = entries
        .iter()
        .map(|entry| array_literal(entry.lines.iter().flat_map(|l| [l.available, l.held, l.scheduled])))
        .collect();
    let traces: Vec<Option<String>> = entries.iter().map(|entry| entry.traceparent.clone()).collect();
    let digests: Vec<Option<Vec<u8>>> =
        entries.iter().map(|entry| entry.metadata_digest.map(|digest| digest.to_vec())).collect();
    let hashes: Vec<Vec<u8>> = entries.iter().map(|entry| entry.hash.0.to_vec()).collect();
    sqlx::query!(
        r#"insert into entries (account_id, unit, version, operation_id, operation_index, operation_size, kind,
                                available_delta, held_delta, scheduled_delta, debt_delta,
                                available, held, scheduled, debt, line_grants, line_deltas,
                                reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                                traceparent, metadata_digest, entry_hash)
           select account_id, unit, version, operation_id, operation_index, operation_size, kind,
                  available_delta, held_delta, scheduled_delta, debt_delta,
                  available, held, scheduled, debt, line_grants::uuid[], line_deltas::bigint[],
                  reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                  traceparent, metadata_digest, entry_hash
           from unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::int[], $6::int[], $7::smallint[],
                       $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                       $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::text[],
                       $18::text[], $19::text[], $20::text[], $21::text[], $22::timestamptz[],
                       $23::timestamptz[], $24::text[], $25::bytea[], $26::bytea[])
                as new(account_id, unit, version, operation_id, operation_index, operation_size, kind,
                       available_delta, held_delta, scheduled_delta, debt_delta,
                       available, held, scheduled, debt, line_grants, line_deltas,
                       reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                       traceparent, metadata_digest, entry_hash)"#,
        &word(|entry| entry.account.as_str()),
        &word(|entry| entry.unit.as_str()),
        &number(|entry| entry.version),
        &ids,
        &indexes,
        &sizes,
        &kinds,
        &number(|entry| entry.delta.available),
        &number(|entry| entry.delta.held),
        &number(|entry| entry.delta.scheduled),
        &number(|entry| entry.delta.debt),
        &number(|entry| entry.after.available),
        &number(|entry| entry.after.held),
        &number(|entry| entry.after.scheduled),
        &number(|entry| entry.after.debt),
        &grants,
        &deltas,
        &word(|entry| &entry.reference),
        &word(|entry| &entry.actor),
        &word(|entry| &entry.on_behalf_of),
        &word(|entry| &entry.reason),
        &effective?,
        &recorded?,
        &traces as &[Option<String>],
        &digests as &[Option<Vec<u8>>],
        &hashes
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write the journal"))?;
    Ok(())
}

async fn metadata_in_tx(tx: &mut PgConnection, decisions: &Decisions) -> Result<(), StoreError> {
    let rows: Vec<(&Entry, serde_json::Value)> = decisions
        .accepted
        .iter()
        .filter_map(|accepted| {
            let keyed = accepted.keyed.as_ref().filter(|keyed| !keyed.metadata.pairs().is_empty())?;
            let own = accepted.operation.entries.last()?;
            Some((own, keyed.metadata.pairs().iter().map(|(k, v)| (k.clone(), v.clone())).collect()))
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let accounts: Vec<String> = rows.iter().map(|(entry, _)| entry.account.as_str().to_owned()).collect();
    let units: Vec<String> = rows.iter().map(|(entry, _)| entry.unit.as_str().to_owned()).collect();
    let versions: Vec<i64> = rows.iter().map(|(entry, _)| entry.version).collect();
    let values: Vec<serde_json::Value> = rows.into_iter().map(|(_, value)| value).collect();
    sqlx::query!(
        r#"insert into entry_metadata (account_id, unit, version, metadata)
           select * from unnest($1::text[], $2::text[], $3::bigint[], $4::jsonb[])"#,
        &accounts,
        &units,
        &versions,
        &values
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write metadata"))?;
    Ok(())
}

async fn outbox_in_tx(
    tx: &mut PgConnection,
    state: &State,
    entries: &[&Entry],
    encode: EncodeEvent,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let accounts: Vec<String> = entries.iter().map(|entry| entry.account.as_str().to_owned()).collect();
    let units: Vec<String> = entries.iter().map(|entry| entry.unit.as_str().to_owned()).collect();
    let versions: Vec<i64> = entries.iter().map(|entry| entry.version).collect();
    let indexes: Vec<i32> = entries.iter().map(|entry| entry.operation_index).collect();
    let sizes: Vec<i32> = entries.iter().map(|entry| entry.operation_size).collect();
    let hashes: Vec<Vec<u8>> = entries.iter().map(|entry| entry.hash.0.to_vec()).collect();
    let events: Vec<Vec<u8>> = entries.iter().map(|entry| encode(entry)).collect();
    let traces: Vec<Option<String>> = entries.iter().map(|entry| entry.traceparent.clone()).collect();
    sqlx::query!(
        r#"insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash,
                               event, traceparent, created_at)
           select $9, account_id, unit, version, operation_index, operation_size, entry_hash, event,
                  traceparent, $10
           from unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::int[], $6::bytea[], $7::bytea[],
                       $8::text[])
                as new(account_id, unit, version, operation_index, operation_size, entry_hash, event,
                       traceparent)"#,
        &accounts,
        &units,
        &versions,
        &indexes,
        &sizes,
        &hashes,
        &events,
        &traces as &[Option<String>],
        state.slot,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write the outbox"))?;
    Ok(())
}
