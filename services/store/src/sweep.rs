//! The sweeper: settles due changes that nobody asks about, within a second of their time.
//!
//! It only finds balances; each is settled by a request of its own through the lanes, so `apply` stays the one that
//! writes, and several replicas may sweep at once: the second finds nothing due. Accounts with a clock of their own are
//! left to those who move it.

use std::time::Duration;

use domain::{AccountId, Unit};
use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::StoreError;
use crate::store::Store;

/// Pause between two looks, about: a due change waits one of them at most, and the promise is a second.
const PERIOD: Duration = Duration::from_millis(250);
/// Longest pause after failures.
const MAX_PERIOD: Duration = Duration::from_secs(10);
/// Most balances of one look: one batch of each lane.
const MAX_BALANCES: i64 = 256;
/// Most due lots, and most due holds, that one look passes; a balance may have many.
const MAX_DUE: i64 = 4096;
/// Time for the settlements of one look.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Settles due changes until it is stopped.
pub struct Sweeper {
    store: Store,
}

/// A balance with something due.
struct Due {
    key: (AccountId, Unit),
    lag_s: f64,
}

impl Sweeper {
    /// A sweeper of this store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut period = PERIOD;
        loop {
            let swept = tokio::select! {
                swept = self.sweep() => swept,
                () = stop.cancelled() => return,
            };
            period = match swept {
                // There may be more.
                Ok(MAX_BALANCES) => continue,
                Ok(_) => PERIOD,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "due changes were not looked for"
                    );
                    period.saturating_mul(2).min(MAX_PERIOD)
                }
            };
            // With jitter, so that replicas do not march in step.
            let pause = period.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look: settles what is due and says how many balances it found.
    ///
    /// # Errors
    /// [`StoreError`] when it could not look. A balance that could not be settled is found again.
    pub async fn sweep(&self) -> Result<i64, StoreError> {
        let due = self.store.due_balances(MAX_BALANCES).await?;
        let count = i64::try_from(due.len()).unwrap_or(i64::MAX);
        let measures = &self.store.measures().sweep;
        measures.lag.set(due.iter().map(|due| due.lag_s).fold(0.0, f64::max));
        let deadline = Instant::now() + SETTLE_WITHIN;
        let settling = due.into_iter().map(|due| {
            let (account, unit) = due.key;
            self.store.settle(account, unit, deadline)
        });
        for settled in futures::future::join_all(settling).await {
            match settled {
                Ok(()) => measures.settled.inc(),
                Err(_) => measures.failed.inc(),
            };
        }
        Ok(count)
    }
}

impl Store {
    /// Balances with a change that is due by the database's clock, longest due first.
    async fn due_balances(&self, limit: i64) -> Result<Vec<Due>, StoreError> {
        // By the expressions of grants_due and holds_due, which apply's statements must not have for a candidate.
        let rows = sqlx::query!(
            r#"with due as materialized (
                   (select g.account_id, g.unit, g.due_at from grants g
                    join accounts a on a.account_id = g.account_id and a.test_clock_at is null
                    where g.closed_at is null and g.due_at is not null
                      and (g.due_at at time zone 'UTC') <= (now() at time zone 'UTC')
                    order by g.due_at at time zone 'UTC' limit $2)
                   union all
                   (select h.account_id, h.unit, h.expires_at as due_at from holds h
                    join accounts a on a.account_id = h.account_id and a.test_clock_at is null
                    where h.closed_at is null
                      and (h.expires_at at time zone 'UTC') <= (now() at time zone 'UTC')
                    order by h.expires_at at time zone 'UTC' limit $2)
               )
               select due.account_id as "account_id!", due.unit as "unit!",
                      extract(epoch from now() - min(due.due_at))::float8 as "lag_s!"
               from due
               group by due.account_id, due.unit
               order by min(due.due_at)
               limit $1"#,
            limit,
            MAX_DUE
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("find due balances"))?;
        rows.into_iter()
            .map(|row| {
                let key = (AccountId::try_new(row.account_id)?, Unit::try_new(row.unit)?);
                Ok(Due { key, lag_s: row.lag_s })
            })
            .collect()
    }
}
