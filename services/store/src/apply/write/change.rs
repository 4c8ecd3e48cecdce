//! The one statement that writes a batch: journal, keys, outbox, balances and lots.
//!
//! One statement, since each costs a trip to the server and the start of an executor there (measured: docs/bench.md),
//! and since journal, keys and outbox share most columns, which so travel once. Its parts see none of each other's
//! rows and need none.

use domain::RULE_VERSION;
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use super::balances::BalanceColumns;
use super::entries::EntryColumns;
use super::lots::LotColumns;
use crate::error::StoreError;

/// Writes the changes.
pub(super) async fn ledger_in_tx(
    tx: &mut PgConnection,
    entries: &EntryColumns,
    balances: &BalanceColumns,
    lots: &LotColumns,
    slot: i16,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let written = sqlx::query!(
        r#"with entry as materialized (
               select * from unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::int[], $6::int[],
                           $7::smallint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                           $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[],
                           $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
                           $22::timestamptz[], $23::timestamptz[], $24::text[], $25::bytea[], $26::bytea[],
                           $27::text[], $28::text[], $29::bytea[], $30::bytea[], $54::jsonb[], $55::uuid[],
                           $56::timestamptz[], $57::bigint[], $58::jsonb[], $59::text[], $60::text[])
                    as entry(account_id, unit, version, operation_id, operation_index, operation_size, kind,
                         available_delta, held_delta, scheduled_delta, debt_delta, available, held,
                         scheduled, debt, line_grants, line_deltas, reference, actor, on_behalf_of, reason,
                         effective_at, recorded_at, traceparent, metadata_digest, entry_hash,
                         idempotency_key, rpc, fingerprint, event, result, hold_id, hold_expires_at,
                         related_version, crossed, revoked, reclaimed)
           ), operation as (
               insert into operations (account_id, idempotency_key, operation_id, unit, rpc, rule_version,
                                       fingerprint, first_version, entry_count, created_at, result)
               select account_id, idempotency_key, operation_id, unit, rpc, $31, fingerprint, version,
                      operation_size, $32, result
               from entry where idempotency_key is not null
           ), journal as (
               insert into entries (account_id, unit, version, operation_id, operation_index,
                                    operation_size, kind, available_delta, held_delta, scheduled_delta,
                                    debt_delta, available, held, scheduled, debt, line_grants, line_deltas,
                                    reference, actor, on_behalf_of, reason, effective_at, recorded_at,
                                    traceparent, metadata_digest, entry_hash, hold_id, hold_expires_at,
                                    related_version, crossed, revoked, reclaimed)
               select account_id, unit, version, operation_id, operation_index, operation_size, kind,
                      available_delta, held_delta, scheduled_delta, debt_delta, available, held, scheduled,
                      debt, line_grants::uuid[], line_deltas::bigint[], reference, actor, on_behalf_of,
                      reason, effective_at, recorded_at, traceparent, metadata_digest, entry_hash, hold_id,
                      hold_expires_at, related_version, crossed, revoked::bigint[], reclaimed::bigint[]
               from entry
           ), outgoing as (
               insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash,
                                   event, traceparent, created_at)
               select $33, account_id, unit, version, operation_index, operation_size, entry_hash, event,
                      traceparent, $32
               from entry
           ), balance as (
               update balances b
               set available = new.available, held = new.held, scheduled = new.scheduled, debt = new.debt,
                   version = new.version, entry_hash = new.entry_hash,
                   last_effective_at = new.last_effective_at, open_lots = new.open_lots,
                   next_due_at = new.next_due_at, open_holds = new.open_holds, armed = new.armed
               from unnest($34::text[], $35::text[], $36::bigint[], $37::bigint[], $38::bigint[],
                           $39::bigint[], $40::bigint[], $41::bytea[], $42::timestamptz[], $43::int[],
                           $44::timestamptz[], $61::int[], $62::jsonb[])
                    as new(account_id, unit, available, held, scheduled, debt, version, entry_hash,
                           last_effective_at, open_lots, next_due_at, open_holds, armed)
               where b.account_id = new.account_id and b.unit = new.unit
               returning b.version
           ), lot as (
               update grants g
               set remaining = new.remaining, held = new.held, expired = new.expired, last_version = new.last_version,
                   active = new.active, due_at = new.due_at,
                   closed_at = case when new.remaining = 0 then $32::timestamptz end
               from unnest($45::text[], $46::text[], $47::bigint[], $48::uuid[], $49::bigint[],
                           $50::bigint[], $51::bigint[], $52::bool[], $53::timestamptz[], $63::bigint[])
                    as new(account_id, unit, version, grant_id, remaining, held, last_version, active, due_at,
                           expired)
               where g.account_id = new.account_id and g.unit = new.unit and g.version = new.version
                 and g.grant_id = new.grant_id
               returning g.version
           )
           select (select count(*) from balance) as "balances!", (select count(*) from lot) as "lots!""#,
        &entries.accounts,
        &entries.units,
        &entries.versions,
        &entries.operation_ids,
        &entries.indexes,
        &entries.sizes,
        &entries.kinds,
        &entries.available_deltas,
        &entries.held_deltas,
        &entries.scheduled_deltas,
        &entries.debt_deltas,
        &entries.available,
        &entries.held,
        &entries.scheduled,
        &entries.debt,
        &entries.line_grants,
        &entries.line_deltas,
        &entries.references,
        &entries.actors,
        &entries.on_behalf_of,
        &entries.reasons,
        &entries.effective,
        &entries.recorded,
        &entries.traceparents as &[Option<String>],
        &entries.metadata_digests as &[Option<Vec<u8>>],
        &entries.hashes,
        &entries.keys as &[Option<String>],
        &entries.rpcs as &[Option<String>],
        &entries.fingerprints as &[Option<Vec<u8>>],
        &entries.events,
        RULE_VERSION,
        now,
        slot,
        &balances.accounts,
        &balances.units,
        &balances.available,
        &balances.held,
        &balances.scheduled,
        &balances.debt,
        &balances.versions,
        &balances.hashes,
        &balances.lasts,
        &balances.open_lots,
        &balances.dues as &[Option<OffsetDateTime>],
        &lots.accounts,
        &lots.units,
        &lots.versions,
        &lots.ids,
        &lots.remaining,
        &lots.held,
        &lots.last_versions,
        &lots.actives,
        &lots.dues as &[Option<OffsetDateTime>],
        &entries.results as &[Option<serde_json::Value>],
        &entries.hold_ids as &[Option<Uuid>],
        &entries.hold_ends as &[Option<OffsetDateTime>],
        &entries.reverses as &[Option<i64>],
        &entries.crossed as &[Option<serde_json::Value>],
        &entries.revoked as &[Option<String>],
        &entries.reclaimed as &[Option<String>],
        &balances.open_holds,
        &balances.armed as &[Option<serde_json::Value>],
        &lots.expired,
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during("write the ledger"))?;
    // What was read under the account's lock must still be there.
    all_found(written.balances, balances.accounts.len(), "a loaded balance is gone")?;
    all_found(written.lots, lots.accounts.len(), "a loaded lot is gone")
}

fn all_found(found: i64, wanted: usize, otherwise: &'static str) -> Result<(), StoreError> {
    let all = usize::try_from(found).is_ok_and(|rows| rows == wanted);
    if all { Ok(()) } else { Err(StoreError::Broken(otherwise)) }
}
