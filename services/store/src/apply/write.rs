//! Phase 5: write what was decided. The ledger is written set-based, so that its statements do not grow in number
//! with the batch: what is new of balances and lots first, then everything that changes in one statement
//! (`write/change.rs`). Stripe's rows are in `write/stripe.rs` and `write/facts.rs`.

mod balances;
mod change;
mod corrections;
mod entries;
mod facts;
mod holds;
mod lots;
mod stripe;

use domain::Entry;
use sqlx::PgConnection;

use super::decision::Decisions;
use super::{EncodeEvent, State};
use crate::error::StoreError;
use crate::inbox;
use crate::row::to_time;

/// Writes everything, ledger first.
pub(super) async fn decisions_in_tx(
    tx: &mut PgConnection,
    state: &State,
    decisions: &Decisions,
    encode: EncodeEvent,
) -> Result<(), StoreError> {
    let now = to_time(state.now)?;
    if !decisions.accepted.is_empty() {
        let balances = balances::insert_new_in_tx(tx, state, decisions).await?;
        let lots = lots::insert_new_in_tx(tx, state, now).await?;
        let entries = entries::EntryColumns::of(decisions, encode)?;
        change::ledger_in_tx(tx, &entries, &balances, &lots, state.slot, now).await?;
        holds::write_in_tx(tx, state).await?;
        corrections::revocations_in_tx(tx, state, decisions).await?;
        corrections::reversals_in_tx(tx, state).await?;
        metadata_in_tx(tx, decisions).await?;
    }
    if !decisions.stripe.events.is_empty() {
        stripe::events_in_tx(tx, &decisions.stripe.events, now).await?;
        stripe::claims_in_tx(tx, decisions, now).await?;
        stripe::purchases_in_tx(tx, decisions, now).await?;
        facts::write_in_tx(tx, &decisions.stripe, now).await?;
        // Last, when nobody can see the keys and not the events that wait for them.
        inbox::wake_in_tx(tx, &decisions.stripe.appeared(), now).await?;
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

async fn metadata_in_tx(tx: &mut PgConnection, decisions: &Decisions) -> Result<(), StoreError> {
    let rows: Vec<(&Entry, serde_json::Value)> = decisions
        .accepted
        .iter()
        .filter_map(|accepted| {
            let keyed = accepted.keyed.as_ref().filter(|keyed| !keyed.metadata.pairs().is_empty())?;
            let own = accepted.operation.entries.first()?;
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
