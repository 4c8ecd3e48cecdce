//! I1, I2, I4, I5 and I6 over the final journal. The whole hash chain and the lots are recomputed by the database's own
//! audit (`ends::audited`); here is what follows from figures, versions and operations alone.

use std::collections::HashSet;

use super::walk::Walk;
use super::{Bounds, Facts, Findings};
use crate::history::{Delivered, Event, Figures};

/// Kinds of entries that time makes, without a command: expiry, activation, expiry of a hold.
const OF_TIME: [i16; 3] = [3, 4, 8];

/// I1 and I2: figures are never negative, debt leaves nothing available, each figure is the sum of its deltas. So
/// nothing is overspent.
pub(super) fn figures(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    for entries in facts.journal.values() {
        let mut sum = Figures::default();
        for entry in entries {
            let (Figures(a, h, s, d), Figures(da, dh, ds, dd)) = (sum, entry.delta);
            sum = Figures(a + da, h + dh, s + ds, d + dd);
            let Figures(available, held, scheduled, debt) = entry.after;
            let is_sound = [available, held, scheduled, debt].iter().all(|figure| *figure >= 0)
                && (debt == 0 || available == 0);
            let wrong = match (is_sound, sum == entry.after) {
                (false, _) => Some(format!("unsound figures {:?}", entry.after)),
                (true, false) => Some(format!("figures {:?}, the deltas sum to {sum:?}", entry.after)),
                (true, true) => None,
            };
            findings.check(entry.line, wrong);
            sum = entry.after;
        }
    }
    findings
}

/// I4: an operation is consecutive entries of one balance, and what no key made, time made.
pub(super) fn operations(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    let mut known = HashSet::new();
    for ((account, key), operation) in &facts.operations {
        known.insert((*account, operation.operation));
        let entries = facts.journal.get(account).map_or(&[][..], Vec::as_slice);
        let own = entries.iter().filter(|entry| entry.operation == operation.operation);
        let places = own.map(|entry| (entry.version, entry.index, i64::from(entry.size)));
        let expected = (operation.first..operation.first + operation.count).zip(0..);
        let expected = expected.map(|(version, index)| (version, index, operation.count));
        let wrong = !places.eq(expected) || operation.count < 1;
        findings.check(operation.line, wrong.then(|| format!("the entries of {key} are not whole")));
    }
    for (account, entries) in &facts.journal {
        for entry in entries {
            let wrong = !known.contains(&(*account, entry.operation)) && !OF_TIME.contains(&entry.kind);
            findings.check(entry.line, wrong.then(|| format!("version {} belongs to no key", entry.version)));
        }
    }
    findings
}

/// I5: versions are dense from 1, no hash stands twice.
pub(super) fn dense(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    for entries in facts.journal.values() {
        let mut hashes = HashSet::new();
        for (entry, version) in entries.iter().zip(1..) {
            let wrong = match (entry.version == version, hashes.insert(entry.hash)) {
                (false, _) => Some(format!("version {} where {version} should be", entry.version)),
                (true, false) => Some(format!("version {version} has the hash of another")),
                (true, true) => None,
            };
            findings.check(entry.line, wrong);
        }
    }
    findings
}

/// I6: what streams told of an entry is what the journal has. Order and completeness are the promises' validators'.
pub(super) fn streamed(facts: &Facts<'_>, _: &Bounds) -> Findings {
    let mut findings = Findings::default();
    Walk::through(facts, |step| {
        let Event::Changes { account, entries, .. } = step.event else { return };
        for Delivered(version, hash, index, size) in entries {
            let Some(stored) = facts.entry(*account, *version).filter(|entry| entry.hash == *hash) else {
                continue;
            };
            let wrong = (stored.index, stored.size) != (*index, *size);
            findings.check(
                step.line,
                wrong.then(|| format!("version {version} stands elsewhere in its operation")),
            );
        }
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, part};
    use crate::history::{Event, Figures};

    fn tampered(change: impl Fn(&mut Event)) -> Script {
        Script::new().journal(3).with_journal(|event| {
            if matches!(event, Event::Entry { version: 2, .. }) {
                change(event);
            }
        })
    }

    #[test]
    fn a_journal_without_a_fault_is_sound() {
        tampered(|_| {}).holds();
    }

    #[test]
    fn wrong_figures_are_caught() {
        let negative = |event: &mut Event| {
            if let Event::Entry { after, delta, .. } = event {
                (*after, *delta) = (Figures(-1, 0, 0, 0), Figures(-2, 0, 0, 0));
            }
        };
        tampered(negative).breaks("figures");
        let off = |event: &mut Event| {
            if let Event::Entry { after, .. } = event {
                *after = Figures(5, 0, 0, 0);
            }
        };
        tampered(off).breaks("figures");
    }

    #[test]
    fn an_entry_of_nobody_and_a_key_without_its_entries_are_caught() {
        let stranger = |event: &mut Event| {
            if let Event::Entry { operation, .. } = event {
                *operation = "stranger".to_owned();
            }
        };
        tampered(stranger).breaks("operations");
        Script::new().journal(3).without_entry(3).breaks("operations");
    }

    #[test]
    fn a_hole_and_a_repeated_hash_are_caught() {
        Script::new().journal(3).without_entry(2).breaks("dense");
        let same = |event: &mut Event| {
            if let Event::Entry { hash, .. } = event {
                *hash = part(1, 0, 1).1;
            }
        };
        tampered(same).breaks("dense");
    }

    #[test]
    fn a_change_that_was_told_otherwise_is_caught() {
        let script = Script::new().journal(3).open(1, &[(1, Some(0))]);
        script.changes(1, 1, &[part(1, 0, 2), part(2, 1, 2)]).breaks("streamed");
    }
}
