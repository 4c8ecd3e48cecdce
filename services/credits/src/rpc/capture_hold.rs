//! CaptureHold: uses part or all of a hold.

use domain::{Action, Capture, Command, MAX_AMOUNT};
use proto::v1::{CaptureHoldRequest, CaptureHoldResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::proto_hold;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn capture(
        &self,
        request: Request<CaptureHoldRequest>,
    ) -> Result<CaptureHoldResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Spend)?;
        let command = capture_command(request.into_inner(), &caller)?;
        captured(&self.apply(command, &caller).await?)
    }
}

/// What the store did, as the API tells it.
pub(super) fn captured(done: &Done) -> Result<CaptureHoldResponse, CallError> {
    let delta = done.own().delta;
    let (from_hold, overage) = (delta.held.saturating_neg(), delta.available.saturating_neg());
    Ok(CaptureHoldResponse {
        balance: done.balance(),
        entry: done.entry(),
        entries: done.entries(),
        operation_id: done.operation_id(),
        replayed: done.replayed,
        hold: Some(proto_hold(done.hold()?, done.own())),
        captured: from_hold.saturating_add(overage),
        overage,
    })
}

pub(super) fn capture_command(request: CaptureHoldRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let hold_id = fields.hold(&request.hold_id);
    let (is_final, allow_overage) = (request.r#final, request.allow_overage);
    // A final capture of nothing is a release that counts as use.
    let amount = fields.range("amount", request.amount, i64::from(!is_final), MAX_AMOUNT);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || {
        Some(Action::Capture(Capture { hold_id: hold_id?, amount: amount?, is_final, allow_overage }))
    })
}
