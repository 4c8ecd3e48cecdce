//! A journal entry for people.

use proto::v1::{Entry, EntryKind};

use crate::output::plain;

/// `grant`, `spend`, …; `kind 5` for one that this version does not know.
pub(crate) fn kind(entry: &Entry) -> String {
    match EntryKind::try_from(entry.kind) {
        Ok(EntryKind::Unspecified) => "-".to_owned(),
        Ok(kind) => {
            kind.as_str_name().trim_start_matches("ENTRY_KIND_").to_ascii_lowercase().replace('_', " ")
        }
        Err(_) => format!("kind {}", entry.kind),
    }
}

/// What the entry did to the available credits, with its sign.
pub(crate) fn delta(entry: &Entry) -> String {
    format!("{:+}", entry.available_delta)
}

/// What else changed, and whatever words the caller gave.
pub(crate) fn remarks(entry: &Entry) -> String {
    let mut remarks = Vec::new();
    for (delta, value, name) in [
        (entry.held_delta, entry.held, "held"),
        (entry.scheduled_delta, entry.scheduled, "scheduled"),
        (entry.debt_delta, entry.debt, "owed"),
    ] {
        if delta != 0 {
            remarks.push(format!("{name} {delta:+} = {value}"));
        }
    }
    for words in [&entry.reference, &entry.reason] {
        if !words.is_empty() {
            remarks.push(plain::shown(words));
        }
    }
    remarks.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_tells_what_changed_and_why() {
        let entry = Entry {
            kind: EntryKind::Grant.into(),
            available_delta: 900,
            debt_delta: -100,
            reference: "order_1".to_owned(),
            ..Entry::default()
        };
        assert_eq!(kind(&entry), "grant");
        assert_eq!(delta(&entry), "+900");
        assert_eq!(remarks(&entry), "owed -100 = 0, order_1");
    }

    #[test]
    fn a_kind_of_a_later_version_is_shown_by_number() {
        assert_eq!(kind(&Entry { kind: 99, ..Entry::default() }), "kind 99");
        assert_eq!(kind(&Entry::default()), "-");
    }
}
