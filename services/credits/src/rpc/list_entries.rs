//! ListEntries: the journal of a balance, newest first, by pages.

use domain::{AccountId, EntryKind, Problem, Unit};
use proto::v1::{ListEntriesRequest, ListEntriesResponse};
use store::{EntryFilter, Unknown};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::proto_entry;
use crate::error::CallError;
use crate::fields::Fields;
use crate::page::PageQuery;
use crate::principal::Scope;

/// Which entries.
struct Query {
    account: AccountId,
    unit: Unit,
    page_size: i64,
    filter: EntryFilter,
}

impl CreditRpc {
    pub(super) async fn entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<ListEntriesResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut request = request.into_inner();
        let token = std::mem::take(&mut request.page_token);
        let query = parse(request)?;
        caller.require_account(&query.account)?;
        self.units.require(&query.unit)?;
        let Query { account, unit, page_size, filter } = &query;
        let pages = query.pages();
        let before = pages.before(&token)?;
        // What time has done by now is history as well, also for who reads on.
        let balance = self.settled_balance(account, unit, &caller).await?;
        let end = balance.map_or(1, |balance| balance.version.saturating_add(1));
        let before = before.map_or(end, |before| before.min(end));
        let page = self.store.entries_page((account, unit), filter, before, *page_size);
        let page = caller.in_time(page).await?;
        let page = page.map_err(|unknown| match unknown {
            Unknown::Grant(grant) => CallError::GrantNotFound(grant),
            Unknown::Hold(hold) => CallError::HoldNotFound(hold),
        })?;
        Ok(ListEntriesResponse {
            entries: page.items.iter().map(proto_entry).collect(),
            next_page_token: page.next_before.map(|before| pages.token(before)).unwrap_or_default(),
        })
    }
}

impl Query {
    fn pages(&self) -> PageQuery {
        let Self { account, unit, filter, .. } = self;
        PageQuery::new("ListEntries")
            .text(account.as_str())
            .text(unit.as_str())
            .numbers(filter.kinds.iter().map(|kind| i64::from(kind.code())))
            .number(filter.recorded_from.map(domain::Timestamp::micros))
            .number(filter.recorded_until.map(domain::Timestamp::micros))
            .text(filter.reference.as_deref().unwrap_or_default())
            .text(&filter.grant.map(|grant| grant.to_string()).unwrap_or_default())
            .text(&filter.hold.map(|hold| hold.to_string()).unwrap_or_default())
    }
}

fn parse(request: ListEntriesRequest) -> Result<Query, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let page_size = fields.page_size(request.page_size);
    let unknown_kind = "must be EntryKinds that this version knows";
    let kinds = fields.kinds(&request.kinds, EntryKind::lookup, unknown_kind);
    let recorded_from = fields.moment("recorded_from", request.recorded_from);
    let recorded_until = fields.moment("recorded_until", request.recorded_until);
    if let (Some(Some(from)), Some(Some(until))) = (recorded_from, recorded_until)
        && until <= from
    {
        fields.violate("recorded_until", Problem::Rule("must be later than recorded_from"));
    }
    let reference = fields.reference(request.reference);
    let grant = fields.grant_id(&request.grant_id);
    let hold = fields.hold_id(&request.hold_id);
    fields.finish(|| {
        let filter = EntryFilter {
            kinds: kinds?,
            recorded_from: recorded_from?,
            recorded_until: recorded_until?,
            reference: Some(reference?).filter(|reference| !reference.is_empty()),
            grant: grant?,
            hold: hold?,
        };
        Some(Query { account: account?, unit: unit?, page_size: page_size?, filter })
    })
}
