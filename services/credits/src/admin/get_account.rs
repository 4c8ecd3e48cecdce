//! GetAccount: one account.

use proto::v1::{GetAccountRequest, GetAccountResponse};
use tokio::time::timeout_at;
use tonic::Request;

use super::AdminRpc;
use crate::caller::Caller;
use crate::encode::proto_account;
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

impl AdminRpc {
    pub(super) async fn account(
        &self,
        request: Request<GetAccountRequest>,
    ) -> Result<GetAccountResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Admin)?;
        let mut fields = Fields::default();
        let account = fields.account(request.into_inner().account_id);
        let account = fields.finish(|| account)?;
        caller.require_account(&account)?;
        let found = timeout_at(caller.deadline, self.store.account(&account)).await;
        let found = found.map_err(|_| CallError::ReadTimedOut)?.map_err(CallError::of_account(account))?;
        Ok(GetAccountResponse { account: Some(proto_account(&found)) })
    }
}
