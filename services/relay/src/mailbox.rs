//! The bounded queue of one stream: written by the follower, read by the subscription.
//!
//! Promises: it never holds more than its limits and never blocks the follower. What it cannot hold it drops
//! *aloud*: the balances concerned are noted, and the subscription reads them from the journal before it takes
//! anything else out of the queue.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::tail::mutants::{self, Mutant};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::event::Batch;
use crate::limits::{MAX_QUEUED_BYTES, MAX_QUEUED_BYTES_OF_ALL, MAX_QUEUED_EVENTS, SLOW_READER_AFTER};

/// What waits in the queue.
#[derive(Debug)]
pub(crate) enum Item {
    /// Changes of this target.
    Changes(u32, Batch),
    /// A bookmark: everything that was committed before this moment was put into the queue before it.
    Mark(Instant),
}

/// Balances of the stream whose events were not kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Every target must be compared with the journal: the source was connected anew.
    pub(crate) all: bool,
    /// Targets whose events were dropped.
    pub(crate) targets: BTreeSet<u32>,
}

impl Missed {
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.targets.is_empty()
    }

    fn covers(&self, target: u32) -> bool {
        self.all || self.targets.contains(&target)
    }
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    events: usize,
    bytes: usize,
    missed: Missed,
    mark_is_queued: bool,
    is_reading: bool,
    /// Since when something waits while nobody reads.
    waiting_since: Option<Instant>,
    is_slow: bool,
}

/// One stream's queue.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    ready: Notify,
    bytes_of_all: Arc<AtomicUsize>,
}

impl Mailbox {
    /// `bytes_of_all` counts the queues of the whole process.
    pub(crate) fn new(bytes_of_all: Arc<AtomicUsize>) -> Self {
        Self { state: Mutex::default(), ready: Notify::new(), bytes_of_all }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follower: queues a batch, or drops the queue when it would exceed a limit.
    pub(crate) fn push(&self, target: u32, batch: &Batch, now: Instant) {
        let mut state = self.lock();
        if self.gave_up(&mut state, now) || state.missed.covers(target) {
            return;
        }
        let events = state.events.saturating_add(batch.events.len());
        let bytes = state.bytes.saturating_add(batch.bytes);
        let of_all = self.bytes_of_all.load(Ordering::Relaxed).saturating_add(batch.bytes);
        if events > MAX_QUEUED_EVENTS || bytes > MAX_QUEUED_BYTES || of_all > MAX_QUEUED_BYTES_OF_ALL {
            self.drop_queue(&mut state);
            state.missed.targets.insert(target);
            if mutants::is(Mutant::SilentDropOnOverflow) {
                state.missed = Missed::default();
            }
        } else {
            (state.events, state.bytes) = (events, bytes);
            self.bytes_of_all.fetch_add(batch.bytes, Ordering::Relaxed);
            state.items.push_back(Item::Changes(target, batch.clone()));
        }
        self.wake(&mut state, now);
    }

    /// Follower: the source was connected anew, so events may be missing; everything is compared again.
    pub(crate) fn recheck(&self, now: Instant) {
        let mut state = self.lock();
        if !self.gave_up(&mut state, now) {
            self.drop_queue(&mut state);
            state.missed = Missed { all: true, targets: BTreeSet::new() };
            self.wake(&mut state, now);
        }
    }

    /// A reader that left its queue untouched for too long loses it for good: its stream will end.
    fn gave_up(&self, state: &mut State, now: Instant) -> bool {
        let is_late = |since: Instant| now.saturating_duration_since(since) >= SLOW_READER_AFTER;
        if !state.is_slow && state.waiting_since.is_some_and(is_late) {
            state.is_slow = true;
            self.drop_queue(state);
        }
        state.is_slow
    }

    /// Forgets the queue, and notes which targets lost events. A queued mark goes too: it would come before what
    /// it vouches for.
    fn drop_queue(&self, state: &mut State) {
        self.bytes_of_all.fetch_sub(state.bytes, Ordering::Relaxed);
        (state.events, state.bytes, state.mark_is_queued) = (0, 0, false);
        for item in std::mem::take(&mut state.items) {
            if let Item::Changes(target, _) = item {
                state.missed.targets.insert(target);
            }
        }
    }

    fn wake(&self, state: &mut State, now: Instant) {
        if !state.is_reading {
            state.waiting_since.get_or_insert(now);
        }
        self.ready.notify_one();
    }

    /// Reader: puts a bookmark behind everything that is queued, unless one is queued already.
    pub(crate) fn push_mark(&self, polled_at: Instant) {
        let mut state = self.lock();
        if !state.mark_is_queued {
            state.mark_is_queued = true;
            state.items.push_back(Item::Mark(polled_at));
        }
    }

    /// Reader: whether a bookmark is on its way.
    pub(crate) fn has_mark(&self) -> bool {
        self.lock().mark_is_queued
    }

    /// Reader: what was dropped since the last call; from now on events of these targets are queued again. To
    /// be handled before the next item.
    pub(crate) fn take_missed(&self) -> Missed {
        std::mem::take(&mut self.lock().missed)
    }

    /// Reader: the next item, or none while something was missed.
    pub(crate) fn pop(&self) -> Option<Item> {
        let mut state = self.lock();
        if !state.missed.is_empty() {
            return None;
        }
        let item = state.items.pop_front()?;
        match &item {
            Item::Changes(_, batch) => {
                state.events = state.events.saturating_sub(batch.events.len());
                state.bytes = state.bytes.saturating_sub(batch.bytes);
                self.bytes_of_all.fetch_sub(batch.bytes, Ordering::Relaxed);
            }
            Item::Mark(_) => state.mark_is_queued = false,
        }
        Some(item)
    }

    /// Reader, of the defect `ReadBeforeSubscribe`: as if nothing had been queued yet.
    #[cfg(feature = "mutants")]
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        self.drop_queue(&mut state);
        state.missed = Missed::default();
    }

