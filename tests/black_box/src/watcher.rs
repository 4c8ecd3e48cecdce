//! A reader of WatchCredits that remembers every change, holds each promise of the stream against it as it comes, and
//! opens the stream again where it was when the connection breaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1::watch_credits_response::Event;
use proto::v1::{Changes, Entry, WatchCreditsRequest, WatchTarget};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::api::{Api, Refusal};

/// A service that starts again within a test is back before.
const BACK_LIMIT: Duration = Duration::from_secs(60);

/// What a watcher has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The entries of every account, in the order in which they came.
    pub entries: BTreeMap<String, Vec<Entry>>,
    /// Promises of the stream that were broken.
    pub faults: Vec<String>,
    /// Streams opened after the first.
    pub resumed: u32,
    /// Bookmarks.
    pub bookmarks: u32,
    /// Whether the newest bookmark said that the stream is in sync.
    pub in_sync: bool,
}

/// A running watcher of one unit (`credits`) of some accounts, from version 1 on. Ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Watches these accounts at `host:port`.
    pub fn start(addr: &str, api_key: Option<&str>, accounts: &[String]) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let empty = accounts.iter().map(|account| (account.clone(), Vec::new()));
        lock(&seen).entries = empty.collect();
        let api = Api::at(addr);
        let api = api_key.map_or(api.clone(), |key| api.with_key(key));
        let task = tokio::spawn(follow(addr.to_owned(), api, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// Waits until the stream has told of this version, and so of all before.
    ///
    /// # Panics
    /// When it has not within `limit`; at once when it has broken a promise.
    pub async fn reaches(&self, account: &str, version: i64, limit: Duration) {
        let what = format!("version {version} of {account} at a watcher");
        harness::eventually(&what, limit, || async {
            let seen = self.seen();
            assert!(seen.faults.is_empty(), "{:?}", seen.faults);
            seen.entries.get(account).and_then(|entries| entries.last()).map_or(0, |entry| entry.version)
                >= version
        })
        .await;
    }

    /// Waits until a bookmark has said that the stream is in sync.
    ///
    /// # Panics
    /// When none has within `limit`.
    pub async fn in_sync(&self, limit: Duration) {
        harness::eventually("a bookmark in sync", limit, || async { self.seen().in_sync }).await;
    }

    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Ends the watcher and gives what it has seen.
    pub fn finish(self) -> Seen {
        self.task.abort();
        std::mem::take(&mut *self.seen())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Streams one after the other, until one ends in a way that a reader must not forgive.
async fn follow(addr: String, api: Api, seen: Arc<Mutex<Seen>>) {
    loop {
        let ended = stream(&api, &seen).await;
        lock(&seen).in_sync = false;
        if let Err(refusal) = ended
            && !refusal.reason.is_empty()
            && !matches!(refusal.reason.as_str(), "SHUTTING_DOWN" | "DATABASE_UNAVAILABLE" | "OVERLOADED")
        {
            lock(&seen).faults.push(format!("the stream ended: {refusal:?}"));
            return;
        }
        harness::eventually("a service that listens", BACK_LIMIT, || async {
            TcpStream::connect(&addr).await.is_ok()
        })
        .await;
    }
}

/// One stream, until it ends.
async fn stream(api: &Api, seen: &Mutex<Seen>) -> Result<(), Refusal> {
    let request = lock(seen).request();
    let resuming = request.targets.iter().any(|target| target.after_version > Some(0));
    let mut stream = api.watch(request).await?;
    lock(seen).resumed += u32::from(resuming);
    while let Some(message) = stream.message().await? {
        match message.event {
            Some(Event::Changes(changes)) => lock(seen).take(changes),
            Some(Event::Snapshot(snapshot)) => {
                lock(seen).faults.push(format!("a snapshot that nobody asked for: {snapshot:?}"));
            }
            Some(Event::Bookmark(bookmark)) => {
                let mut seen = lock(seen);
                seen.bookmarks += 1;
                seen.in_sync = bookmark.in_sync;
            }
            Some(Event::TargetChange(change)) => {
                lock(seen).faults.push(format!("a target that nobody changed: {change:?}"));
            }
            // The end follows, and with it the next stream.
            Some(Event::GoAway(_)) => {}
            None => lock(seen).faults.push("a message without an event".to_owned()),
        }
    }
    Ok(())
}

impl Seen {
    /// Goes on after what was seen.
    fn request(&self) -> WatchCreditsRequest {
        let targets = self.entries.iter().map(|(account, entries)| {
            let last = entries.last();
            WatchTarget {
                account_id: account.clone(),
                unit: String::new(),
                after_version: Some(last.map_or(0, |entry| entry.version)),
                after_hash: last.map(|entry| entry.entry_hash.clone()).unwrap_or_default(),
            }
        });
        let bookmark_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        WatchCreditsRequest {
            targets: targets.collect(),
            bookmark_interval,
            ..WatchCreditsRequest::default()
        }
    }

    fn take(&mut self, changes: Changes) {
        let Some(entries) = self.entries.get_mut(&changes.account_id) else {
            self.faults.push(format!("changes of {}, which is not watched", changes.account_id));
            return;
        };
        let mut fault = operations_are_whole(&changes).err();
        for entry in changes.entries {
            fault = fault.or_else(|| follows(entries.last(), &entry, &changes.account_id).err());
            entries.push(entry);
        }
        self.faults.extend(fault);
    }
}

/// Promise 4: an operation is never cut.
fn operations_are_whole(changes: &Changes) -> Result<(), String> {
    let mut expected = 0;
    for entry in &changes.entries {
        if entry.operation_index != expected {
            return Err(format!("a cut operation: {changes:?}"));
        }
        expected = if expected + 1 == entry.operation_size { 0 } else { expected + 1 };
    }
    if expected == 0 && !changes.entries.is_empty() {
        Ok(())
    } else {
        Err(format!("a cut operation: {changes:?}"))
    }
}

/// Promises 1 and 2: the successor of what came before, and nothing else; its figures say the same as its deltas.
fn follows(before: Option<&Entry>, entry: &Entry, account: &str) -> Result<(), String> {
    let zero = Entry::default();
    let before = before.unwrap_or(&zero);
    let figures = [
        (before.available, entry.available_delta, entry.available),
        (before.held, entry.held_delta, entry.held),
        (before.scheduled, entry.scheduled_delta, entry.scheduled),
        (before.debt, entry.debt_delta, entry.debt),
    ];
    let sound = entry.version == before.version + 1
        && entry.account_id == account
        && entry.unit == "credits"
        && entry.entry_hash.len() == 32
        && figures.iter().all(|(before, delta, after)| before + delta == *after && *after >= 0);
    if sound { Ok(()) } else { Err(format!("after version {} of {account} came {entry:?}", before.version)) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn entry(version: i64, index: i32, size: i32) -> Entry {
        Entry {
            account_id: "a".to_owned(),
            unit: "credits".to_owned(),
            version,
            operation_index: index,
            operation_size: size,
            available_delta: 1,
            available: version,
            entry_hash: Bytes::from_static(&[1; 32]),
            ..Entry::default()
        }
    }

    fn faults(batches: &[Vec<Entry>]) -> usize {
        let mut seen = Seen { entries: BTreeMap::from([("a".to_owned(), Vec::new())]), ..Seen::default() };
        for entries in batches {
            seen.take(Changes {
                account_id: "a".to_owned(),
                unit: "credits".to_owned(),
                entries: entries.clone(),
            });
        }
        seen.faults.len()
    }

    #[test]
    fn whole_operations_in_order_are_sound() {
        assert_eq!(faults(&[vec![entry(1, 0, 1)], vec![entry(2, 0, 2), entry(3, 1, 2), entry(4, 0, 1)]]), 0);
    }

    #[test]
    fn a_gap_a_repetition_a_cut_operation_and_wrong_figures_are_faults() {
        assert_eq!(faults(&[vec![entry(1, 0, 1)], vec![entry(3, 0, 1)]]), 1, "a gap");
        assert_eq!(faults(&[vec![entry(1, 0, 1)], vec![entry(1, 0, 1)]]), 1, "a repetition");
        assert_eq!(faults(&[vec![entry(1, 0, 2)]]), 1, "the end is missing");
        assert_eq!(faults(&[vec![entry(1, 1, 2)]]), 1, "the beginning is missing");
        assert_eq!(faults(&[vec![]]), 1, "nothing");
        assert_eq!(faults(&[vec![Entry { available: 7, ..entry(1, 0, 1) }]]), 1, "figures");
    }

    #[test]
    fn the_next_stream_goes_on_after_the_last_entry() {
        let seen =
            Seen { entries: BTreeMap::from([("a".to_owned(), vec![entry(1, 0, 1)])]), ..Seen::default() };
        let target = seen.request().targets.remove(0);
        assert_eq!((target.after_version, target.after_hash.len()), (Some(1), 32));
    }
}
