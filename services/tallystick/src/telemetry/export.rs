//! Spans to a collector, by OTLP over gRPC. Off unless a collector is named.
//!
//! Promises: spans wait in a bounded queue for a thread of their own and are dropped when it is full, so that a collector
//! that is slow or down costs nothing but its spans; only spans of [`trace::TARGET`] leave the process, and no line of
//! the log; what is in the queue at the end is sent within the grace time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingResult, SdkTracerProvider, ShouldSample,
    SpanData,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry as Counters;
use tonic::transport::Uri;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::error::Error;

/// Spans that may wait: some seconds of a thousand traced requests a second, about 8 MB.
const MAX_QUEUED_SPANS: usize = 8192;
/// Spans of one message to the collector: far below the 4 MiB that it takes.
const MAX_EXPORTED_SPANS: usize = 512;
/// How long spans may wait for company.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Links of one span: a batch has one for each caller.
const MAX_LINKS: u32 = 256;
/// The flag, for errors.
const ENDPOINT_FLAG: &str = "--otlp-endpoint";

/// Where traces go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TraceArgs {
    // The URL may hold a password, so its value is not shown.
    /// The collector that gets traces (OTLP over gRPC), as http://host:port; without it there are none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// The name of this service in traces.
    #[arg(long, env = "OTEL_SERVICE_NAME", default_value = "tallystick", value_name = "NAME")]
    otel_service_name: String,
    /// The share of requests whose trace is recorded, 0 to 1, where the caller has not decided it already.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_parser = ratio, value_name = "RATIO")]
    trace_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

impl TraceArgs {
    /// The collector, when there is one.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no address that traces can be sent to.
    pub(crate) fn endpoint(&self) -> Result<Option<&str>, Error> {
        let Some(url) = self.otlp_endpoint.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
        let uri =
            url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        // The URL may carry a password: it is not repeated.
        uri.map(|_| Some(url)).ok_or_else(|| Error::Config {
            setting: ENDPOINT_FLAG,
            problem: "must be http://host:port; for TLS put a collector on this machine in between"
                .to_owned(),
        })
    }

    /// What they say, in a line.
    ///
    /// # Errors
    /// As [`TraceArgs::endpoint`].
    pub(crate) fn summary(&self) -> Result<String, Error> {
        Ok(match self.endpoint()? {
            None => "traces: none".to_owned(),
            Some(_) => format!("traces: as {}, share {}", self.otel_service_name, self.trace_ratio),
        })
    }

    /// The layer that makes spans of [`trace::TARGET`] and hands them to the exporter.
    pub(super) fn layer(&self) -> Result<Option<Box<dyn Layer<Registry> + Send + Sync>>, Error> {
        let Some(endpoint) = self.endpoint()? else { return Ok(None) };
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT);
        let inner = exporter.build().map_err(|fault| Error::Config {
            setting: ENDPOINT_FLAG,
            problem: format!("cannot be used: {fault}"),
        })?;
        let (exported, failed) = (Counter::default(), Counter::default());
        let counted = Counted {
            inner,
            exported: exported.clone(),
            failed: failed.clone(),
            is_down: AtomicBool::new(false),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_QUEUED_SPANS)
            .with_max_export_batch_size(MAX_EXPORTED_SPANS)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(self.otel_service_name.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(counted).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(RootSampler { ratio: self.trace_ratio })))
            .with_max_links_per_span(MAX_LINKS)
            .with_resource(resource.with_attribute(version).build())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tallystick"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == trace::TARGET));
        let _ = EXPORT.set(Export { provider, exported, failed });
        Ok(Some(layer.boxed()))
    }
}

/// The exporter of this process; as global as the spans that it exports.
static EXPORT: OnceLock<Export> = OnceLock::new();

struct Export {
    provider: SdkTracerProvider,
    exported: Counter,
    failed: Counter,
}

/// Puts the exporter's counters where they are read, if there is an exporter.
pub(crate) fn register(registry: &mut Counters) {
    let Some(export) = EXPORT.get() else { return };
    registry.register("spans_exported", "Spans that the collector has taken", export.exported.clone());
    registry.register("spans_lost", "Spans that the collector did not take", export.failed.clone());
}

/// Sends what waits, and ends the exporter, within `limit`.
pub(crate) async fn flush(limit: Duration) {
    let Some(export) = EXPORT.get() else { return };
    let ended = tokio::task::spawn_blocking(move || export.provider.shutdown_with_timeout(limit));
    if !matches!(tokio::time::timeout(limit, ended).await, Ok(Ok(Ok(())))) {
        tracing::warn!("the last spans were not exported in time");
    }
}

/// Who decides where no caller has. A batch has no parent; it is recorded when one of the requests that it serves is.
#[derive(Debug, Clone)]
struct RootSampler {
    ratio: f64,
}

impl ShouldSample for RootSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let is_linked = links.iter().any(|link| link.span_context.is_sampled());
        let sampler = if is_linked { Sampler::AlwaysOn } else { Sampler::TraceIdRatioBased(self.ratio) };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Counts what the collector takes, and says once when it is gone and once when it is back.
#[derive(Debug)]
struct Counted {
    inner: SpanExporter,
    exported: Counter,
    failed: Counter,
    is_down: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = u64::try_from(batch.len()).unwrap_or(0);
        let outcome = self.inner.export(batch).await;
        let was_down = self.is_down.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Ok(()) => {
                self.exported.inc_by(count);
                if was_down {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(error) => {
                self.failed.inc_by(count);
                if !was_down {
                    tracing::warn!(%error, "the collector does not take traces; they are lost until it does");
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(limit)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    fn args(url: &str) -> TraceArgs {
        let otlp_endpoint = Some(url.to_owned());
        TraceArgs { otlp_endpoint, otel_service_name: "x".to_owned(), trace_ratio: 1.0 }
    }

    #[test]
    fn only_a_plain_address_is_a_collector_and_none_is_none() {
        assert_eq!(args("").endpoint().unwrap(), None);
        assert_eq!(args("http://127.0.0.1:4317").endpoint().unwrap(), Some("http://127.0.0.1:4317"));
        for bad in ["127.0.0.1:4317", "https://collector:4317", "http://", "grpc://x:1", "x y"] {
            assert!(args(bad).endpoint().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ratio_is_between_0_and_1() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        for bad in ["-0.1", "1.1", "NaN", "x", ""] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_batch_is_recorded_when_a_request_of_it_is() {
        let link = |flags| {
            let (trace, span) = (TraceId::from_bytes([1; 16]), SpanId::from_bytes([1; 8]));
            Link::with_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
        };
        let decided = |links: &[Link]| {
            let trace = TraceId::from_bytes([0xff; 16]);
            RootSampler { ratio: 0.0 }
                .should_sample(None, trace, "batch", &SpanKind::Internal, &[], links)
                .decision
        };
        assert_eq!(decided(&[]), SamplingDecision::Drop);
        assert_eq!(decided(&[link(TraceFlags::default())]), SamplingDecision::Drop);
        let sampled = [link(TraceFlags::default()), link(TraceFlags::SAMPLED)];
        assert_eq!(decided(&sampled), SamplingDecision::RecordAndSample);
    }
}
