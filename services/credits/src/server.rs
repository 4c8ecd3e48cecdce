//! The gRPC server: CreditService and AdminService behind their stack, health and reflection beside them, the sweeper of
//! the inbox; its start and its end.
//!
//! Promises: on shutdown health says NOT_SERVING first, streams end with SHUTTING_DOWN, calls in flight are answered,
//! and nothing waits longer than the drain time, whatever clients do (`connections`).

use std::future::Future;
use std::sync::Arc;

use proto::v1::admin_service_server::{self, AdminServiceServer};
use proto::v1::credit_service_server::{self, CreditServiceServer};
use relay::Relay;
use signature::Secrets;
use store::Store;
use stripe::Catalogue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::admin::AdminRpc;
use crate::auth::Authentication;
use crate::connections;
use crate::inbox::Inbox;
use crate::limits::{Limits, MAX_REQUEST_BYTES};
use crate::measure::Measures;
use crate::rpc::{CreditRpc, Webhooks};
use crate::stack::Stack;
use crate::units::UnitPolicy;

/// Seconds since 1970 by the process's clock; judges the age of Stripe signatures and nothing else.
pub type UnixClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a server needs to know.
#[derive(Clone)]
pub struct ServerConfig {
    /// How callers are known.
    pub authentication: Authentication,
    /// Which units exist.
    pub units: UnitPolicy,
    /// What is sold, for Stripe events.
    pub catalogue: Arc<Catalogue>,
    /// Real money (true) or tests; Stripe events of the other kind are ignored.
    pub livemode: bool,
    /// The Connect account whose events are ours; `None`: events that name none.
    pub connect_account: Option<String>,
    /// When given, every Stripe event's signature is verified here again.
    pub webhook_secrets: Option<Secrets>,
    /// For the age of signatures.
    pub clock: UnixClock,
    /// How much is served at once.
    pub limits: Limits,
    /// What is counted.
    pub measures: Measures,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptor set cannot be served by reflection.
    #[error("build reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// What health speaks of, beside the server as a whole.
const SERVICES: [&str; 2] = [credit_service_server::SERVICE_NAME, admin_service_server::SERVICE_NAME];

/// Serves until `shutdown` is ready, then drains.
///
/// # Errors
/// [`ServeError`] when the server cannot be built.
pub async fn serve(
    config: ServerConfig,
    store: Store,
    relay: Relay,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    let closing = CancellationToken::new();
    let limits = config.limits;
    let admin = AdminServiceServer::new(AdminRpc::new(store.clone(), config.units.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let inbox = Arc::new(Inbox::new(&config, store.clone()));
    let rpc = credit_rpc(&config, store, relay, Arc::clone(&inbox), closing.clone());
    let credits = CreditServiceServer::new(rpc).max_decoding_message_size(MAX_REQUEST_BYTES);
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let stack = Stack::new(config.authentication, &limits, config.measures);
    let routes = Routes::new(stack.clone().around(credits))
        .add_service(stack.around(admin))
        .add_service(health)
        .add_service(reflect().build_v1().map_err(ServeError::Reflection)?)
        .add_service(reflect().build_v1alpha().map_err(ServeError::Reflection)?);
    let ending = async {
        shutdown.await;
        for service in [&[""], SERVICES.as_slice()].concat() {
            reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
        closing.cancel();
    };
    let serving = connections::serve(listener, routes, &limits, &closing);
    tokio::join!(serving, ending, inbox.run(closing.clone()));
    Ok(())
}

fn credit_rpc(
    config: &ServerConfig,
    store: Store,
    relay: Relay,
    inbox: Arc<Inbox>,
    closing: CancellationToken,
) -> CreditRpc {
    let webhooks = Webhooks {
        secrets: config.webhook_secrets.clone(),
        clock: Arc::clone(&config.clock),
        measures: config.measures.clone(),
    };
    CreditRpc::new(store, relay, config.units.clone(), (webhooks, inbox), &config.limits, closing)
}
