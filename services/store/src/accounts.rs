//! What operators do to an account: freeze, close, thresholds, erasure, test clock.
//!
//! None of it is in the journal. Each change locks the account's row, as every writer does first, and leaves a line in
//! `account_audit` in the same transaction.

mod erase;
mod test_clock;

use std::collections::BTreeSet;

use domain::{AccountId, AccountState, Threshold, Timestamp};
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};
use time::OffsetDateTime;

use crate::error::{ApplyError, StoreError};
use crate::row::{ThresholdRow, from_account_state, from_time, to_account_state};
use crate::store::Store;

pub use erase::Erased;
pub use test_clock::ClockMoved;

/// An account as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccount {
    /// Its id.
    pub account: AccountId,
    /// Which commands it takes.
    pub state: AccountState,
    /// Whether it may have a clock of its own.
    pub sandbox: bool,
    /// Its own thresholds; empty: the installation's hold.
    pub thresholds: Vec<Threshold>,
    /// When it was first used.
    pub created_at: Timestamp,
    /// When its personal data were blanked.
    pub erased_at: Option<Timestamp>,
    /// Its own clock.
    pub test_clock_at: Option<Timestamp>,
}

/// Who changes an account, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The principal's id.
    pub actor: String,
    /// Its words.
    pub reason: String,
}

/// What to change; `None` leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountChange {
    /// Which commands it takes. A closed account may be opened again.
    pub state: Option<AccountState>,
    /// Thresholds, at most [`domain::MAX_THRESHOLDS`] with unique names; empty: the installation's.
    pub thresholds: Option<Vec<Threshold>>,
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It was never used.
    #[error("the account was never used")]
    NotFound,
    /// Only sandbox accounts have a clock.
    #[error("the account is no sandbox account")]
    NotSandbox,
    /// A clock only goes forward, and begins no earlier than the account's last entry.
    #[error("the clock would go back")]
    ClockBackwards {
        /// The earliest time that it can be set to.
        not_before: Timestamp,
    },
    /// What became due could not be settled; the clock stands, call again.
    #[error("what became due was not settled")]
    Apply(#[from] ApplyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Row {
    account_id: String,
    state: i16,
    sandbox: bool,
    thresholds: Option<Json<Vec<ThresholdRow>>>,
    created_at: OffsetDateTime,
    erased_at: Option<OffsetDateTime>,
    test_clock_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for StoredAccount {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let thresholds = row.thresholds.map(|Json(rows)| rows).unwrap_or_default();
        Ok(Self {
            account: AccountId::try_new(row.account_id)?,
            state: to_account_state(row.state)?,
            sandbox: row.sandbox,
            thresholds: thresholds.into_iter().map(Threshold::try_from).collect::<Result<_, _>>()?,
            created_at: from_time(row.created_at)?,
            erased_at: row.erased_at.map(from_time).transpose()?,
            test_clock_at: row.test_clock_at.map(from_time).transpose()?,
        })
    }
}

impl Store {
    /// One account.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::Store`].
    pub async fn account(&self, account: &AccountId) -> Result<StoredAccount, AccountError> {
        let row = sqlx::query_as!(
            Row,
            r#"select account_id, state, sandbox, thresholds as "thresholds: Json<Vec<ThresholdRow>>", created_at,
                      erased_at, test_clock_at
               from accounts where account_id = $1"#,
            account.as_str()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("read an account"))?;
        Ok(row.ok_or(AccountError::NotFound)?.try_into()?)
    }

    /// Changes an account's state or thresholds. What was decided before stands.
    ///
    /// # Errors
    /// [`AccountError::NotFound`]; [`AccountError::Store`], also for thresholds that an account cannot have.
    pub async fn update_account(
        &self,
        account: &AccountId,
        change: &AccountChange,
        by: &By,
    ) -> Result<StoredAccount, AccountError> {
        if !change.thresholds.as_deref().is_none_or(are_thresholds) {
            // Callers say which field is bad; every batch of the account reads them, so they are bounded here too.
            return Err(StoreError::Broken("too many thresholds, or two of one name").into());
        }
        let (mut tx, _) = self.locked_account(account).await?;
        let thresholds = change.thresholds.as_ref().map(|thresholds| {
            let rows: Vec<ThresholdRow> = thresholds.iter().map(ThresholdRow::from).collect();
            Json(rows)
        });
        let changes_thresholds = thresholds.is_some();
        let row = sqlx::query_as!(
            Row,
            r#"update accounts
               set state = coalesce($2, state),
                   thresholds = case when $3 then nullif($4::jsonb, '[]'::jsonb) else thresholds end
               where account_id = $1
               returning account_id, state, sandbox, thresholds as "thresholds: Json<Vec<ThresholdRow>>", created_at,
                         erased_at, test_clock_at"#,
            account.as_str(),
            change.state.map(from_account_state),
            changes_thresholds,
            thresholds as Option<Json<Vec<ThresholdRow>>>
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during("change an account"))?;
        let detail = serde_json::json!({
            "state": change.state.map(from_account_state),
            "thresholds": changes_thresholds.then_some(&row.thresholds),
        });
        audit_in_tx(&mut tx, account, "update", by, &detail).await?;
        tx.commit().await.map_err(StoreError::during("commit"))?;
        Ok(row.try_into()?)
    }

    /// A transaction that has the account locked.
    async fn locked_account(
        &self,
        account: &AccountId,
    ) -> Result<(Transaction<'static, Postgres>, StoredAccount), AccountError> {
        let mut tx = self.pool().begin().await.map_err(StoreError::during("begin"))?;
        let row = sqlx::query_as!(
            Row,
            r#"select account_id, state, sandbox, thresholds as "thresholds: Json<Vec<ThresholdRow>>", created_at,
                      erased_at, test_clock_at
               from accounts where account_id = $1 for no key update"#,
            account.as_str()
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during("lock an account"))?;
        let stored = row.ok_or(AccountError::NotFound)?.try_into()?;
        Ok((tx, stored))
    }
}

/// Whether an account may have these.
fn are_thresholds(thresholds: &[Threshold]) -> bool {
    let names: BTreeSet<&str> = thresholds.iter().map(Threshold::name).collect();
    thresholds.len() <= domain::MAX_THRESHOLDS && names.len() == thresholds.len()
}

async fn audit_in_tx(
    tx: &mut PgConnection,
    account: &AccountId,
    action: &str,
    by: &By,
    detail: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"insert into account_audit (account_id, action, actor, reason, detail, at)
           values ($1, $2, $3, $4, $5, clock_timestamp())"#,
        account.as_str(),
        action,
        by.actor,
        by.reason,
        detail
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write the audit"))?;
    Ok(())
}
