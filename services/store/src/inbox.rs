//! The inbox: every authentic event, what became of it, and its raw body.

use domain::OperationId;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::error::{COMMIT, StoreError};
use crate::request::{EventAnswer, EventState};
use crate::stripe_event::StripeEvent;

/// One event with its fate.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) event: &'a StripeEvent,
    pub(crate) state: EventState,
    pub(crate) outcome: &'a str,
    pub(crate) account_id: Option<&'a str>,
    pub(crate) operation_id: Option<OperationId>,
    pub(crate) traceparent: Option<&'a str>,
}

/// Stores an event, or the new fate of one that was parked. The caller holds the event's lock.
pub(crate) async fn upsert_in_tx(
    tx: &mut PgConnection,
    row: &Row<'_>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let created = OffsetDateTime::from_unix_timestamp(row.event.created_s).unwrap_or(now);
    let resolved = (row.state != EventState::Parked).then_some(now);
    sqlx::query!(
        r#"insert into stripe_events (event_id, type, created_at, livemode, api_version, connect_account, state,
                                      outcome, account_id, operation_id, traceparent, received_at, resolved_at,
                                      next_attempt_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::timestamptz, $13,
                   case when $13::timestamptz is null then $12::timestamptz + interval '5 seconds' end)
           on conflict on constraint stripe_events_pkey do update
           set state = excluded.state, outcome = excluded.outcome,
               account_id = coalesce(excluded.account_id, stripe_events.account_id),
               operation_id = excluded.operation_id, resolved_at = excluded.resolved_at,
               next_attempt_at = excluded.next_attempt_at, attempts = stripe_events.attempts + 1"#,
        row.event.event_id,
        row.event.event_type,
        created,
        row.event.livemode,
        row.event.api_version,
        row.event.connect_account,
        row.state.code(),
        row.outcome,
        row.account_id,
        row.operation_id.map(|id| id.uuid()),
        row.traceparent,
        now,
        resolved
    )
    .execute(&mut *tx)
    .await
    .map_err(StoreError::during("write the inbox"))?;
    sqlx::query!(
        "insert into stripe_event_bodies (event_id, body) values ($1, $2) on conflict do nothing",
        row.event.event_id,
        &row.event.body[..]
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write an event's body"))?;
    Ok(())
}

/// Stores an event that changes no balance: ignored or parked. One that is stored already keeps its fate.
pub(crate) async fn record(
    connection: &mut PgConnection,
    event: &StripeEvent,
    state: EventState,
    outcome: &str,
    traceparent: Option<&str>,
) -> Result<EventAnswer, StoreError> {
    use sqlx::Connection;
    let mut tx = connection.begin().await.map_err(StoreError::during("begin"))?;
    let lock = crate::apply::event_lock_number(&event.event_id);
    let clock = sqlx::query_scalar!(
        r#"with locked as materialized (select pg_advisory_xact_lock($1) is null as done)
           select clock_timestamp() as "now!" from locked"#,
        lock
    );
    let now = clock.fetch_one(&mut *tx).await.map_err(StoreError::during("lock an event"))?;
    let known = sqlx::query!("select state, outcome from stripe_events where event_id = $1", event.event_id)
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during("read the inbox"))?;
    let known = known
        .map(|row| {
            let state = EventState::lookup(row.state).ok_or(StoreError::Corrupt("event state"))?;
            Ok::<_, StoreError>((state, row.outcome))
        })
        .transpose()?;
    if let Some((state, outcome)) = known.filter(|(state, _)| *state != EventState::Parked) {
        return Ok(EventAnswer { state, outcome, duplicate: true, operation: None });
    }
    let row = Row { event, state, outcome, account_id: None, operation_id: None, traceparent };
    upsert_in_tx(&mut tx, &row, now).await?;
    tx.commit().await.map_err(StoreError::during(COMMIT))?;
    Ok(EventAnswer { state, outcome: outcome.to_owned(), duplicate: false, operation: None })
}
