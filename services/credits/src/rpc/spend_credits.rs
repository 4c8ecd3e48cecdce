//! SpendCredits: takes credits from the lots in burn order.

use domain::{Action, Command, Spend};
use proto::v1::{SpendCreditsRequest, SpendCreditsResponse};
use store::{Answer, Request as StoreRequest, own_entry};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{balance_after, proto_entry};
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn spend(
        &self,
        request: Request<SpendCreditsRequest>,
    ) -> Result<SpendCreditsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = spend_command(request.into_inner(), &caller)?;
        self.require(&command, &caller)?;
        let account = command.account.clone();
        let answer = self.store.apply(StoreRequest::Command(command), caller.deadline).await;
        spent(answer.map_err(CallError::of(account))?)
    }
}

/// What the store did, as the API tells it.
pub(super) fn spent(answer: Answer) -> Result<SpendCreditsResponse, CallError> {
    let Answer::Operation { operation, replayed } = answer else {
        return Err(CallError::Broken("a command's answer is no operation"));
    };
    let entry = own_entry(&operation).ok_or(CallError::Broken("an operation without entries"))?;
    Ok(SpendCreditsResponse {
        balance: Some(balance_after(entry)),
        entry: Some(proto_entry(entry)),
        entries: operation.entries.iter().map(proto_entry).collect(),
        operation_id: operation.id.to_string(),
        replayed,
        spent: entry.delta.available.saturating_neg(),
    })
}

pub(super) fn spend_command(request: SpendCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let key = fields.key(request.idempotency_key);
    let amount = fields.amount(request.amount);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    let context = fields.context(notes, caller);
    let allow_partial = request.allow_partial;
    let command = fields.finish(|| {
        let spend = Spend { amount: amount?, allow_partial };
        Some(Command::try_new(account?, unit?, key?, context?, Action::Spend(spend)))
    })?;
    Ok(command?)
}
