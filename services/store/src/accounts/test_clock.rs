//! The clock of a sandbox account: it stands until it is moved, forward only. Tests of expiry and renewal need not wait.

use domain::{AccountId, Timestamp, Unit};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{AccountError, By, audit_in_tx};
use crate::error::StoreError;
use crate::row::{from_time, to_time};
use crate::store::Store;

/// What moving a clock did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMoved {
    /// The account's time.
    pub now: Timestamp,
    /// Operations that became due.
    pub settled_operations: i64,
}

impl Store {
    /// Sets a sandbox account's clock and settles everything that is due by it. Setting it to the same time again only
    /// settles.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_test_clock(
        &self,
        account: &AccountId,
        now: Timestamp,
        by: &By,
        deadline: Instant,
    ) -> Result<ClockMoved, AccountError> {
        let (mut tx, stored) = self.locked_account(account).await?;
        if !stored.sandbox {
            return Err(AccountError::NotSandbox);
        }
        let newest = newest_entry_in_tx(&mut tx, account).await?;
        let not_before = stored.test_clock_at.into_iter().chain(newest).max();
        if let Some(not_before) = not_before.filter(|not_before| now < *not_before) {
            return Err(AccountError::ClockBackwards { not_before });
        }
        sqlx::query!(
            "update accounts set test_clock_at = $2 where account_id = $1",
            account.as_str(),
            to_time(now)?
        )
        .execute(&mut *tx)
        .await
        .map_err(StoreError::during("set a test clock"))?;
        let detail = serde_json::json!({ "now_us": now.micros() });
        audit_in_tx(&mut tx, account, "set_test_clock", by, &detail).await?;
        tx.commit().await.map_err(StoreError::during("commit"))?;

        let mut settled_operations = 0_i64;
        for (unit, version) in self.due_units(account, now).await? {
            self.settle(account.clone(), unit.clone(), deadline).await?;
            let settled = self.operations_after(account, &unit, version).await?;
            settled_operations = settled_operations.saturating_add(settled);
        }
        Ok(ClockMoved { now, settled_operations })
    }

    async fn due_units(&self, account: &AccountId, now: Timestamp) -> Result<Vec<(Unit, i64)>, StoreError> {
        let rows = sqlx::query!(
            "select unit, version from balances where account_id = $1 and next_due_at <= $2",
            account.as_str(),
            to_time(now)?
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("find due balances"))?;
        rows.into_iter().map(|row| Ok((Unit::try_new(row.unit)?, row.version))).collect()
    }

    async fn operations_after(
        &self,
        account: &AccountId,
        unit: &Unit,
        version: i64,
    ) -> Result<i64, StoreError> {
        sqlx::query_scalar!(
            r#"select count(*) as "count!" from entries
               where account_id = $1 and unit = $2 and version > $3 and operation_index = 0"#,
            account.as_str(),
            unit.as_str(),
            version
        )
        .fetch_one(self.pool())
        .await
        .map_err(StoreError::during("count operations"))
    }
}

/// When the newest entry of any of the account's balances was written.
async fn newest_entry_in_tx(
    tx: &mut PgConnection,
    account: &AccountId,
) -> Result<Option<Timestamp>, StoreError> {
    let newest = sqlx::query_scalar!(
        r#"select max(e.recorded_at) as "newest: OffsetDateTime" from balances b
           -- Lateral, so that it is found by version: a join may walk all the account's entries.
           cross join lateral (
               select recorded_at from entries
               where account_id = b.account_id and unit = b.unit and version = b.version limit 1
           ) as e
           where b.account_id = $1"#,
        account.as_str()
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during("find the newest entry"))?;
    newest.map(from_time).transpose()
}
