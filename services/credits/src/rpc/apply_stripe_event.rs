//! ApplyStripeEvent: one delivered event, answered after what it says is committed.

use bytes::Bytes;
use domain::{AccountId, Problem};
use proto::v1::{ApplyStripeEventRequest, ApplyStripeEventResponse};
use signature::MAX_HEADER_BYTES;
use tonic::Request;

use super::{CreditRpc, Webhooks};
use crate::caller::Caller;
use crate::encode::balance_after;
use crate::error::CallError;
use crate::fields::Fields;
use crate::inbox;
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
        let (event, reading) = self.inbox.read(delivery.body).map_err(CallError::NotAnEvent)?;
        let (event_id, event_type) = (event.event_id.clone(), event.event_type.clone());
        let handed_in = inbox::Delivery {
            actor: caller.principal.id().to_owned(),
            traceparent: caller.traceparent.clone(),
            deadline: caller.deadline,
        };
        let covers = |account: &AccountId| caller.require_account(account);
        let (answer, account_id) = self.inbox.apply(event, reading, handed_in, covers).await?;
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
            account_id: account_id.map(|id| id.to_string()).unwrap_or_default(),
            balance: operation.and_then(|operation| operation.entries.last()).map(balance_after),
        })
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
