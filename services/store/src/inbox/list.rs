//! The inbox for operators: lists by pages, one event whole, and another try.

use bytes::Bytes;
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::request::EventState;
use crate::store::Store;

/// Most events of a page.
const MAX_PAGE: usize = 1000;
/// Most events that a page looks at: with a rare filter it may be empty and have a next one all the same.
const MAX_LOOKED_AT: usize = 10_000;
/// Events of one read.
const CHUNK: i64 = 1000;

/// An event as the inbox has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Stripe's id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// When Stripe made it.
    pub created_at: OffsetDateTime,
    /// Real money, or a test.
    pub livemode: bool,
    /// The API version that rendered it.
    pub api_version: Option<String>,
    /// Where it stands.
    pub state: EventState,
    /// Why it stands there.
    pub outcome: String,
    /// Tries so far: its first delivery and the sweeper's.
    pub attempts: i32,
    /// When it is tried again.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The account that it concerns.
    pub account_id: Option<String>,
    /// The operation that it caused.
    pub operation_id: Option<uuid::Uuid>,
    /// When it came first.
    pub received_at: OffsetDateTime,
    /// When it was applied, ignored or given up.
    pub resolved_at: Option<OffsetDateTime>,
}

/// Which events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// In this state.
    pub state: Option<EventState>,
    /// Whose type begins with this.
    pub type_prefix: Option<String>,
    /// Of this account.
    pub account_id: Option<String>,
    /// Older than this event.
    pub before: Option<String>,
}

/// Events, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// The event to go on before; `None`: that was the last page.
    pub next: Option<String>,
}

/// What became of the wish for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It is due now.
    Queued,
    /// There is no such event.
    Unknown,
    /// It was applied; nothing is left to do.
    Applied,
    /// Its body is gone.
    BodyGone,
}

struct Row {
    event_id: String,
    event_type: String,
    created_at: OffsetDateTime,
    livemode: bool,
    api_version: Option<String>,
    state: i16,
    outcome: String,
    attempts: i32,
    next_attempt_at: Option<OffsetDateTime>,
    account_id: Option<String>,
    operation_id: Option<uuid::Uuid>,
    received_at: OffsetDateTime,
    resolved_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for StoredEvent {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            event_id: row.event_id,
            event_type: row.event_type,
            created_at: row.created_at,
            livemode: row.livemode,
            api_version: row.api_version,
            state: EventState::lookup(row.state).ok_or(StoreError::Corrupt("event state"))?,
            outcome: row.outcome,
            attempts: row.attempts,
            next_attempt_at: row.next_attempt_at,
            account_id: row.account_id,
            operation_id: row.operation_id,
            received_at: row.received_at,
            resolved_at: row.resolved_at,
        })
    }
}

impl EventFilter {
    fn takes(&self, event: &StoredEvent) -> bool {
        self.state.is_none_or(|state| state == event.state)
            && self.type_prefix.as_deref().is_none_or(|prefix| event.event_type.starts_with(prefix))
            && self.account_id.as_deref().is_none_or(|id| event.account_id.as_deref() == Some(id))
    }

    /// Whether the index on what is unresolved has all that is asked for.
    fn is_unresolved(&self) -> bool {
        matches!(self.state, Some(EventState::Parked | EventState::Failed))
    }
}

impl Store {
    /// A page of the inbox, newest first: at most `limit` (up to 1000) of the 10,000 events that it looks at.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn list_events(&self, filter: &EventFilter, limit: usize) -> Result<EventPage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let mut page = EventPage::default();
        let (mut before, mut looked_at) = (filter.before.clone(), 0);
        loop {
            let rows = self.events_before(before.as_deref(), filter.is_unresolved()).await?;
            let is_last = i64::try_from(rows.len()).is_ok_and(|rows| rows < CHUNK);
            for row in rows {
                looked_at += 1;
                let event = StoredEvent::try_from(row)?;
                before = Some(event.event_id.clone());
                if filter.takes(&event) {
                    page.events.push(event);
                }
                if page.events.len() >= limit || looked_at >= MAX_LOOKED_AT {
                    page.next = before;
                    return Ok(page);
                }
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    async fn events_before(&self, before: Option<&str>, unresolved: bool) -> Result<Vec<Row>, StoreError> {
        let rows = if unresolved {
            sqlx::query_as!(
                Row,
                r#"select event_id, type as event_type, created_at, livemode, api_version, state, outcome, attempts,
                          next_attempt_at, account_id, operation_id, received_at, resolved_at
                   from stripe_events
                   where state in (3, 4)
                     and (received_at, event_id) < (
                         coalesce((select received_at from stripe_events where event_id = $1), 'infinity'),
                         coalesce($1, ''))
                   order by received_at desc, event_id desc limit $2"#,
                before,
                CHUNK
            )
            .fetch_all(self.pool())
            .await
        } else {
            sqlx::query_as!(
                Row,
                r#"select event_id, type as event_type, created_at, livemode, api_version, state, outcome, attempts,
                          next_attempt_at, account_id, operation_id, received_at, resolved_at
                   from stripe_events
                   where (received_at, event_id) < (
                       coalesce((select received_at from stripe_events where event_id = $1), 'infinity'),
                       coalesce($1, ''))
                   order by received_at desc, event_id desc limit $2"#,
                before,
                CHUNK
            )
            .fetch_all(self.pool())
            .await
        };
        rows.map_err(StoreError::during("list events"))
    }

    /// One event, and its raw body while that is kept.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn lookup_event(
        &self,
        event_id: &str,
    ) -> Result<Option<(StoredEvent, Option<Bytes>)>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"select event_id, type as event_type, created_at, livemode, api_version, state, outcome, attempts,
                      next_attempt_at, account_id, operation_id, received_at, resolved_at
               from stripe_events where event_id = $1"#,
            event_id
        )
        .fetch_optional(self.pool())
        .await
        .map_err(StoreError::during("read an event"))?;
        let Some(row) = row else { return Ok(None) };
        let body = sqlx::query_scalar!("select body from stripe_event_bodies where event_id = $1", event_id)
            .fetch_optional(self.pool())
            .await
            .map_err(StoreError::during("read an event's body"))?;
        Ok(Some((StoredEvent::try_from(row)?, body.map(Bytes::from))))
    }

    /// Makes an event due, so that a credits role that runs tries it again: also one that was ignored or given up, under
    /// a catalogue or a version that knew less. One that was applied stays so.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails.
    pub async fn replay_event(&self, event_id: &str) -> Result<Replay, StoreError> {
        let Some((event, body)) = self.lookup_event(event_id).await? else { return Ok(Replay::Unknown) };
        if event.state == EventState::Applied {
            return Ok(Replay::Applied);
        }
        if body.is_none() {
            return Ok(Replay::BodyGone);
        }
        let queued = sqlx::query!(
            r#"update stripe_events
               set outcome = case when state = 3 then outcome else 'replay_asked' end,
                   state = 3, next_attempt_at = now(), resolved_at = null
               where event_id = $1 and state <> 1"#,
            event_id
        )
        .execute(self.pool())
        .await
        .map_err(StoreError::during("replay an event"))?;
        Ok(if queued.rows_affected() == 0 { Replay::Applied } else { Replay::Queued })
    }
}
