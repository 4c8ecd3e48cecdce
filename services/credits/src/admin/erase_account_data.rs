//! EraseAccountData: blanks what is stored about a person beside the journal.

use proto::v1::{EraseAccountDataRequest, EraseAccountDataResponse};
use tonic::Request;

use super::{AdminRpc, by, changed};
use crate::caller::Caller;
use crate::encode::proto_timestamp;
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

impl AdminRpc {
    pub(super) async fn erase(
        &self,
        request: Request<EraseAccountDataRequest>,
    ) -> Result<EraseAccountDataResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Admin)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let account = fields.account(request.account_id);
        let reason = fields.reason(request.reason);
        let (account, reason) = fields.finish(|| Some((account?, reason?)))?;
        caller.require_account(&account)?;
        let by = by(&caller, reason);
        let erased = changed(&caller, &account, self.store.erase_account_data(&account, &by)).await?;
        Ok(EraseAccountDataResponse {
            erased_entries: erased.entries,
            erased_at: Some(proto_timestamp(erased.at)),
        })
    }
}
