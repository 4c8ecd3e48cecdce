//! Balances as they were.

use domain::{AccountId, Problem, Timestamp, Unit};
use proto::v1;
use store::StoredBalance;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{balance_after, empty_balance, proto_balance};
use crate::error::CallError;
use crate::fields::Fields;

impl CreditRpc {
    /// The balance at a time, by what had taken effect until then; `balance` is the present one, nothing of which is
    /// due. A time that is not over reads as now as long as nothing can be due by then.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a time at which the balance will have changed by itself.
    pub(super) async fn past_balance(
        &self,
        balance: Option<&StoredBalance>,
        (account, unit): (&AccountId, &Unit),
        at: Timestamp,
        caller: &Caller,
    ) -> Result<v1::Balance, CallError> {
        let Some(balance) = balance else { return Ok(empty_balance(account, unit)) };
        if balance.next_due_at.is_some_and(|due| due <= at) {
            let mut fields = Fields::default();
            fields.violate("at", Problem::Rule("must not be later than now"));
            return fields.finish(|| None);
        }
        if balance.last_effective_at <= at {
            return Ok(v1::Balance { next_due_at: None, ..proto_balance(balance) });
        }
        let entry = self.store.entry_at(account, unit, balance.version, at);
        let entry = caller.in_time(entry).await?;
        Ok(entry.map_or_else(|| empty_balance(account, unit), |entry| balance_after(&entry)))
    }
}
