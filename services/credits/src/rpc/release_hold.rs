//! ReleaseHold: gives back what a hold still has.

use domain::{Action, Command, Release};
use proto::v1::{ReleaseHoldRequest, ReleaseHoldResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_hold;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn release(
        &self,
        request: Request<ReleaseHoldRequest>,
    ) -> Result<ReleaseHoldResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = release_command(request.into_inner(), &caller)?;
        released(&self.apply(command, &caller).await?)
    }
}

/// What the store did, as the API tells it.
pub(super) fn released(done: &Done) -> Result<ReleaseHoldResponse, CallError> {
    Ok(ReleaseHoldResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        hold: Some(proto_hold(done.hold()?, done.own())),
        released: done.own().delta.held.saturating_neg(),
    })
}

pub(super) fn release_command(request: ReleaseHoldRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let hold_id = fields.hold(&request.hold_id);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || Some(Action::Release(Release { hold_id: hold_id? })))
}
