//! What stands in front of every call of `CreditService` and `AdminService`, from the outside in:
//!
//! | layer | what it does |
//! | --- | --- |
//! | observe | names the call in the log, makes its span for an exporter, counts it; never bodies or keys |
//! | credential | puts the `Principal` into the request, or refuses; before the limits, so that strangers take none |
//! | answer | turns the errors of the layers below into statuses |
//! | shed | refuses at once what the limit does not let in |
//! | limit | calls that are served at once; Stripe's events have a share of their own |
//! | timeout | the last resort; each RPC keeps its own, earlier deadline |
//!
//! Health and reflection are served beside this stack: they need no credential and are not shed.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{InterceptorLayer, LayerExt};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::auth::Authentication;
use crate::error::CallError;
use crate::limits::{LAST_RESORT, Limits, MAX_CALL_TIME};
use crate::measure::Measures;
use crate::observe::ObserveLayer;

/// What the services of a process share: who calls, how much is served at once, what is counted.
#[derive(Clone)]
pub(crate) struct Stack {
    authentication: Authentication,
    measures: Measures,
    calls: GlobalConcurrencyLimitLayer,
    stripe_events: GlobalConcurrencyLimitLayer,
}

impl Stack {
    pub(crate) fn new(authentication: Authentication, limits: &Limits, measures: Measures) -> Self {
        let calls = GlobalConcurrencyLimitLayer::new(limits.concurrent_calls);
        let stripe_events = GlobalConcurrencyLimitLayer::new(limits.concurrent_stripe_events);
        Self { authentication, measures, calls, stripe_events }
    }

    /// A service behind the stack.
    pub(crate) fn around<S>(
        self,
        service: S,
    ) -> impl Service<
        Request<Body>,
        Response = Response<
            impl http_body::Body<Data = bytes::Bytes, Error = impl Into<BoxError>> + Send + 'static,
        >,
        Error = Infallible,
        Future: Send + 'static,
    > + NamedService
    + Clone
    + Send
    + Sync
    + 'static
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let limited = |limit: &GlobalConcurrencyLimitLayer| {
            ServiceBuilder::new().load_shed().layer(limit.clone()).timeout(MAX_CALL_TIME + LAST_RESORT)
        };
        let (calls, stripe_events) = (limited(&self.calls), limited(&self.stripe_events));
        ServiceBuilder::new()
            .layer(ObserveLayer(self.measures))
            .layer(InterceptorLayer::new(self.authentication))
            .layer_fn(move |service: S| {
                answering(calls.service(service.clone()), stripe_events.service(service))
            })
            .named_layer(service)
    }
}

/// Asks the service below only once a call is there, and answers for it when it is not ready or too late. Stripe's
/// events have a way of their own.
fn answering<S>(
    calls: S,
    stripe_events: S,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    service_fn(move |request: Request<Body>| {
        let is_stripe_event = request.uri().path().ends_with("/ApplyStripeEvent");
        let service = if is_stripe_event { stripe_events.clone() } else { calls.clone() };
        async move {
            let answer = service.oneshot(request).await;
            Ok(answer.unwrap_or_else(|error| status(&error).into_http()))
        }
    })
}

fn status(error: &BoxError) -> Status {
    if error.is::<Overloaded>() {
        return CallError::Overloaded.into();
    }
    if error.is::<Elapsed>() {
        // The call may have been in the middle of a write.
        return CallError::OutcomeUnknown.into();
    }
    CallError::Broken("a layer failed").into()
}
