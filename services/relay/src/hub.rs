//! Who watches what in this process: a sharded map of watched balances only. A change that nobody watches costs
//! one look-up.

mod name;
mod topic;

use std::collections::{BTreeMap, HashMap, hash_map};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{AccountId, Unit};
use store::tail::OutboxRow;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::name::Name;
use self::name::Named;
use self::topic::{Topic, Watcher};
use crate::event::{Batch, Event};
use crate::limits::MAX_WATCHES;
use crate::mailbox::Mailbox;

/// Shards of the map, so that streams that come and go do not wait for the follower. Divides 256: one byte of
/// the hash chooses.
const SHARDS: usize = 64;

type Shard = HashMap<Arc<Name>, Topic>;

/// The map.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
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
            watches: AtomicUsize::new(0),
            watched: Notify::new(),
            queued_bytes: Arc::default(),
        }
    }

    fn shard(&self, name: &dyn Named) -> MutexGuard<'_, Shard> {
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

    /// Begins to queue the changes of these balances, none twice: targets 0, 1, 2 and so on. What a poll that begins
    /// after this returns finds is queued; what was committed before must be read.
    pub(crate) fn watch(self: &Arc<Self>, balances: &[(AccountId, Unit)]) -> Watch {
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.queued_bytes)));
        let mut watch = Watch { hub: Arc::clone(self), names: BTreeMap::new(), next_target: 0, mailbox };
        for (account, unit) in balances {
            watch.begin(account, unit);
        }
        watch
    }

    /// Whether anybody watches the balance.
    pub(crate) fn is_watched(&self, account: &str, unit: &str) -> bool {
        let name: &dyn Named = &(account, unit);
        self.shard(name).contains_key(name)
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
        let name: &dyn Named = &(first.account.as_str(), first.unit.as_str());
        if let Some(topic) = self.shard(name).get(name) {
            for watcher in topic.watchers() {
                watcher.mailbox.push(watcher.target, &batch, now);
            }
        }
    }

    /// The source was connected anew: every stream compares what it has sent with the journal.
    pub(crate) fn recheck_all(&self, now: Instant) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for watcher in shard.values().flat_map(Topic::watchers) {
                watcher.mailbox.recheck(now);
            }
        }
    }

    /// Once this returns nothing more of the balance is queued for the stream.
    fn forget(&self, name: &Arc<Name>, mailbox: &Arc<Mailbox>) {
        let mut shard = self.shard(&**name);
        // The hub's own name goes back with the topic: another watcher may have brought it.
        if let Some((name, topic)) = shard.remove_entry(name)
            && let Some(topic) = topic.without(mailbox)
        {
            shard.insert(name, topic);
        }
        self.watches.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stream's place in the hub; gone when dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Arc<Hub>,
    /// By target. A target's number never comes again.
    names: BTreeMap<u32, Arc<Name>>,
    next_target: u32,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Watch {
    /// Whether the process may watch one more balance.
    pub(crate) fn has_room(&self) -> bool {
        self.hub.watches() < MAX_WATCHES
    }

    /// The balances, by target.
    pub(crate) fn names(&self) -> impl Iterator<Item = (u32, &Arc<Name>)> {
        self.names.iter().map(|(target, name)| (*target, name))
    }

    /// Begins to queue the changes of one more balance ([`Hub::watch`]), and gives its target. None when the stream
    /// watches it.
    pub(crate) fn begin(&mut self, account: &AccountId, unit: &Unit) -> Option<(u32, Arc<Name>)> {
        let target = self.next_target;
        let next_target = target.checked_add(1)?;
        let watcher = Watcher { target, mailbox: Arc::clone(&self.mailbox) };
        let name = Arc::new(Name { account: account.clone(), unit: unit.clone() });
        let name = match self.hub.shard(&*name).entry(name) {
            hash_map::Entry::Vacant(entry) => {
                let name = Arc::clone(entry.key());
                entry.insert(Topic::One(watcher));
                name
            }
            hash_map::Entry::Occupied(entry) if entry.get().find(&self.mailbox).is_some() => return None,
            hash_map::Entry::Occupied(mut entry) => {
                entry.get_mut().add(watcher);
                Arc::clone(entry.key())
            }
        };
        // In one order with the follower's look at it: it passes over what nobody watches (`Tail::skip`).
        if self.hub.watches.fetch_add(1, Ordering::SeqCst) == 0 {
            self.hub.watched.notify_one();
        }
        self.names.insert(target, Arc::clone(&name));
        self.next_target = next_target;
        Some((target, name))
    }

    /// The target that stands for a balance.
    pub(crate) fn find(&self, account: &AccountId, unit: &Unit) -> Option<u32> {
        let name: &dyn Named = &(account.as_str(), unit.as_str());
        self.hub.shard(name).get(name)?.find(&self.mailbox)
    }

    /// Watches a target no more, and forgets what is queued of it.
    pub(crate) fn end(&mut self, target: u32) {
        if let Some(name) = self.names.remove(&target) {
            self.hub.forget(&name, &self.mailbox);
            self.mailbox.withdraw(target);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for name in self.names.values() {
            self.hub.forget(name, &self.mailbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::EntryHash;

    use super::*;

    fn balance(account: &str) -> (AccountId, Unit) {
        (AccountId::try_new(account).unwrap(), Unit::try_new("").unwrap())
    }

    fn event(account: &str) -> Arc<Event> {
        let (account, unit) = balance(account);
        Arc::new(Event {
            account,
            unit,
            version: 1,
            operation_index: 0,
            operation_size: 1,
            hash: EntryHash::default(),
            bytes: Bytes::from_static(b"event"),
            traceparent: None,
        })
    }

    fn balances(hub: &Hub) -> usize {
        hub.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_target_that_comes_and_goes_leaves_nothing_and_its_number_never_comes_again() {
        let hub = Arc::new(Hub::new());
        let mut watch = hub.watch(&[balance("other")]);
        let (account, unit) = balance("a");
        for turn in 1..=100_000 {
            let (target, _) = watch.begin(&account, &unit).unwrap();
            assert_eq!(target, turn);
            assert!(watch.begin(&account, &unit).is_none(), "it is watched");
            hub.hand_out(vec![event("a")], Instant::now());
            watch.end(target);
        }
        hub.hand_out(vec![event("a")], Instant::now());
        assert_eq!((balances(&hub), hub.watches(), watch.names.len()), (1, 1, 1));
        assert_eq!(hub.queued_bytes.load(Ordering::Relaxed), 0);
        assert!(watch.mailbox.pop().is_none() && watch.mailbox.take_missed().is_empty());
        drop(watch);
        assert_eq!((balances(&hub), hub.watches()), (0, 0));
    }

    #[test]
    fn streams_of_one_balance_come_and_go_on_their_own() {
        let hub = Arc::new(Hub::new());
        let mut streams: Vec<Watch> = (0..3).map(|_| hub.watch(&[balance("x"), balance("a")])).collect();
        assert_eq!((balances(&hub), hub.watches()), (2, 6));
        streams[1].end(1);
        drop(streams.remove(0));
        hub.hand_out(vec![event("a")], Instant::now());
        assert!(streams[0].mailbox.pop().is_none());
        assert!(streams[1].mailbox.pop().is_some());
        assert!(hub.is_watched("a", "credits") && !hub.is_watched("a", "gems"));
        drop(streams.remove(1));
        assert!(!hub.is_watched("a", "credits") && hub.is_watched("x", "credits"));
        drop(streams);
        assert_eq!((balances(&hub), hub.watches()), (0, 0));
    }
}
