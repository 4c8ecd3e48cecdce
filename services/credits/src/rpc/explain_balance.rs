//! ExplainBalance: where a balance comes from, as a sum.

mod text;

use domain::{AccountId, Unit};
use proto::v1::{Balance, ExplainBalanceRequest, ExplainBalanceResponse, ExplainTerm};
use store::{StoredBalance, Term};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{balance_after, empty_balance, proto_balance, proto_timestamp};
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn explain(
        &self,
        request: Request<ExplainBalanceRequest>,
    ) -> Result<ExplainBalanceResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let request = request.into_inner();
        let mut fields = Fields::default();
        let account = fields.account(request.account_id);
        let unit = fields.unit(request.unit);
        let (account, unit) = fields.finish(|| Some((account?, unit?)))?;
        caller.require_account(&account)?;
        self.units.require(&unit)?;
        let settled = self.settled_balance(&account, &unit, &caller).await?;
        let explained = caller.in_time(self.store.explain(&account, &unit)).await?;
        let balance = self.balance_of((&account, &unit), settled, explained.version, &caller).await?;
        let total = explained.figures.total().saturating_sub(explained.figures.debt);
        let terms: Vec<ExplainTerm> = explained.terms.iter().map(term).collect();
        Ok(ExplainBalanceResponse { balance: Some(balance), text: text::sentence(total, &terms), terms })
    }

    /// The balance at the version that is explained, which others may have left meanwhile.
    async fn balance_of(
        &self,
        (account, unit): (&AccountId, &Unit),
        settled: Option<StoredBalance>,
        version: i64,
        caller: &Caller,
    ) -> Result<Balance, CallError> {
        if version == 0 {
            return Ok(empty_balance(account, unit));
        }
        if let Some(settled) = settled.filter(|settled| settled.version == version) {
            return Ok(proto_balance(&settled));
        }
        let entries = self.store.entries_after(account, unit, version.saturating_sub(1), 1);
        let entries = caller.in_time(entries).await?;
        entries.first().map(balance_after).ok_or(CallError::Broken("an explained version is not there"))
    }
}

fn term(term: &Term) -> ExplainTerm {
    ExplainTerm {
        amount: term.amount,
        kind: i32::from(term.kind.code()),
        grant_kind: term.grant_kind.map_or(0, |kind| i32::from(kind.code())),
        entry_count: term.entry_count,
        first_at: Some(proto_timestamp(term.first_at)),
        last_at: Some(proto_timestamp(term.last_at)),
    }
}
