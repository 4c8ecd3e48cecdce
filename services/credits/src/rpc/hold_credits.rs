//! HoldCredits: reserves credits for work that is under way.

use domain::{Action, Command, Context, NewHold};
use proto::v1::{HoldCreditsRequest, HoldCreditsResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::made_hold;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn hold(
        &self,
        request: Request<HoldCreditsRequest>,
    ) -> Result<HoldCreditsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = hold_command(request.into_inner(), &caller)?;
        let context = command.context.clone();
        held(&self.apply(command, &caller).await?, &context)
    }
}

/// What the store did, as the API tells it; `context` is the command's.
pub(super) fn held(done: &Done, context: &Context) -> Result<HoldCreditsResponse, CallError> {
    Ok(HoldCreditsResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        hold: Some(made_hold(done.hold()?, done.own(), context)),
    })
}

pub(super) fn hold_command(request: HoldCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let amount = fields.amount(request.amount);
    let ttl_us = fields.ttl(request.ttl);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || Some(Action::Hold(NewHold { amount: amount?, ttl_us: ttl_us? })))
}
