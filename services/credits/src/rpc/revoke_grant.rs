//! RevokeGrant: sets how much of a grant is taken back.

use std::error::Error;

use domain::{Action, Command, MAX_AMOUNT, Revoke};
use proto::v1::{RevokeGrantRequest, RevokeGrantResponse};
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::encode::changed_grant;
use crate::error::CallError;
use crate::fields::{Fields, Notes};
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn revoke(
        &self,
        request: Request<RevokeGrantRequest>,
    ) -> Result<RevokeGrantResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Grant)?;
        let command = revoke_command(request.into_inner(), &caller)?;
        let done = self.apply(command, &caller).await?;
        self.revoked(&done, &caller).await
    }

    /// What the store did, as the API tells it, with what the granting call had brought.
    ///
    /// # Errors
    /// [`CallError::OutcomeUnknown`] when that cannot be read: the command is committed, and its key will tell.
    pub(super) async fn revoked(
        &self,
        done: &Done,
        caller: &Caller,
    ) -> Result<RevokeGrantResponse, CallError> {
        let (lot, entry) = (done.grant()?, done.own());
        let page =
            self.store.grants_page((&entry.account, &entry.unit), &[], lot.version.saturating_add(1), 1);
        let page = caller.in_time(page).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn Error, "a revoked grant cannot be read");
            CallError::OutcomeUnknown
        })?;
        let stored = page.items.into_iter().next().ok_or(CallError::Broken("a revoked grant has no row"))?;
        Ok(RevokeGrantResponse {
            balance: done.balance(),
            entry: done.entry(),
            entries: done.entries(),
            operation_id: done.operation_id(),
            replayed: done.replayed,
            grant: Some(changed_grant(lot, entry, stored)),
        })
    }
}

pub(super) fn revoke_command(request: RevokeGrantRequest, caller: &Caller) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let head = fields.head(request.account_id, request.unit, request.idempotency_key);
    let grant_id = fields.grant(&request.grant_id);
    let revoked = fields.range("revoked", request.revoked, 0, MAX_AMOUNT);
    let shortfall = fields.shortfall(request.shortfall_policy);
    let notes = Notes {
        reference: request.reference,
        reason: request.reason,
        on_behalf_of: request.on_behalf_of,
        metadata: request.metadata,
    };
    fields.command(head, notes, caller, || {
        Some(Action::Revoke(Revoke { grant_id: grant_id?, revoked: revoked?, shortfall: shortfall? }))
    })
}
