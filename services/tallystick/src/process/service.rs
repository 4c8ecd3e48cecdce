//! A process from its listeners to its end.
//!
//! | phase | what happens |
//! | --- | --- |
//! | start | store, relay, gRPC server, edge, operations listener; each role is a task |
//! | ready | every check of `/readyz` holds: the ready line is printed, once |
//! | serve | until a signal, or until a role ends by itself, which is a failure |
//! | drain | readiness fails; the edge answers what it has; streams are told to end, calls are answered; the relay ends; queued commands are finished; the operations listener ends last |
//!
//! The drain keeps within the grace time whatever clients do: each phase has its share, and what is late is cut.

use std::sync::Arc;
use std::time::Duration;

use credits::{Authentication, Limits, ServerConfig, UnitPolicy};
use edge::{ApiKey, EdgeConfig, EdgeLimits};
use futures::future::select_all;
use relay::{Relay, RelayOptions};
use signature::Secrets;
use store::{Durability, Policy, Store, StoreOptions, Sweeper};
use stripe::Catalogue;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::clock;
use crate::error::Error;
use crate::output;
use crate::process::metrics::{self, Counted};
use crate::process::vitals::Vitals;
use crate::process::{ReadyLine, Stop, files, http, ops};
use crate::settings::listen::Bound;
use crate::telemetry::export;

/// How often readiness is looked at until it is there for the first time.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How often a process that is not ready yet says why.
const WAITING_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How long the last spans may take to the collector, when so much of the grace time is left.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What a process runs.
pub(crate) struct Plan {
    /// The credits role, and where it listens.
    pub(crate) credits: Option<(Bound, CreditsRole)>,
    /// The edge role, and where it listens.
    pub(crate) edge: Option<(Bound, EdgeRole)>,
    /// The operations listener.
    pub(crate) ops: Bound,
    /// How long the end may take.
    pub(crate) grace: Duration,
    /// What the ready line of `dev` tells besides addresses.
    pub(crate) told: Option<Told>,
}

/// What `dev` tells its user: in the ready line the database and the secret, after it what to do next.
pub(crate) struct Told {
    pub(crate) hint: String,
    pub(crate) database_url: String,
    pub(crate) webhook_secret: &'static str,
}

/// How many watches may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamLimits {
    /// In the process.
    pub(crate) process: u32,
    /// By one API key.
    pub(crate) per_key: u32,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { process: 10_000, per_key: 5_000 }
    }
}

/// The credits role.
pub(crate) struct CreditsRole {
    pub(crate) database_url: String,
    pub(crate) lanes: u32,
    pub(crate) read_connections: u32,
    pub(crate) streams: StreamLimits,
    pub(crate) sandbox: bool,
    pub(crate) authentication: Authentication,
    pub(crate) units: UnitPolicy,
    pub(crate) catalogue: Catalogue,
    pub(crate) livemode: bool,
    /// With them the signatures that the edge has checked are checked again.
    pub(crate) secrets: Option<Secrets>,
}

/// The edge role.
pub(crate) struct EdgeRole {
    pub(crate) secrets: Secrets,
    /// Its key for the credits role.
    pub(crate) api_key: Option<ApiKey>,
    /// Where the credits role is.
    pub(crate) credits: Endpoint,
    /// Whether that is another process.
    pub(crate) is_remote: bool,
}

/// A role that runs.
struct Running {
    name: &'static str,
    stop: CancellationToken,
    /// The part of the grace time that it may take to end, in percent.
    share: u32,
    task: JoinHandle<Result<(), String>>,
}

/// A process that runs.
struct Service {
    /// In the order in which they end.
    roles: Vec<Running>,
    ops: Running,
    ledger: Option<(Store, Relay, CancellationToken)>,
    vitals: Vitals,
    hint: Option<String>,
}

/// Runs a process until it is told to stop.
///
/// # Errors
/// [`Error::Role`] when a role cannot start or ends by itself, [`Error::Io`].
pub(crate) async fn run(plan: Plan, stop: &Stop) -> Result<(), Error> {
    files::allow_many();
    let grace = plan.grace;
    let (service, line) = Service::start(plan)?;
    let mut service = service;
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        ended = service.serve(&line) => ended,
    };
    service.drain(grace).await;
    ended
}

