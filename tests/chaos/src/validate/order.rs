//! Promises 1, 2, 4 and 5: what continues a stream, and what may begin one that goes on.

use super::walk::{Place, Walk};
use super::{Bounds, Facts, Findings};
use crate::history::{Delivered, Event};

/// Promise 1: each version is the successor of the one before.
pub(super) fn ordered(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        let place = step.stream.places.get(account);
        let wrong = match place {
            None => Some(format!("changes of account {account}, which is not watched")),
            Some(_) if entries.is_empty() => Some("changes without an entry".to_owned()),
            Some(_) if step.stream.latest => Some("changes in mode LATEST".to_owned()),
            Some(Place { at: None, .. }) => Some("changes before the first snapshot".to_owned()),
            Some(Place { at: Some((version, _)), told }) => {
                let begins = entries.first().is_none_or(|first| first.0 <= version + 1 || !told);
                let gap = entries.windows(2).find(|pair| pair[1].0 > pair[0].0 + 1);
                match gap {
                    _ if !begins => Some(format!("version {} after {version}", entries[0].0)),
                    Some(pair) => Some(format!("version {} after {} in one message", pair[1].0, pair[0].0)),
                    None => None,
                }
            }
        };
        findings.check(step.line, wrong);
    });
    findings
}

/// Promise 2: no version comes twice in a stream.
pub(super) fn unique(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        let Some(Place { at: Some((version, _)), told: true }) = step.stream.places.get(account) else {
            return;
        };
        let mut last = *version;
        let again = entries.iter().find(|entry| entry.0 <= std::mem::replace(&mut last, entry.0));
        findings.check(step.line, again.map(|entry| format!("version {} came again", entry.0)));
    });
    findings
}

/// Promise 4: a message holds whole operations. Only a reader that was inside one gets the rest of it first.
pub(super) fn atomic(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        let joins = step.stream.places.get(account).is_some_and(|place| !place.told);
        let mut expected = match entries.first() {
            Some(first) if joins => first.2,
            _ => 0,
        };
        let mut wrong = None;
        for Delivered(version, _, index, size) in entries {
            if *index != expected || index >= size {
                wrong =
                    wrong.or(Some(format!("entry {index} of {size} at version {version}, not {expected}")));
            }
            expected = if index + 1 >= *size { 0 } else { index + 1 };
        }
        if expected != 0 {
            wrong = wrong.or(Some("the message ends inside an operation".to_owned()));
        }
        findings.check(step.line, wrong);
    });
    findings
}

/// Promise 5: a stream that goes on from a token or a version begins with its successor, or with a snapshot that has a
/// reason (see `reliable`).
pub(super) fn resumed(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        let place = step.stream.places.get(account);
        let Some(Place { at: Some((version, hash)), told: false }) = place else { return };
        let Some(first) = entries.first() else { return };
        let mut wrong = (first.0 != version + 1)
            .then(|| format!("a stream that goes on after {version} begins with {}", first.0));
        // Inside an operation only where the reader was inside of it.
        let inside = facts.entry(*account, *version).filter(|entry| Some(entry.hash) == *hash);
        if let Some(before) = inside
            && facts.is_kept(*account, first.0, first.1)
            && first.2 != (if before.index + 1 == before.size { 0 } else { before.index + 1 })
        {
            wrong = wrong.or(Some(format!("version {} begins inside an operation", first.0)));
        }
        findings.check(step.line, wrong);
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, entry, part};

    #[test]
    fn a_stream_without_a_fault_is_sound() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]);
        script.changes(1, 1, &[entry(1), entry(2)]).changes(1, 1, &[entry(3)]).holds();
    }

    #[test]
    fn a_gap_is_caught() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1)]);
        script.clone().changes(1, 1, &[entry(3)]).breaks("ordered");
        script.changes(1, 1, &[entry(2), entry(4)]).breaks("ordered");
    }

    #[test]
    fn changes_before_the_snapshot_and_of_a_stranger_are_caught() {
        Script::new().journal(2).open(1, &[(1, None)]).changes(1, 1, &[entry(1)]).breaks("ordered");
        Script::new().journal(2).open(1, &[(1, Some(0))]).changes(1, 2, &[entry(1)]).breaks("ordered");
    }

    #[test]
    fn a_repetition_is_caught() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1), entry(2)]);
        script.changes(1, 1, &[entry(2)]).breaks("unique");
    }

    #[test]
    fn a_cut_operation_is_caught() {
        let script = Script::new().journal(4).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1)]);
        script.clone().changes(1, 1, &[part(2, 0, 2), part(3, 1, 2)]).keeps("atomic");
        script.clone().changes(1, 1, &[part(2, 0, 2)]).breaks("atomic");
        script.changes(1, 1, &[part(2, 1, 2)]).breaks("atomic");
    }

    #[test]
    fn a_stream_that_goes_on_elsewhere_is_caught() {
        let script = Script::new().journal(6).open(1, &[(1, Some(0))]).changes(1, 1, &[entry(1), entry(2)]);
        let script = script.bookmark(1, false, 0, 7).end(1);
        script.clone().resume(2, 7, &[1]).changes(2, 1, &[entry(3)]).holds();
        script.clone().resume(2, 7, &[1]).changes(2, 1, &[entry(2)]).breaks("resumed");
        script.resume(2, 7, &[1]).changes(2, 1, &[entry(4)]).breaks("resumed");
    }

    #[test]
    fn a_stream_that_goes_on_inside_an_operation_where_the_reader_was_not_is_caught() {
        let script = Script::new().journal(6).open(1, &[(1, Some(2))]);
        script.clone().changes(1, 1, &[part(3, 0, 1)]).keeps("resumed");
        script.changes(1, 1, &[part(3, 1, 2)]).breaks("resumed");
    }
}
