//! Who watches what in this process: a sharded map of watched balances only. A change that nobody watches costs
//! one look-up.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{AccountId, Unit};
use store::tail::OutboxRow;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::event::{Batch, Event};
use crate::mailbox::Mailbox;

/// Shards of the map, so that streams that come and go do not wait for the follower. Divides 256: one byte of
/// the hash chooses.
const SHARDS: usize = 64;

/// The name of a balance in the map. A line feed can be in neither part.
fn write_name(name: &mut String, account: &str, unit: &str) {
    name.clear();
    name.push_str(account);
    name.push('\n');
    name.push_str(unit);
}

#[derive(Debug)]
struct Watcher {
    /// Index of the balance among the stream's targets.
    target: usize,
    mailbox: Arc<Mailbox>,
}

/// Watchers of one balance, by stream.
type Topic = HashMap<u64, Watcher>;
type Shard = HashMap<Box<str>, Topic>;

/// The map.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    next_stream: AtomicU64,
    watches: AtomicUsize,
    /// The first watch came.
    watched: Notify,
    queued_bytes: Arc<AtomicUsize>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            hasher: RandomState::new(),
            next_stream: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            watched: Notify::new(),
            queued_bytes: Arc::default(),
        }
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(name).to_le_bytes();
        self.shards[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watched (stream, balance) pairs.
    pub(crate) fn watches(&self) -> usize {
        self.watches.load(Ordering::SeqCst)
    }

    /// Waits until a watch comes where there was none; also when that was since the last wait.
    pub(crate) async fn first_watch(&self) {
        self.watched.notified().await;
    }

    /// Begins to queue the changes of these balances. What a poll that begins after this returns finds is
    /// queued; what was committed before must be read.
    pub(crate) fn watch(self: &Arc<Self>, balances: &[(AccountId, Unit)]) -> Watch {
        let stream = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.queued_bytes)));
        let mut names = Vec::with_capacity(balances.len());
        for (target, (account, unit)) in balances.iter().enumerate() {
            let mut name = String::new();
            write_name(&mut name, account.as_str(), unit.as_str());
            let name = name.into_boxed_str();
            let watcher = Watcher { target, mailbox: Arc::clone(&mailbox) };
            self.shard(&name).entry(name.clone()).or_default().insert(stream, watcher);
            names.push(name);
        }
        // In one order with the follower's look at it: it passes over what nobody watches (`Tail::skip`).
        if self.watches.fetch_add(names.len(), Ordering::SeqCst) == 0 {
            self.watched.notify_one();
        }
        Watch { hub: Arc::clone(self), stream, names, mailbox }
    }

    /// Whether anybody watches the balance. `name` is scratch space.
    pub(crate) fn is_watched(&self, name: &mut String, account: &str, unit: &str) -> bool {
        write_name(name, account, unit);
        self.shard(name).contains_key(name.as_str())
    }

    /// Hands out the rows of one poll, which are sorted by balance and version.
    pub(crate) fn deliver(&self, rows: Vec<OutboxRow>, now: Instant) {
        let mut events: Vec<Arc<Event>> = Vec::new();
        for row in rows {
            let goes_on =
                events.last().is_none_or(|last| last.account == row.account && last.unit == row.unit);
            if !goes_on {
                self.hand_out(std::mem::take(&mut events), now);
            }
            events.push(Arc::new(row.into()));
        }
        self.hand_out(events, now);
    }

    fn hand_out(&self, events: Vec<Arc<Event>>, now: Instant) {
        let Some(batch) = Batch::lookup(events) else { return };
        let Some(first) = batch.events.first() else { return };
        let mut name = String::new();
        write_name(&mut name, first.account.as_str(), first.unit.as_str());
        if let Some(topic) = self.shard(&name).get(name.as_str()) {
            for watcher in topic.values() {
                watcher.mailbox.push(watcher.target, &batch, now);
            }
        }
    }

    /// The source was connected anew: every stream compares what it has sent with the journal.
    pub(crate) fn recheck_all(&self, now: Instant) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for watcher in shard.values().flat_map(Topic::values) {
                watcher.mailbox.recheck(now);
            }
        }
    }

    fn forget(&self, stream: u64, names: &[Box<str>]) {
        for name in names {
            let mut shard = self.shard(name);
            if let Some(topic) = shard.get_mut(name) {
                topic.remove(&stream);
                if topic.is_empty() {
                    shard.remove(name);
                }
            }
        }
        self.watches.fetch_sub(names.len(), Ordering::SeqCst);
    }
}

/// A stream's place in the hub; gone when dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Arc<Hub>,
    stream: u64,
    names: Vec<Box<str>>,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.forget(self.stream, &self.names);
    }
}
