//! The inbox: every authentic event, what became of it, and its raw body.

use domain::OperationId;
use sqlx::PgConnection;
use sqlx::types::Uuid;
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

/// Stores events with their bodies, or the new fate of those that were parked. Each event stands once, and the caller
/// holds its lock.
pub(crate) async fn upsert_in_tx(
    tx: &mut PgConnection,
    rows: &[Row<'_>],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let created = |row: &Row<'_>| OffsetDateTime::from_unix_timestamp(row.event.created_s).unwrap_or(now);
    let resolved = |row: &Row<'_>| (row.state != EventState::Parked).then_some(now);
    let text = |text: Option<&str>| text.map(str::to_owned);
    sqlx::query!(
        r#"with event as materialized (
               select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::bool[], $5::text[],
                                    $6::text[], $7::smallint[], $8::text[], $9::text[], $10::uuid[],
                                    $11::text[], $12::timestamptz[], $13::bytea[])
                    as event(event_id, type, created_at, livemode, api_version, connect_account, state,
                             outcome, account_id, operation_id, traceparent, resolved_at, body)
           ), stored as (
               insert into stripe_events (event_id, type, created_at, livemode, api_version, connect_account,
                                          state, outcome, account_id, operation_id, traceparent, received_at,
                                          resolved_at, next_attempt_at)
               select event_id, type, created_at, livemode, api_version, connect_account, state, outcome,
                      account_id, operation_id, traceparent, $14::timestamptz, resolved_at,
                      case when resolved_at is null then $14::timestamptz + interval '5 seconds' end
               from event
               on conflict on constraint stripe_events_pkey do update
               set state = excluded.state, outcome = excluded.outcome,
                   account_id = coalesce(excluded.account_id, stripe_events.account_id),
                   operation_id = excluded.operation_id, resolved_at = excluded.resolved_at,
                   next_attempt_at = excluded.next_attempt_at, attempts = stripe_events.attempts + 1
           )
           insert into stripe_event_bodies (event_id, body) select event_id, body from event
           on conflict do nothing"#,
        &column(rows, |row| row.event.event_id.clone()),
        &column(rows, |row| row.event.event_type.clone()),
        &column(rows, created),
        &column(rows, |row| row.event.livemode),
        &column(rows, |row| row.event.api_version.clone()) as &[Option<String>],
        &column(rows, |row| row.event.connect_account.clone()) as &[Option<String>],
        &column(rows, |row| row.state.code()),
        &column(rows, |row| row.outcome.to_owned()),
        &column(rows, |row| text(row.account_id)) as &[Option<String>],
        &column(rows, |row| row.operation_id.map(|id| id.uuid())) as &[Option<Uuid>],
        &column(rows, |row| text(row.traceparent)) as &[Option<String>],
        &column(rows, resolved) as &[Option<OffsetDateTime>],
        &column(rows, |row| row.event.body.to_vec()),
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write the inbox"))?;
    Ok(())
}

fn column<'a, T>(rows: &[Row<'a>], value: impl Fn(&Row<'a>) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
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
    upsert_in_tx(&mut tx, &[row], now).await?;
    tx.commit().await.map_err(StoreError::during(COMMIT))?;
    Ok(EventAnswer { state, outcome: outcome.to_owned(), duplicate: false, operation: None })
}
