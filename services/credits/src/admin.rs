//! `AdminService`: what its RPCs share, and the way from the generated trait to one file each.

mod erase_account_data;
mod get_account;
mod set_test_clock;
mod update_account;

use domain::AccountId;
use proto::v1;
use proto::v1::admin_service_server::AdminService;
use store::{AccountError, By, Store};
use tokio::time::timeout_at;
use tonic::{Request, Response, Status};

use crate::caller::Caller;
use crate::error::CallError;
use crate::units::UnitPolicy;

/// The service. One per process.
pub(crate) struct AdminRpc {
    store: Store,
    units: UnitPolicy,
}

impl AdminRpc {
    pub(crate) const fn new(store: Store, units: UnitPolicy) -> Self {
        Self { store, units }
    }
}

/// The answer of a change of an account, which has no key: one that does not come in time may be made all the same,
/// and can be made again.
async fn changed<T>(
    caller: &Caller,
    account: &AccountId,
    change: impl Future<Output = Result<T, AccountError>>,
) -> Result<T, CallError> {
    match timeout_at(caller.deadline, change).await {
        Ok(answer) => answer.map_err(CallError::of_account(account.clone())),
        Err(_) => Err(CallError::OutcomeUnknown),
    }
}

fn by(caller: &Caller, reason: String) -> By {
    By { actor: caller.principal.id().to_owned(), reason }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        Ok(Response::new(self.account(request).await?))
    }

    async fn update_account(
        &self,
        request: Request<v1::UpdateAccountRequest>,
    ) -> Result<Response<v1::UpdateAccountResponse>, Status> {
        Ok(Response::new(self.update(request).await?))
    }

    async fn erase_account_data(
        &self,
        request: Request<v1::EraseAccountDataRequest>,
    ) -> Result<Response<v1::EraseAccountDataResponse>, Status> {
        Ok(Response::new(self.erase(request).await?))
    }

    async fn set_test_clock(
        &self,
        request: Request<v1::SetTestClockRequest>,
    ) -> Result<Response<v1::SetTestClockResponse>, Status> {
        Ok(Response::new(self.test_clock(request).await?))
    }
}
