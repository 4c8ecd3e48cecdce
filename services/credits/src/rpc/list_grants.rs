//! ListGrants: the lots of a balance, newest first, by pages.

use domain::{AccountId, GrantKind, Unit};
use proto::v1::{ListGrantsRequest, ListGrantsResponse};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::listed_grant;
use crate::error::CallError;
use crate::fields::Fields;
use crate::page::PageQuery;
use crate::principal::Scope;

/// Which lots.
struct Query {
    account: AccountId,
    unit: Unit,
    page_size: i64,
    include_closed: bool,
    kinds: Vec<GrantKind>,
}

impl CreditRpc {
    pub(super) async fn grants(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<ListGrantsResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut request = request.into_inner();
        let token = std::mem::take(&mut request.page_token);
        let query = parse(request)?;
        caller.require_account(&query.account)?;
        self.units.require(&query.unit)?;
        let Query { account, unit, page_size, include_closed, kinds } = &query;
        let pages = query.pages();
        let before = pages.before(&token)?.unwrap_or(i64::MAX);
        // A lot whose time is over must not be shown as open.
        self.settled_balance(account, unit, &caller).await?;
        let page = if *include_closed {
            caller.in_time(self.store.grants_page((account, unit), kinds, before, *page_size)).await?
        } else {
            caller.in_time(self.store.open_grants_page((account, unit), kinds, before, *page_size)).await?
        };
        Ok(ListGrantsResponse {
            grants: page.items.into_iter().map(|grant| listed_grant(account, unit, grant)).collect(),
            next_page_token: page.next_before.map(|before| pages.token(before)).unwrap_or_default(),
        })
    }
}

impl Query {
    fn pages(&self) -> PageQuery {
        PageQuery::new("ListGrants")
            .text(self.account.as_str())
            .text(self.unit.as_str())
            .number(Some(i64::from(self.include_closed)))
            .numbers(self.kinds.iter().map(|kind| i64::from(kind.code())))
    }
}

fn parse(request: ListGrantsRequest) -> Result<Query, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let page_size = fields.page_size(request.page_size);
    let unknown_kind = "must be GrantKinds that this version knows";
    let kinds = fields.kinds(&request.kinds, GrantKind::lookup, unknown_kind);
    let include_closed = request.include_closed;
    fields.finish(|| {
        Some(Query { account: account?, unit: unit?, page_size: page_size?, include_closed, kinds: kinds? })
    })
}
