//! SpendCredits: takes credits from the lots in burn order.

use domain::{Action, Command, Spend};
use proto::v1::{SpendCreditsRequest, SpendCreditsResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
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
        Ok(spent(&self.apply(command, &caller).await?))
    }
}

/// What the store did, as the API tells it.
pub(super) fn spent(done: &Done) -> SpendCreditsResponse {
    SpendCreditsResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        spent: done.own().delta.available.saturating_neg(),
    }
}

pub(super) fn spend_command(request: SpendCreditsRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let amount = fields.amount(request.amount);
    let allow_partial = request.allow_partial;
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || Some(Action::Spend(Spend { amount: amount?, allow_partial })))
}
