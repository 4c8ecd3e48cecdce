//! What the service counts: calls by RPC and status code, the time that each took, and Stripe's events by what became
//! of them. Every handle is made once; a call costs two additions and a short lock, and no text is put together for it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use proto::v1::{admin_service_server, credit_service_server};
use proto::{CODES, code_name};
use store::{EventAnswer, EventState, InboxLevel};
use tonic::Code;

/// Upper bounds in seconds: a read takes a millisecond, a write a commit, and no call more than 10 s.
const BUCKETS_S: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

/// The RPCs, and last what stands for every name that is none: callers choose names, and each would be a series.
const RPCS: [&str; 28] = [
    "GrantCredits",
    "SpendCredits",
    "ApplyBatch",
    "GetBalance",
    "BatchGetBalances",
    "ListEntries",
    "ListGrants",
    "ListUnits",
    "WatchCredits",
    "WatchCreditSet",
    "ApplyStripeEvent",
    "HoldCredits",
    "CaptureHold",
    "ExtendHold",
    "ReleaseHold",
    "ReverseSpend",
    "RevokeGrant",
    "AdjustCredits",
    "ListHolds",
    "ExplainBalance",
    "QuoteSpend",
    "ExportEntries",
    "WatchLedger",
    "GetAccount",
    "UpdateAccount",
    "EraseAccountData",
    "SetTestClock",
    "other",
];

/// Those of `AdminService`; the others are `CreditService`'s.
const ADMIN_RPCS: [&str; 4] = ["GetAccount", "UpdateAccount", "EraseAccountData", "SetTestClock"];

/// The RPCs whose calls last as long as their readers like; their time says nothing and is not counted.
const STREAMS: [&str; 3] = ["WatchCredits", "WatchCreditSet", "WatchLedger"];

/// What became of a Stripe event.
const EVENT_STATES: [&str; 5] = ["applied", "ignored", "parked", "failed", "duplicate"];

type RpcLabels = [(&'static str, &'static str); 1];
type CallLabels = [(&'static str, &'static str); 2];

/// The service's counters. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Measures(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    calls: Family<CallLabels, Counter>,
    durations: Family<RpcLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    events: Family<RpcLabels, Counter>,
    retries: Family<RpcLabels, Counter>,
    parked: Gauge,
    failed: Gauge,
    oldest_parked: Gauge<f64, AtomicU64>,
    /// At the places of [`RPCS`].
    rpcs: Vec<RpcHandles>,
    /// At the places of [`EVENT_STATES`].
    states: Vec<Counter>,
}

#[derive(Debug)]
struct RpcHandles {
    name: &'static str,
    duration: Histogram,
    /// By the code's number, made when a code is there for the first time: most never are.
    codes: [OnceLock<Counter>; CODES],
}

/// An RPC's place among the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rpc(usize);

impl Rpc {
    /// Of a request's path, `/package.Service/Name`.
    pub(crate) fn of_path(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        Self(RPCS.iter().position(|known| *known == name).unwrap_or(RPCS.len() - 1))
    }

    /// The service that has it.
    pub(crate) fn service_name(self) -> &'static str {
        if ADMIN_RPCS.contains(&self.name()) {
            admin_service_server::SERVICE_NAME
        } else {
            credit_service_server::SERVICE_NAME
        }
    }

    /// Its name; `other` for one that does not exist.
    pub(crate) fn name(self) -> &'static str {
        RPCS.get(self.0).copied().unwrap_or("other")
    }
}

impl Default for Measures {
    fn default() -> Self {
        let durations = Family::<RpcLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS_S)
        });
        let events = Family::<RpcLabels, Counter>::default();
        let handles = |name| {
            let duration = if STREAMS.contains(&name) {
                Histogram::new(BUCKETS_S)
            } else {
                durations.get_or_create_owned(&[("rpc", name)])
            };
            RpcHandles { name, duration, codes: [const { OnceLock::new() }; CODES] }
        };
        let states = EVENT_STATES.map(|state| events.get_or_create_owned(&[("state", state)])).to_vec();
        let rpcs = RPCS.map(handles).into_iter().collect();
        Self(Arc::new(Inner {
            calls: Family::default(),
            durations,
            in_flight: Gauge::default(),
            events,
            retries: Family::default(),
            parked: Gauge::default(),
            failed: Gauge::default(),
            oldest_parked: Gauge::default(),
            rpcs,
            states,
        }))
    }
}

