//! Holds of a batch: those that are made, and those that change.

use domain::{Change, Hold, Timestamp};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::{BalanceKey, State};
use crate::error::StoreError;
use crate::row::{array_literal, to_time};

type HoldOf<'a> = (&'a BalanceKey, &'a Hold);

/// Writes what the batch did to holds; no statement when it did nothing.
pub(super) async fn write_in_tx(tx: &mut PgConnection, state: &State) -> Result<(), StoreError> {
    let holds =
        || state.balances.iter().flat_map(|(key, balance)| balance.holds.iter().map(move |h| (key, h)));
    let new: Vec<HoldOf<'_>> = holds().filter(|(_, hold)| hold.change == Change::New).collect();
    if !new.is_empty() {
        insert_in_tx(tx, &new).await?;
    }
    let changed: Vec<HoldOf<'_>> = holds().filter(|(_, hold)| hold.change == Change::Changed).collect();
    if !changed.is_empty() {
        update_in_tx(tx, &changed).await?;
    }
    Ok(())
}

fn accounts(holds: &[HoldOf<'_>]) -> Vec<String> {
    holds.iter().map(|((account, _), _)| account.as_str().to_owned()).collect()
}

fn units(holds: &[HoldOf<'_>]) -> Vec<String> {
    holds.iter().map(|((_, unit), _)| unit.as_str().to_owned()).collect()
}

fn ids(holds: &[HoldOf<'_>]) -> Vec<Uuid> {
    holds.iter().map(|(_, hold)| hold.hold_id.uuid()).collect()
}

fn numbers(holds: &[HoldOf<'_>], number: fn(&Hold) -> i64) -> Vec<i64> {
    holds.iter().map(|(_, hold)| number(hold)).collect()
}

fn states(holds: &[HoldOf<'_>]) -> Vec<i16> {
    holds.iter().map(|(_, hold)| hold.state.code()).collect()
}

fn line_remaining(holds: &[HoldOf<'_>]) -> Vec<String> {
    holds.iter().map(|(_, hold)| array_literal(hold.lines.iter().map(|line| line.remaining))).collect()
}

fn times(
    holds: &[HoldOf<'_>],
    time: fn(&Hold) -> Option<Timestamp>,
) -> Result<Vec<Option<OffsetDateTime>>, StoreError> {
    holds.iter().map(|(_, hold)| time(hold).map(to_time).transpose()).collect()
}

async fn insert_in_tx(tx: &mut PgConnection, holds: &[HoldOf<'_>]) -> Result<(), StoreError> {
    let line_grants: Vec<String> = holds
        .iter()
        .map(|(_, hold)| array_literal(hold.lines.iter().map(|line| line.grant_id.uuid())))
        .collect();
    sqlx::query!(
        r#"insert into holds (account_id, hold_id, unit, version, last_version, amount, remaining, captured, state,
                              line_grants, line_remaining, created_at, expires_at, closed_at)
           select account_id, hold_id, unit, version, last_version, amount, remaining, captured, state,
                  line_grants::uuid[], line_remaining::bigint[], created_at, expires_at, closed_at
           from unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                       $8::bigint[], $9::smallint[], $10::text[], $11::text[], $12::timestamptz[],
                       $13::timestamptz[], $14::timestamptz[])
                as new(account_id, hold_id, unit, version, last_version, amount, remaining, captured, state,
                       line_grants, line_remaining, created_at, expires_at, closed_at)"#,
        &accounts(holds),
        &ids(holds),
        &units(holds),
        &numbers(holds, |hold| hold.version),
        &numbers(holds, |hold| hold.last_version),
        &numbers(holds, |hold| hold.amount),
        &numbers(holds, |hold| hold.remaining),
        &numbers(holds, |hold| hold.captured),
        &states(holds),
        &line_grants,
        &line_remaining(holds),
        &times(holds, |hold| Some(hold.created_at))? as &[Option<OffsetDateTime>],
        &times(holds, |hold| Some(hold.expires_at))? as &[Option<OffsetDateTime>],
        &times(holds, |hold| hold.closed_at)? as &[Option<OffsetDateTime>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write new holds"))?;
    Ok(())
}

async fn update_in_tx(tx: &mut PgConnection, holds: &[HoldOf<'_>]) -> Result<(), StoreError> {
    let written = sqlx::query!(
        r#"update holds h
           set remaining = new.remaining, captured = new.captured, last_version = new.last_version,
               state = new.state, line_remaining = new.line_remaining::bigint[], expires_at = new.expires_at,
               closed_at = new.closed_at
           from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                       $7::smallint[], $8::text[], $9::timestamptz[], $10::timestamptz[])
                as new(account_id, unit, version, remaining, captured, last_version, state, line_remaining,
                       expires_at, closed_at)
           -- Not by id: as long as the table is empty an index on the account looks as good, and the plan is kept.
           where h.account_id = new.account_id and h.unit = new.unit and h.version = new.version"#,
        &accounts(holds),
        &units(holds),
        &numbers(holds, |hold| hold.version),
        &numbers(holds, |hold| hold.remaining),
        &numbers(holds, |hold| hold.captured),
        &numbers(holds, |hold| hold.last_version),
        &states(holds),
        &line_remaining(holds),
        &times(holds, |hold| Some(hold.expires_at))? as &[Option<OffsetDateTime>],
        &times(holds, |hold| hold.closed_at)? as &[Option<OffsetDateTime>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write holds"))?;
    // What was read under the account's lock must still be there.
    let all = usize::try_from(written.rows_affected()).is_ok_and(|rows| rows == holds.len());
    if all { Ok(()) } else { Err(StoreError::Broken("a loaded hold is gone")) }
}
