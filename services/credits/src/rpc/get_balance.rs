//! GetBalance: one balance from the primary, everything due by now included; or as it was.

use domain::{AccountId, Timestamp, Unit};
use proto::v1::{GetBalanceRequest, GetBalanceResponse};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{empty_balance, proto_balance};
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

/// Which balance, and how new, or of when.
struct Query {
    account: AccountId,
    unit: Unit,
    min_version: i64,
    at: Option<Timestamp>,
}

impl CreditRpc {
    pub(super) async fn balance(
        &self,
        request: Request<GetBalanceRequest>,
    ) -> Result<GetBalanceResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let Query { account, unit, min_version, at } = parse(request.into_inner())?;
        caller.require_account(&account)?;
        self.units.require(&unit)?;
        let mut balance = self.settled_balance(&account, &unit, &caller).await?;
        if let Some(at) = at {
            let balance = self.past_balance(balance.as_ref(), (&account, &unit), at, &caller).await?;
            return Ok(GetBalanceResponse { balance: Some(balance) });
        }
        let version = balance.as_ref().map_or(0, |balance| balance.version);
        if version < min_version {
            let _permit = self.waiting.try_acquire().map_err(|_| CallError::Overloaded)?;
            self.await_version((&account, &unit), version, min_version, &caller).await?;
            balance = self.settled_balance(&account, &unit, &caller).await?;
        }
        let balance = balance.map_or_else(|| empty_balance(&account, &unit), |stored| proto_balance(&stored));
        Ok(GetBalanceResponse { balance: Some(balance) })
    }
}

fn parse(request: GetBalanceRequest) -> Result<Query, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let min_version = fields.range("min_version", request.min_version.unwrap_or(0), 0, i64::MAX);
    let at = fields.at(request.at, request.min_version);
    fields.finish(|| Some(Query { account: account?, unit: unit?, min_version: min_version?, at: at? }))
}