impl Service {
    fn start(plan: Plan) -> Result<(Self, ReadyLine), Error> {
        let mut line = ReadyLine::new(plan.ops.addr);
        let mut vitals = Vitals { ledger: None, credits: None, draining: CancellationToken::new() };
        let (mut roles, mut ledger) = (Vec::new(), None);
        let (edge_measures, credits_measures) = (edge::Measures::default(), credits::Measures::default());
        let mut counted = Counted::default();
        if let Some((bound, role)) = plan.edge {
            line.edge = Some(bound.addr);
            let channel = role.credits.connect_lazy();
            vitals.credits = role.is_remote.then(|| channel.clone());
            roles.push(edge_role(bound, role, channel, edge_measures.clone()));
            counted.edge = Some(&edge_measures);
        }
        if let Some((bound, role)) = plan.credits {
            line.grpc = Some(bound.addr);
            let store = open(&role)?;
            let relay_stop = CancellationToken::new();
            let options = RelayOptions { max_streams: size(role.streams.process), ..RelayOptions::default() };
            let relay = Relay::spawn(store.clone(), options, relay_stop.clone());
            vitals.ledger = Some((store.clone(), relay.clone()));
            let served = (store.clone(), relay.clone(), credits_measures.clone());
            roles.push(credits_role(bound, role, served, plan.grace));
            roles.push(sweeper(store.clone()));
            counted.credits = Some(&credits_measures);
            ledger = Some((store, relay, relay_stop));
        }
        let mut hint = None;
        if let Some(told) = plan.told {
            hint = Some(told.hint);
            line.database_url = Some(told.database_url);
            line.webhook_secret = Some(told.webhook_secret);
        }
        counted.ledger = vitals.ledger.as_ref();
        let (listener, routes) =
            (plan.ops.listener, ops::router(vitals.clone(), metrics::registry(&counted)));
        let ops = spawn("operations", 5, |stop| async move {
            http::serve(listener, routes, http::LISTENER_LIMITS, stop).await;
            Ok(())
        });
        Ok((Self { roles, ops, ledger, vitals, hint }, line))
    }

    /// Prints the ready line when it is true, then waits for a role that ends by itself.
    async fn serve(&mut self, line: &ReadyLine) -> Result<(), Error> {
        let (vitals, hint) = (self.vitals.clone(), self.hint.take());
        let become_ready = async {
            until_ready(&vitals).await;
            tell_durability(&vitals).await;
            let printed = line.print();
            hint.iter().for_each(|hint| output::note(hint));
            printed
        };
        let ended = self.ended();
        tokio::pin!(ended);
        tokio::select! {
            printed = become_ready => printed?,
            error = &mut ended => return Err(error),
        }
        Err(ended.await)
    }

    /// The first role that ends though nobody asked it to.
    async fn ended(&mut self) -> Error {
        let all = self.roles.iter_mut().chain(std::iter::once(&mut self.ops));
        let (names, tasks): (Vec<_>, Vec<_>) = all.map(|role| (role.name, &mut role.task)).unzip();
        let (ended, index, _) = select_all(tasks).await;
        let problem = match ended {
            Ok(Ok(())) => "ended by itself".to_owned(),
            Ok(Err(problem)) => problem,
            Err(panicked) => panicked.to_string(),
        };
        Error::Role { role: names.get(index).copied().unwrap_or("a role"), problem }
    }

    /// Ends everything in order.
    async fn drain(self, grace: Duration) {
        let started = Instant::now();
        self.vitals.draining.cancel();
        for role in self.roles {
            role.end(grace).await;
        }
        if let Some((store, relay, relay_stop)) = self.ledger {
            relay_stop.cancel();
            let finished = async {
                tokio::join!(relay.stopped(), store.drain());
                store.pool().close().await;
            };
            let left = (started + grace * 9 / 10).saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, finished).await.is_err() {
                tracing::warn!("queued commands were not finished in time; their callers know no outcome");
            }
        }
        self.ops.end(grace).await;
        let left = (started + grace).saturating_duration_since(Instant::now());
        export::flush(left.min(FLUSH_TIMEOUT)).await;
        tracing::info!(took_ms = started.elapsed().as_millis(), "stopped");
    }
}

