//! `AdminService`: what its RPCs share, and the way from the generated trait to one file each.

use proto::v1;
use proto::v1::admin_service_server::AdminService;
use store::Store;
use tonic::{Request, Response, Status};

use crate::units::UnitPolicy;

/// The service. One per process.
#[allow(dead_code, reason = "for the RPCs that follow")]
pub(crate) struct AdminRpc {
    store: Store,
    units: UnitPolicy,
}

impl AdminRpc {
    pub(crate) const fn new(store: Store, units: UnitPolicy) -> Self {
        Self { store, units }
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    async fn get_account(
        &self,
        _request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn update_account(
        &self,
        _request: Request<v1::UpdateAccountRequest>,
    ) -> Result<Response<v1::UpdateAccountResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn erase_account_data(
        &self,
        _request: Request<v1::EraseAccountDataRequest>,
    ) -> Result<Response<v1::EraseAccountDataResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }

    async fn set_test_clock(
        &self,
        _request: Request<v1::SetTestClockRequest>,
    ) -> Result<Response<v1::SetTestClockResponse>, Status> {
        Err(Status::unimplemented("not served yet"))
    }
}
