//! Calls of CreditService, and refusals in a form that tests compare.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::{
    Balance, GetBalanceRequest, GrantCreditsRequest, GrantCreditsResponse, SpendCreditsRequest,
    SpendCreditsResponse, WatchCreditsRequest, WatchCreditsResponse, WatchTarget,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

/// A caller's patience with one call; below the service's own maximum of 10 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// A caller of one service. Connects when first used, and again after a connection broke. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    client: CreditServiceClient<Channel>,
    authorization: Option<MetadataValue<Ascii>>,
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub code: Code,
    /// The reason of its ErrorInfo; empty when the status is not the service's own.
    pub reason: String,
    /// The metadata of its ErrorInfo.
    pub facts: BTreeMap<String, String>,
    /// The fields of its BadRequest.
    pub fields: Vec<String>,
    /// The delay of its RetryInfo.
    pub retry_after: Option<Duration>,
    /// The sentence.
    pub message: String,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info();
        let (reason, facts) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        let fields =
            status.get_details_bad_request().map(|request| request.field_violations).unwrap_or_default();
        Self {
            code: status.code(),
            reason,
            facts: facts.into_iter().collect(),
            fields: fields.into_iter().map(|violation| violation.field).collect(),
            retry_after: status.get_details_retry_info().and_then(|retry| retry.retry_delay),
            message: status.message().to_owned(),
        }
    }
}

impl Refusal {
    /// Whether the command may have been done all the same: the answer was lost on the way, or the service says so.
    pub fn leaves_unknown(&self) -> bool {
        matches!(self.reason.as_str(), "" | "OUTCOME_UNKNOWN" | "INTERNAL")
    }
}

impl Api {
    /// The service at `host:port`.
    ///
    /// # Panics
    /// When that is no address.
    pub fn at(addr: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).expect("an address");
        let channel = endpoint.connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).connect_lazy();
        Self { client: CreditServiceClient::new(channel), authorization: None }
    }

    /// The same with an API key on every call.
    ///
    /// # Panics
    /// When the key cannot be sent.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.authorization = Some(format!("Bearer {key}").parse().expect("a key that can be sent"));
        self
    }

    /// The generated client, for what has no short form here.
    pub fn client(&self) -> CreditServiceClient<Channel> {
        self.client.clone()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    fn bounded<T>(&self, message: T) -> Request<T> {
        let mut request = self.request(message);
        request.set_timeout(CALL_TIMEOUT);
        request
    }

    /// GrantCredits as given.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn grant(&self, message: GrantCreditsRequest) -> Result<GrantCreditsResponse, Refusal> {
        Ok(self.client().grant_credits(self.bounded(message)).await?.into_inner())
    }

    /// SpendCredits as given.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn spend(&self, message: SpendCreditsRequest) -> Result<SpendCreditsResponse, Refusal> {
        Ok(self.client().spend_credits(self.bounded(message)).await?.into_inner())
    }

    /// GetBalance as given.
    ///
    /// # Errors
    /// [`Refusal`]; INTERNAL without a reason for an answer without balance.
    pub async fn balance(&self, message: GetBalanceRequest) -> Result<Balance, Refusal> {
        let answer = self.client().get_balance(self.bounded(message)).await?.into_inner();
        answer.balance.ok_or_else(|| Status::internal("an answer without balance").into())
    }

    /// WatchCredits as given.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn watch(
        &self,
        message: WatchCreditsRequest,
    ) -> Result<Streaming<WatchCreditsResponse>, Refusal> {
        Ok(self.client().watch_credits(self.request(message)).await?.into_inner())
    }
}

/// A grant of `amount` to `account`.
pub fn grant(account: &str, key: &str, amount: i64) -> GrantCreditsRequest {
    GrantCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        amount,
        ..GrantCreditsRequest::default()
    }
}

/// A spend of `amount` by `account`.
pub fn spend(account: &str, key: &str, amount: i64) -> SpendCreditsRequest {
    SpendCreditsRequest {
        account_id: account.to_owned(),
        idempotency_key: key.to_owned(),
        amount,
        ..SpendCreditsRequest::default()
    }
}

/// A read of the credits of `account`.
pub fn balance_of(account: &str) -> GetBalanceRequest {
    GetBalanceRequest { account_id: account.to_owned(), ..GetBalanceRequest::default() }
}

/// A watch of the credits of `account` from its beginning.
pub fn watch_all_of(account: &str) -> WatchCreditsRequest {
    let target =
        WatchTarget { account_id: account.to_owned(), after_version: Some(0), ..WatchTarget::default() };
    WatchCreditsRequest { targets: vec![target], ..WatchCreditsRequest::default() }
}