impl Running {
    async fn end(mut self, grace: Duration) {
        self.stop.cancel();
        if self.task.is_finished() {
            return;
        }
        let ended = tokio::time::timeout(grace * self.share / 100, &mut self.task).await;
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(problem))) => tracing::error!(role = self.name, problem, "ended with a failure"),
            Ok(Err(error)) => tracing::error!(role = self.name, %error, "ended with a failure"),
            Err(_) => {
                tracing::warn!(role = self.name, "did not end in time and was cut");
                self.task.abort();
            }
        }
    }
}

fn spawn<F, T>(name: &'static str, share: u32, work: F) -> Running
where
    F: FnOnce(CancellationToken) -> T,
    T: Future<Output = Result<(), String>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let task = tokio::spawn(work(stop.clone()));
    Running { name, stop, share, task }
}

fn open(role: &CreditsRole) -> Result<Store, Error> {
    let options = StoreOptions {
        database_url: role.database_url.clone(),
        lanes: role.lanes,
        read_connections: role.read_connections,
        policy: Policy {
            encode: credits::encode_entry,
            new_accounts_are_sandbox: role.sandbox,
            rules: role.catalogue.rules(),
            thresholds: role.catalogue.thresholds().to_vec(),
        },
    };
    Store::open(options).map_err(|source| Error::Database { setting: "--database-url", source })
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn credits_role(
    bound: Bound,
    role: CreditsRole,
    (store, relay, measures): (Store, Relay, credits::Measures),
    grace: Duration,
) -> Running {
    const SHARE: u32 = 50;
    // A little less than its share, so that the server itself ends what is late and says so.
    let limits = Limits {
        drain: grace * (SHARE - 5) / 100,
        streams: size(role.streams.process),
        streams_per_principal: size(role.streams.per_key),
        ..Limits::default()
    };
    let config = ServerConfig {
        authentication: role.authentication,
        units: role.units,
        catalogue: Arc::new(role.catalogue),
        livemode: role.livemode,
        connect_account: None,
        webhook_secrets: role.secrets,
        clock: Arc::new(clock::unix_s),
        limits,
        measures,
    };
    spawn("credits", SHARE, |stop| async move {
        let served = credits::serve(config, store, relay, bound.listener, stop.cancelled_owned()).await;
        served.map_err(|error| error.to_string())
    })
}

/// Settles due changes that nobody asks about; ends with the roles, before the store is drained.
fn sweeper(store: Store) -> Running {
    spawn("sweeper", 5, |stop| async move {
        Sweeper::new(store).run(stop).await;
        Ok(())
    })
}

fn edge_role(bound: Bound, role: EdgeRole, channel: Channel, measures: edge::Measures) -> Running {
    let config = EdgeConfig {
        secrets: role.secrets,
        api_key: role.api_key,
        limits: EdgeLimits::default(),
        now_s: clock::unix_s,
        measures,
        entropy: clock::random_bytes::<24>,
    };
    let routes = edge::router(config, channel);
    spawn("edge", 30, |stop| async move {
        http::serve(bound.listener, routes, http::LISTENER_LIMITS, stop).await;
        Ok(())
    })
}

/// What the database does for what it acknowledges, in the log of every start.
async fn tell_durability(vitals: &Vitals) {
    let Some((store, _)) = &vitals.ledger else { return };
    match store.durability().await {
        Ok(durability) => {
            let Durability { fsync, full_page_writes, synchronous_commit } = &durability;
            tracing::info!(fsync, full_page_writes, synchronous_commit, "durability of the database");
            if !durability.holds() {
                tracing::warn!(
                    "the database may lose what it has acknowledged: fit for throw-away data only"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "durability of the database is not known"),
    }
}

async fn until_ready(vitals: &Vitals) {
    let mut said = Instant::now();
    loop {
        let report = vitals.report().await;
        if report.ready {
            return;
        }
        if said.elapsed() >= WAITING_LOG_INTERVAL {
            said = Instant::now();
            tracing::warn!(waiting_for = report.faults(), "not ready yet");
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}
