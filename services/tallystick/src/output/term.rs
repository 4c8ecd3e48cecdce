//! The terms of an explained balance, as a sum that a person can add up.

use proto::v1::{Balance, EntryKind, ExplainTerm, GrantKind};

use crate::output::{balance, stamp};

/// `+1000  purchase grants (1), since …`.
pub(crate) fn row(term: &ExplainTerm) -> String {
    let kind = EntryKind::try_from(term.kind).unwrap_or_default();
    let kind = kind.as_str_name().trim_start_matches("ENTRY_KIND_").to_ascii_lowercase().replace('_', " ");
    let grant = match GrantKind::try_from(term.grant_kind) {
        Ok(GrantKind::Unspecified) | Err(_) => String::new(),
        Ok(grant) => {
            format!("{} ", grant.as_str_name().trim_start_matches("GRANT_KIND_").to_ascii_lowercase())
        }
    };
    let (first, last) = (stamp::shown(term.first_at.as_ref()), stamp::shown(term.last_at.as_ref()));
    let when = if term.entry_count == 1 { first } else { format!("{first} to {last}") };
    format!("{:>+16}  {grant}{kind} ({})  {when}", term.amount, term.entry_count)
}

/// The line below.
pub(crate) fn sum(of: &Balance) -> String {
    let total = of.available + of.held + of.scheduled - of.debt;
    format!("{total:>16}  {} available{}", of.available, balance::others(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_their_sum_line_up() {
        let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let term = ExplainTerm {
            amount: 1000,
            kind: EntryKind::Grant.into(),
            grant_kind: GrantKind::Purchase.into(),
            entry_count: 1,
            first_at: at,
            last_at: at,
        };
        assert_eq!(row(&term), "           +1000  purchase grant (1)  2023-11-14T22:13:20.000Z");
        let balance = Balance { available: 900, held: 100, ..Balance::default() };
        assert_eq!(sum(&balance), "            1000  900 available, 100 held");
    }
}
