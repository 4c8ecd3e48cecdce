//! A connection that reads the outbox: one of its own, out of no pool, set up so that a poll is cheap and bounded.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::error::StoreError;

/// The name of the tail's connection in `pg_stat_activity`.
pub(super) const APPLICATION_NAME: &str = "tallystick tail";

/// Opens the connection, under its name in `pg_stat_activity`.
pub(crate) async fn open(options: &PgConnectOptions, name: &str) -> Result<PgConnection, StoreError> {
    let options = options.clone().application_name(name);
    let mut connection = options.connect().await.map_err(StoreError::during("connect the outbox tail"))?;
    configure(&mut connection).await?;
    Ok(connection)
}

/// - `statement_timeout`: a poll takes about a millisecond; one that takes 5 s is better ended, and the journal
///   read instead.
/// - `force_generic_plan`, and no plans but index scans: one plan for the connection's life, which reads the
///   end of each leaf's index. Without statistics the planner may take a sequential scan of every leaf, and
///   planning 16 leaves anew costs more than the poll.
/// - no parallel workers, no JIT: they cost more than the statement itself.
/// - `read committed`: emptying after a restore notes what it empties, which needs it (migration 0005).
/// - `idle_in_transaction_session_timeout`: only emptying after a restore opens a transaction here.
async fn configure(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        r#"select set_config('statement_timeout', '5s', false) as a,
                  set_config('idle_in_transaction_session_timeout', '2s', false) as b,
                  set_config('plan_cache_mode', 'force_generic_plan', false) as c,
                  set_config('enable_seqscan', 'off', false) as d,
                  set_config('enable_bitmapscan', 'off', false) as e,
                  set_config('max_parallel_workers_per_gather', '0', false) as f,
                  set_config('jit', 'off', false) as g,
                  set_config('default_transaction_isolation', 'read committed', false) as h"#
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::during("set up the outbox tail"))?;
    Ok(())
}
