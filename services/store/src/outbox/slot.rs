//! Retention: the job that empties the oldest slot.
//!
//! The leaf to be emptied is the one after the current: it was current fifteen slot lengths ago, and it becomes
//! current next. So it has one slot length of time to be emptied; missing it only keeps old rows longer.

use sqlx::postgres::{PgConnectOptions, PgQueryResult};
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{LOCK_TRIES, lock_pause};
use crate::error::StoreError;

/// What one round of the job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emptied {
    /// The oldest slot held no rows.
    Nothing,
    /// The slot, 0–15, was emptied.
    Slot(i16),
    /// The slot holds rows that are younger than the retention: the server's clock was set back, or the slot
    /// length was changed. They stay.
    TooYoung(i16),
    /// Another replica is at it.
    Elsewhere,
}

/// Empties the oldest slot of the outbox when it holds rows, on a connection of its own.
///
/// # Errors
/// [`StoreError::Database`]; [`StoreError::is_lock_timeout`] when a writer held the leaf through all tries.
/// Nothing was emptied then; run it again later.
pub async fn empty_oldest_slot(options: &PgConnectOptions) -> Result<Emptied, StoreError> {
    let options = options.clone().application_name("tallystick retention");
    let mut connection = options.connect().await.map_err(StoreError::during("connect to empty a slot"))?;
    sqlx::query!(
        "select set_config('lock_timeout', '50ms', false) as a,
                set_config('statement_timeout', '5s', false) as b,
                set_config('idle_in_transaction_session_timeout', '2s', false) as c,
                set_config('default_transaction_isolation', 'read committed', false) as d"
    )
    .fetch_one(&mut connection)
    .await
    .map_err(StoreError::during("set up to empty a slot"))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match try_empty(&mut connection).await {
            Err(error) if error.is_lock_timeout() && tries < LOCK_TRIES => {
                tokio::time::sleep(lock_pause()).await;
            }
            other => return other,
        }
    }
}

/// One try, in one transaction that ends without a trace unless everything holds.
async fn try_empty(connection: &mut PgConnection) -> Result<Emptied, StoreError> {
    const EMPTY: &str = "empty the oldest slot";
    let mut tx = connection.begin().await.map_err(StoreError::during(EMPTY))?;
    let before = oldest_in_tx(&mut tx).await?;
    let emptied = match (before.ours, before.newest_is_old) {
        (false, _) => Emptied::Elsewhere,
        (true, None) => Emptied::Nothing,
        (true, Some(false)) => Emptied::TooYoung(before.slot),
        (true, Some(true)) => Emptied::Slot(before.slot),
    };
    if !matches!(emptied, Emptied::Slot(_)) {
        tx.rollback().await.map_err(StoreError::during(EMPTY))?;
        return Ok(emptied);
    }
    truncate_in_tx(&mut tx, before.slot).await?;
    // TRUNCATE may have waited while the slot became current and took new rows. Under its lock nobody can
    // insert any more, so one look at the clock decides.
    if oldest_in_tx(&mut tx).await?.slot != before.slot {
        tx.rollback().await.map_err(StoreError::during(EMPTY))?;
        return Ok(Emptied::TooYoung(before.slot));
    }
    tx.commit().await.map_err(StoreError::during(EMPTY))?;
    Ok(emptied)
}

struct Oldest {
    slot: i16,
    /// Whether this transaction is the one that may empty it: two at once would wait for each other, since both
    /// have read the leaf before they lock it.
    ours: bool,
    /// Whether the newest row is older than the retention; none without rows.
    newest_is_old: Option<bool>,
}

/// The slot after the current one, and the age of its newest row (by the index on xid: no scan).
async fn oldest_in_tx(tx: &mut PgConnection) -> Result<Oldest, StoreError> {
    sqlx::query_as!(
        Oldest,
        r#"with oldest as materialized (
               select ((floor(extract(epoch from clock_timestamp()) / slot_seconds)::bigint + 1) % 16)::smallint as slot,
                      slot_seconds
               from stream_state
           )
           select slot as "slot!",
                  pg_try_advisory_xact_lock(hashtextextended('tallystick outbox retention', 0)) as "ours!",
                  (select newest.created_at <= clock_timestamp() - make_interval(secs => oldest.slot_seconds * 14)
                   from outbox newest where newest.slot = oldest.slot
                   order by newest.xid desc limit 1) as newest_is_old
           from oldest"#
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during("look for the oldest slot"))
}

/// One statement for each leaf: names of tables cannot be parameters, and SQL is checked at build time.
async fn truncate_in_tx(tx: &mut PgConnection, slot: i16) -> Result<PgQueryResult, StoreError> {
    let truncated = match slot {
        0 => sqlx::query!("truncate outbox_00").execute(tx).await,
        1 => sqlx::query!("truncate outbox_01").execute(tx).await,
        2 => sqlx::query!("truncate outbox_02").execute(tx).await,
        3 => sqlx::query!("truncate outbox_03").execute(tx).await,
        4 => sqlx::query!("truncate outbox_04").execute(tx).await,
        5 => sqlx::query!("truncate outbox_05").execute(tx).await,
        6 => sqlx::query!("truncate outbox_06").execute(tx).await,
        7 => sqlx::query!("truncate outbox_07").execute(tx).await,
        8 => sqlx::query!("truncate outbox_08").execute(tx).await,
        9 => sqlx::query!("truncate outbox_09").execute(tx).await,
        10 => sqlx::query!("truncate outbox_10").execute(tx).await,
        11 => sqlx::query!("truncate outbox_11").execute(tx).await,
        12 => sqlx::query!("truncate outbox_12").execute(tx).await,
        13 => sqlx::query!("truncate outbox_13").execute(tx).await,
        14 => sqlx::query!("truncate outbox_14").execute(tx).await,
        15 => sqlx::query!("truncate outbox_15").execute(tx).await,
        _ => return Err(StoreError::Corrupt("outbox slot")),
    };
    truncated.map_err(StoreError::during("truncate a slot"))
}
