//! `CreditService`: what its RPCs share, and the way from the generated trait to one file each.

mod adjust_credits;
mod apply_batch;
mod apply_stripe_event;
mod batch_get_balances;
mod capture_hold;
mod done;
mod explain_balance;
mod export_entries;
mod extend_hold;
mod get_balance;
mod grant_credits;
mod hold_credits;
mod list_entries;
mod list_grants;
mod list_holds;
mod list_units;
mod past;
mod quote_spend;
mod release_hold;
mod reverse_spend;
mod revoke_grant;
mod settled;
mod spend_credits;
mod watch_credit_set;
mod watch_credits;
mod watch_ledger;

use std::sync::Arc;
use std::time::Duration;

use domain::{AccountId, Command, Unit};
use proto::v1;
use proto::v1::credit_service_server::CreditService;
use relay::Relay;
use signature::Secrets;
use store::{Store, StoredBalance};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::error::CallError;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::measure::Measures;
use crate::server::UnixClock;
use crate::streams::{LedgerStreams, Streams};
use crate::units::UnitPolicy;

/// What is known about Stripe's webhooks.
pub(crate) struct Webhooks {
    pub(crate) secrets: Option<Secrets>,
    pub(crate) clock: UnixClock,
    pub(crate) measures: Measures,
}

/// The service. One per process.
pub(crate) struct CreditRpc {
    store: Store,
    relay: Relay,
    units: Arc<UnitPolicy>,
    webhooks: Webhooks,
    inbox: Arc<Inbox>,
    streams: Streams,
    ledger_streams: LedgerStreams,
    /// Reads that may wait for a version at once.
    waiting: Semaphore,
    /// Commands of batches that may be in the store's queues at once.
    batched: Semaphore,
    /// Least age at which a stream ends.
    stream_age: Duration,
    /// The process ends: streams end, and new ones are refused.
    closing: CancellationToken,
}

impl CreditRpc {
    pub(crate) fn new(
        store: Store,
        relay: Relay,
        units: UnitPolicy,
        (webhooks, inbox): (Webhooks, Arc<Inbox>),
        limits: &Limits,
        closing: CancellationToken,
    ) -> Self {
        let waiting = Semaphore::new(limits.waiting_reads);
        let batched = Semaphore::new(limits.batched_commands);
        let (streams, stream_age) = (Streams::new(limits), limits.stream_age);
        let units = Arc::new(units);
        let ledger_streams = LedgerStreams::new(limits);
        Self {
            store,
            relay,
            units,
            webhooks,
            inbox,
            streams,
            ledger_streams,
            waiting,
            batched,
            stream_age,
            closing,
        }
    }

    /// Whether a command may be applied: its account is covered and its unit declared.
    fn require(&self, command: &Command, caller: &Caller) -> Result<(), CallError> {
        caller.require_account(&command.account)?;
        self.units.require(&command.unit)
    }

    /// The balances among `keys` that have entries, read within the caller's time.
    async fn read_balances(
        &self,
        keys: &[(AccountId, Unit)],
        caller: &Caller,
    ) -> Result<Vec<StoredBalance>, CallError> {
        caller.in_time(self.store.balances(keys)).await
    }
}

#[tonic::async_trait]
impl CreditService for CreditRpc {
    async fn grant_credits(
        &self,
        request: Request<v1::GrantCreditsRequest>,
    ) -> Result<Response<v1::GrantCreditsResponse>, Status> {
        Ok(Response::new(self.grant(request).await?))
    }

    async fn spend_credits(
        &self,
        request: Request<v1::SpendCreditsRequest>,
    ) -> Result<Response<v1::SpendCreditsResponse>, Status> {
        Ok(Response::new(self.spend(request).await?))
    }

    async fn apply_batch(
        &self,
        request: Request<v1::ApplyBatchRequest>,
    ) -> Result<Response<v1::ApplyBatchResponse>, Status> {
        Ok(Response::new(self.batch(request).await?))
    }

    async fn get_balance(
        &self,
        request: Request<v1::GetBalanceRequest>,
    ) -> Result<Response<v1::GetBalanceResponse>, Status> {
        Ok(Response::new(self.balance(request).await?))
    }

