//! The inbox: every authentic event, what became of it, and its raw body.
//!
//! A parked event is tried again by the sweeper when its time comes (`inbox/retry.rs`), and at once when a key that it
//! waits for appears. Delivered again it is tried, too, and keeps its schedule.

mod list;
mod retry;

use domain::{AccountId, OperationId};
use sqlx::PgConnection;
use sqlx::types::Uuid;
use time::OffsetDateTime;

use crate::apply::Link;
use crate::error::{COMMIT, StoreError};
use crate::request::{EventAnswer, EventState};
use crate::store::Store;
use crate::stripe_event::{StripeEvent, StripeKey};

pub use list::{EventFilter, EventPage, Replay, StoredEvent};
pub use retry::{InboxLevel, ParkedEvent};

/// One event with its fate.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) event: &'a StripeEvent,
    pub(crate) state: EventState,
    pub(crate) outcome: &'a str,
    pub(crate) account_id: Option<&'a str>,
    pub(crate) operation_id: Option<OperationId>,
    pub(crate) traceparent: Option<&'a str>,
    /// Keys that it waits for when it is parked.
    pub(crate) waits: &'a [StripeKey],
    /// One of them is there already: it is due at once.
    pub(crate) is_due: bool,
}

/// Stores events with their bodies, or the new fate of those that were parked. Each event stands once, and the caller
/// holds its lock. The first retry is 5 s away; later ones are the sweeper's, which counts its attempts.
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
                                    $11::text[], $12::timestamptz[], $13::bytea[], $15::bool[])
                    as event(event_id, type, created_at, livemode, api_version, connect_account, state,
                             outcome, account_id, operation_id, traceparent, resolved_at, body, is_due)
           ), stored as (
               insert into stripe_events (event_id, type, created_at, livemode, api_version, connect_account,
                                          state, outcome, account_id, operation_id, traceparent, received_at,
                                          resolved_at, next_attempt_at)
               select event_id, type, created_at, livemode, api_version, connect_account, state, outcome,
                      account_id, operation_id, traceparent, $14::timestamptz, resolved_at,
                      case when resolved_at is not null then null
                           when is_due then $14::timestamptz
                           else $14::timestamptz + interval '5 seconds' end
               from event
               on conflict on constraint stripe_events_pkey do update
               set state = excluded.state, outcome = excluded.outcome,
                   account_id = coalesce(excluded.account_id, stripe_events.account_id),
                   operation_id = excluded.operation_id, resolved_at = excluded.resolved_at,
                   next_attempt_at = case when excluded.resolved_at is not null then null
                                          when excluded.next_attempt_at <= $14 then $14
                                          else stripe_events.next_attempt_at end
               where stripe_events.state = 3
           ), done as (
               delete from stripe_event_waits w using event
               where w.event_id = event.event_id and event.resolved_at is not null
           )
           insert into stripe_event_bodies (event_id, body, stored_at) select event_id, body, $14 from event
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
        now,
        &column(rows, |row| row.is_due)
    )
    .execute(&mut *tx)
    .await
    .map_err(StoreError::during("write the inbox"))?;
    waits_in_tx(tx, rows).await
}

/// The keys that parked events wait for; none of them goes while its event is parked.
async fn waits_in_tx(tx: &mut PgConnection, rows: &[Row<'_>]) -> Result<(), StoreError> {
    let parked = rows.iter().filter(|row| row.state == EventState::Parked);
    let waits: Vec<(&str, &StripeKey)> =
        parked.flat_map(|row| row.waits.iter().map(move |key| (row.event.event_id.as_str(), key))).collect();
    if waits.is_empty() {
        return Ok(());
    }
    let texts = |of: fn(&(&str, &StripeKey)) -> String| -> Vec<String> { waits.iter().map(of).collect() };
    sqlx::query!(
        r#"insert into stripe_event_waits (event_id, kind, object_id)
           select * from unnest($1::text[], $2::text[], $3::text[]) on conflict do nothing"#,
        &texts(|(event_id, _)| (*event_id).to_owned()),
        &texts(|(_, key)| key.kind.name().to_owned()),
        &texts(|(_, key)| key.id.clone())
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write what events wait for"))?;
    Ok(())
}

/// Makes the events that wait for these keys due, which the caller has locked and written. Says how many.
pub(crate) async fn wake_in_tx(
    tx: &mut PgConnection,
    keys: &[StripeKey],
    now: OffsetDateTime,
) -> Result<u64, StoreError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let (kinds, ids) = columns(keys);
    let woken = sqlx::query!(
        r#"with waiting as materialized (
               select w.event_id from unnest($1::text[], $2::text[]) as key(kind, object_id)
               join stripe_event_waits w on w.kind = key.kind and w.object_id = key.object_id
           )
           update stripe_events e set next_attempt_at = $3 from waiting
           where e.event_id = waiting.event_id and e.state = 3"#,
        &kinds,
        &ids,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("wake parked events"))?;
    Ok(woken.rows_affected())
}

