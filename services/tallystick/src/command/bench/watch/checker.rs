//! Holds the service to its word about one watched balance: each version once, and in order.
//!
//! Must not know: how the versions came, or how many readers there are.

use std::collections::BTreeSet;

/// Most missing versions of a balance that are remembered, so that a broken stream cannot fill the memory; those beyond
/// count as lost at once.
const MAX_MISSING: usize = 100_000;

/// What a reader of one balance has seen.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The newest version that was passed; `None` before the first snapshot.
    last: Option<i64>,
    missing: BTreeSet<i64>,
    lost: u64,
    duplicates: u64,
    out_of_order: u64,
}

/// What was wrong, over any number of balances. All zero: nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Faults {
    /// Versions that never came.
    pub(super) lost: u64,
    /// Versions that came again.
    pub(super) duplicates: u64,
    /// Versions that came after a later one.
    pub(super) out_of_order: u64,
}

impl Checker {
    /// The newest version that was passed: where a new stream goes on; `None` before the first snapshot.
    pub(super) fn last(&self) -> Option<i64> {
        self.last
    }

    /// Notes the state at `version`. The first one is where reading starts; a later one that skips versions has lost them.
    pub(super) fn snapshot(&mut self, version: i64) {
        match self.last {
            None => self.last = Some(version),
            Some(last) if version < last => self.out_of_order += 1,
            Some(last) => {
                self.miss(last, version.saturating_add(1));
                self.last = Some(version);
            }
        }
    }

    /// Notes an entry.
    pub(super) fn entry(&mut self, version: i64) {
        // Without a snapshot before it, the first entry is where reading starts.
        let last = self.last.unwrap_or(version.saturating_sub(1));
        if version > last {
            self.miss(last, version);
            self.last = Some(version);
        } else if self.missing.remove(&version) {
            self.out_of_order += 1;
        } else {
            self.duplicates += 1;
        }
    }

    /// Whether everything up to `newest` has come.
    pub(super) fn is_complete(&self, newest: i64) -> bool {
        self.missing.is_empty() && self.last.is_some_and(|last| last >= newest)
    }

    /// What was wrong, when `newest` is the newest version that should have come.
    pub(super) fn faults(&self, newest: i64) -> Faults {
        let behind = u64::try_from(newest.saturating_sub(self.last.unwrap_or(0))).unwrap_or(0);
        let missing = u64::try_from(self.missing.len()).unwrap_or(u64::MAX);
        Faults {
            lost: self.lost + missing + behind,
            duplicates: self.duplicates,
            out_of_order: self.out_of_order,
        }
    }

    /// What lies between two versions did not come.
    fn miss(&mut self, last: i64, next: i64) {
        let first = last.saturating_add(1);
        let room = MAX_MISSING.saturating_sub(self.missing.len());
        let count = u64::try_from(next.saturating_sub(first)).unwrap_or(0);
        self.missing.extend((first..next).take(room));
        self.lost += count.saturating_sub(u64::try_from(room).unwrap_or(u64::MAX));
    }
}

impl Faults {
    /// Adds another balance's.
    pub(super) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_and_named() {
        // What came after the snapshot at version 4, the newest that was acknowledged, and what is wrong about it.
        let cases: [(&[i64], i64, [u64; 3]); 10] = [
            (&[5, 6, 7], 7, [0, 0, 0]),
            (&[5, 6, 7, 8], 7, [0, 0, 0]),
            (&[], 4, [0, 0, 0]),
            (&[5, 7], 7, [1, 0, 0]),
            (&[5, 6], 8, [2, 0, 0]),
            (&[5, 6, 6], 6, [0, 1, 0]),
            (&[4, 5], 5, [0, 1, 0]),
            (&[6, 5], 6, [0, 0, 1]),
            (&[8, 5, 6, 5], 8, [1, 1, 2]),
            (&[], 6, [2, 0, 0]),
        ];
        for (versions, newest, [lost, duplicates, out_of_order]) in cases {
            let mut checker = Checker::default();
            checker.snapshot(4);
            versions.iter().for_each(|version| checker.entry(*version));
            assert_eq!(checker.faults(newest), Faults { lost, duplicates, out_of_order }, "{versions:?}");
            assert_eq!(checker.is_complete(newest), lost == 0, "{versions:?}");
        }
    }

    #[test]
    fn a_snapshot_in_the_middle_that_skips_versions_has_lost_them() {
        let mut checker = Checker::default();
        checker.snapshot(4);
        checker.entry(5);
        checker.snapshot(5);
        assert_eq!(checker.faults(5), Faults::default());
        checker.snapshot(8);
        assert_eq!((checker.last(), checker.faults(8).lost), (Some(8), 3));
        checker.snapshot(2);
        assert_eq!(checker.faults(8).out_of_order, 1);
    }

    #[test]
    fn a_leap_does_not_fill_the_memory_and_is_counted_in_full() {
        let mut checker = Checker::default();
        checker.snapshot(0);
        checker.entry(1_000_000_001);
        assert_eq!(checker.faults(0).lost, 1_000_000_000);
        assert_eq!(checker.missing.len(), MAX_MISSING);
    }
}
