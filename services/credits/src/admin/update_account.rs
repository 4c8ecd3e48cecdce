//! UpdateAccount: which commands an account takes, and where it fires.

use domain::{AccountId, AccountState, Problem, Threshold};
use proto::v1::{Account, UpdateAccountRequest, UpdateAccountResponse};
use store::AccountChange;
use tonic::Request;

use super::{AdminRpc, by, changed};
use crate::caller::Caller;
use crate::encode::proto_account;
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

/// What is to change; `None`: left as it is.
struct Update {
    account: AccountId,
    state: Option<AccountState>,
    thresholds: Option<Vec<Threshold>>,
    reason: String,
}

impl AdminRpc {
    pub(super) async fn update(
        &self,
        request: Request<UpdateAccountRequest>,
    ) -> Result<UpdateAccountResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Admin)?;
        let Update { account, state, thresholds, reason } = parse(request.into_inner())?;
        caller.require_account(&account)?;
        for threshold in thresholds.iter().flatten() {
            self.units.require(threshold.unit())?;
        }
        let (change, by) = (AccountChange { state, thresholds }, by(&caller, reason));
        let updated = changed(&caller, &account, self.store.update_account(&account, &change, &by)).await?;
        Ok(UpdateAccountResponse { account: Some(proto_account(&updated)) })
    }
}

fn parse(request: UpdateAccountRequest) -> Result<Update, CallError> {
    let mut fields = Fields::default();
    let mask = fields.mask(request.update_mask);
    if request.account.is_none() {
        fields.violate("account", Problem::Empty);
        return fields.finish(|| None);
    }
    let Account { account_id, state, thresholds, .. } = request.account.unwrap_or_default();
    fields.within("account");
    let account = fields.account(account_id);
    let state = if mask.state { fields.account_state(state).map(Some) } else { Some(None) };
    fields.leave();
    let thresholds = if mask.thresholds {
        fields.thresholds("account.thresholds", thresholds).map(Some)
    } else {
        Some(None)
    };
    let reason = fields.reason(request.reason);
    fields.finish(|| {
        Some(Update { account: account?, state: state?, thresholds: thresholds?, reason: reason? })
    })
}