/// Writes what objects belong to. One that was of nobody may become somebody's; what is gone stays gone.
pub(crate) async fn links_in_tx(
    tx: &mut PgConnection,
    links: &[(&StripeKey, &Link)],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    if links.is_empty() {
        return Ok(());
    }
    let (kinds, ids) = columns(links.iter().map(|(key, _)| *key));
    let text = |of: fn(&Link) -> Option<String>| -> Vec<Option<String>> {
        links.iter().map(|(_, link)| of(link)).collect()
    };
    let gone: Vec<bool> = links.iter().map(|(_, link)| link.is_gone).collect();
    sqlx::query!(
        r#"insert into stripe_links (kind, object_id, account_id, sale_kind, sale_id, linked_at, unlinked_at)
           select kind, object_id, account_id, sale_kind, sale_id, $7, case when is_gone then $7::timestamptz end
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bool[])
                as link(kind, object_id, account_id, sale_kind, sale_id, is_gone)
           on conflict on constraint stripe_links_pkey do update
           set account_id = coalesce(stripe_links.account_id, excluded.account_id),
               sale_kind = coalesce(stripe_links.sale_kind, excluded.sale_kind),
               sale_id = coalesce(stripe_links.sale_id, excluded.sale_id),
               unlinked_at = coalesce(stripe_links.unlinked_at, excluded.unlinked_at)"#,
        &kinds,
        &ids,
        &text(|link| link.account_id.clone()) as &[Option<String>],
        &text(|link| link.sale.as_ref().map(|sale| sale.kind.name().to_owned())) as &[Option<String>],
        &text(|link| link.sale.as_ref().map(|sale| sale.id.clone())) as &[Option<String>],
        &gone,
        now
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("write links"))?;
    Ok(())
}

/// Kinds and ids, side by side.
pub(crate) fn columns<'a>(keys: impl IntoIterator<Item = &'a StripeKey>) -> (Vec<String>, Vec<String>) {
    keys.into_iter().map(|key| (key.kind.name().to_owned(), key.id.clone())).unzip()
}

/// Whether one of the keys is there: an object that has granted, or of which it is known which account's it is. (That it
/// is nobody's is known at the next try as well.)
async fn is_known_in_tx(tx: &mut PgConnection, keys: &[StripeKey]) -> Result<bool, StoreError> {
    let (kinds, ids) = columns(keys);
    sqlx::query_scalar!(
        r#"select exists (
               select from unnest($1::text[], $2::text[]) as key(kind, object_id)
               cross join lateral (
                   (select from stripe_claims c where c.kind = key.kind and c.object_id = key.object_id limit 1)
                   union all
                   (select from stripe_links l where l.kind = key.kind and l.object_id = key.object_id
                                                 and l.account_id is not null limit 1)
               ) as known
           ) as "is_known!""#,
        &kinds,
        &ids
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during("look for what an event waits for"))
}

fn column<'a, T>(rows: &[Row<'a>], value: impl Fn(&Row<'a>) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// What is stored of an event that changes no balance.
#[derive(Debug, Clone, Default)]
pub struct Unapplied<'a> {
    /// Why.
    pub outcome: &'a str,
    /// Keys that a parked event waits for.
    pub waits: &'a [StripeKey],
    /// Objects that are not ours, as this event shows.
    pub foreign: &'a [StripeKey],
    /// The foreign objects were deleted.
    pub is_gone: bool,
    /// W3C trace context of the delivery.
    pub traceparent: Option<&'a str>,
}

/// Stores an event that changes no balance: ignored or parked. One that is stored already keeps its fate. Keys are locked,
/// as whoever makes them appear locks them, so that no appearance is missed.
pub(crate) async fn record(
    connection: &mut PgConnection,
    event: &StripeEvent,
    state: EventState,
    unapplied: &Unapplied<'_>,
) -> Result<EventAnswer, StoreError> {
    use sqlx::Connection;
    let Unapplied { outcome, waits, foreign, is_gone, traceparent } = *unapplied;
    let mut tx = connection.begin().await.map_err(StoreError::during("begin"))?;
    let keys: Vec<StripeKey> = waits.iter().chain(foreign).cloned().collect();
    let now = crate::apply::lock_event_in_tx(&mut tx, &event.event_id, &keys).await?;
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
    let is_due = !waits.is_empty() && is_known_in_tx(&mut tx, waits).await?;
    let row = Row { event, state, outcome, account_id: None, operation_id: None, traceparent, waits, is_due };
    upsert_in_tx(&mut tx, &[row], now).await?;
    let nobody = Link { account_id: None, sale: None, is_gone };
    let links: Vec<(&StripeKey, &Link)> = foreign.iter().map(|key| (key, &nobody)).collect();
    links_in_tx(&mut tx, &links, now).await?;
    wake_in_tx(&mut tx, foreign, now).await?;
    tx.commit().await.map_err(StoreError::during(COMMIT))?;
    Ok(EventAnswer { state, outcome: outcome.to_owned(), duplicate: false, operation: None })
}

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An account's.
    Account(AccountId),
    /// None of ours.
    Nobody,
    /// Not known, or not yet.
    Unknown,
}

impl Store {
    /// Whose the first of these objects is that is anybody's. What an object belongs to never changes; that it belongs to
    /// nobody may.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn owner(&self, keys: &[StripeKey]) -> Result<Owner, StoreError> {
        let mut connection = self.read_connection().await?;
        let links = crate::apply::links(&mut connection, keys.iter()).await?;
        let account = keys.iter().find_map(|key| links.get(key)?.account_id.clone());
        Ok(match account {
            Some(account) => Owner::Account(AccountId::try_new(account)?),
            None if links.is_empty() => Owner::Unknown,
            None => Owner::Nobody,
        })
    }
}
