//! GrantCredits: a new lot.

use domain::{Action, Command, Context, Expiry, Grant};
use proto::v1::{GrantCreditsRequest, GrantCreditsResponse};
use store::{Answer, Request as StoreRequest, own_entry};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{balance_after, proto_entry, proto_grant};
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn grant(
        &self,
        request: Request<GrantCreditsRequest>,
    ) -> Result<GrantCreditsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Grant)?;
        let command = grant_command(request.into_inner(), &caller)?;
        self.require(&command, &caller)?;
        let (account, context) = (command.account.clone(), command.context.clone());
        let answer = self.store.apply(StoreRequest::Command(command), caller.deadline).await;
        granted(answer.map_err(CallError::of(account))?, &context)
    }
}

/// What the store did, as the API tells it; `context` is the command's.
pub(super) fn granted(answer: Answer, context: &Context) -> Result<GrantCreditsResponse, CallError> {
    let Answer::Operation { operation, replayed } = answer else {
        return Err(CallError::Broken("a command's answer is no operation"));
    };
    let entry = own_entry(&operation).ok_or(CallError::Broken("an operation without entries"))?;
    let lot = operation.grants.first().ok_or(CallError::Broken("a grant without lot"))?;
    Ok(GrantCreditsResponse {
        balance: Some(balance_after(entry)),
        entry: Some(proto_entry(entry)),
        entries: operation.entries.iter().map(proto_entry).collect(),
        operation_id: operation.id.to_string(),
        replayed,
        grant: Some(proto_grant(lot, entry, context)),
    })
}

pub(super) fn grant_command(request: GrantCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let key = fields.key(request.idempotency_key);
    let amount = fields.amount(request.amount);
    let kind = fields.grant_kind(request.kind);
    let priority = fields.priority(request.priority);
    let effective_at = fields.moment("effective_at", request.effective_at);
    let expires_at = fields.moment("expires_at", request.expires_at);
    let cost_basis = fields.cost_basis(request.cost_basis);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    let context = fields.context(notes, caller);
    let command = fields.finish(|| {
        let grant = Grant {
            amount: amount?,
            kind: kind?,
            priority: priority?,
            effective_at: effective_at?,
            expiry: expires_at?.map_or(Expiry::Never, Expiry::At),
            cost_basis: cost_basis?,
        };
        Some(Command::try_new(account?, unit?, key?, context?, Action::Grant(grant)))
    })?;
    Ok(command?)
}
