//! The sum as one English sentence: "37 = 1000 bought on 2026-11-01 - 950 spent - 13 expired".

use std::fmt::Write;

use proto::v1::{EntryKind, ExplainTerm, GrantKind};

/// `total` is what the terms sum to. Terms that move nothing are left out.
pub(super) fn sentence(total: i64, terms: &[ExplainTerm]) -> String {
    let mut text = format!("{total} =");
    let telling: Vec<&ExplainTerm> = terms.iter().filter(|term| term.amount != 0).collect();
    if telling.is_empty() {
        return format!("{text} 0");
    }
    for (place, term) in telling.into_iter().enumerate() {
        let sign = match (place, term.amount < 0) {
            (0, false) => "",
            (0, true) | (_, true) => "- ",
            (_, false) => "+ ",
        };
        // Writing to a String cannot fail.
        let _ = write!(text, " {sign}{} {}", term.amount.unsigned_abs(), words(term));
        if let (1, Some(at)) = (term.entry_count, &term.first_at) {
            let moment = at.to_string();
            let _ = write!(text, " on {}", moment.split('T').next().unwrap_or_default());
        }
    }
    text
}

fn words(term: &ExplainTerm) -> &'static str {
    match term.kind() {
        EntryKind::Grant => match term.grant_kind() {
            GrantKind::Promotion => "given as promotion",
            GrantKind::Compensation => "given as compensation",
            GrantKind::Adjustment => "added by adjustment",
            GrantKind::Subscription => "from a subscription",
            GrantKind::Purchase => "bought",
            GrantKind::Unspecified => "granted",
        },
        EntryKind::Spend => "spent",
        EntryKind::Expiry => "expired",
        EntryKind::Capture => "used from holds",
        EntryKind::Reversal => "given back",
        EntryKind::Revocation => "revoked",
        EntryKind::Reinstatement => "reinstated",
        EntryKind::Adjustment => "adjusted",
        EntryKind::Release => "kept at a release",
        EntryKind::HoldExpiry => "kept at the end of a hold",
        // They move credits within a balance, and sum to nothing.
        EntryKind::Activation | EntryKind::Hold | EntryKind::HoldExtension | EntryKind::Unspecified => {
            "moved"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(amount: i64, kind: EntryKind, grant_kind: GrantKind, entry_count: i64) -> ExplainTerm {
        let at = Some(prost_types::Timestamp { seconds: 1_763_812_800, nanos: 0 });
        ExplainTerm {
            amount,
            kind: kind.into(),
            grant_kind: grant_kind.into(),
            entry_count,
            first_at: at,
            last_at: at,
        }
    }

    #[test]
    fn a_balance_is_told_as_a_sum() {
        let none = GrantKind::Unspecified;
        let terms = [
            term(1000, EntryKind::Grant, GrantKind::Purchase, 1),
            term(-950, EntryKind::Spend, none, 17),
            term(0, EntryKind::Hold, none, 3),
            term(-13, EntryKind::Expiry, none, 2),
        ];
        let expected = "37 = 1000 bought on 2025-11-22 - 950 spent - 13 expired";
        assert_eq!(sentence(37, &terms), expected);
        assert_eq!(sentence(0, &[]), "0 = 0");
        let debt = [term(-5, EntryKind::Revocation, none, 2), term(2, EntryKind::Reversal, none, 2)];
        assert_eq!(sentence(-3, &debt), "-3 = - 5 revoked + 2 given back");
    }
}
