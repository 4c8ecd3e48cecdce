//! Balances as reads show them: whatever is due of them is committed first.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AccountId, Unit};
use futures::StreamExt;
use proto::v1;
use relay::WaitError;
use store::StoredBalance;

use super::CreditRpc;
use crate::caller::Caller;
use crate::error::CallError;
use crate::limits::MAX_SETTLING;
use crate::status::item_error;

/// (account, unit).
pub(super) type Key = (AccountId, Unit);
/// What became of each balance; `None`: it never had an entry.
pub(super) type Settled = BTreeMap<Key, Result<Option<StoredBalance>, Box<v1::Error>>>;

impl CreditRpc {
    /// The balance when nothing of it is due: a due change is committed first. `None`: it never had an entry.
    pub(super) async fn settled_balance(
        &self,
        account: &AccountId,
        unit: &Unit,
        caller: &Caller,
    ) -> Result<Option<StoredBalance>, CallError> {
        let key = [(account.clone(), unit.clone())];
        let balance = self.read_balances(&key, caller).await?.pop();
        if !balance.as_ref().is_some_and(|balance| balance.is_due) {
            return Ok(balance);
        }
        let settled = self.store.settle(account.clone(), unit.clone(), caller.deadline).await;
        settled.map_err(CallError::of(account.clone(), unit.clone()))?;
        // What became due since the settlement is later than the call, and no business of it.
        Ok(self.read_balances(&key, caller).await?.pop())
    }

    /// The same of many balances, which fail one by one.
    ///
    /// # Errors
    /// [`CallError`] when they cannot be read at all.
    pub(super) async fn settled_balances(
        &self,
        keys: BTreeSet<Key>,
        caller: &Caller,
    ) -> Result<Settled, CallError> {
        if keys.is_empty() {
            return Ok(Settled::new());
        }
        let mut settled: Settled = keys.iter().map(|key| (key.clone(), Ok(None))).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut due = Vec::new();
        for balance in self.read_balances(&keys, caller).await? {
            let key = (balance.account.clone(), balance.unit.clone());
            if balance.is_due {
                due.push(key);
            } else {
                settled.insert(key, Ok(Some(balance)));
            }
        }
        let settling = due.into_iter().map(|key| async move {
            let outcome = self.store.settle(key.0.clone(), key.1.clone(), caller.deadline).await;
            (outcome.map_err(CallError::of(key.0.clone(), key.1.clone())), key)
        });
        let mut outcomes = futures::stream::iter(settling).buffer_unordered(MAX_SETTLING);
        let mut again = Vec::new();
        while let Some((outcome, key)) = outcomes.next().await {
            match outcome {
                Ok(()) => again.push(key),
                Err(error) => drop(settled.insert(key, Err(item_error(error)))),
            }
        }
        // What became due since the settlements is later than the call, and no business of it.
        let read_again =
            if again.is_empty() { Vec::new() } else { self.read_balances(&again, caller).await? };
        for balance in read_again {
            settled.insert((balance.account.clone(), balance.unit.clone()), Ok(Some(balance)));
        }
        Ok(settled)
    }

    /// Until the balance, which is at `version`, has `min_version`. The call holds a permit of `waiting`: those who
    /// only wait must not take the places of those who work.
    pub(super) async fn await_version(
        &self,
        (account, unit): (&AccountId, &Unit),
        version: i64,
        min_version: i64,
        caller: &Caller,
    ) -> Result<StoredBalance, CallError> {
        let waited = tokio::select! {
            waited = self.relay.wait_for_version(account, unit, min_version, caller.deadline) => waited,
            () = self.closing.cancelled() => return Err(CallError::ShuttingDown),
        };
        match waited {
            Ok(balance) => Ok(balance),
            Err(WaitError::NotReached { reached }) => {
                Err(CallError::VersionNotReached { version: reached.unwrap_or(version), min_version })
            }
            Err(WaitError::TooManyWaiters) => Err(CallError::Overloaded),
            Err(WaitError::Stopping) => Err(CallError::ShuttingDown),
            Err(WaitError::Store(source)) => Err(CallError::Store(source)),
        }
    }
}
