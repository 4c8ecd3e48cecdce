//! ApplyBatch: many commands in one call, each with an outcome of its own.
//!
//! Promises: the commands of one account are applied in the order of the request; a command that could not be tried
//! leaves those behind it untried, so that sending the whole again keeps the order. Accounts do not wait for each
//! other. Not atomic.

mod wish;

use std::collections::BTreeMap;

use domain::{AccountId, Command};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::v1;
use proto::v1::command_result::Result as Outcome;
use store::{Answer, ApplyError, Request as StoreRequest};
use tokio::time::timeout_at;
use tonic::Request;

use super::CreditRpc;
use super::done::Done;
use crate::caller::Caller;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{MAX_COMMANDS, MAX_IN_ORDER};
use crate::status::item_error;

/// A command and its place in the request.
type Placed = (usize, Command);

impl CreditRpc {
    pub(super) async fn batch(
        &self,
        request: Request<v1::ApplyBatchRequest>,
    ) -> Result<v1::ApplyBatchResponse, CallError> {
        let caller = Caller::of_any_scope(&request)?;
        let commands = request.into_inner().commands;
        let mut fields = Fields::default();
        fields.count("commands", commands.len(), MAX_COMMANDS);
        fields.finish(|| Some(()))?;

        let mut results = vec![v1::CommandResult::default(); commands.len()];
        let mut put = |index: usize, outcome: Result<Outcome, CallError>| {
            let outcome = outcome.unwrap_or_else(|error| Outcome::Error(*item_error(error)));
            if let Some(result) = results.get_mut(index) {
                result.result = Some(outcome);
            }
        };
        let mut accounts: BTreeMap<AccountId, Vec<Placed>> = BTreeMap::new();
        for (index, command) in commands.into_iter().enumerate() {
            match self.command(command, &caller) {
                Ok(command) => accounts.entry(command.account.clone()).or_default().push((index, command)),
                Err(error) => put(index, Err(error)),
            }
        }
        let working =
            accounts.into_iter().map(|(account, commands)| self.in_order(account, commands, &caller));
        let mut working: FuturesUnordered<_> = working.collect();
        while let Some(outcomes) = working.next().await {
            for (index, outcome) in outcomes {
                put(index, outcome);
            }
        }
        Ok(v1::ApplyBatchResponse { results })
    }

    /// One command of the request, which its caller may send.
    fn command(&self, command: v1::Command, caller: &Caller) -> Result<Command, CallError> {
        let command = wish::command(command, caller)?;
        self.require(&command, caller)?;
        Ok(command)
    }

    /// Applies the commands of one account, a few at a time; the store keeps their order.
    async fn in_order(
        &self,
        account: AccountId,
        mut commands: Vec<Placed>,
        caller: &Caller,
    ) -> Vec<(usize, Result<Outcome, CallError>)> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut cut = None;
        while !commands.is_empty() {
            let rest = commands.split_off(commands.len().min(MAX_IN_ORDER));
            let some = std::mem::replace(&mut commands, rest);
            let answers = match &cut {
                Some(error) => vec![Err(ApplyError::clone(error)); some.len()],
                None => self.apply_some(&some, caller).await,
            };
            cut = cut.or_else(|| {
                answers.iter().filter_map(|a| a.as_ref().err()).find_map(ApplyError::for_later_requests)
            });
            for ((index, command), answer) in some.into_iter().zip(answers) {
                let answer = answer.map_err(CallError::of(account.clone(), command.unit.clone()));
                let outcome = match answer.and_then(Done::try_new) {
                    Ok(done) => self.outcome(&done, &command, caller).await,
                    Err(error) => Err(error),
                };
                outcomes.push((index, outcome));
            }
        }
        outcomes
    }

    async fn apply_some(&self, commands: &[Placed], caller: &Caller) -> Vec<Result<Answer, ApplyError>> {
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        let permits = timeout_at(caller.deadline, self.batched.acquire_many(count)).await;
        let Ok(Ok(_permits)) = permits else {
            return vec![Err(ApplyError::DeadlinePassed); commands.len()];
        };
        let requests = commands.iter().map(|(_, command)| StoreRequest::Command(command.clone())).collect();
        self.store.apply_in_order(requests, caller.deadline).await
    }
}
