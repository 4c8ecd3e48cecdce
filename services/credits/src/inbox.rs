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
    Answer, Checkout, EventAnswer, EventState, ParkedEvent, Reading, Request as StoreRequest, Store,
    StoreError, StripeEvent, StripeRequest,
};
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
            Reading::Checkout(checkout) => {
                covers(&checkout.account)?;
                let account = checkout.account.clone();
                (self.checkout(event, checkout, delivery).await?, Some(account))
            }
        };
        if answer.state == EventState::Applied && !answer.duplicate {
            self.due.notify_one();
        }
        Ok((answer, account))
    }

    /// Stores an event that changes no balance. One that is not stored in time may be stored all the same.
    async fn record(
        &self,
        event: &StripeEvent,
        state: EventState,
        reason: &str,
        delivery: &Delivery,
    ) -> Result<EventAnswer, CallError> {
        let stored = self.store.record_event(event, state, reason, &[], delivery.traceparent.as_deref());
        match tokio::time::timeout_at(delivery.deadline, stored).await {
            Ok(Err(error)) if error.may_have_committed() => Err(CallError::OutcomeUnknown),
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CallError::OutcomeUnknown),
        }
    }

    async fn checkout(
        &self,
        event: StripeEvent,
        checkout: Checkout,
        delivery: Delivery,
    ) -> Result<EventAnswer, CallError> {
        let Delivery { actor, traceparent, deadline } = delivery;
        let (account, unit) = (checkout.account.clone(), checkout.unit.clone());
        let request = StripeRequest { event, checkout, actor, traceparent };
        let answer = self.store.apply(StoreRequest::Stripe(Box::new(request)), deadline).await;
        match answer.map_err(CallError::of(account, unit))? {
            Answer::Event(answer) => Ok(answer),
            Answer::Operation { .. } | Answer::Settled => {
                Err(CallError::Broken("an event's answer is no event"))
            }
        }
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
