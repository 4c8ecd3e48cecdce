//! How far a watcher is: the last version and hash of every balance that it has shown, which is where the next stream
//! goes on.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::v1::watch_credits_response::Event;
use proto::v1::{WatchCreditsRequest, WatchCreditsResponse, WatchTarget};

/// The place after one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    version: Option<i64>,
    hash: Bytes,
}

/// The places of all targets, which share one unit.
#[derive(Debug)]
pub(crate) struct Progress {
    unit: String,
    places: BTreeMap<String, Place>,
    shown: u64,
    begun: bool,
}

impl Progress {
    /// Nothing shown yet. The order of the accounts does not matter; one that is named twice is watched once.
    pub(crate) fn new(accounts: &[String], unit: &str, after_version: Option<i64>) -> Self {
        let start = Place { version: after_version, hash: Bytes::new() };
        let places = accounts.iter().map(|account| (account.clone(), start.clone())).collect();
        Self { unit: unit.to_owned(), places, shown: 0, begun: false }
    }

    /// The request that goes on from here.
    pub(crate) fn request(&self) -> WatchCreditsRequest {
        let targets = self.places.iter().map(|(account, place)| WatchTarget {
            account_id: account.clone(),
            unit: self.unit.clone(),
            after_version: place.version,
            after_hash: place.hash.clone(),
        });
        WatchCreditsRequest { targets: targets.collect(), ..WatchCreditsRequest::default() }
    }

    /// Notes what was shown.
    pub(crate) fn take(&mut self, message: &WatchCreditsResponse) {
        self.begun = true;
        match &message.event {
            Some(Event::Snapshot(snapshot)) => {
                let Some(balance) = &snapshot.balance else { return };
                self.shown += 1;
                self.put(&balance.account_id, balance.version, &balance.entry_hash);
            }
            Some(Event::Changes(changes)) => {
                for entry in &changes.entries {
                    self.shown += 1;
                    self.put(&entry.account_id, entry.version, &entry.entry_hash);
                }
            }
            Some(Event::Bookmark(_) | Event::TargetChange(_) | Event::GoAway(_)) | None => {}
        }
    }

    /// Snapshots and entries so far.
    pub(crate) fn shown(&self) -> u64 {
        self.shown
    }

    /// Whether anything ever came.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether every target has been seen at this version or a later one.
    pub(crate) fn has_reached(&self, version: i64) -> bool {
        self.begun
            && self.places.values().all(|place| place.version.is_some_and(|reached| reached >= version))
    }

    fn put(&mut self, account: &str, version: i64, hash: &Bytes) {
        if let Some(place) = self.places.get_mut(account) {
            *place = Place { version: Some(version), hash: hash.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Balance, Bookmark, Changes, Entry, Snapshot};

    use super::*;

    fn entry(account: &str, version: i64) -> Entry {
        let entry_hash = Bytes::from(vec![u8::try_from(version).unwrap(); 32]);
        Entry { account_id: account.to_owned(), version, entry_hash, ..Entry::default() }
    }

    fn message(event: Event) -> WatchCreditsResponse {
        WatchCreditsResponse { event: Some(event) }
    }

    #[test]
    fn the_next_stream_goes_on_after_the_last_entry_with_its_hash() {
        let mut progress = Progress::new(&["b".to_owned(), "a".to_owned(), "b".to_owned()], "credits", None);
        let balance = Balance { account_id: "a".to_owned(), version: 4, ..Balance::default() };
        progress.take(&message(Event::Snapshot(Snapshot { balance: Some(balance), reason: 1 })));
        let entries = vec![entry("a", 5), entry("a", 6)];
        progress.take(&message(Event::Changes(Changes { entries, ..Changes::default() })));
        progress.take(&message(Event::Bookmark(Bookmark::default())));
        let targets = progress.request().targets;
        assert_eq!((targets[0].account_id.as_str(), targets[0].after_version), ("a", Some(6)));
        assert_eq!(targets[0].after_hash, vec![6; 32]);
        assert_eq!((targets[1].account_id.as_str(), targets[1].after_version), ("b", None));
        assert_eq!((targets.len(), progress.shown()), (2, 3));
    }

    #[test]
    fn all_targets_have_to_reach_the_version() {
        let mut progress = Progress::new(&["a".to_owned(), "b".to_owned()], "credits", Some(0));
        assert!(!progress.has_reached(0), "nothing has come yet");
        for (account, reached) in [("a", false), ("b", true)] {
            let changes = Changes { entries: vec![entry(account, 1)], ..Changes::default() };
            progress.take(&message(Event::Changes(changes)));
            assert_eq!(progress.has_reached(1), reached);
        }
        assert!(!progress.has_reached(2));
    }
}
