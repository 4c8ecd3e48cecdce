//! What a reader asks for on its live stream: one message at a time, checked and made ready. Must not know: which targets
//! the stream has.

use domain::{AccountId, Problem, Unit};
use futures::StreamExt;
use proto::v1;
use proto::v1::watch_credit_set_request::Command;
use relay::Target;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};
use tracing::Instrument;

use crate::error::{CallError, Violation};
use crate::fields::Fields;
use crate::rpc::watch_credits::{Gate, parse_targets, removed, target_change};
use crate::status::item_error;

/// A message that was looked at.
pub(in crate::rpc) enum Wish {
    /// Targets to add, and the answers of those that are not.
    Add { targets: Vec<Target>, refused: Vec<v1::TargetChange> },
    /// Balances to watch no more.
    Remove(Vec<(AccountId, Unit)>),
}

/// The reader's side of the stream.
pub(in crate::rpc) struct Wishes {
    /// None once the reader has finished asking.
    messages: Option<Streaming<v1::WatchCreditSetRequest>>,
    gate: Gate,
    /// An addition that is made ready. A task of its own: a stream whose reader does not read is not run, and must not
    /// keep a connection of the database while it stands still.
    adding: Option<AbortOnDropHandle<Wish>>,
}

impl Wishes {
    pub(super) const fn new(messages: Streaming<v1::WatchCreditSetRequest>, gate: Gate) -> Self {
        Self { messages: Some(messages), gate, adding: None }
    }

    /// The next one; waits for ever when the reader has finished asking. May be dropped at any await without losing
    /// anything.
    ///
    /// # Errors
    /// A message that cannot be used, or was not received whole.
    pub(in crate::rpc) async fn next(&mut self) -> Result<Wish, Status> {
        loop {
            if let Some(adding) = &mut self.adding {
                let wish = adding.await;
                self.adding = None;
                return wish.map_err(|_| CallError::Broken("an addition ended early").into());
            }
            let Some(messages) = &mut self.messages else { return std::future::pending().await };
            let Some(message) = messages.next().await.transpose()? else {
                self.messages = None;
                continue;
            };
            match message.command {
                Some(Command::Add(add)) => {
                    let mut fields = Fields::default();
                    let targets = parse_targets(&mut fields, "add.targets", add.targets);
                    let targets = fields.finish(|| Some(targets))?;
                    let ready = ready(self.gate.anew(), targets).in_current_span();
                    self.adding = Some(AbortOnDropHandle::new(tokio::spawn(ready)));
                }
                Some(Command::Remove(remove)) => return Ok(Wish::Remove(parse_removal(remove)?)),
                Some(Command::Open(_)) => return Err(misplaced("only the first message is open").into()),
                None => return Err(misplaced("must be add or remove").into()),
            }
        }
    }
}

/// A message whose command is not its turn.
pub(super) fn misplaced(rule: &'static str) -> CallError {
    CallError::Invalid(vec![Violation { field: "command".to_owned(), problem: Problem::Rule(rule) }])
}

async fn ready(gate: Gate, mut targets: Vec<Target>) -> Wish {
    let mut refused = gate.refuse(&mut targets);
    match gate.settle(&mut targets).await {
        Ok(failed) => {
            refused.extend(failed);
            let told = |(account, unit, error): (AccountId, Unit, CallError)| removed(&account, &unit, error);
            Wish::Add { targets, refused: refused.into_iter().map(told).collect() }
        }
        Err(error) => {
            // One failure for all of them.
            let error = *item_error(error);
            let told = |target: Target| v1::TargetChange {
                error: Some(error.clone()),
                ..target_change(&target.account, &target.unit, v1::TargetChangeState::Removed)
            };
            let told: Vec<_> = targets.into_iter().map(told).collect();
            let refused = refused.into_iter().map(|(account, unit, error)| removed(&account, &unit, error));
            Wish::Add { targets: Vec::new(), refused: refused.chain(told).collect() }
        }
    }
}

/// Names only; where the reader was says nothing here.
fn parse_removal(remove: v1::WatchTargets) -> Result<Vec<(AccountId, Unit)>, CallError> {
    let names = remove.targets.into_iter().map(|target| v1::WatchTarget {
        account_id: target.account_id,
        unit: target.unit,
        ..v1::WatchTarget::default()
    });
    let mut fields = Fields::default();
    let targets = parse_targets(&mut fields, "remove.targets", names.collect());
    fields.finish(|| Some(targets.into_iter().map(|target| (target.account, target.unit)).collect()))
}
