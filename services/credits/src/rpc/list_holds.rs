//! ListHolds: the holds of a balance, newest first, by pages.

use domain::{AccountId, Unit};
use proto::v1::{ListHoldsRequest, ListHoldsResponse};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::listed_hold;
use crate::error::CallError;
use crate::fields::Fields;
use crate::page::PageQuery;
use crate::principal::Scope;

/// Which holds.
struct Query {
    account: AccountId,
    unit: Unit,
    page_size: i64,
    include_closed: bool,
}

impl CreditRpc {
    pub(super) async fn holds(
        &self,
        request: Request<ListHoldsRequest>,
    ) -> Result<ListHoldsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut request = request.into_inner();
        let token = std::mem::take(&mut request.page_token);
        let query = parse(request)?;
        caller.require_account(&query.account)?;
        self.units.require(&query.unit)?;
        let Query { account, unit, page_size, include_closed } = &query;
        let pages = query.pages();
        let before = pages.before(&token)?.unwrap_or(i64::MAX);
        // A hold whose time is over must not be shown as open.
        self.settled_balance(account, unit, &caller).await?;
        let page = self.store.holds_page((account, unit), *include_closed, before, *page_size);
        let page = caller.in_time(page).await?;
        Ok(ListHoldsResponse {
            holds: page.items.into_iter().map(|hold| listed_hold(account, unit, hold)).collect(),
            next_page_token: page.next_before.map(|before| pages.token(before)).unwrap_or_default(),
        })
    }
}

impl Query {
    fn pages(&self) -> PageQuery {
        PageQuery::new("ListHolds")
            .text(self.account.as_str())
            .text(self.unit.as_str())
            .number(Some(i64::from(self.include_closed)))
    }
}

fn parse(request: ListHoldsRequest) -> Result<Query, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let page_size = fields.page_size(request.page_size);
    let include_closed = request.include_closed;
    fields.finish(|| Some(Query { account: account?, unit: unit?, page_size: page_size?, include_closed }))
}
