//! Phase 2: lock one row per account, and read the database's clock once the locks are held.

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use domain::{AccountId, AccountState, Threshold, Timestamp};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::Wait;
use crate::error::StoreError;
use crate::row::{ThresholdRow, from_time, to_account_state};

/// A locked account, or one that does not exist and that nothing in the batch may create.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    /// Locked by this transaction.
    Locked(LockedAccount),
    /// Does not exist: reads as empty, must not be written.
    Missing,
}

/// What the account's row says.
#[derive(Debug, Clone)]
pub(crate) struct LockedAccount {
    pub(crate) state: AccountState,
    /// A sandbox account's own clock.
    pub(crate) test_clock: Option<Timestamp>,
    /// The account's own thresholds.
    pub(crate) thresholds: Option<Arc<[Threshold]>>,
}

impl Account {
    pub(crate) const fn state(&self) -> AccountState {
        match self {
            Self::Locked(account) => account.state,
            Self::Missing => AccountState::Active,
        }
    }
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

/// The time of an account: the database's, or that of its test clock.
pub(crate) fn clock(
    accounts: &BTreeMap<AccountId, Account>,
    account: &AccountId,
    now: Timestamp,
) -> Timestamp {
    match accounts.get(account) {
        Some(Account::Locked(LockedAccount { test_clock: Some(clock), .. })) => *clock,
        _ => now,
    }
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
        let (id, account) = row.into_account()?;
        locked.accounts.insert(id, account);
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
    test_clock_at: Option<OffsetDateTime>,
    thresholds: Option<Json<Vec<ThresholdRow>>>,
    now: OffsetDateTime,
    slot_seconds: i32,
}

impl Row {
    fn into_account(self) -> Result<(AccountId, Account), StoreError> {
        let id = AccountId::try_new(self.account_id)?;
        let Some(state) = self.state else { return Ok((id, Account::Missing)) };
        let thresholds = self.thresholds.map(|Json(rows)| {
            rows.into_iter().map(Threshold::try_from).collect::<Result<Arc<[Threshold]>, StoreError>>()
        });
        let account = LockedAccount {
            state: to_account_state(state)?,
            test_clock: self.test_clock_at.map(from_time).transpose()?,
            thresholds: thresholds.transpose()?,
        };
        Ok((id, Account::Locked(account)))
    }
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
                       select account_id, state, test_clock_at, thresholds from accounts where account_id = any($1)
                       order by account_id collate "C" for no key update skip locked
                   )
                   select locked.account_id, locked.state as "state?", locked.test_clock_at,
                          locked.thresholds as "thresholds: Json<Vec<ThresholdRow>>",
                          clock_timestamp() as "now!", stream_state.slot_seconds
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
                       select account_id, state, test_clock_at, thresholds from accounts where account_id = any($1)
                       order by account_id collate "C" for no key update
                   )
                   select locked.account_id, locked.state as "state?", locked.test_clock_at,
                          locked.thresholds as "thresholds: Json<Vec<ThresholdRow>>",
                          clock_timestamp() as "now!", stream_state.slot_seconds
                   from locked, stream_state"#,
                ids
            )
            .fetch_all(tx)
            .await
        }
    };
    rows.map_err(StoreError::during("lock accounts"))
}

/// The row of one account without a lock, for transactions that write nothing and see one snapshot.
pub(super) async fn unlocked_account_in_tx(
    tx: &mut PgConnection,
    account: &AccountId,
) -> Result<Locked, StoreError> {
    let row = sqlx::query_as!(
        Row,
        r#"select wanted.account_id as "account_id!", a.state as "state?", a.test_clock_at as "test_clock_at?",
                  a.thresholds as "thresholds?: Json<Vec<ThresholdRow>>", clock_timestamp() as "now!",
                  stream_state.slot_seconds
           from stream_state, (select $1::text as account_id) as wanted
           left join accounts a on a.account_id = wanted.account_id"#,
        account.as_str()
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during("read an account"))?;
    let now = from_time(row.now)?;
    let (id, account) = row.into_account()?;
    Ok(Locked { now, slot: 0, accounts: BTreeMap::from([(id, account)]), created: Vec::new() })
}

/// Those of the accounts that do not exist.
async fn missing_in_tx(tx: &mut PgConnection, ids: &[String]) -> Result<Vec<Row>, StoreError> {
    sqlx::query_as!(
        Row,
        r#"select wanted.account_id as "account_id!", null::smallint as "state?", null::timestamptz as "test_clock_at?",
                  null::jsonb as "thresholds?: Json<Vec<ThresholdRow>>", clock_timestamp() as "now!",
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