    async fn batch_get_balances(
        &self,
        request: Request<v1::BatchGetBalancesRequest>,
    ) -> Result<Response<v1::BatchGetBalancesResponse>, Status> {
        Ok(Response::new(self.balances(request).await?))
    }

    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        Ok(Response::new(self.entries(request).await?))
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        Ok(Response::new(self.grants(request).await?))
    }

    async fn list_units(
        &self,
        request: Request<v1::ListUnitsRequest>,
    ) -> Result<Response<v1::ListUnitsResponse>, Status> {
        Ok(Response::new(self.declared_units(&request)?))
    }

    type WatchCreditsStream = watch_credits::Messages<v1::WatchCreditsResponse>;

    async fn watch_credits(
        &self,
        request: Request<v1::WatchCreditsRequest>,
    ) -> Result<Response<Self::WatchCreditsStream>, Status> {
        Ok(Response::new(self.watch(request).await?))
    }

    type WatchCreditSetStream = watch_credits::Messages<v1::WatchCreditSetResponse>;

    async fn watch_credit_set(
        &self,
        request: Request<Streaming<v1::WatchCreditSetRequest>>,
    ) -> Result<Response<Self::WatchCreditSetStream>, Status> {
        Ok(Response::new(self.watch_set(request).await?))
    }

    async fn hold_credits(
        &self,
        request: Request<v1::HoldCreditsRequest>,
    ) -> Result<Response<v1::HoldCreditsResponse>, Status> {
        Ok(Response::new(self.hold(request).await?))
    }

    async fn capture_hold(
        &self,
        request: Request<v1::CaptureHoldRequest>,
    ) -> Result<Response<v1::CaptureHoldResponse>, Status> {
        Ok(Response::new(self.capture(request).await?))
    }

    async fn extend_hold(
        &self,
        request: Request<v1::ExtendHoldRequest>,
    ) -> Result<Response<v1::ExtendHoldResponse>, Status> {
        Ok(Response::new(self.extend(request).await?))
    }

    async fn release_hold(
        &self,
        request: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        Ok(Response::new(self.release(request).await?))
    }

    async fn reverse_spend(
        &self,
        request: Request<v1::ReverseSpendRequest>,
    ) -> Result<Response<v1::ReverseSpendResponse>, Status> {
        Ok(Response::new(self.reverse(request).await?))
    }

    async fn revoke_grant(
        &self,
        request: Request<v1::RevokeGrantRequest>,
    ) -> Result<Response<v1::RevokeGrantResponse>, Status> {
        Ok(Response::new(self.revoke(request).await?))
    }

    async fn adjust_credits(
        &self,
        request: Request<v1::AdjustCreditsRequest>,
    ) -> Result<Response<v1::AdjustCreditsResponse>, Status> {
        Ok(Response::new(self.adjust(request).await?))
    }

    async fn list_holds(
        &self,
        request: Request<v1::ListHoldsRequest>,
    ) -> Result<Response<v1::ListHoldsResponse>, Status> {
        Ok(Response::new(self.holds(request).await?))
    }

    async fn explain_balance(
        &self,
        request: Request<v1::ExplainBalanceRequest>,
    ) -> Result<Response<v1::ExplainBalanceResponse>, Status> {
        Ok(Response::new(self.explain(request).await?))
    }

    async fn quote_spend(
        &self,
        request: Request<v1::QuoteSpendRequest>,
    ) -> Result<Response<v1::QuoteSpendResponse>, Status> {
        Ok(Response::new(self.quote(request).await?))
    }

    async fn export_entries(
        &self,
        request: Request<v1::ExportEntriesRequest>,
    ) -> Result<Response<v1::ExportEntriesResponse>, Status> {
        Ok(Response::new(self.export(request).await?))
    }

    type WatchLedgerStream = watch_ledger::Messages;

    async fn watch_ledger(
        &self,
        request: Request<v1::WatchLedgerRequest>,
    ) -> Result<Response<Self::WatchLedgerStream>, Status> {
        Ok(Response::new(self.watch_all(request)?))
    }

    async fn apply_stripe_event(
        &self,
        request: Request<v1::ApplyStripeEventRequest>,
    ) -> Result<Response<v1::ApplyStripeEventResponse>, Status> {
        Ok(Response::new(self.stripe_event(request).await?))
    }
}
