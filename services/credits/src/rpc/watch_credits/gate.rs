//! What stands before a target is watched: whether the caller may, and what is due of it.

use std::sync::Arc;

use domain::{AccountId, Unit};
use futures::StreamExt;
use relay::Target;
use store::Store;

use super::Refused;
use crate::caller::Caller;
use crate::error::CallError;
use crate::limits::MAX_SETTLING;
use crate::units::UnitPolicy;

/// Lets one caller's targets in.
#[derive(Clone)]
pub(in crate::rpc) struct Gate {
    store: Store,
    units: Arc<UnitPolicy>,
    caller: Caller,
}

impl Gate {
    pub(super) const fn new(store: Store, units: Arc<UnitPolicy>, caller: Caller) -> Self {
        Self { store, units, caller }
    }

    /// The same with the time of a new call.
    pub(in crate::rpc) fn anew(&self) -> Self {
        Self { caller: self.caller.anew(), ..self.clone() }
    }

    /// Takes out the targets that the caller may not watch: one of them costs the others nothing.
    pub(in crate::rpc) fn refuse(&self, targets: &mut Vec<Target>) -> Refused {
        let mut refused = Refused::new();
        let mut kept = Vec::with_capacity(targets.len());
        for target in std::mem::take(targets) {
            let covered = self.caller.require_account(&target.account);
            match covered.and_then(|()| self.units.require(&target.unit)) {
                Ok(()) => kept.push(target),
                Err(error) => refused.push((target.account, target.unit, error)),
            }
        }
        *targets = kept;
        refused
    }

    /// Commits what is due of the targets, so that no first state shows credits that time has taken. Takes out those
    /// of which it cannot be committed.
    ///
    /// # Errors
    /// When none of them can be read.
    pub(in crate::rpc) async fn settle(&self, targets: &mut Vec<Target>) -> Result<Refused, CallError> {
        let keys: Vec<(AccountId, Unit)> =
            targets.iter().map(|target| (target.account.clone(), target.unit.clone())).collect();
        let balances = self.caller.in_time(self.store.balances(&keys)).await?;
        let due = balances.into_iter().filter(|balance| balance.is_due).map(|balance| async move {
            let (account, unit) = (balance.account, balance.unit);
            let settled = self.store.settle(account.clone(), unit.clone(), self.caller.deadline).await;
            let error = settled.err().map(CallError::of(account.clone(), unit.clone()))?;
            Some((account, unit, error))
        });
        let settled: Vec<_> = futures::stream::iter(due).buffer_unordered(MAX_SETTLING).collect().await;
        let failed: Refused = settled.into_iter().flatten().collect();
        targets.retain(|target| {
            !failed.iter().any(|(account, unit, _)| (account, unit) == (&target.account, &target.unit))
        });
        Ok(failed)
    }
}
