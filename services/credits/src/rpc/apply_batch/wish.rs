//! The commands of a batch: each needs the scope of its own RPC, is read as that reads it, and answered as that answers.

use domain::{Action, Command, Problem};
use proto::v1;
use proto::v1::command::Command as Wish;
use proto::v1::command_result::Result as Outcome;

use super::CreditRpc;
use crate::caller::Caller;
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;
use crate::rpc::adjust_credits::{adjust_command, adjusted};
use crate::rpc::capture_hold::{capture_command, captured};
use crate::rpc::done::Done;
use crate::rpc::extend_hold::{extend_command, extended};
use crate::rpc::grant_credits::{grant_command, granted};
use crate::rpc::hold_credits::{held, hold_command};
use crate::rpc::release_hold::{release_command, released};
use crate::rpc::reverse_spend::{reverse_command, reversed};
use crate::rpc::revoke_grant::revoke_command;
use crate::rpc::spend_credits::{spend_command, spent};

/// # Errors
/// [`CallError::MissingScope`], before anything is read; [`CallError::Invalid`].
pub(super) fn command(command: v1::Command, caller: &Caller) -> Result<Command, CallError> {
    match command.command {
        Some(Wish::Grant(wish)) => read(wish, Scope::Grant, grant_command, caller),
        Some(Wish::Spend(wish)) => read(wish, Scope::Spend, spend_command, caller),
        Some(Wish::Hold(wish)) => read(wish, Scope::Spend, hold_command, caller),
        Some(Wish::Capture(wish)) => read(wish, Scope::Spend, capture_command, caller),
        Some(Wish::Extend(wish)) => read(wish, Scope::Spend, extend_command, caller),
        Some(Wish::Release(wish)) => read(wish, Scope::Spend, release_command, caller),
        Some(Wish::Reverse(wish)) => read(wish, Scope::Spend, reverse_command, caller),
        Some(Wish::Revoke(wish)) => read(wish, Scope::Grant, revoke_command, caller),
        Some(Wish::Adjust(wish)) => read(wish, Scope::Adjust, adjust_command, caller),
        None => {
            let mut fields = Fields::default();
            fields.violate("command", Problem::Rule("must be a command that this version knows"));
            fields.finish(|| None)
        }
    }
}

fn read<T>(
    wish: T,
    scope: Scope,
    parse: fn(T, &Caller) -> Result<Command, CallError>,
    caller: &Caller,
) -> Result<Command, CallError> {
    caller.require_scope(scope)?;
    parse(wish, caller)
}

impl CreditRpc {
    pub(super) async fn outcome(
        &self,
        done: &Done,
        command: &Command,
        caller: &Caller,
    ) -> Result<Outcome, CallError> {
        let context = &command.context;
        Ok(match command.action {
            Action::Grant(_) => Outcome::Grant(granted(done, context)?),
            Action::Spend(_) => Outcome::Spend(spent(done)),
            Action::Hold(_) => Outcome::Hold(held(done, context)?),
            Action::Capture(_) => Outcome::Capture(captured(done)?),
            Action::Extend(_) => Outcome::Extend(extended(done)?),
            Action::Release(_) => Outcome::Release(released(done)?),
            Action::Reverse(_) => Outcome::Reverse(reversed(done, context)),
            Action::Revoke(_) => Outcome::Revoke(self.revoked(done, caller).await?),
            Action::Adjust(_) => Outcome::Adjust(adjusted(done, context)),
        })
    }
}
