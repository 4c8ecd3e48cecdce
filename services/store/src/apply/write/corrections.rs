//! What revocations and reversals leave beside the journal. Rare, so in statements of their own.

use std::collections::BTreeSet;

use domain::{Change, GrantId, Lot, Parts, Reversible};
use sqlx::PgConnection;

use crate::apply::decision::{Decisions, touched_lots};
use crate::apply::{BalanceKey, State};
use crate::error::StoreError;
use crate::row::{array_literal, raises_in_a_row};

/// The parts of `revoked` of those lots that a revocation or a return of credits changed.
pub(super) async fn revocations_in_tx(
    tx: &mut PgConnection,
    state: &State,
    decisions: &Decisions,
) -> Result<(), StoreError> {
    let changed = changed_grants(decisions);
    if changed.is_empty() {
        return Ok(());
    }
    let lots: Vec<(&BalanceKey, &Lot)> =
        touched_lots(state).filter(|(_, lot)| changed.contains(&lot.grant_id)).collect();
    let accounts: Vec<String> = lots.iter().map(|((account, _), _)| account.as_str().to_owned()).collect();
    let units: Vec<String> = lots.iter().map(|((_, unit), _)| unit.as_str().to_owned()).collect();
    let versions: Vec<i64> = lots.iter().map(|(_, lot)| lot.version).collect();
    let part = |part: fn(&Parts) -> i64| -> Vec<i64> {
        lots.iter().map(|(_, lot)| part(&lot.revoked.parts())).collect()
    };
    let raises: Vec<Option<String>> = lots
        .iter()
        .map(|(_, lot)| raises_in_a_row(lot).map(|numbers| array_literal(numbers.into_iter())))
        .collect();
    sqlx::query!(
        r#"update grants g
           set revoked_expired = new.expired, revoked_taken = new.taken, revoked_owed = new.owed,
               revoked_forgiven = new.forgiven, raises = new.raises::bigint[]
           from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                       $8::text[])
                as new(account_id, unit, version, expired, taken, owed, forgiven, raises)
           -- Not by id: as long as the table is empty an index on the account looks as good, and the plan is kept.
           where g.account_id = new.account_id and g.unit = new.unit and g.version = new.version"#,
        &accounts,
        &units,
        &versions,
        &part(|parts| parts.expired),
        &part(|parts| parts.taken),
        &part(|parts| parts.owed),
        &part(|parts| parts.forgiven),
        &raises as &[Option<String>]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write revocations"))?;
    Ok(())
}

/// The grants whose `revoked` the entries of the batch say to have changed: that of a revocation is its first line.
fn changed_grants(decisions: &Decisions) -> BTreeSet<GrantId> {
    let entries = decisions.accepted.iter().flat_map(|accepted| &accepted.operation.entries);
    let mut changed = BTreeSet::new();
    for entry in entries {
        if entry.revocation.is_some() {
            changed.extend(entry.lines.first().map(|line| line.grant_id));
        }
        changed.extend(entry.lines.iter().filter(|line| line.reclaimed != 0).map(|line| line.grant_id));
    }
    changed
}

/// How much of spends and captures came back.
pub(super) async fn reversals_in_tx(tx: &mut PgConnection, state: &State) -> Result<(), StoreError> {
    let reversed: Vec<(&BalanceKey, &Reversible)> = state
        .balances
        .iter()
        .flat_map(|(key, balance)| balance.spends.iter().map(move |spend| (key, spend)))
        .filter(|(_, spend)| spend.change != Change::None)
        .collect();
    if reversed.is_empty() {
        return Ok(());
    }
    let accounts: Vec<String> =
        reversed.iter().map(|((account, _), _)| account.as_str().to_owned()).collect();
    let units: Vec<String> = reversed.iter().map(|((_, unit), _)| unit.as_str().to_owned()).collect();
    let number =
        |of: fn(&Reversible) -> i64| -> Vec<i64> { reversed.iter().map(|(_, spend)| of(spend)).collect() };
    sqlx::query!(
        r#"insert into reversals (account_id, unit, version, reversed, last_version)
           select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
           on conflict on constraint reversals_pkey do update
           set reversed = excluded.reversed, last_version = excluded.last_version"#,
        &accounts,
        &units,
        &number(|spend| spend.entry.version),
        &number(|spend| spend.reversed),
        &number(|spend| spend.last_version)
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write reversals"))?;
    Ok(())
}
