//! A reader that follows the published algorithm and panics when the stream breaks its contract.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use domain::EntryHash;
use relay::{Message, SnapshotReason, Subscription, SubscriptionError, Target};
use tokio::time::{Instant, timeout_at};

use crate::ledger::LIMIT;

/// A bookmark, and the moment of its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub in_sync: bool,
    pub source_lag: Duration,
    pub at: Instant,
}

pub struct Reader {
    pub subscription: Subscription,
    /// Version and hash of each account.
    pub have: HashMap<String, (i64, EntryHash)>,
    pub snapshots: Vec<(String, SnapshotReason, i64)>,
    pub marks: Vec<Mark>,
    /// That of the newest bookmark.
    pub token: Option<Bytes>,
    /// Account, version asked for, oldest version.
    pub removed: Vec<(String, i64, i64)>,
    /// Targets that said that they are current.
    pub current: Vec<String>,
    /// The texts of all events.
    pub events: Vec<String>,
    /// Events of each Changes.
    pub sizes: Vec<usize>,
    /// Bookmarks keep coming on a stream that goes wrong, so the reader as a whole has a limit.
    give_up_at: Instant,
}

impl Reader {
    /// `targets` as they were subscribed to.
    pub fn new(subscription: Subscription, targets: &[Target]) -> Self {
        let resumed = targets.iter().filter_map(|target| {
            let version = target.after_version?;
            Some((target.account.to_string(), (version, target.after_hash.unwrap_or_default())))
        });
        Self {
            subscription,
            have: resumed.collect(),
            snapshots: Vec::new(),
            marks: Vec::new(),
            token: None,
            removed: Vec::new(),
            current: Vec::new(),
            events: Vec::new(),
            sizes: Vec::new(),
            give_up_at: Instant::now() + LIMIT,
        }
    }

    pub fn version(&self, account: &str) -> i64 {
        self.have.get(account).map_or(-1, |(version, _)| *version)
    }

    /// Takes one message.
    pub async fn step(&mut self) -> Result<(), SubscriptionError> {
        let next = timeout_at(self.give_up_at, self.subscription.next()).await.expect("a message in time");
        self.take(next.expect("the stream goes on")?);
        Ok(())
    }

    pub fn take(&mut self, message: Message) {
        match message {
            Message::Snapshot { balance, reason } => {
                let account = balance.account.to_string();
                let known = self.have.insert(account.clone(), (balance.version, balance.hash));
                assert_eq!(known.is_none(), reason == SnapshotReason::Initial, "{account}: {reason:?}");
                self.snapshots.push((account, reason, balance.version));
            }
            Message::Changes { account, events, .. } => {
                let have = self.have.get_mut(account.as_str()).expect("changes continue something");
                for event in &events {
                    assert_eq!(event.version, have.0 + 1, "{account}: dense and in order");
                    *have = (event.version, event.hash);
                    let text = String::from_utf8(event.bytes.to_vec()).unwrap();
                    let name = format!("{account}/{}", event.version);
                    assert_eq!(text.trim_end_matches('.'), name);
                    self.events.push(text);
                }
                assert!(events.first().is_some_and(|first| first.operation_index == 0), "whole operations");
                assert!(events.last().is_some_and(|last| last.ends_operation()), "whole operations");
                self.sizes.push(events.len());
            }
            Message::Bookmark { in_sync, source_lag, resume_token } => {
                self.marks.push(Mark { in_sync, source_lag, at: Instant::now() });
                self.token = Some(resume_token);
            }
            Message::Removed { account, version, oldest, .. } => {
                self.removed.push((account.to_string(), version, oldest));
            }
            Message::Current { account, .. } => self.current.push(account.to_string()),
        }
    }

    /// Reads until the account is at the version.
    pub async fn until(&mut self, account: &str, version: i64) {
        while self.version(account) < version {
            self.step().await.expect("the stream goes on");
        }
        assert_eq!(self.version(account), version, "{account}");
    }

    /// Adds a target to the stream, to go on from what it says.
    pub fn add(&mut self, target: &Target) {
        if let Some(version) = target.after_version {
            let hash = target.after_hash.unwrap_or_default();
            self.have.insert(target.account.to_string(), (version, hash));
        }
        self.subscription.add(target).unwrap();
    }

    /// Removes a target from the stream: any message of it that follows is a breach.
    pub fn remove(&mut self, target: &Target) {
        self.have.remove(target.account.as_str());
        assert!(self.subscription.remove(&target.account, &target.unit), "it is watched");
    }

    /// Reads until so many targets have said that they are current.
    pub async fn until_current(&mut self, count: usize) {
        while self.current.len() < count {
            self.step().await.expect("the stream goes on");
        }
    }

    /// Reads until one more bookmark.
    pub async fn until_mark(&mut self) -> Mark {
        let marks = self.marks.len();
        while self.marks.len() == marks {
            self.step().await.expect("the stream goes on");
        }
        self.marks[marks]
    }
}
