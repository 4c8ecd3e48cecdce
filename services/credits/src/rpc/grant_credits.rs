//! GrantCredits: a new lot.

use domain::{Action, Command, Context, Expiry, Grant};
use proto::v1::{GrantCreditsRequest, GrantCreditsResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_grant;
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
        let context = command.context.clone();
        granted(&self.apply(command, &caller).await?, &context)
    }
}

/// What the store did, as the API tells it; `context` is the command's.
pub(super) fn granted(done: &Done, context: &Context) -> Result<GrantCreditsResponse, CallError> {
    Ok(GrantCreditsResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        grant: Some(proto_grant(done.grant()?, done.own(), context)),
    })
}

pub(super) fn grant_command(request: GrantCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
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
    fields.command(head, notes, caller, || {
        Some(Action::Grant(Grant {
            amount: amount?,
            kind: kind?,
            priority: priority?,
            effective_at: effective_at?,
            expiry: expires_at?.map_or(Expiry::Never, Expiry::At),
            cost_basis: cost_basis?,
        }))
    })
}
