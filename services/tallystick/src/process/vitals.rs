//! Whether this process can do its work now. Real checks only.

use std::collections::BTreeMap;
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
}
