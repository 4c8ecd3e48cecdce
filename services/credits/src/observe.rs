//! The outermost layer: what a call looks like from outside, from its headers to its last byte. It names the call in the
//! log, makes the span that an exporter sees, and counts the call with its status code.
//!
//! Promises: a call that its caller leaves counts as CANCELLED; the spans are entered whenever the call or its stream
//! runs. Must not know: bodies and keys, and what a call means.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proto::code_name;
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use trace::Traceparent;
use tracing::{Instrument, Span, field};

use crate::measure::{Measures, Rpc};

/// Puts [`Observe`] around a service.
#[derive(Debug, Clone)]
pub(crate) struct ObserveLayer(pub(crate) Measures);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, measures: self.0.clone() }
    }
}

/// A service whose calls are seen.
#[derive(Debug, Clone)]
pub(crate) struct Observe<S> {
    inner: S,
    measures: Measures,
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<Observed<B>>, Infallible>> + Send>>;

impl<S, B> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Observed<B>>;
    type Error = Infallible;
    type Future = Answer<B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer<B> {
        let call = Call::begin(&request, &self.measures);
        let answer = call.exported.in_scope(|| call.log.in_scope(|| self.inner.call(request)));
        let answer = answer.instrument(call.log.clone()).instrument(call.exported.clone());
        Box::pin(async move {
            let mut call = call;
            let (parts, body) = match answer.await {
                Ok(response) => response.into_parts(),
                Err(never) => match never {},
            };
            // An answer without a body says how it ended in its head.
            call.learn(&parts.headers);
            Ok(Response::from_parts(parts, Observed { body, call }))
        })
    }
}

/// One call. It is over when it is dropped: after the last byte, or when its caller has gone.
struct Call {
    rpc: Rpc,
    began: Instant,
    code: Option<Code>,
    log: Span,
    exported: Span,
    measures: Measures,
}

impl Call {
    fn begin(request: &Request<Body>, measures: &Measures) -> Self {
        let rpc = Rpc::of_path(request.uri().path());
        let incoming = Traceparent::in_headers(request.headers());
        let exported = server_span(rpc, incoming.as_ref());
        let log =
            tracing::info_span!("rpc", rpc = rpc.name(), principal = field::Empty, trace_id = field::Empty);
        if let Some(traceparent) = trace::of(&exported).or(incoming) {
            log.record("trace_id", traceparent.trace_id());
        }
        measures.call_began();
        Self { rpc, began: Instant::now(), code: None, log, exported, measures: measures.clone() }
    }

    /// Takes the status code from headers or trailers, if they have one.
    fn learn(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        let (took, name) = (self.began.elapsed(), code_name(code));
        self.measures.call_ended(self.rpc, code, took);
        self.exported.record("rpc.response.status_code", name);
        if is_fault(code) {
            trace::end_with_error(&self.exported, name);
        }
        self.log.in_scope(|| tracing::debug!(code = name, took_us = took.as_micros(), "answered"));
    }
}

/// The call as an exporter sees it (semantic conventions for RPC, server).
fn server_span(rpc: Rpc, incoming: Option<&Traceparent>) -> Span {
    if !trace::is_on() {
        return Span::none();
    }
    let method = format!("{}/{}", rpc.service_name(), rpc.name());
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "serve",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
    );
    if let Some(incoming) = incoming {
        trace::child_of(&span, incoming);
    }
    span
}

/// The codes that are the server's fault (semantic conventions for gRPC); all others are the caller's business.
const fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The body of an answer, which is part of its call.
pub(crate) struct Observed<B> {
    body: B,
    call: Call,
}

impl<B> HttpBody for Observed<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let (exported, log) = (this.call.exported.clone(), this.call.log.clone());
        let (_exported, _log) = (exported.enter(), log.enter());
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            this.call.learn(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;
    use tower::{ServiceExt, service_fn};

    use super::*;

    fn count(measures: &Measures, line: &str) -> bool {
        let mut registry = prometheus_client::registry::Registry::default();
        measures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines().any(|have| have == line)
    }

    fn request() -> Request<Body> {
        Request::builder().uri("/s/GetBalance").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_without_a_body_has_its_code_in_the_head() {
        let measures = Measures::default();
        let refuse = service_fn(async |_| Ok(Status::unavailable("no").into_http::<Body>()));
        let response = ObserveLayer(measures.clone()).layer(refuse).oneshot(request()).await.unwrap();
        drop(response);
        assert!(count(&measures, r#"rpc_requests_total{rpc="GetBalance",code="UNAVAILABLE"} 1"#));
        assert!(count(&measures, "rpc_in_flight 0"));
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_cancelled() {
        let measures = Measures::default();
        let hang = service_fn(|_| std::future::pending::<Result<Response<Body>, Infallible>>());
        let answer = ObserveLayer(measures.clone()).layer(hang).oneshot(request());
        {
            tokio::pin!(answer);
            assert!(futures::poll!(answer.as_mut()).is_pending());
            assert!(count(&measures, "rpc_in_flight 1"));
        }
        assert!(count(&measures, r#"rpc_requests_total{rpc="GetBalance",code="CANCELLED"} 1"#));
        assert!(count(&measures, "rpc_in_flight 0"));
    }
}
