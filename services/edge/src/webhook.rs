//! `POST /api/v1/webhooks/stripe`: signature, size, time, forward, answer.
//!
//! | input | answer |
//! | --- | --- |
//! | no, empty, doubled or malformed signature header; wrong secret; changed body; over 300 s old or early | 400 |
//! | signed, but the service says it is no event | 400, the same body |
//! | larger than the limit; slower than the limit | 413; 408 |
//! | other method; other path | 405; 404 |
//! | the service cannot commit in time, or too many requests are under way | 503 |
//! | committed: applied, ignored or parked, now or before | 200 |

use std::sync::Arc;

use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{BoxError, Router};
use proto::v1::{ApplyStripeEventResponse, StripeEventState, StripeOutcome};
use signature::SignatureError;
use tokio::time::Instant;
use tonic::transport::Channel;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use trace::Traceparent;
use tracing::{Instrument, Span, field};

use crate::answer::Answer;
use crate::body;
use crate::config::EdgeConfig;
use crate::forward::{Delivery, Forwarder, answer_to};

/// Where Stripe delivers.
pub const WEBHOOK_PATH: &str = "/api/v1/webhooks/stripe";
/// The header that carries the signature.
const SIGNATURE_HEADER: &str = "stripe-signature";

struct Edge {
    config: EdgeConfig,
    forwarder: Forwarder,
}

/// The edge's routes. The channel leads to the credits service; it may be lazy and need not be connected.
pub fn router(config: EdgeConfig, channel: Channel) -> Router {
    // Shedding lies outside of the limit: what finds no place is answered at once instead of queueing.
    let measures = config.measures.clone();
    let overloaded = move |_: BoxError| {
        tracing::warn!("webhook refused: too many requests are under way");
        measures.shed();
        std::future::ready(Answer::Unavailable)
    };
    let overload = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(overloaded))
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(config.limits.max_in_flight));
    let forwarder = Forwarder::new(channel, config.api_key.clone());
    Router::new()
        .route(WEBHOOK_PATH, post(receive))
        .route_layer(overload)
        .with_state(Arc::new(Edge { config, forwarder }))
}

async fn receive(State(edge): State<Arc<Edge>>, request: Request) -> Answer {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let incoming = Traceparent::in_headers(&parts.headers);
    let server = server_span(incoming.as_ref());
    // What an exporter sees comes first; without one the context goes through unchanged.
    let traceparent = trace::of(&server).or(incoming);
    let traceparent = traceparent.unwrap_or_else(|| Traceparent::make((edge.config.entropy)()));
    let log = tracing::info_span!("webhook", trace_id = traceparent.trace_id());
    let answer =
        edge.answer(&parts.headers, body, traceparent).instrument(log).instrument(server.clone()).await;
    edge.config.measures.answered(answer, began.elapsed());
    let status = answer.status();
    server.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        trace::end_with_error(&server, answer.name());
    }
    answer
}

/// The request as an exporter sees it (semantic conventions for HTTP, server).
fn server_span(incoming: Option<&Traceparent>) -> Span {
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "receive",
        otel.name = "POST /api/v1/webhooks/stripe",
        otel.kind = "server",
        http.request.method = "POST",
        http.route = WEBHOOK_PATH,
        http.response.status_code = field::Empty,
    );
    if let Some(incoming) = incoming {
        trace::child_of(&span, incoming);
    }
    span
}

/// Why an event was not committed.
enum Refusal {
    Body(Answer),
    Signature(SignatureError),
    Service(Box<tonic::Status>),
}

impl Edge {
    async fn answer(&self, headers: &HeaderMap, body: Body, traceparent: Traceparent) -> Answer {
        match self.deliver(headers, body, traceparent).await {
            Ok(response) => {
                log_committed(&response);
                Answer::Committed
            }
            Err(Refusal::Body(answer)) => {
                tracing::warn!(?answer, "webhook refused: its body cannot be read");
                answer
            }
            Err(Refusal::Signature(error)) => {
                tracing::warn!(%error, "webhook refused: its signature does not hold");
                Answer::Invalid
            }
            Err(Refusal::Service(status)) => {
                let (code, message) = (status.code(), status.message());
                tracing::warn!(?code, message, "webhook not committed by the credits service");
                answer_to(&status)
            }
        }
    }

    async fn deliver(
        &self,
        headers: &HeaderMap,
        body: Body,
        traceparent: Traceparent,
    ) -> Result<ApplyStripeEventResponse, Refusal> {
        let limits = &self.config.limits;
        let answer_by = Instant::now() + limits.answer_timeout;
        // The body first, whoever sent it: a connection closed with unread bytes may lose the answer.
        let body = body::read(headers, body, limits).await.map_err(Refusal::Body)?;
        let signature = only_signature(headers).ok_or(Refusal::Signature(SignatureError::Header))?;
        let received_at_s = (self.config.now_s)();
        signature::verify(signature.as_bytes(), &body, &self.config.secrets, received_at_s)
            .map_err(Refusal::Signature)?;
        if body.is_empty() {
            return Err(Refusal::Body(Answer::Invalid));
        }
        let signature = signature.to_owned();
        let delivery = Delivery { body, signature, received_at_s, traceparent, answer_by };
        self.forwarder.apply(delivery).await.map_err(|status| Refusal::Service(Box::new(status)))
    }
}

/// The signature header's text if it comes exactly once; two of them contradict each other.
fn only_signature(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(SIGNATURE_HEADER).iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    only.to_str().ok().filter(|text| !text.is_empty())
}

fn log_committed(response: &ApplyStripeEventResponse) {
    let state = StripeEventState::try_from(response.state).unwrap_or_default();
    let outcome = StripeOutcome::try_from(response.outcome).unwrap_or_default();
    tracing::info!(
        event_id = response.event_id,
        event_type = response.event_type,
        state = state.as_str_name(),
        outcome = outcome.as_str_name(),
        duplicate = response.duplicate,
        "webhook committed"
    );
}