    /// Reader: the target is not watched any more, so nothing new of it comes; what waits of it goes.
    pub(crate) fn withdraw(&self, target: u32) {
        let mut state = self.lock();
        let State { items, events, bytes, missed, .. } = &mut *state;
        missed.targets.remove(&target);
        items.retain(|item| match item {
            Item::Changes(of, batch) if *of == target => {
                *events = events.saturating_sub(batch.events.len());
                *bytes = bytes.saturating_sub(batch.bytes);
                self.bytes_of_all.fetch_sub(batch.bytes, Ordering::Relaxed);
                false
            }
            Item::Changes(..) | Item::Mark(_) => true,
        });
    }

    /// Reader: waits until the follower has put something here since the last wait. May return early.
    pub(crate) async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Reader: it is here; while the guard lives its clock stands still. None: it came too late.
    pub(crate) fn begin_reading(self: &Arc<Self>, now: Instant) -> Option<Reading> {
        let mut state = self.lock();
        if self.gave_up(&mut state, now) {
            return None;
        }
        (state.is_reading, state.waiting_since) = (true, None);
        Some(Reading { mailbox: Arc::clone(self), owes_more: false })
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.bytes_of_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A reader that waits for, or prepares, its next message.
#[derive(Debug)]
pub(crate) struct Reading {
    mailbox: Arc<Mailbox>,
    /// More is ready outside of the queue.
    pub(crate) owes_more: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.mailbox.lock();
        state.is_reading = false;
        let waits = self.owes_more || !state.items.is_empty() || !state.missed.is_empty();
        state.waiting_since = waits.then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use domain::{AccountId, EntryHash, Unit};

    use super::*;
    use crate::event::Event;

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(Arc::default()))
    }

    fn batch(events: usize, bytes_each: usize) -> Batch {
        let event = Arc::new(Event {
            account: AccountId::try_new("a").unwrap(),
            unit: Unit::try_new("").unwrap(),
            version: 1,
            operation_index: 0,
            operation_size: 1,
            hash: EntryHash::default(),
            bytes: Bytes::from(vec![0; bytes_each]),
            traceparent: None,
        });
        Batch::lookup(vec![event; events]).unwrap()
    }

    fn targets(missed: &Missed) -> Vec<u32> {
        missed.targets.iter().copied().collect()
    }

