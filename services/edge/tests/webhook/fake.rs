//! A credits service that does as it is told and remembers what it was asked. Everything else it refuses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use proto::v1;
use proto::v1::credit_service_server::{CreditService, CreditServiceServer};
use proto::v1::*;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::codegen::tokio_stream::Empty;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// What the fake does with the next calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behaviour {
    /// Commits when a permit is there.
    Commit,
    /// Refuses.
    Refuse(Code),
    /// Never answers.
    Hang,
}

#[derive(Clone)]
pub(crate) struct Fake {
    behaviour: Behaviour,
    /// One permit for each commit that may happen.
    pub(crate) permits: Arc<Semaphore>,
    /// One permit for each call that came in.
    pub(crate) entered: Arc<Semaphore>,
    seen: Arc<Mutex<Vec<(MetadataMap, ApplyStripeEventRequest)>>>,
}

impl Fake {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { behaviour, permits, entered: Arc::new(Semaphore::new(0)), seen: Arc::default() }
    }

    /// A fake whose commits wait for permits.
    pub(crate) fn held() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), ..Self::new(Behaviour::Commit) }
    }

    pub(crate) fn seen(&self) -> Vec<(MetadataMap, ApplyStripeEventRequest)> {
        self.seen.lock().unwrap().clone()
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn serve(&self) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = CreditServiceServer::new(self.clone());
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        channel_to(address)
    }
}

/// A lazy channel: it connects on first use, and need not succeed.
pub(crate) fn channel_to(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

#[tonic::async_trait]
impl CreditService for Fake {
    type WatchLedgerStream = Empty<Result<v1::WatchLedgerResponse, Status>>;
    type WatchCreditsStream = Empty<Result<WatchCreditsResponse, Status>>;
    type WatchCreditSetStream = Empty<Result<WatchCreditSetResponse, Status>>;

    async fn apply_stripe_event(
        &self,
        request: Request<ApplyStripeEventRequest>,
    ) -> Result<Response<ApplyStripeEventResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.seen.lock().unwrap().push((metadata, message));
        self.entered.add_permits(1);
        match self.behaviour {
            Behaviour::Commit => {
                self.permits.acquire().await.unwrap().forget();
                Ok(Response::new(ApplyStripeEventResponse::default()))
            }
            Behaviour::Refuse(code) => Err(Status::new(code, "as told")),
            Behaviour::Hang => std::future::pending().await,
        }
    }

    async fn grant_credits(
        &self,
        _: Request<GrantCreditsRequest>,
    ) -> Result<Response<GrantCreditsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn spend_credits(
        &self,
        _: Request<SpendCreditsRequest>,
    ) -> Result<Response<SpendCreditsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn apply_batch(
        &self,
        _: Request<ApplyBatchRequest>,
    ) -> Result<Response<ApplyBatchResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn get_balance(
        &self,
        _: Request<GetBalanceRequest>,
    ) -> Result<Response<GetBalanceResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn batch_get_balances(
        &self,
        _: Request<BatchGetBalancesRequest>,
    ) -> Result<Response<BatchGetBalancesResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn list_entries(
        &self,
        _: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn list_grants(
        &self,
        _: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn list_units(&self, _: Request<ListUnitsRequest>) -> Result<Response<ListUnitsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn hold_credits(
        &self,
        _: Request<v1::HoldCreditsRequest>,
    ) -> Result<Response<v1::HoldCreditsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn capture_hold(
        &self,
        _: Request<v1::CaptureHoldRequest>,
    ) -> Result<Response<v1::CaptureHoldResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn extend_hold(
        &self,
        _: Request<v1::ExtendHoldRequest>,
    ) -> Result<Response<v1::ExtendHoldResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn release_hold(
        &self,
        _: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn reverse_spend(
        &self,
        _: Request<v1::ReverseSpendRequest>,
    ) -> Result<Response<v1::ReverseSpendResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn revoke_grant(
        &self,
        _: Request<v1::RevokeGrantRequest>,
    ) -> Result<Response<v1::RevokeGrantResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn adjust_credits(
        &self,
        _: Request<v1::AdjustCreditsRequest>,
    ) -> Result<Response<v1::AdjustCreditsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn list_holds(
        &self,
        _: Request<v1::ListHoldsRequest>,
    ) -> Result<Response<v1::ListHoldsResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn explain_balance(
        &self,
        _: Request<v1::ExplainBalanceRequest>,
    ) -> Result<Response<v1::ExplainBalanceResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn quote_spend(
        &self,
        _: Request<v1::QuoteSpendRequest>,
    ) -> Result<Response<v1::QuoteSpendResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn watch_ledger(
        &self,
        _: Request<v1::WatchLedgerRequest>,
    ) -> Result<Response<Self::WatchLedgerStream>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn export_entries(
        &self,
        _: Request<v1::ExportEntriesRequest>,
    ) -> Result<Response<v1::ExportEntriesResponse>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn watch_credit_set(
        &self,
        _: Request<Streaming<WatchCreditSetRequest>>,
    ) -> Result<Response<Self::WatchCreditSetStream>, Status> {
        Err(Status::unimplemented("not faked"))
    }

    async fn watch_credits(
        &self,
        _: Request<WatchCreditsRequest>,
    ) -> Result<Response<Self::WatchCreditsStream>, Status> {
        Err(Status::unimplemented("not faked"))
    }
}
