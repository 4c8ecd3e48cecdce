//! ApplyStripeEvent: one delivered event, answered after what it says is committed.

use bytes::Bytes;
use domain::Problem;
use proto::v1::{ApplyStripeEventRequest, ApplyStripeEventResponse};
use signature::MAX_HEADER_BYTES;
use store::{
    Answer, Checkout, EventAnswer, EventState, Reading, Request as StoreRequest, StripeEvent, StripeRequest,
};
use stripe::ReadOptions;
use tonic::Request;

use super::{CreditRpc, Webhooks};
use crate::caller::Caller;
use crate::encode::balance_after;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{MAX_RECEIPT_SKEW_S, MAX_STRIPE_BODY_BYTES};
use crate::outcome;
use crate::principal::Scope;

/// A delivery whose fields are sound.
struct Delivery {
    body: Bytes,
    signature: String,
    received_s: Option<i64>,
}

impl CreditRpc {
    pub(super) async fn stripe_event(
        &self,
        request: Request<ApplyStripeEventRequest>,
    ) -> Result<ApplyStripeEventResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Stripe)?;
        let delivery = parse(request.into_inner())?;
        self.webhooks.verify(&delivery)?;
        let (event, reading) = self.webhooks.read(delivery.body)?;
        let (event_id, event_type) = (event.event_id.clone(), event.event_type.clone());
        let (answer, account_id) = match reading {
            Reading::Ignored { reason } => {
                (self.record(&event, EventState::Ignored, reason, &caller).await?, String::new())
            }
            Reading::Parked { reason } => {
                (self.record(&event, EventState::Parked, reason, &caller).await?, String::new())
            }
            Reading::Checkout(checkout) => {
                let account_id = checkout.account.to_string();
                (self.apply_checkout(event, checkout, &caller).await?, account_id)
            }
        };
        self.webhooks.measures.event(&answer);
        tracing::info!(
            event_id,
            event_type,
            outcome = answer.outcome,
            duplicate = answer.duplicate,
            "Stripe event"
        );
        let operation = answer.operation.as_ref();
        Ok(ApplyStripeEventResponse {
            event_id,
            event_type,
            state: outcome::state(answer.state).into(),
            outcome: outcome::outcome(answer.state, &answer.outcome).into(),
            duplicate: answer.duplicate,
            operation_id: operation.map(|operation| operation.id.to_string()).unwrap_or_default(),
            account_id,
            balance: operation.and_then(|operation| operation.entries.last()).map(balance_after),
        })
    }

    /// Stores an event that changes no balance.
    async fn record(
        &self,
        event: &StripeEvent,
        state: EventState,
        reason: &str,
        caller: &Caller,
    ) -> Result<EventAnswer, CallError> {
        let stored = self.store.record_event(event, state, reason, caller.traceparent.as_deref());
        caller.written(stored).await
    }

    async fn apply_checkout(
        &self,
        event: StripeEvent,
        checkout: Checkout,
        caller: &Caller,
    ) -> Result<EventAnswer, CallError> {
        caller.require_account(&checkout.account)?;
        let (account, unit) = (checkout.account.clone(), checkout.unit.clone());
        let request = StripeRequest {
            event,
            checkout,
            actor: caller.principal.id().to_owned(),
            traceparent: caller.traceparent.clone(),
        };
        let answer = self.store.apply(StoreRequest::Stripe(Box::new(request)), caller.deadline).await;
        match answer.map_err(CallError::of(account, unit))? {
            Answer::Event(answer) => Ok(answer),
            Answer::Operation { .. } | Answer::Settled => {
                Err(CallError::Broken("an event's answer is no event"))
            }
        }
    }
}

impl Webhooks {
    /// Verifies the signature when there are secrets: reaching this port is then not enough to mint credits.
    fn verify(&self, delivery: &Delivery) -> Result<(), CallError> {
        let Some(secrets) = &self.secrets else { return Ok(()) };
        let now_s = (self.clock)();
        // The edge says when it received the body. It is believed as far as its clock and the way here explain:
        // a caller must not make an old signature young.
        let earliest_s = now_s.saturating_sub(MAX_RECEIPT_SKEW_S);
        let latest_s = now_s.saturating_add(MAX_RECEIPT_SKEW_S);
        let received_s = delivery.received_s.unwrap_or(now_s).clamp(earliest_s, latest_s);
        signature::verify(delivery.signature.as_bytes(), &delivery.body, secrets, received_s)
            .map_err(CallError::Signature)
    }

    fn read(&self, body: Bytes) -> Result<(StripeEvent, Reading), CallError> {
        let options = ReadOptions {
            catalogue: &self.catalogue,
            livemode: self.livemode,
            connect_account: self.connect_account.as_deref(),
        };
        stripe::read(body, &options).map_err(CallError::NotAnEvent)
    }
}

fn parse(request: ApplyStripeEventRequest) -> Result<Delivery, CallError> {
    let mut fields = Fields::default();
    check_bytes(&mut fields, "body", request.body.len(), MAX_STRIPE_BODY_BYTES);
    check_bytes(&mut fields, "signature", request.signature.len(), MAX_HEADER_BYTES);
    let received_at = fields.moment("received_at", request.received_at);
    fields.finish(|| {
        Some(Delivery {
            body: request.body,
            signature: request.signature,
            received_s: received_at?.map(|moment| moment.micros().div_euclid(1_000_000)),
        })
    })
}

fn check_bytes(fields: &mut Fields, field: &str, actual: usize, limit: usize) {
    if actual == 0 {
        fields.violate(field, Problem::Empty);
    } else if actual > limit {
        fields.violate(field, Problem::TooLong { limit, actual });
    }
}
