//! The inbox's own life: what an event says is applied here, for its delivery and for every later try of a parked one.
//!
//! Promises: an event is never lost and never applied twice, by however many replicas. The sweeper takes parked events
//! whose time has come (a key that they wait for appeared, or the pause is over), reads their bodies anew under
//! this process's catalogue, and sends them the way of a delivery. It deletes bodies that are older than 90 days, and
//! looks up the levels that operators watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::AccountId;
use rand::RngExt;
use store::{
    Answer, EventAnswer, EventState, Fact, Owner, ParkedEvent, Reading, Request as StoreRequest, Store,
    StoreError, StripeEvent, StripeRequest, Unapplied,
};
use stripe::reason::{NOT_OURS, PREDECESSOR_MISSING};
use stripe::{Catalogue, NotAnEvent, ReadOptions};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::CallError;
use crate::measure::Measures;
use crate::server::ServerConfig;

/// Pause between two looks, about.
const PERIOD: Duration = Duration::from_secs(5);
/// Shortest pause when deliveries make parked events due: a burst of them is one look.
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// Most events of one look.
const MAX_EVENTS: usize = 64;
/// Time for each.
const EVENT_WITHIN: Duration = Duration::from_secs(9);
/// Bodies that one look deletes at most.
const MAX_BODIES: i64 = 500;
/// Most parked events that one event takes along; others follow by themselves.
const MAX_FOLLOWERS: i64 = 16;
/// The actor of entries that a later try makes.
const ACTOR: &str = "tallystick:inbox";

/// Who hands an event in, and how long it may take.
pub(crate) struct Delivery {
    pub(crate) actor: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) deadline: Instant,
}

/// The inbox of one process.
pub(crate) struct Inbox {
    store: Store,
    catalogue: Arc<Catalogue>,
    livemode: bool,
    connect_account: Option<String>,
    measures: Measures,
    /// A delivery may have made parked events due.
    due: Notify,
}

/// What one look did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Looked {
    taken: usize,
    resolved: usize,
}

impl Inbox {
    pub(crate) fn new(config: &ServerConfig, store: Store) -> Self {
        Self {
            store,
            catalogue: Arc::clone(&config.catalogue),
            livemode: config.livemode,
            connect_account: config.connect_account.clone(),
            measures: config.measures.clone(),
            due: Notify::new(),
        }
    }

    /// What is sold.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What the body says under this process's catalogue.
    ///
    /// # Errors
    /// [`NotAnEvent`].
    pub(crate) fn read(&self, body: Bytes) -> Result<(StripeEvent, Reading), NotAnEvent> {
        let options = ReadOptions {
            catalogue: &self.catalogue,
            livemode: self.livemode,
            connect_account: self.connect_account.as_deref(),
        };
        stripe::read(body, &options)
    }

    /// Does what the event says, or stores why not; answers after the commit. `covers` says whether whoever hands it in
    /// may reach an account.
    ///
    /// # Errors
    /// [`CallError`] as of any write.
    pub(crate) async fn apply(
        &self,
        event: StripeEvent,
        reading: Reading,
        delivery: Delivery,
        covers: impl Fn(&AccountId) -> Result<(), CallError>,
    ) -> Result<(EventAnswer, Option<AccountId>), CallError> {
        let (answer, account) = match reading {
            Reading::Ignored { reason } => {
                (self.record(&event, EventState::Ignored, reason, &delivery).await?, None)
            }
            Reading::Parked { reason } => {
                (self.record(&event, EventState::Parked, reason, &delivery).await?, None)
            }
            Reading::NotOurs { keys } => {
                let unapplied = Unapplied { outcome: NOT_OURS, foreign: &keys, ..Unapplied::default() };
                (self.store_unapplied(&event, EventState::Ignored, unapplied, &delivery).await?, None)
            }
            Reading::Checkout(checkout) => {
                self.fact(event, Fact::Checkout(checkout), delivery, covers).await?
            }
            Reading::Fact(fact) => self.fact(event, fact, delivery, covers).await?,
        };
        if answer.state == EventState::Applied && !answer.duplicate {
            self.due.notify_one();
        }
        Ok((answer, account))
    }

    /// A fact goes to its account; one whose account is not known waits for the objects that will say it.
    async fn fact(
        &self,
        event: StripeEvent,
        fact: Fact,
        delivery: Delivery,
        covers: impl Fn(&AccountId) -> Result<(), CallError>,
    ) -> Result<(EventAnswer, Option<AccountId>), CallError> {
        let owner = match fact.account() {
            Some(account) => Owner::Account(account.clone()),
            None => within(&delivery, self.store.owner(&fact.owners())).await?,
        };
        let Owner::Account(account) = owner else {
            return Ok((self.homeless(&event, &fact, owner == Owner::Nobody, &delivery).await?, None));
        };
        covers(&account)?;
        let followers = self.followers(&fact, &account, &delivery).await?;
        let Delivery { actor, traceparent, deadline } = delivery;
        let unit = fact.unit().cloned().unwrap_or_default();
        let request = StripeRequest {
            event,
            fact,
            followers,
            account: account.clone(),
            unit: unit.clone(),
            actor,
            traceparent,
        };
        let answer = self.store.apply(StoreRequest::Stripe(Box::new(request)), deadline).await;
        match answer.map_err(CallError::of(account.clone(), unit))? {
            Answer::Event(answer) => Ok((answer, Some(account))),
            Answer::Operation { .. } | Answer::Settled => {
                Err(CallError::Broken("an event's answer is no event"))
            }
        }
    }

