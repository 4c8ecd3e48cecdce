//! Phase 2: lock one row per account, and read the database's clock once the locks are held.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, AccountState, Timestamp};
use sqlx::PgConnection;

use super::Wait;
use crate::error::StoreError;
use crate::row::{from_time, to_account_state};

/// A locked account, or one that does not exist and that nothing in the batch may create.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account {
    /// Locked by this transaction.
    Locked(AccountState),
    /// Does not exist: reads as empty, must not be written.
    Missing,
}

/// What phase 2 found.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) now: Timestamp,
    pub(crate) slot: i16,
    /// Accounts that are not here are locked elsewhere.
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    /// Accounts that this transaction was about to make; removed again when nothing was written for them.
    pub(crate) created: Vec<String>,
}

/// Locks the accounts; those of `creating` that do not exist are inserted first.
pub(crate) async fn accounts_in_tx(
    tx: &mut PgConnection,
    wanted: &BTreeSet<&AccountId>,
    creating: &BTreeSet<&AccountId>,
    wait: Wait,
    new_accounts_are_sandbox: bool,
) -> Result<Locked, StoreError> {
    let ids: Vec<String> = wanted.iter().map(|id| id.as_str().to_owned()).collect();
    let mut rows = lock_in_tx(tx, &ids, wait).await?;
    let found: BTreeSet<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
    let others: Vec<String> = ids.into_iter().filter(|id| !found.contains(id.as_str())).collect();
    let mut missing = if others.is_empty() { Vec::new() } else { missing_in_tx(tx, &others).await? };
    if wait == Wait::Block {
        // Made by somebody between the two statements. Who waits must not be told that it is busy: its requests would
        // be queued again behind later ones.
        let is_made = |id: &String| missing.iter().all(|row| row.account_id != *id);
        let made: Vec<String> = others.into_iter().filter(is_made).collect();
        if !made.is_empty() {
            rows.extend(lock_in_tx(tx, &made, wait).await?);
        }
    }
    let create: Vec<String> = missing
        .extract_if(.., |row| creating.iter().any(|id| id.as_str() == row.account_id))
        .map(|row| row.account_id)
        .collect();
    if !create.is_empty() {
        insert_in_tx(tx, &create, new_accounts_are_sandbox).await?;
        rows.extend(lock_in_tx(tx, &create, wait).await?);
    }

    let mut locked =
        Locked { now: Timestamp::from_micros(0), slot: 0, accounts: BTreeMap::new(), created: create };
    for row in rows.into_iter().chain(missing) {
        // The latest clock of the lock statements; the later one was read when all locks were held.
        let now = from_time(row.now)?;
        if now >= locked.now {
            (locked.now, locked.slot) = (now, slot(now, row.slot_seconds)?);
        }
        let account =
            row.state.map_or(Ok(Account::Missing), |state| to_account_state(state).map(Account::Locked))?;
        locked.accounts.insert(AccountId::try_new(row.account_id)?, account);
    }
    Ok(locked)
}

/// The outbox slot of a moment.
fn slot(now: Timestamp, slot_seconds: i32) -> Result<i16, StoreError> {
    let length = i64::from(slot_seconds).saturating_mul(1_000_000);
    let slot = now.micros().checked_div(length).map(|number| number.rem_euclid(16));
    slot.and_then(|slot| i16::try_from(slot).ok()).ok_or(StoreError::Corrupt("slot_seconds"))
}

struct Row {
    account_id: String,
    /// `None`: it does not exist.
    state: Option<i16>,
    now: time::OffsetDateTime,
    slot_seconds: i32,
}

/// One row per account that is locked now. The locking part is a `with` query of its own, so that the clock is read
/// after the lock: a target list beside `for update` is computed before the wait. Accounts of which there is no row
/// do not exist, or are locked elsewhere; they are rare, so that only [`missing_in_tx`] asks which.
async fn lock_in_tx(tx: &mut PgConnection, ids: &[String], wait: Wait) -> Result<Vec<Row>, StoreError> {
    let rows = match wait {
        Wait::Skip => {
            sqlx::query_as!(
                Row,
                r#"with locked as materialized (
                       select account_id, state from accounts where account_id = any($1)
                       order by account_id collate "C" for no key update skip locked
                   )
                   select locked.account_id, locked.state as "state?", clock_timestamp() as "now!",
                          stream_state.slot_seconds
                   from locked, stream_state"#,
                ids
            )
            .fetch_all(tx)
            .await
        }
        Wait::Block => {
            sqlx::query_as!(
                Row,
                r#"with locked as materialized (
                       select account_id, state from accounts where account_id = any($1)
                       order by account_id collate "C" for no key update
                   )
                   select locked.account_id, locked.state as "state?", clock_timestamp() as "now!",
                          stream_state.slot_seconds
                   from locked, stream_state"#,
                ids
            )
            .fetch_all(tx)
            .await
        }
    };
    rows.map_err(StoreError::during("lock accounts"))
}

/// Those of the accounts that do not exist.
async fn missing_in_tx(tx: &mut PgConnection, ids: &[String]) -> Result<Vec<Row>, StoreError> {
    sqlx::query_as!(
        Row,
        r#"select wanted.account_id as "account_id!", null::smallint as "state?", clock_timestamp() as "now!",
                  stream_state.slot_seconds
           from stream_state, unnest($1::text[]) as wanted(account_id)
           where not exists (select from accounts where account_id = wanted.account_id)"#,
        ids
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("find missing accounts"))
}

/// Makes missing accounts, in sorted order: two batches that make the same accounts wait in one direction.
async fn insert_in_tx(tx: &mut PgConnection, ids: &[String], sandbox: bool) -> Result<(), StoreError> {
    sqlx::query!(
        r#"insert into accounts (account_id, sandbox, created_at)
           select account_id, $2, clock_timestamp() from unnest($1::text[]) as new(account_id)
           order by account_id collate "C"
           on conflict do nothing"#,
        ids,
        sandbox
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("insert accounts"))?;
    Ok(())
}
