//! How far a watcher is: what it has shown of every balance, which is what ends a watch that is to end.

use std::collections::BTreeMap;

use proto::v1::watch_credits_response::Event;

/// The versions shown of all targets, which share one unit.
#[derive(Debug)]
pub(crate) struct Progress {
    versions: BTreeMap<String, Option<i64>>,
    shown: u64,
}

impl Progress {
    /// Nothing shown yet. The order of the accounts does not matter; one that is named twice is watched once.
    pub(crate) fn new(accounts: &[String]) -> Self {
        Self { versions: accounts.iter().map(|account| (account.clone(), None)).collect(), shown: 0 }
    }

    /// The accounts, each once.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &String> {
        self.versions.keys()
    }

    /// Notes what was shown.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::Snapshot(snapshot) => {
                let Some(balance) = &snapshot.balance else { return };
                self.put(&balance.account_id, balance.version);
            }
            Event::Changes(changes) => {
                for entry in &changes.entries {
                    self.put(&entry.account_id, entry.version);
                }
            }
            Event::Bookmark(_) | Event::TargetChange(_) | Event::GoAway(_) => {}
        }
    }

    /// Snapshots and entries so far.
    pub(crate) fn shown(&self) -> u64 {
        self.shown
    }

    /// Whether every target has been seen at this version or a later one.
    pub(crate) fn has_reached(&self, version: i64) -> bool {
        self.versions.values().all(|shown| shown.is_some_and(|reached| reached >= version))
    }

    fn put(&mut self, account: &str, version: i64) {
        self.shown += 1;
        if let Some(shown) = self.versions.get_mut(account) {
            *shown = Some(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Balance, Bookmark, Changes, Entry, Snapshot};

    use super::*;

    fn entry(account: &str, version: i64) -> Entry {
        Entry { account_id: account.to_owned(), version, ..Entry::default() }
    }

    fn changes(entries: Vec<Entry>) -> Event {
        Event::Changes(Changes { entries, ..Changes::default() })
    }

    #[test]
    fn snapshots_and_entries_are_counted_and_bookmarks_are_not() {
        let mut progress = Progress::new(&["b".to_owned(), "a".to_owned(), "b".to_owned()]);
        let balance = Balance { account_id: "a".to_owned(), version: 4, ..Balance::default() };
        progress.take(&Event::Snapshot(Snapshot { balance: Some(balance), reason: 1 }));
        progress.take(&changes(vec![entry("a", 5), entry("a", 6)]));
        progress.take(&Event::Bookmark(Bookmark::default()));
        assert_eq!((progress.accounts().count(), progress.shown()), (2, 3));
    }

    #[test]
    fn all_targets_have_to_reach_the_version() {
        let mut progress = Progress::new(&["a".to_owned(), "b".to_owned()]);
        assert!(!progress.has_reached(0), "nothing has come yet");
        for (account, reached) in [("a", false), ("b", true)] {
            progress.take(&changes(vec![entry(account, 1)]));
            assert_eq!(progress.has_reached(1), reached);
        }
        assert!(!progress.has_reached(2));
    }
}
