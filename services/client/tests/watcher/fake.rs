//! A credits service whose streams say what a script says, and that remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream, Stream, StreamExt};
use proto::v1;
use proto::v1::credit_service_server::{CreditService, CreditServiceServer};
use proto::v1::watch_credits_response::Event;
use proto::v1::*;
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What one stream does.
pub(crate) enum Script {
    /// Refuses.
    Refuse(Status),
    /// Says this and ends.
    End(Vec<Event>),
    /// Says this and stays.
    Hang(Vec<Event>),
}

#[derive(Clone)]
pub(crate) struct Fake {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<(MetadataMap, WatchCreditsRequest)>>>,
}

impl Fake {
    pub(crate) fn new(scripts: Vec<Script>) -> Self {
        Self { scripts: Arc::new(Mutex::new(scripts.into())), seen: Arc::default() }
    }

    pub(crate) fn seen(&self) -> Vec<(MetadataMap, WatchCreditsRequest)> {
        self.seen.lock().unwrap().clone()
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = CreditServiceServer::new(self.clone());
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        format!("http://{address}")
    }
}

#[tonic::async_trait]
impl CreditService for Fake {
    type WatchLedgerStream = BoxStream<'static, Result<v1::WatchLedgerResponse, Status>>;
    type WatchCreditsStream = BoxStream<'static, Result<WatchCreditsResponse, Status>>;
    type WatchCreditSetStream = BoxStream<'static, Result<WatchCreditSetResponse, Status>>;

    async fn apply_stripe_event(
        &self,
        _: Request<ApplyStripeEventRequest>,
    ) -> Result<Response<ApplyStripeEventResponse>, Status> {
        Err(Status::unimplemented("not faked"))
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
        request: Request<WatchCreditsRequest>,
    ) -> Result<Response<Self::WatchCreditsStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.seen.lock().unwrap().push((metadata, message));
        let script = self.scripts.lock().unwrap().pop_front();
        match script.unwrap_or(Script::Hang(Vec::new())) {
            Script::Refuse(status) => Err(status),
            Script::End(events) => Ok(Response::new(said(events).boxed())),
            Script::Hang(events) => Ok(Response::new(said(events).chain(stream::pending()).boxed())),
        }
    }
}

fn said(events: Vec<Event>) -> impl Stream<Item = Result<WatchCreditsResponse, Status>> {
    stream::iter(events.into_iter().map(|event| Ok(WatchCreditsResponse { event: Some(event) })))
}
