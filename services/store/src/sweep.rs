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

use crate::error::{ApplyError, StoreError};
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

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Balances with something due.
    pub found: usize,
    /// Those that were not settled.
    pub failed: usize,
    /// The lanes or the database have more to do than they can.
    pub is_pressed: bool,
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
            if let Err(error) = &swept {
                tracing::warn!(error = error as &dyn std::error::Error, "due changes were not looked for");
            }
            let Some(next) = pause_after(&swept, period) else { continue };
            period = next;
            // With jitter, so that replicas do not march in step.
            let pause = period.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look: settles what is due.
    ///
    /// # Errors
    /// [`StoreError`] when it could not look. A balance that could not be settled is found again.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let due = self.store.due_balances(MAX_BALANCES).await?;
        let mut swept = Swept { found: due.len(), ..Swept::default() };
        let measures = &self.store.measures().sweep;
        measures.lag.set(due.iter().map(|due| due.lag_s).fold(0.0, f64::max));
        let deadline = Instant::now() + SETTLE_WITHIN;
        let settling = due.into_iter().map(|due| {
            let (account, unit) = due.key;
            self.store.settle(account, unit, deadline)
        });
        for settled in futures::future::join_all(settling).await {
            match settled {
                Ok(()) => {
                    measures.settled.inc();
                }
                Err(error) => {
                    measures.failed.inc();
                    swept.failed = swept.failed.saturating_add(1);
                    swept.is_pressed |= is_pressure(&error);
                }
            }
        }
        Ok(swept)
    }
}

/// Whether other balances would fare no better.
const fn is_pressure(error: &ApplyError) -> bool {
    match error {
        ApplyError::Overloaded
        | ApplyError::DeadlinePassed
        | ApplyError::Unavailable
        | ApplyError::OutcomeUnknown
        | ApplyError::Stopping => true,
        ApplyError::Contended
        | ApplyError::Internal
        | ApplyError::Denied(_)
        | ApplyError::KeyReused { .. } => false,
    }
}

/// The pause before the next look, `None` for none: a full look that settled everything has more behind it. One balance
/// that cannot be settled must neither make the rest wait nor the sweeper spin.
fn pause_after(swept: &Result<Swept, StoreError>, before: Duration) -> Option<Duration> {
    let is_full = |found| i64::try_from(found).is_ok_and(|found| found >= MAX_BALANCES);
    match swept {
        Err(_) | Ok(Swept { is_pressed: true, .. }) => Some(before.saturating_mul(2).min(MAX_PERIOD)),
        Ok(Swept { found, failed: 0, .. }) if is_full(*found) => None,
        Ok(_) => Some(PERIOD),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_while_full_and_rests_after_failures() {
        let swept = |found, failed, is_pressed| Ok(Swept { found, failed, is_pressed });
        let failed = Err(StoreError::Corrupt("test"));
        for (what, swept, before, pause) in [
            ("nothing due", swept(0, 0, false), MAX_PERIOD, Some(PERIOD)),
            ("some due", swept(255, 0, false), PERIOD, Some(PERIOD)),
            ("full", swept(256, 0, false), PERIOD, None),
            ("full, and one that never settles", swept(256, 1, false), PERIOD, Some(PERIOD)),
            ("only one that never settles", swept(1, 1, false), PERIOD, Some(PERIOD)),
            ("overloaded", swept(256, 9, true), PERIOD, Some(PERIOD * 2)),
            ("no database", failed, PERIOD * 30, Some(PERIOD * 40)),
        ] {
            assert_eq!(pause_after(&swept, before), pause, "{what}");
        }
    }
}
