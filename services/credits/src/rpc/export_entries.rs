//! ExportEntries: the whole journal, by pages.

use domain::{AccountId, Problem, Unit};
use prost::Message;
use proto::v1::{Entry, ExportEntriesRequest, ExportEntriesResponse};
use store::Position;
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::proto_entry;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{DEFAULT_EXPORT_SIZE, MAX_EXPORT_BYTES, MAX_EXPORT_SIZE};
use crate::principal::Scope;

/// Which entries.
struct Query {
    prefix: String,
    after: Position,
    page_size: i64,
}

impl CreditRpc {
    pub(super) async fn export(
        &self,
        request: Request<ExportEntriesRequest>,
    ) -> Result<ExportEntriesResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Ledger)?;
        let Query { prefix, after, page_size } = parse(request.into_inner())?;
        caller.require_prefix(&prefix)?;
        let entries = caller.in_time(self.store.export_page(&prefix, &after, page_size)).await?;
        let is_last = i64::try_from(entries.len()).is_ok_and(|count| count < page_size);
        let mut page: Vec<Entry> = entries.iter().map(proto_entry).collect();
        let fitting = fitting(&page);
        let end_reached = is_last && fitting == page.len();
        page.truncate(fitting);
        Ok(ExportEntriesResponse { entries: page, end_reached })
    }
}

/// How many entries a message takes: at least one, since one alone is far below the limit.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0_usize;
    let fits = |entry: &&Entry| {
        bytes = bytes.saturating_add(entry.encoded_len());
        bytes <= MAX_EXPORT_BYTES
    };
    entries.iter().take_while(fits).count().max(1).min(entries.len())
}

fn parse(request: ExportEntriesRequest) -> Result<Query, CallError> {
    let ExportEntriesRequest { account_prefix, after_account_id, after_unit, after_version, page_size } =
        request;
    let mut fields = Fields::default();
    if !account_prefix.is_empty() {
        // What accounts may begin with is what they may be.
        fields.check(AccountId::try_new(account_prefix.as_str()).map_err(|bad| bad.at("account_prefix")));
    }
    if !after_account_id.is_empty() {
        fields.check(AccountId::try_new(after_account_id.as_str()).map_err(|bad| bad.at("after_account_id")));
    } else if !after_unit.is_empty() {
        fields.violate("after_account_id", Problem::Rule("must be set beside after_unit"));
    }
    if !after_unit.is_empty() {
        fields.check(Unit::try_new(after_unit.as_str()).map_err(|bad| bad.at("after_unit")));
    } else if after_version > 0 {
        fields.violate("after_unit", Problem::Rule("must be set beside after_version"));
    }
    let version = fields.range("after_version", after_version, 0, i64::MAX);
    let page_size = match i64::from(page_size) {
        0 => Some(DEFAULT_EXPORT_SIZE),
        size => fields.range("page_size", size, 1, MAX_EXPORT_SIZE),
    };
    fields.finish(|| {
        let after = Position { account_id: after_account_id, unit: after_unit, version: version? };
        Some(Query { prefix: account_prefix, after, page_size: page_size? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_a_message_is_full_and_never_is_empty() {
        let entry = |bytes: usize| Entry { reference: "r".repeat(bytes), ..Entry::default() };
        let large = MAX_EXPORT_BYTES / 2;
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[entry(1), entry(1)]), 2);
        assert_eq!(fitting(&[entry(large - 100), entry(large - 100), entry(1000)]), 2);
        assert_eq!(fitting(&[entry(MAX_EXPORT_BYTES), entry(1)]), 1);
    }
}