    /// Parked events that wait for what the fact makes appear, as far as they may be the account's: decided with it in one
    /// transaction. One that is parked meanwhile is made due by that transaction.
    async fn followers(
        &self,
        fact: &Fact,
        account: &AccountId,
        delivery: &Delivery,
    ) -> Result<Vec<(StripeEvent, Fact)>, CallError> {
        let awaited = fact.awaited();
        if awaited.is_empty() {
            return Ok(Vec::new());
        }
        let parked = within(delivery, self.store.waiting_events(&awaited, MAX_FOLLOWERS)).await?;
        let read = parked.into_iter().filter_map(|parked| self.read(parked.body?).ok());
        let facts = read.filter_map(|(event, reading)| match reading {
            Reading::Fact(fact) if fact.account().is_none_or(|named| named == account) => Some((event, fact)),
            _ => None,
        });
        Ok(facts.collect())
    }

    /// An event of no account that is known.
    async fn homeless(
        &self,
        event: &StripeEvent,
        fact: &Fact,
        is_foreign: bool,
        delivery: &Delivery,
    ) -> Result<EventAnswer, CallError> {
        let owners = fact.owners();
        if matches!(fact, Fact::CustomerGone { .. }) {
            // Most customers are none of ours; should this one become one, it is known that it is gone.
            let unapplied =
                Unapplied { outcome: NOT_OURS, foreign: &owners, is_gone: true, ..Unapplied::default() };
            return self.store_unapplied(event, EventState::Ignored, unapplied, delivery).await;
        }
        if let Some(keys) = fact.foreign() {
            let unapplied = Unapplied { outcome: NOT_OURS, foreign: &keys, ..Unapplied::default() };
            return self.store_unapplied(event, EventState::Ignored, unapplied, delivery).await;
        }
        if is_foreign && !fact.is_ours() {
            let unapplied =
                Unapplied { outcome: NOT_OURS, foreign: &fact.foreign_with_owner(), ..Unapplied::default() };
            return self.store_unapplied(event, EventState::Ignored, unapplied, delivery).await;
        }
        let unapplied = Unapplied { outcome: PREDECESSOR_MISSING, waits: &owners, ..Unapplied::default() };
        self.store_unapplied(event, EventState::Parked, unapplied, delivery).await
    }

    async fn record(
        &self,
        event: &StripeEvent,
        state: EventState,
        reason: &str,
        delivery: &Delivery,
    ) -> Result<EventAnswer, CallError> {
        let unapplied = Unapplied { outcome: reason, ..Unapplied::default() };
        self.store_unapplied(event, state, unapplied, delivery).await
    }

    /// Stores an event that changes no balance.
    async fn store_unapplied(
        &self,
        event: &StripeEvent,
        state: EventState,
        unapplied: Unapplied<'_>,
        delivery: &Delivery,
    ) -> Result<EventAnswer, CallError> {
        let unapplied = Unapplied { traceparent: delivery.traceparent.as_deref(), ..unapplied };
        within(delivery, self.store.record_event(event, state, &unapplied)).await
    }

    /// Tries parked events again until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        loop {
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = stop.cancelled() => return,
            };
            let pause = match &looked {
                // More of them are due already.
                Ok(Looked { taken: MAX_EVENTS, resolved }) if *resolved > 0 => MIN_PERIOD,
                Ok(_) => PERIOD.mul_f64(rand::rng().random_range(0.5..1.0)),
                Err(error) => {
                    tracing::warn!(error = error as &dyn std::error::Error, "the inbox was not looked at");
                    PERIOD
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = async { self.due.notified().await; tokio::time::sleep(MIN_PERIOD).await } => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Result<Looked, StoreError> {
        let limit = i64::try_from(MAX_EVENTS).unwrap_or(1);
        let events = self.store.take_parked_events(limit).await?;
        let mut looked = Looked { taken: events.len(), resolved: 0 };
        for event in events {
            let event_id = event.event_id.clone();
            match self.retry(event).await {
                Ok(answer) => looked.resolved += usize::from(answer.state != EventState::Parked),
                Err(error) => {
                    tracing::warn!(event_id, error = &error as &dyn std::error::Error, "not tried again");
                }
            }
        }
        self.store.delete_old_bodies(MAX_BODIES).await?;
        self.measures.inbox(&self.store.inbox_level().await?);
        Ok(looked)
    }

    /// One later try of a parked event.
    async fn retry(&self, parked: ParkedEvent) -> Result<EventAnswer, CallError> {
        let ParkedEvent { event_id, body, traceparent, attempts } = parked;
        let given_up = |outcome: &'static str| async move {
            self.store.fail_event(&event_id, outcome).await?;
            let outcome = outcome.to_owned();
            Ok(EventAnswer { state: EventState::Failed, outcome, duplicate: false, operation: None })
        };
        let Some(body) = body else { return given_up("body_gone").await };
        // It was an event when it came.
        let Ok((event, reading)) = self.read(body) else { return given_up("not_an_event").await };
        let (event_id, event_type) = (event.event_id.clone(), event.event_type.clone());
        let deadline = Instant::now() + EVENT_WITHIN;
        let delivery = Delivery { actor: ACTOR.to_owned(), traceparent, deadline };
        let (answer, _) = self.apply(event, reading, delivery, |_| Ok(())).await?;
        self.measures.retried(&answer);
        if answer.state != EventState::Parked {
            tracing::info!(event_id, event_type, outcome = answer.outcome, attempts, "parked Stripe event");
        }
        Ok(answer)
    }
}

/// The answer of the store when it comes in time; a write that does not may be committed all the same.
async fn within<T>(
    delivery: &Delivery,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout_at(delivery.deadline, call).await {
        Ok(Err(error)) if error.may_have_committed() => Err(CallError::OutcomeUnknown),
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::OutcomeUnknown),
    }
}
