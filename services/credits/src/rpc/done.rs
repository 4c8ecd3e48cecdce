//! A committed command, as the answers to all writes begin.

use domain::{Command, Entry, Hold, Lot, Operation, OperationId};
use proto::v1;
use store::{Answer, Request as StoreRequest};

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{balance_after, proto_entry};
use crate::error::CallError;

/// What a command did.
pub(super) struct Done {
    id: OperationId,
    /// The command's own.
    own: Entry,
    /// Those behind it.
    later: Vec<Entry>,
    grants: Vec<Lot>,
    hold: Option<Hold>,
    pub(super) replayed: bool,
}

impl CreditRpc {
    /// Applies one command, when its caller may send it.
    pub(super) async fn apply(&self, command: Command, caller: &Caller) -> Result<Done, CallError> {
        self.require(&command, caller)?;
        let (account, unit) = (command.account.clone(), command.unit.clone());
        let answer = self.store.apply(StoreRequest::Command(command), caller.deadline).await;
        Done::try_new(answer.map_err(CallError::of(account, unit))?)
    }
}

impl Done {
    /// # Errors
    /// [`CallError::Broken`] for the answer to something else.
    pub(super) fn try_new(answer: Answer) -> Result<Self, CallError> {
        let Answer::Operation { operation, replayed } = answer else {
            return Err(CallError::Broken("a command's answer is no operation"));
        };
        let Operation { id, entries, grants, hold } = operation;
        let mut entries = entries.into_iter();
        let own = entries.next().ok_or(CallError::Broken("an operation without entries"))?;
        Ok(Self { id, own, later: entries.collect(), grants, hold, replayed })
    }

    /// The command's own entry.
    pub(super) const fn own(&self) -> &Entry {
        &self.own
    }

    pub(super) fn entry(&self) -> Option<v1::Entry> {
        Some(proto_entry(&self.own))
    }

    pub(super) fn entries(&self) -> Vec<v1::Entry> {
        std::iter::once(&self.own).chain(&self.later).map(proto_entry).collect()
    }

    /// The balance after the whole operation.
    pub(super) fn balance(&self) -> Option<v1::Balance> {
        Some(balance_after(self.later.last().unwrap_or(&self.own)))
    }

    pub(super) fn operation_id(&self) -> String {
        self.id.to_string()
    }

    /// The lots that the answer shows.
    pub(super) fn grants(&self) -> &[Lot] {
        &self.grants
    }

    /// The lot of a command that always has one.
    pub(super) fn grant(&self) -> Result<&Lot, CallError> {
        self.grants.first().ok_or(CallError::Broken("an operation without its lot"))
    }

    /// The hold of a command that always has one.
    pub(super) fn hold(&self) -> Result<&Hold, CallError> {
        self.hold.as_ref().ok_or(CallError::Broken("an operation without its hold"))
    }
}
