//! AdjustCredits: an operator's correction.

use domain::{Action, Adjust, Command, Context, Problem};
use proto::v1::{AdjustCreditsRequest, AdjustCreditsResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_grant;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn adjust(
        &self,
        request: Request<AdjustCreditsRequest>,
    ) -> Result<AdjustCreditsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Adjust)?;
        let command = adjust_command(request.into_inner(), &caller)?;
        let context = command.context.clone();
        Ok(adjusted(&self.apply(command, &caller).await?, &context))
    }
}

/// What the store did, as the API tells it; `context` is the command's.
pub(super) fn adjusted(done: &Done, context: &Context) -> AdjustCreditsResponse {
    AdjustCreditsResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        grant: done.grants().first().map(|lot| proto_grant(lot, done.own(), context)),
    }
}

pub(super) fn adjust_command(request: AdjustCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let delta = fields.delta(request.delta);
    let expires_at = fields.moment("expires_at", request.expires_at);
    if request.delta < 0 && request.expires_at.is_some() {
        fields.violate("expires_at", Problem::Rule("is only for credits that are added"));
    }
    fields.required("reason", &request.reason);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || {
        Some(Action::Adjust(Adjust { delta: delta?, expires_at: expires_at? }))
    })
}
