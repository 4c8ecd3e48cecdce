//! ExtendHold: gives a hold a later end.

use domain::{Action, Command, Extend};
use proto::v1::{ExtendHoldRequest, ExtendHoldResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_hold;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn extend(
        &self,
        request: Request<ExtendHoldRequest>,
    ) -> Result<ExtendHoldResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = extend_command(request.into_inner(), &caller)?;
        extended(&self.apply(command, &caller).await?)
    }
}

/// What the store did, as the API tells it.
pub(super) fn extended(done: &Done) -> Result<ExtendHoldResponse, CallError> {
    Ok(ExtendHoldResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        hold: Some(proto_hold(done.hold()?, done.own())),
    })
}

pub(super) fn extend_command(request: ExtendHoldRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let hold_id = fields.hold(&request.hold_id);
    let ttl_us = fields.ttl(request.ttl);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields
        .command(head, notes, caller, || Some(Action::Extend(Extend { hold_id: hold_id?, ttl_us: ttl_us? })))
}
