//! ReverseSpend: gives back part or all of an earlier spend or capture.

use domain::{Action, Command, Context, Entry, Reverse};
use proto::v1::{ReverseSpendRequest, ReverseSpendResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_grant;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn reverse(
        &self,
        request: Request<ReverseSpendRequest>,
    ) -> Result<ReverseSpendResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = reverse_command(request.into_inner(), &caller)?;
        let context = command.context.clone();
        Ok(reversed(&self.apply(command, &caller).await?, &context))
    }
}

/// What the store did, as the API tells it; `context` is the command's.
pub(super) fn reversed(done: &Done, context: &Context) -> ReverseSpendResponse {
    ReverseSpendResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        reversed: given_back(done.own()),
        grants: done.grants().iter().map(|lot| proto_grant(lot, done.own(), context)).collect(),
    }
}

pub(super) fn reverse_command(request: ReverseSpendRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let entry = fields.entry(&request.entry_id, head.unit.as_ref());
    // `Some(None)`: all that is left.
    let amount = request.amount.map_or(Some(None), |amount| fields.amount(amount).map(Some));
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || Some(Action::Reverse(Reverse { entry: entry?, amount: amount? })))
}

/// Credits that came back: to lots, into the debt that they repaid, and to revocations that kept them.
fn given_back(entry: &Entry) -> i64 {
    let reclaimed = entry.lines.iter().map(|line| line.reclaimed).fold(0, i64::saturating_add);
    entry.delta.available.saturating_sub(entry.delta.debt).saturating_add(reclaimed)
}
