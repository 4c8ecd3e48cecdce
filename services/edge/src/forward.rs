//! Handing a verified event to the credits service, and what its status means for Stripe.
//!
//! One try: the service itself retries what is transient, and Stripe retries what is not.

use std::time::Duration;

use bytes::Bytes;
use prost_types::Timestamp;
use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::{ApplyStripeEventRequest, ApplyStripeEventResponse};
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use trace::{TRACEPARENT, Traceparent};
use tracing::{Instrument, Span, field};

use crate::answer::Answer;
use crate::config::ApiKey;

/// The full name of the RPC.
const APPLY_STRIPE_EVENT: &str = "tallystick.credits.v1.CreditService/ApplyStripeEvent";

/// An event whose signature is right.
pub(crate) struct Delivery {
    pub(crate) body: Bytes,
    pub(crate) signature: String,
    /// Seconds since 1970, by the edge's clock.
    pub(crate) received_at_s: i64,
    /// The context to send when the call itself is not exported.
    pub(crate) traceparent: Traceparent,
    /// When Stripe must have its answer.
    pub(crate) answer_by: Instant,
}

/// The service, as the edge sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    client: CreditServiceClient<Channel>,
    api_key: Option<ApiKey>,
}

impl Forwarder {
    pub(crate) fn new(channel: Channel, api_key: Option<ApiKey>) -> Self {
        Self { client: CreditServiceClient::new(channel), api_key }
    }

    /// Calls ApplyStripeEvent; its answer says that the event is committed.
    ///
    /// # Errors
    /// The service's status, or DEADLINE_EXCEEDED when it took too long.
    pub(crate) async fn apply(&self, delivery: Delivery) -> Result<ApplyStripeEventResponse, Status> {
        let answer_by = delivery.answer_by;
        let span = client_span();
        let request = self.request(delivery, &span);
        let mut client = self.client.clone();
        // The deadline travels with the call; the one here also covers a connection that is not there.
        let call = timeout_at(answer_by, client.apply_stripe_event(request)).instrument(span.clone()).await;
        let answer = call.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let code = proto::code_name(answer.as_ref().err().map_or(Code::Ok, Status::code));
        span.record("rpc.response.status_code", code);
        if answer.is_err() {
            trace::end_with_error(&span, code);
        }
        answer.map(tonic::Response::into_inner)
    }

    fn request(&self, delivery: Delivery, span: &Span) -> Request<ApplyStripeEventRequest> {
        let remaining = delivery.answer_by.saturating_duration_since(Instant::now());
        let mut request = Request::new(ApplyStripeEventRequest {
            body: delivery.body,
            signature: delivery.signature,
            received_at: Some(Timestamp { seconds: delivery.received_at_s, nanos: 0 }),
        });
        // gRPC has no timeout of zero.
        request.set_timeout(remaining.max(Duration::from_millis(1)));
        let metadata = request.metadata_mut();
        if let Some(api_key) = &self.api_key {
            metadata.insert("authorization", api_key.authorization());
        }
        let traceparent = trace::of(span).unwrap_or(delivery.traceparent);
        if let Ok(traceparent) = MetadataValue::try_from(traceparent.to_string()) {
            metadata.insert(TRACEPARENT, traceparent);
        }
        request
    }
}

/// The call as an exporter sees it (semantic conventions for RPC, client).
fn client_span() -> Span {
    tracing::info_span!(
        target: trace::TARGET,
        "call",
        otel.name = APPLY_STRIPE_EVENT,
        otel.kind = "client",
        rpc.system.name = "grpc",
        rpc.method = APPLY_STRIPE_EVENT,
        rpc.response.status_code = field::Empty,
    )
}

/// What Stripe is told when the service did not commit.
pub(crate) fn answer_to(status: &Status) -> Answer {
    match status.code() {
        // The service verifies and parses again: a bad signature, or signed but not an event.
        Code::InvalidArgument => Answer::Invalid,
        // Overload, deadline, contention, a wrong key, a defect: nothing is known to be stored.
        _ => Answer::Unavailable,
    }
}
