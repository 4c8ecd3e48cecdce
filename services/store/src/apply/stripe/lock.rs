//! Locks of inbox ids and natural keys: taken after the accounts' and before anything of them is read.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::StripeState;
use crate::apply::Wait;
use crate::error::StoreError;
use crate::request::StripeRequest;
use crate::stripe_event::StripeKey;

/// The kind of lock that an inbox id has.
const EVENT: &str = "event";

/// The locks that a request needs: its inbox ids and natural keys.
pub(super) fn lock_numbers(request: &StripeRequest) -> Vec<i64> {
    let mut numbers = Vec::new();
    for (event, fact) in request.events() {
        numbers.push(lock_number(EVENT, &event.event_id));
        numbers.extend(fact.keys().iter().map(|key| lock_number(key.kind.name(), &key.id)));
    }
    numbers
}

/// Takes a transaction lock on each inbox id and natural key, sorted by hash, before anything of them is read.
/// A batch of strangers does not wait: it gets back the locks that others hold. A batch of one account waits;
/// all that wait do so in one direction.
pub(super) async fn lock_keys_in_tx(
    tx: &mut PgConnection,
    numbers: &BTreeSet<i64>,
    wait: Wait,
) -> Result<BTreeSet<i64>, StoreError> {
    let numbers: Vec<i64> = numbers.iter().copied().collect();
    match wait {
        Wait::Skip => {
            let busy = sqlx::query_scalar!(
                r#"select number as "number!" from unnest($1::bigint[]) as sorted(number)
                   where not pg_try_advisory_xact_lock(number)"#,
                &numbers
            );
            let busy = busy.fetch_all(tx).await.map_err(StoreError::during("lock Stripe keys"))?;
            Ok(busy.into_iter().collect())
        }
        Wait::Block => {
            sqlx::query!(
                r#"select count(pg_advisory_xact_lock(number)) from unnest($1::bigint[]) as sorted(number)"#,
                &numbers
            )
            .fetch_one(tx)
            .await
            .map_err(StoreError::during("lock Stripe keys"))?;
            Ok(BTreeSet::new())
        }
    }
}

/// For a writer of the inbox outside a batch: waits for the locks, then reads the clock.
pub(in crate::apply) async fn lock_event_in_tx(
    tx: &mut PgConnection,
    event_id: &str,
    keys: &[StripeKey],
) -> Result<OffsetDateTime, StoreError> {
    let keys = keys.iter().map(|key| lock_number(key.kind.name(), &key.id));
    let numbers: BTreeSet<i64> = std::iter::once(lock_number(EVENT, event_id)).chain(keys).collect();
    lock_keys_in_tx(&mut *tx, &numbers, Wait::Block).await?;
    let clock = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
    clock.fetch_one(tx).await.map_err(StoreError::during("read the clock"))
}

impl StripeState {
    /// Whether somebody else holds a lock that this event needs.
    pub(in crate::apply) fn is_busy(&self, request: &StripeRequest) -> bool {
        !self.busy.is_empty() && lock_numbers(request).iter().any(|number| self.busy.contains(number))
    }
}

/// 64 bits of SHA-256. Two keys that share a number only wait for each other.
fn lock_number(kind: &str, id: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(kind.as_bytes());
    hasher.update([0]);
    hasher.update(id.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let (head, _) = digest.as_chunks::<8>();
    head.first().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
