//! A journal entry for people.

use proto::v1::{CrossingDirection, Entry, EntryKind, Revocation, ThresholdCrossing};

use crate::output::{plain, stamp};

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
    if entry.hold_expires_at.is_some() {
        remarks.push(format!("until {}", stamp::shown(entry.hold_expires_at.as_ref())));
    }
    if let Some(revocation) = &entry.revocation {
        remarks.push(parts(revocation));
    }
    let reclaimed: i64 = entry.lines.iter().map(|line| line.reclaimed).sum();
    if reclaimed != 0 {
        remarks.push(format!("{reclaimed} kept by a revocation"));
    }
    remarks.extend(entry.crossed.iter().map(crossing));
    for id in [&entry.hold_id, &entry.reversed_entry_id] {
        if !id.is_empty() {
            remarks.push(plain::shown(id));
        }
    }
    for words in [&entry.reference, &entry.reason] {
        if !words.is_empty() {
            remarks.push(plain::shown(words));
        }
    }
    remarks.join(", ")
}

/// `revoked +20 taken, +80 owed`.
fn parts(revocation: &Revocation) -> String {
    let parts = [
        (revocation.expired, "expired"),
        (revocation.taken, "taken"),
        (revocation.owed, "owed"),
        (revocation.forgiven, "forgiven"),
    ];
    let changed = parts.into_iter().filter(|(delta, _)| *delta != 0);
    let changed: Vec<String> = changed.map(|(delta, name)| format!("{delta:+} {name}")).collect();
    format!("revoked {}", if changed.is_empty() { "as before".to_owned() } else { changed.join(", ") })
}

/// `low below 100`, `low armed again`.
pub(crate) fn crossing(crossing: &ThresholdCrossing) -> String {
    let name = plain::shown(&crossing.name);
    match CrossingDirection::try_from(crossing.direction) {
        Ok(CrossingDirection::Below) => format!("{name} below {}", crossing.at),
        Ok(CrossingDirection::Rearmed) => format!("{name} armed again"),
        Ok(CrossingDirection::Unspecified) | Err(_) => format!("{name} crossed"),
    }
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
