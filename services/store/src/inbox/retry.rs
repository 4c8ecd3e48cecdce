//! What the sweeper of the inbox asks for: parked events that are due, levels, and bodies whose time is over.
//!
//! Taking an event moves its next attempt on, in a statement of its own that passes rows which others have locked: two
//! replicas never take the same one, and one that dies loses a turn, not an event.

use bytes::Bytes;

use crate::error::StoreError;
use crate::store::Store;
use crate::stripe_event::StripeKey;

/// A parked event whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its id.
    pub event_id: String,
    /// Its raw body; `None`: it is gone, so the event can never be applied.
    pub body: Option<Bytes>,
    /// W3C trace context of its first delivery.
    pub traceparent: Option<String>,
    /// Tries with this one.
    pub attempts: i32,
}

struct Row {
    event_id: String,
    traceparent: Option<String>,
    attempts: i32,
    body: Option<Vec<u8>>,
}

impl From<Row> for ParkedEvent {
    fn from(row: Row) -> Self {
        let Row { event_id, traceparent, attempts, body } = row;
        Self { event_id, body: body.map(Bytes::from), traceparent, attempts }
    }
}

/// How much waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct InboxLevel {
    /// Parked events; both states are counted up to 20,000 together.
    pub parked: i64,
    /// Events that were given up.
    pub failed: i64,
    /// Age of the oldest parked event, in seconds.
    pub oldest_parked_s: f64,
}

impl Store {
    /// Takes parked events that are due, longest due first. Each is then due again after a pause that doubles from
    /// 10 s up to an hour.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn take_parked_events(&self, limit: i64) -> Result<Vec<ParkedEvent>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"with due as materialized (
                   select event_id from stripe_events
                   where state = 3 and next_attempt_at <= now()
                   order by next_attempt_at, received_at limit $1 for update skip locked
               ), taken as (
                   update stripe_events e
                   set attempts = e.attempts + 1,
                       next_attempt_at = now() + least(interval '1 hour',
                                                       interval '5 seconds' * (1 << least(e.attempts, 12)))
                   from due where e.event_id = due.event_id
                   returning e.event_id, e.traceparent, e.attempts
               )
               select taken.event_id, taken.traceparent, taken.attempts, b.body as "body?"
               from taken left join stripe_event_bodies b on b.event_id = taken.event_id"#,
            limit
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("take parked events"))?;
        Ok(rows.into_iter().map(ParkedEvent::from).collect())
    }

    /// Parked events that wait for one of these objects, longest parked first; their schedule stays.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn waiting_events(
        &self,
        keys: &[StripeKey],
        limit: i64,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        let (kinds, ids) = super::columns(keys);
        let rows = sqlx::query_as!(
            Row,
            r#"with waiting as materialized (
                   select distinct w.event_id from unnest($1::text[], $2::text[]) as key(kind, object_id)
                   join stripe_event_waits w on w.kind = key.kind and w.object_id = key.object_id
               )
               select e.event_id, e.traceparent, e.attempts, b.body as "body?"
               from waiting join stripe_events e on e.event_id = waiting.event_id and e.state = 3
               left join stripe_event_bodies b on b.event_id = e.event_id
               order by e.received_at, e.event_id limit $3"#,
            &kinds,
            &ids,
            limit
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("find events that wait"))?;
        Ok(rows.into_iter().map(ParkedEvent::from).collect())
    }

    /// Gives up a parked event, for a reason that no retry mends.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn fail_event(&self, event_id: &str, outcome: &str) -> Result<(), StoreError> {
        sqlx::query!(
            r#"update stripe_events set state = 4, outcome = $2, next_attempt_at = null, resolved_at = now()
               where event_id = $1 and state = 3"#,
            event_id,
            outcome
        )
        .execute(self.pool())
        .await
        .map_err(StoreError::during("give up an event"))?;
        Ok(())
    }

    /// How much of the inbox waits for somebody.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn inbox_level(&self) -> Result<InboxLevel, StoreError> {
        let rows = sqlx::query!(
            r#"select state as "state!", count(*) as "events!",
                      extract(epoch from now() - min(received_at))::float8 as "oldest_s!"
               from (select state, received_at from stripe_events where state in (3, 4)
                     order by received_at, event_id limit 20000) as unresolved
               group by state"#
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("count parked events"))?;
        let mut level = InboxLevel::default();
        for row in rows {
            if row.state == 3 {
                (level.parked, level.oldest_parked_s) = (row.events, row.oldest_s.max(0.0));
            } else {
                level.failed = row.events;
            }
        }
        Ok(level)
    }

    /// Deletes raw bodies that are older than 90 days, but for those of parked events. Says how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn delete_old_bodies(&self, limit: i64) -> Result<u64, StoreError> {
        let deleted = sqlx::query!(
            r#"with old as materialized (
                   select b.event_id from stripe_event_bodies b
                   join stripe_events e on e.event_id = b.event_id and e.state <> 3
                   where b.stored_at < now() - interval '90 days'
                   order by b.stored_at limit $1 for update of b skip locked
               )
               delete from stripe_event_bodies b using old where b.event_id = old.event_id"#,
            limit
        )
        .execute(self.pool())
        .await
        .map_err(StoreError::during("delete old event bodies"))?;
        Ok(deleted.rows_affected())
    }
}
