//! A running server with a database of its own, and what tests ask of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use credits::{Authentication, Limits, Principal, ServeError, ServerConfig, UnitPolicy, encode_entry, serve};
use harness::TestDatabase;
use proto::v1;
use proto::v1::credit_service_client::CreditServiceClient;
use relay::{Relay, RelayOptions};
use signature::{Secret, Secrets};
use sqlx::AssertSqlSafe;
use store::{Policy, Store, StoreOptions};
use stripe::Catalogue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

/// The secret of signed events.
pub(crate) const SECRET: &str = "whsec_test";
/// The server's clock, in seconds since 1970.
pub(crate) const NOW_S: i64 = 1_700_000_000;
/// Longest wait for anything that must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Served {
    pub(crate) database: TestDatabase,
    pub(crate) address: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<Result<(), ServeError>>,
    pub(crate) store: Store,
    _relay_stop: tokio_util::sync::DropGuard,
}

pub(crate) type Client = CreditServiceClient<Channel>;

/// What `dev` serves: no credentials, any unit, the built-in catalogue; and a webhook secret.
pub(crate) fn config() -> ServerConfig {
    ServerConfig {
        authentication: Authentication::None { principal: Arc::new(Principal::anonymous()) },
        units: UnitPolicy::Any,
        catalogue: Arc::new(Catalogue::dev().unwrap()),
        livemode: false,
        connect_account: None,
        webhook_secrets: Some(Secrets::parse(SECRET).unwrap()),
        clock: Arc::new(|| NOW_S),
        limits: Limits::default(),
        measures: credits::Measures::default(),
    }
}

pub(crate) async fn served() -> Served {
    served_with(config()).await
}

pub(crate) async fn served_with(config: ServerConfig) -> Served {
    let database = harness::database().await;
    let url = database.url().to_owned();
    served_on(database, &url, config).await
}

/// `url` may lead to the database through a proxy.
pub(crate) async fn served_on(database: TestDatabase, url: &str, config: ServerConfig) -> Served {
    let options = StoreOptions {
        database_url: url.to_owned(),
        lanes: 2,
        read_connections: 4,
        policy: Policy { new_accounts_are_sandbox: true, ..Policy::new(encode_entry) },
    };
    let store = Store::open(options).unwrap();
    let relay_stop = CancellationToken::new();
    let relay = Relay::spawn(store.clone(), RelayOptions::default(), relay_stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let stopped = shutdown.clone().cancelled_owned();
    let server = tokio::spawn(serve(config, store.clone(), relay, listener, stopped));
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let _relay_stop = relay_stop.drop_guard();
    Served { database, address, channel, shutdown, server, store, _relay_stop }
}

impl Served {
    pub(crate) fn client(&self) -> Client {
        CreditServiceClient::new(self.channel.clone())
    }

    /// Rows of a table.
    pub(crate) async fn count(&self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(sql).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Grants 10 credits to `user_1`, and lets their time end between two calls.
    pub(crate) async fn grant_that_ended(&self) {
        let expires_at = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
        let request = v1::GrantCreditsRequest { expires_at, ..grant("user_1", "g", 10) };
        self.client().grant_credits(request).await.unwrap();
        let ended = "update grants set expires_at = effective_at + interval '1 microsecond',
                                        due_at = effective_at + interval '1 microsecond';
                     update balances set next_due_at = (select expires_at from grants)";
        sqlx::raw_sql(ended).execute(self.database.pool()).await.unwrap();
    }

    /// Fails unless no table of the ledger and of Stripe's side has a row.
    pub(crate) async fn assert_nothing_written(&self) {
        for table in ["accounts", "balances", "grants", "operations", "entries", "outbox", "stripe_events"] {
            assert_eq!(self.count(table).await, 0, "{table}");
        }
    }
}

pub(crate) fn grant(account: &str, key: &str, amount: i64) -> v1::GrantCreditsRequest {
    v1::GrantCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        amount,
        ..v1::GrantCreditsRequest::default()
    }
}

pub(crate) fn spend(account: &str, key: &str, amount: i64) -> v1::SpendCreditsRequest {
    v1::SpendCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        amount,
        ..v1::SpendCreditsRequest::default()
    }
}

pub(crate) fn balance_of(account: &str) -> v1::GetBalanceRequest {
    v1::GetBalanceRequest { account_id: account.to_owned(), ..v1::GetBalanceRequest::default() }
}

/// A delivery of `body`, signed now.
pub(crate) fn signed(body: Vec<u8>) -> v1::ApplyStripeEventRequest {
    let secret = Secret::try_new(SECRET).unwrap();
    let signature = signature::sign(&secret, u64::try_from(NOW_S).unwrap(), &body);
    v1::ApplyStripeEventRequest { body: body.into(), signature, received_at: None }
}

/// The status's documented reason.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.unwrap_or_else(|| panic!("no ErrorInfo: {status:?}")).reason
}

/// One of the status's facts.
pub(crate) fn fact(status: &Status, key: &str) -> String {
    status.get_details_error_info().unwrap().metadata.get(key).cloned().unwrap_or_default()
}

/// The fields that the status complains of.
pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    bad.into_iter().map(|violation| violation.field).collect()
}
