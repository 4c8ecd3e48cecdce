//! SetTestClock: moves the clock of a sandbox account.

use proto::v1::{SetTestClockRequest, SetTestClockResponse};
use tonic::Request;

use super::{AdminRpc, by, changed};
use crate::caller::Caller;
use crate::encode::proto_timestamp;
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

impl AdminRpc {
    pub(super) async fn test_clock(
        &self,
        request: Request<SetTestClockRequest>,
    ) -> Result<SetTestClockResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Admin)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let account = fields.account(request.account_id);
        let now = fields.required_moment("now", request.now);
        let (account, now) = fields.finish(|| Some((account?, now?)))?;
        caller.require_account(&account)?;
        // The request has no reason: there is none but a test.
        let by = by(&caller, String::new());
        let set = self.store.set_test_clock(&account, now, &by, caller.deadline);
        let set = changed(&caller, &account, set).await?;
        Ok(SetTestClockResponse {
            now: Some(proto_timestamp(set.now)),
            settled_operations: set.settled_operations,
        })
    }
}