impl Measures {
    /// Puts the counters where they are read.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &self.0;
        registry.register(
            "rpc_requests",
            "Calls that have ended, by RPC and status code",
            inner.calls.clone(),
        );
        let help = "Time from a call's headers to its end, by RPC; streams are left out";
        registry.register_with_unit("rpc_duration", help, Unit::Seconds, inner.durations.clone());
        registry.register("rpc_in_flight", "Calls under way, streams among them", inner.in_flight.clone());
        let help = "Stripe events answered, by what became of them; a duplicate changed nothing";
        registry.register("stripe_events", help, inner.events.clone());
        let help = "Later tries of parked Stripe events by this process, by what became of them";
        registry.register("stripe_event_retries", help, inner.retries.clone());
        let help = "Stripe events in the database that are parked; counted up to 20,000";
        registry.register("stripe_events_parked", help, inner.parked.clone());
        let help = "Stripe events in the database that were given up; counted up to 20,000";
        registry.register("stripe_events_failed", help, inner.failed.clone());
        let help = "Age of the oldest parked Stripe event; 0 without one";
        registry.register_with_unit("stripe_oldest_parked", help, Unit::Seconds, inner.oldest_parked.clone());
    }

    /// How much of the inbox waits for somebody.
    pub(crate) fn inbox(&self, level: &InboxLevel) {
        self.0.parked.set(level.parked);
        self.0.failed.set(level.failed);
        self.0.oldest_parked.set(level.oldest_parked_s);
    }

    /// A later try of a parked event.
    pub(crate) fn retried(&self, answer: &EventAnswer) {
        let state = EVENT_STATES.get(place(answer)).copied().unwrap_or("failed");
        self.0.retries.get_or_create(&[("state", state)]).inc();
    }

    pub(crate) fn call_began(&self) {
        self.0.in_flight.inc();
    }

    pub(crate) fn call_ended(&self, rpc: Rpc, code: Code, took: Duration) {
        self.0.in_flight.dec();
        let Some(handles) = self.0.rpcs.get(rpc.0) else { return };
        handles.duration.observe(took.as_secs_f64());
        let number = usize::try_from(i32::from(code)).unwrap_or(0);
        if let Some(counter) = handles.codes.get(number) {
            let labels = || [("rpc", handles.name), ("code", code_name(code))];
            counter.get_or_init(|| self.0.calls.get_or_create_owned(&labels())).inc();
        }
    }

    pub(crate) fn event(&self, answer: &EventAnswer) {
        if let Some(counter) = self.0.states.get(place(answer)) {
            counter.inc();
        }
    }
}

/// Among [`EVENT_STATES`].
const fn place(answer: &EventAnswer) -> usize {
    match answer.state {
        _ if answer.duplicate => 4,
        EventState::Applied => 0,
        EventState::Ignored => 1,
        EventState::Parked => 2,
        EventState::Failed => 3,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn text(measures: &Measures) -> String {
        let mut registry = Registry::default();
        measures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn calls_are_counted_by_rpc_and_code() {
        let measures = Measures::default();
        for code in [Code::Ok, Code::Ok, Code::Unavailable] {
            measures.call_began();
            measures.call_ended(Rpc::of_path("/x.Y/SpendCredits"), code, Duration::from_millis(3));
        }
        measures.call_began();
        let text = text(&measures);
        for line in [
            r#"rpc_requests_total{rpc="SpendCredits",code="OK"} 2"#,
            r#"rpc_requests_total{rpc="SpendCredits",code="UNAVAILABLE"} 1"#,
            r#"rpc_duration_seconds_count{rpc="SpendCredits"} 3"#,
            r#"rpc_duration_seconds_bucket{le="0.004",rpc="SpendCredits"} 3"#,
            "rpc_in_flight 1",
            r#"stripe_events_total{state="parked"} 0"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_name_that_a_stranger_makes_up_is_no_series_of_its_own() {
        assert_eq!(Rpc::of_path("/tallystick.credits.v1.CreditService/Spend").name(), "other");
        assert_eq!(Rpc::of_path("").name(), "other");
        for name in RPCS {
            assert_eq!(Rpc::of_path(&format!("/s/{name}")).name(), name);
        }
    }

    #[test]
    fn every_rpc_that_is_declared_has_a_series_of_its_own() {
        let declared = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let services = declared.file.iter().flat_map(|file| &file.service);
        let names = services.flat_map(|s| s.method.iter().map(move |rpc| (s.name(), rpc.name())));
        let names: Vec<(&str, &str)> = names.collect();
        assert!(!names.is_empty());
        for (service, name) in names {
            let rpc = Rpc::of_path(&format!("/s/{name}"));
            assert_eq!(rpc.name(), name);
            assert_eq!(rpc.service_name(), format!("tallystick.credits.v1.{service}"));
        }
    }

    #[test]
    fn the_duration_of_a_stream_is_no_series() {
        let measures = Measures::default();
        measures.call_began();
        measures.call_ended(Rpc::of_path("/s/WatchCredits"), Code::Cancelled, Duration::from_secs(60));
        let text = text(&measures);
        assert!(text.contains(r#"rpc_requests_total{rpc="WatchCredits",code="CANCELLED"} 1"#), "{text}");
        assert!(!text.contains(r#"rpc_duration_seconds_count{rpc="WatchCredits"}"#), "{text}");
    }
}