    #[test]
    fn a_full_queue_is_dropped_whole_and_names_all_that_it_held() {
        let now = Instant::now();
        for (name, small, last) in [
            ("events", batch(MAX_QUEUED_EVENTS - 1, 1), batch(1, 1)),
            ("bytes", batch(1, MAX_QUEUED_BYTES - 1), batch(1, 1)),
        ] {
            let mailbox = mailbox();
            mailbox.push(3, &small, now);
            mailbox.push(5, &last, now);
            assert!(mailbox.take_missed().is_empty(), "{name}: it fits");
            mailbox.push(7, &last, now);
            assert!(mailbox.pop().is_none(), "{name}: nothing is taken before the missed");
            assert_eq!(targets(&mailbox.take_missed()), [3, 5, 7], "{name}");
            assert_eq!(mailbox.bytes_of_all.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn after_a_drop_other_targets_are_queued_and_the_missed_ones_only_once_they_are_taken() {
        let (mailbox, now) = (mailbox(), Instant::now());
        mailbox.push(0, &batch(MAX_QUEUED_EVENTS + 1, 1), now);
        mailbox.push(0, &batch(1, 1), now);
        mailbox.push(1, &batch(1, 1), now);
        assert_eq!(targets(&mailbox.take_missed()), [0]);
        mailbox.push(0, &batch(2, 1), now);
        assert!(matches!(mailbox.pop(), Some(Item::Changes(1, _))));
        assert!(matches!(mailbox.pop(), Some(Item::Changes(0, batch)) if batch.events.len() == 2));
        assert!(mailbox.pop().is_none());
    }

    #[test]
    fn a_dropped_queue_takes_its_bookmark_with_it() {
        let (mailbox, now) = (mailbox(), Instant::now());
        mailbox.push(0, &batch(1, 1), now);
        mailbox.push_mark(now);
        assert!(mailbox.has_mark());
        mailbox.push(0, &batch(MAX_QUEUED_EVENTS, 1), now);
        assert!(!mailbox.has_mark());
        mailbox.push_mark(now);
        mailbox.recheck(now);
        assert!(!mailbox.has_mark());
        assert!(mailbox.take_missed().all);
        assert!(mailbox.pop().is_none());
    }

    #[test]
    fn a_forgotten_target_leaves_nothing_behind_and_the_others_stay() {
        let (mailbox, now) = (mailbox(), Instant::now());
        mailbox.push(0, &batch(2, 10), now);
        mailbox.push(1, &batch(1, 10), now);
        mailbox.push_mark(now);
        mailbox.push(0, &batch(1, 10), now);
        mailbox.withdraw(0);
        assert_eq!(mailbox.bytes_of_all.load(Ordering::Relaxed), 10);
        assert_eq!(mailbox.lock().events, 1);
        assert_eq!(mailbox.lock().bytes, 10);
        assert!(matches!(mailbox.pop(), Some(Item::Changes(1, _))));
        assert!(matches!(mailbox.pop(), Some(Item::Mark(_))));
        assert!(mailbox.pop().is_none());
        mailbox.push(2, &batch(MAX_QUEUED_EVENTS + 1, 1), now);
        mailbox.push(3, &batch(MAX_QUEUED_EVENTS + 1, 1), now);
        mailbox.withdraw(2);
        assert_eq!(targets(&mailbox.take_missed()), [3]);
    }

    #[test]
    fn stuck_queues_give_way_when_all_together_hold_too_much() {
        let (of_all, now) = (Arc::new(AtomicUsize::new(MAX_QUEUED_BYTES_OF_ALL - 10)), Instant::now());
        let mailbox = Mailbox::new(Arc::clone(&of_all));
        mailbox.push(0, &batch(1, 10), now);
        assert_eq!(of_all.load(Ordering::Relaxed), MAX_QUEUED_BYTES_OF_ALL);
        mailbox.push(1, &batch(1, 1), now);
        assert_eq!(targets(&mailbox.take_missed()), [0, 1]);
        drop(mailbox);
        assert_eq!(of_all.load(Ordering::Relaxed), MAX_QUEUED_BYTES_OF_ALL - 10);
    }

    #[test]
    fn a_reader_that_leaves_its_queue_for_30_s_loses_it() {
        let (mailbox, now) = (mailbox(), Instant::now());
        drop(mailbox.begin_reading(now).unwrap());
        mailbox.push(0, &batch(1, 1), now);
        let almost = now + SLOW_READER_AFTER.checked_sub(Duration::from_millis(1)).unwrap();
        mailbox.push(0, &batch(1, 1), almost);
        assert!(matches!(mailbox.pop(), Some(Item::Changes(..))));
        mailbox.push(0, &batch(1, 1), now + SLOW_READER_AFTER);
        assert!(mailbox.pop().is_none());
        assert_eq!(mailbox.bytes_of_all.load(Ordering::Relaxed), 0);
        assert!(mailbox.begin_reading(now + SLOW_READER_AFTER).is_none());
    }

    #[test]
    fn the_clock_stands_still_while_the_reader_waits_and_while_nothing_waits_for_it() {
        let (mailbox, now) = (mailbox(), Instant::now());
        let later = now + SLOW_READER_AFTER * 2;
        let reading = mailbox.begin_reading(now).unwrap();
        mailbox.push(0, &batch(1, 1), now);
        mailbox.push(0, &batch(1, 1), later);
        while mailbox.pop().is_some() {}
        drop(reading);
        drop(mailbox.begin_reading(later + SLOW_READER_AFTER).unwrap());
        let mut reading = mailbox.begin_reading(later).unwrap();
        reading.owes_more = true;
        drop(reading);
        assert!(mailbox.begin_reading(later).is_none(), "more was ready outside of the queue");
    }
}
