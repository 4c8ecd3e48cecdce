//! Whether this process can do its work now, and the few numbers that say how it fares. Real values only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use relay::Relay;
use serde::Serialize;
use store::Store;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long one check may take: a probe of an orchestrator usually waits longer than this and not much.
const CHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// What a process is made of, as far as its health goes.
#[derive(Clone)]
pub(crate) struct Vitals {
    /// Set for the credits role.
    pub(crate) ledger: Option<(Store, Relay)>,
    /// Set for an edge whose credits role is elsewhere.
    pub(crate) credits: Option<Channel>,
    /// Cancelled when the process begins to end.
    pub(crate) draining: CancellationToken,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) ok: bool,
    pub(crate) detail: String,
}

/// All checks; ready when every one of them is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) ready: bool,
    pub(crate) checks: BTreeMap<&'static str, Check>,
}

impl Report {
    /// What is not well, for the log.
    pub(crate) fn faults(&self) -> String {
        let faults = self.checks.iter().filter(|(_, check)| !check.ok);
        faults.map(|(name, check)| format!("{name}: {}", check.detail)).collect::<Vec<_>>().join("; ")
    }
}

impl Vitals {
    /// Looks at everything, at once.
    pub(crate) async fn report(&self) -> Report {
        let ledger = async {
            match &self.ledger {
                Some((store, relay)) => vec![("database", database(store).await), ("relay", source(relay))],
                None => Vec::new(),
            }
        };
        let credits = async {
            match &self.credits {
                Some(channel) => Some(("credits", service(channel.clone()).await)),
                None => None,
            }
        };
        let (ledger, credits) = tokio::join!(ledger, credits);
        let mut checks: BTreeMap<_, _> = ledger.into_iter().chain(credits).collect();
        let draining = self.draining.is_cancelled();
        let detail = if draining { "the process is ending" } else { "not ending" };
        checks.insert("lifecycle", Check { ok: !draining, detail: detail.to_owned() });
        Report { ready: checks.values().all(|check| check.ok), checks }
    }

    /// In Prometheus' text format (version 0.0.4).
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        let labels = format!("{{version=\"{version}\"}}");
        metric(&mut text, "build_info", "gauge", "The version that runs.", &format!("{labels} 1"));
        let Some((store, relay)) = &self.ledger else { return text };
        let health = relay.health();
        let commits = *store.committed().borrow();
        let rows = [
            ("commits_total", "counter", "Batches committed by this process.", commits.to_string()),
            (
                "relay_connections_total",
                "counter",
                "Connections to the outbox opened.",
                health.connections.to_string(),
            ),
            ("watch_streams", "gauge", "Open streams of balance changes.", health.streams.to_string()),
            ("watched_balances", "gauge", "Pairs of stream and balance.", health.watches.to_string()),
        ];
        for (name, kind, help, value) in rows {
            metric(&mut text, name, kind, help, &format!(" {value}"));
        }
        if let Some(lag) = health.source_lag {
            let seconds = format!(" {}.{:06}", lag.as_secs(), lag.subsec_micros());
            let help = "Age of the last look at the outbox.";
            metric(&mut text, "relay_source_lag_seconds", "gauge", help, &seconds);
        }
        text
    }
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: &str) {
    let name = format!("tallystick_{name}");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{value}");
}

async fn database(store: &Store) -> Check {
    let reached = tokio::time::timeout(CHECK_TIMEOUT, store.pool().acquire()).await;
    let detail = match reached {
        Ok(Ok(_)) => return Check { ok: true, detail: "reachable".to_owned() },
        // The cause may name the host; the log of the store has it.
        Ok(Err(_)) => "not reachable".to_owned(),
        Err(_) => format!("no connection within {} ms", CHECK_TIMEOUT.as_millis()),
    };
    Check { ok: false, detail }
}

fn source(relay: &Relay) -> Check {
    let health = relay.health();
    let detail = match health.source_lag {
        None => "has not read the outbox yet".to_owned(),
        Some(lag) => format!("read the outbox {} ms ago", lag.as_millis()),
    };
    Check { ok: health.source_lag.is_some() && !health.is_stale, detail }
}

async fn service(channel: Channel) -> Check {
    let request = HealthCheckRequest { service: String::new() };
    let call = async move { HealthClient::new(channel).check(request).await };
    match tokio::time::timeout(CHECK_TIMEOUT, call).await {
        Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => {
            Check { ok: true, detail: "serving".to_owned() }
        }
        Ok(Ok(_)) => Check { ok: false, detail: "not serving".to_owned() },
        Ok(Err(status)) => Check { ok: false, detail: format!("not reachable ({:?})", status.code()) },
        Err(_) => Check { ok: false, detail: format!("no answer within {} ms", CHECK_TIMEOUT.as_millis()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_ends_is_not_ready() {
        let vitals = Vitals { ledger: None, credits: None, draining: CancellationToken::new() };
        assert!(vitals.report().await.ready);
        vitals.draining.cancel();
        let report = vitals.report().await;
        assert!(!report.ready);
        assert_eq!(report.faults(), "lifecycle: the process is ending");
    }

    #[test]
    fn metrics_are_in_the_text_format() {
        let vitals = Vitals { ledger: None, credits: None, draining: CancellationToken::new() };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            vitals.metrics(),
            format!(
                "# HELP tallystick_build_info The version that runs.\n# TYPE tallystick_build_info gauge\n\
                 tallystick_build_info{{version=\"{version}\"}} 1\n"
            )
        );
    }
}
