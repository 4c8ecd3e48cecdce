//! A collector of traces: an OTLP receiver that remembers every span.

use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::LIMIT;

/// A span, and the service that sent it.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) service: String,
    pub(super) span: Span,
}

impl Received {
    /// An attribute that is text.
    pub(super) fn text(&self, key: &str) -> &str {
        let attribute = self.span.attributes.iter().find(|attribute| attribute.key == key);
        match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{key} of {}: {other:?}", self.span.name),
        }
    }

    /// An attribute that is a number.
    pub(super) fn number(&self, key: &str) -> i64 {
        let attribute = self.span.attributes.iter().find(|attribute| attribute.key == key);
        match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::IntValue(number)) => *number,
            other => panic!("{key} of {}: {other:?}", self.span.name),
        }
    }

    /// `00-<trace>-<span>-01`.
    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", hex(&self.span.trace_id), hex(&self.span.span_id))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A collector on a free port; it ends with the test.
pub(super) struct Collector {
    pub(super) url: String,
    spans: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let service = TraceServiceServer::new(Receiver(Arc::clone(&spans)));
        let serving = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { url, spans, task }
    }

    /// Everything so far.
    pub(super) fn spans(&self) -> MutexGuard<'_, Vec<Received>> {
        self.spans.lock().unwrap()
    }

    /// Waits for a span and all others of its kind: those that `is_wanted` wants, `count` of them.
    pub(super) async fn wait(
        &self,
        what: &str,
        count: usize,
        is_wanted: impl Fn(&Received) -> bool,
    ) -> Vec<Received> {
        harness::eventually_some(what, LIMIT, || {
            let found: Vec<_> = self.spans().iter().filter(|span| is_wanted(span)).cloned().collect();
            async move { (found.len() >= count).then_some(found) }
        })
        .await
    }

    /// Waits for the only span of a service with this name and kind.
    pub(super) async fn only(&self, service: &str, name: &str, kind: i32) -> Received {
        let is_it = |one: &Received| one.service == service && one.span.name == name && one.span.kind == kind;
        let mut found = self.wait(&format!("span {name} of {service}"), 1, is_it).await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Receiver(Arc<Mutex<Vec<Received>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes.iter().find(|attribute| attribute.key == "service.name");
            let name = name.and_then(|attribute| attribute.value.as_ref()?.value.clone());
            let Some(Value::StringValue(service)) = name else { panic!("no service.name: {attributes:?}") };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            all.extend(spans.map(|span| Received { service: service.clone(), span }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
