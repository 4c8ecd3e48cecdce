//! GetBalance: one balance from the primary, everything due by now included.

use domain::{AccountId, Unit};
use proto::v1::{GetBalanceRequest, GetBalanceResponse};
use relay::WaitError;
use store::StoredBalance;
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{empty_balance, proto_balance};
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

/// Which balance, and how new.
struct Query {
    account: AccountId,
    unit: Unit,
    min_version: i64,
}

impl CreditRpc {
    pub(super) async fn balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<GetBalanceResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let Query { account, unit, min_version } = parse(request.into_inner())?;
        caller.require_account(&account)?;
        self.units.require(&unit)?;
        let mut balance = self.settled_balance(&account, &unit, &caller).await?;
        let version = balance.as_ref().map_or(0, |balance| balance.version);
        if version < min_version {
            self.await_version((&account, &unit), version, min_version, &caller).await?;
            balance = self.settled_balance(&account, &unit, &caller).await?;
        }
        let balance = balance.map_or_else(|| empty_balance(&account, &unit), |stored| proto_balance(&stored));
        Ok(GetBalanceResponse { balance: Some(balance) })
    }

    /// Until the balance, which is at `version`, has `min_version`.
    async fn await_version(
        &self,
        (account, unit): (&AccountId, &Unit),
        version: i64,
        min_version: i64,
        caller: &Caller,
    ) -> Result<(), CallError> {
        // Those who only wait must not take the places of those who work.
        let _permit = self.waiting.try_acquire().map_err(|_| CallError::Overloaded)?;
        let waited = tokio::select! {
            waited = self.relay.wait_for_version(account, unit, min_version, caller.deadline) => waited,
            () = self.closing.cancelled() => return Err(CallError::ShuttingDown),
        };
        match waited {
            Ok(_) => Ok(()),
            Err(WaitError::NotReached { reached }) => {
                Err(CallError::VersionNotReached { version: reached.unwrap_or(version), min_version })
            }
            Err(WaitError::TooManyWaiters) => Err(CallError::Overloaded),
            Err(WaitError::Stopping) => Err(CallError::ShuttingDown),
            Err(WaitError::Store(source)) => Err(CallError::Store(source)),
        }
    }

    /// The balance when nothing of it is due: a due change is committed first. `None`: it never had an entry.
    async fn settled_balance(
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
        settled.map_err(CallError::of(account.clone()))?;
        // What became due since the settlement is later than the call, and no business of it.
        Ok(self.read_balances(&key, caller).await?.pop())
    }
}

fn parse(request: GetBalanceRequest) -> Result<Query, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let min_version = fields.range("min_version", request.min_version.unwrap_or(0), 0, i64::MAX);
    fields.finish(|| Some(Query { account: account?, unit: unit?, min_version: min_version? }))
}
