//! `/metrics`: everything that this process counts, as OpenMetrics text (which Prometheus reads).
//!
//! Crates count by handles of their own and register them here; what is a level and no count (queues, connections,
//! streams, memory) is looked up when somebody asks. Must not have: a label whose values callers choose.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use relay::Relay;
use store::Store;

use crate::clock;
use crate::telemetry::export;

/// The media type of [`text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What may be counted in a process.
#[derive(Default)]
pub(crate) struct Counted<'a> {
    /// Of the credits role.
    pub(crate) ledger: Option<&'a (Store, Relay)>,
    /// Of the credits role.
    pub(crate) credits: Option<&'a credits::Measures>,
    /// Of the edge role.
    pub(crate) edge: Option<&'a edge::Measures>,
}

/// Brings all of it together.
pub(crate) fn registry(counted: &Counted<'_>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process { started_s: clock::now_s() }));
    let ours = registry.sub_registry_with_prefix("tallystick");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    ours.register("build", "The version that runs", version);
    export::register(ours);
    if let Some((store, relay)) = counted.ledger {
        store.measures().register(ours);
        relay.measures().register(ours);
        ours.register_collector(Box::new(Ledger { store: store.clone(), relay: relay.clone() }));
    }
    if let Some(measures) = counted.credits {
        measures.register(ours);
    }
    if let Some(measures) = counted.edge {
        measures.register(ours);
    }
    registry
}

/// As text.
///
/// # Errors
/// [`fmt::Error`] when something that is counted cannot be written.
pub(crate) fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}

/// The levels of the credits role.
struct Ledger {
    store: Store,
    relay: Relay,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Collector for Ledger {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let (load, health) = (self.store.load(), self.relay.health());
        let commits = *self.store.committed().borrow();
        counter(&mut to, "commits", "Batches committed by this process", commits)?;
        counter(&mut to, "relay_connections", "Connections to the outbox opened", health.connections)?;
        gauge(&mut to, "lane_queue_depth", "Requests that no batch has taken yet", None, load.queued)?;
        gauge(
            &mut to,
            "detour_queue_depth",
            "Requests that wait for locks of others",
            None,
            load.on_detours,
        )?;
        gauge(&mut to, "watch_streams", "Open streams of balance changes", None, health.streams)?;
        gauge(&mut to, "watched_balances", "Pairs of stream and balance", None, health.watches)?;
        if let Some(lag) = health.source_lag {
            let help = "Age of the last look at the outbox: how far subscribers may lie behind";
            gauge(&mut to, "relay_source_lag", help, Some(&Unit::Seconds), lag.as_secs_f64())?;
        }
        let help = "Connections to the database, by pool and state";
        let kind = ConstGauge::new(0_u64).metric_type();
        let mut connections = to.encode_descriptor("database_connections", help, None, kind)?;
        for (pool, (used, idle)) in [("write", load.writes), ("read", load.reads)] {
            for (state, count) in [("used", used), ("idle", idle)] {
                let labels = [("pool", pool), ("state", state)];
                ConstGauge::new(count).encode(connections.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What every Prometheus client tells of its process.
#[derive(Debug)]
struct Process {
    started_s: u64,
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When the process started, since 1970";
        gauge(&mut to, "process_start_time", help, Some(&Unit::Seconds), self.started_s)?;
        let Some(resident) = resident_bytes() else { return Ok(()) };
        gauge(&mut to, "process_resident_memory", "Memory in use", Some(&Unit::Bytes), resident)
    }
}

/// Linux tells it; elsewhere it is left out. proc(5), `VmRSS`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

fn gauge<V>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: V,
) -> fmt::Result
where
    ConstGauge<V>: EncodeMetric,
    V: EncodeGaugeValue,
{
    let value = ConstGauge::new(value);
    value.encode(to.encode_descriptor(name, help, unit, value.metric_type())?)
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = ConstCounter::new(value);
    value.encode(to.encode_descriptor(name, help, None, value.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_roles_tells_of_itself() {
        let text = text(&registry(&Counted::default())).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.contains(&format!("tallystick_build_info{{version=\"{version}\"}} 1\n")), "{text}");
        assert!(text.contains("# TYPE process_start_time_seconds gauge\n"), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
