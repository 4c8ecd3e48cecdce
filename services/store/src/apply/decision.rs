//! Phase 4: decide every request of the batch in its order, each with an outcome of its own.

use std::collections::HashMap;

use domain::{
    AccountId, Command, Context, DecideError, Lot, Operation, OperationId, RULE_VERSION, Rules, decide,
    settle,
};
use sha2::{Digest, Sha256};

use super::lock::{self, Account};
use super::stripe::StripeWrites;
use super::{Item, Outcome, State, Stored, is_same_wish};
use crate::error::{ApplyError, StoreError};
use crate::request::{Answer, Request};
use crate::result::ResultRow;

/// The actor of changes that time alone makes.
const CLOCK_ACTOR: &str = "tallystick";

/// An accepted operation, with the key it is stored under; settlements have none.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) operation: Operation,
    pub(super) keyed: Option<Keyed>,
}

/// The row of `operations`.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) key: String,
    pub(super) rpc: &'static str,
    pub(super) fingerprint: [u8; 32],
    pub(super) metadata: domain::Metadata,
    pub(super) result: Option<ResultRow>,
}

/// Everything that the batch will write.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    pub(super) accepted: Vec<Accepted>,
    pub(super) stripe: StripeWrites,
    /// Place in `accepted` of the keys that this batch took.
    taken: HashMap<(AccountId, String), usize>,
}

impl Decisions {
    /// Decides one request.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when an invariant would break: the whole batch must not be written, and is split
    /// until the offender stands alone.
    pub(super) fn decide(
        &mut self,
        state: &mut State,
        rules: &Rules,
        item: &Item,
    ) -> Result<Outcome, StoreError> {
        let Some(account) = state.accounts.get(item.request.account()) else {
            return Ok(Outcome::Busy);
        };
        let answer = match &item.request {
            Request::Settle { .. } => {
                if matches!(account, Account::Locked(_)) {
                    self.settle(state, item)?;
                }
                Ok(Answer::Settled)
            }
            Request::Command(command) => self.command(state, rules, command, item.operation_id)?,
            Request::Stripe(stripe) if state.stripe.is_busy(stripe) => return Ok(Outcome::Busy),
            Request::Stripe(stripe) => Ok(Answer::Event(self.stripe_request(state, rules, stripe, item)?)),
        };
        Ok(Outcome::Decided(answer))
    }

    /// Replays a known key, else settles what is due and decides.
    pub(super) fn command(
        &mut self,
        state: &mut State,
        rules: &Rules,
        command: &Command,
        operation_id: OperationId,
    ) -> Result<Result<Answer, ApplyError>, StoreError> {
        let key = (command.account.clone(), command.key.as_str().to_owned());
        if let Some(stored) = state.stored.get(&key) {
            return Ok(replay(stored, command, operation_id));
        }
        if let Some(earlier) = self.taken.get(&key).and_then(|place| self.accepted.get(*place)) {
            return Ok(replay_of_batch(earlier, command));
        }
        let account_state = state.accounts.get(&command.account).map(Account::state).unwrap_or_default();
        let now = lock::clock(&state.accounts, &command.account, state.now);
        let balance_key = (command.account.clone(), command.unit.clone());
        let balance =
            state.balances.get_mut(&balance_key).ok_or(StoreError::Broken("balance was not loaded"))?;
        let id = settlement_id(operation_id, balance.version);
        // A settlement that is due runs in front. When the command is then refused the settlement still
        // stands: it is time's doing, not the command's.
        if let Some(operation) = settle(balance, &clock_context(), id, now)? {
            self.accepted.push(Accepted { operation, keyed: None });
        }
        match decide(balance, rules, account_state, command, operation_id, now) {
            Ok(operation) => {
                let keyed = Keyed {
                    key: key.1.clone(),
                    rpc: command.action.rpc(),
                    fingerprint: command.fingerprint(RULE_VERSION),
                    metadata: command.context.metadata.clone(),
                    result: ResultRow::of(&command.action, &operation)?,
                };
                self.taken.insert(key, self.accepted.len());
                self.accepted.push(Accepted { operation: operation.clone(), keyed: Some(keyed) });
                Ok(Ok(Answer::Operation { operation, replayed: false }))
            }
            Err(DecideError::Denied(denied)) => Ok(Err(ApplyError::Denied(denied))),
            Err(DecideError::Broken(what)) => Err(StoreError::Broken(what)),
        }
    }

    /// The operation that a key names, stored before or accepted in this batch.
    pub(super) fn lookup_operation(&self, state: &State, key: &(AccountId, String)) -> Option<Operation> {
        let earlier = self.taken.get(key).and_then(|place| self.accepted.get(*place));
        let earlier = earlier.map(|accepted| accepted.operation.clone());
        earlier.or_else(|| state.stored.get(key).map(Stored::operation))
    }

    fn settle(&mut self, state: &mut State, item: &Item) -> Result<(), StoreError> {
        let key = (item.request.account().clone(), item.request.unit().clone());
        let Some(balance) = state.balances.get_mut(&key) else { return Ok(()) };
        let id = settlement_id(item.operation_id, balance.version);
        let now = lock::clock(&state.accounts, &key.0, state.now);
        if let Some(operation) = settle(balance, &clock_context(), id, now)? {
            self.accepted.push(Accepted { operation, keyed: None });
        }
        Ok(())
    }
}

fn clock_context() -> Context {
    Context { actor: CLOCK_ACTOR.to_owned(), ..Context::default() }
}

/// The id of a settlement: made of the request that met it and the version that it follows, so that it differs
/// from the request's own, and from that of a later settlement that a retry of the same request meets.
fn settlement_id(request: OperationId, version: i64) -> OperationId {
    let mut hasher = Sha256::new();
    hasher.update(request.uuid().as_bytes());
    hasher.update(version.to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let (halves, _) = digest.as_chunks::<16>();
    let bytes = halves.first().copied().unwrap_or_default();
    OperationId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The answer as it was. An operation that has our own id was stored by an earlier try of this very call.
fn replay(stored: &Stored, command: &Command, operation_id: OperationId) -> Result<Answer, ApplyError> {
    if !is_same_wish(stored, command) {
        return Err(ApplyError::KeyReused { operation_id: stored.operation_id });
    }
    Ok(Answer::Operation { operation: stored.operation(), replayed: stored.operation_id != operation_id })
}

fn replay_of_batch(earlier: &Accepted, command: &Command) -> Result<Answer, ApplyError> {
    let same = earlier.keyed.as_ref().is_some_and(|k| k.fingerprint == command.fingerprint(RULE_VERSION));
    if !same {
        return Err(ApplyError::KeyReused { operation_id: earlier.operation.id });
    }
    Ok(Answer::Operation { operation: earlier.operation.clone(), replayed: true })
}

/// All lots that the batch touched, of all balances.
pub(super) fn touched_lots(state: &State) -> impl Iterator<Item = (&super::BalanceKey, &Lot)> {
    state.balances.iter().flat_map(|(key, balance)| {
        let lots = balance.lots.iter().chain(&balance.closed);
        lots.filter(|lot| lot.change != domain::Change::None).map(move |lot| (key, lot))
    })
}
