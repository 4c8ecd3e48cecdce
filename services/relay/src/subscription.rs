//! One reader's stream: attach, catch up, then live.
//!
//! | step of [`Subscription::next`] | what it settles |
//! | --- | --- |
//! | 1 outgoing | what is ready goes out first |
//! | 2 missed | targets whose events the queue dropped, or all after a reconnect, must be compared |
//! | 3 mark | a due bookmark is put behind everything that is queued |
//! | 4 compare (`catch_up.rs`, `watched.rs`) | heads of these targets are read: a Snapshot, or a part of the journal is missing |
//! | 5 fill (`catch_up.rs`, `journal.rs`) | one page of the journal |
//! | 6 queue | live changes; a jump sends the target back to 4 |
//!
//! Subscribe, then read: the queue takes changes from the moment of subscribing, so what is read later and what
//! is queued overlap and never gap. Overlap is dropped by version *and* hash. Attach, overflow, reconnect and a
//! jump in versions are one procedure: compare with the journal, fill, go on with the queue.
//!
//! The set of targets changes between two calls of `next` (`set.rs`): a target that is added is one that was never
//! compared, and goes through the same steps.
//!
//! [`Subscription::next`] may be dropped at any await without losing anything.

mod catch_up;
mod journal;
mod message;
mod order;
mod resume;
mod set;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use store::tail::mutants::{self, Mutant};
use store::{Store, StoreError, TokenKey};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::journal::Journal;
pub use self::message::{Message, SnapshotReason};
pub use self::order::{Mode, Order, Target};
use self::watched::{Arrival, Watched};
use crate::error::SubscriptionError;
use crate::event::Batch;
use crate::heads::Heads;
use crate::hub::Watch;
use crate::mailbox::Item;
use crate::measure::Measures;
use crate::pause::Pause;
use crate::progress::Progress;

/// What a subscription draws from.
pub(crate) struct Sources {
    pub(crate) store: Store,
    /// Read once in a process.
    pub(crate) token_key: Arc<OnceCell<TokenKey>>,
    pub(crate) heads: Heads,
    pub(crate) journal: Journal,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) measures: Measures,
    /// Its place among the process's streams.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// When bookmarks are due.
struct Bookmarks {
    interval: Duration,
    due_at: Instant,
    /// When the newest target was asked for.
    asked_at: Instant,
    /// The last one said `in_sync`.
    synced: bool,
    /// Out of the queue, on its way to the reader.
    held: Option<Instant>,
}

/// What to do when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    Returns,
}

/// A stream of messages for one reader. Dropping it ends it.
pub struct Subscription {
    watch: Watch,
    sources: Sources,
    /// By the number that the hub has for them.
    targets: BTreeMap<u32, Watched>,
    bookmarks: Bookmarks,
    /// Targets to be compared with their heads.
    pending: BTreeSet<u32>,
    /// Targets to be filled from the journal, up to a version.
    behind: VecDeque<(u32, i64)>,
    /// Targets that dropped an old event which nothing newer has confirmed yet.
    doubtful: BTreeSet<u32>,
    /// Targets that were asked for, and did not say yet that they are current.
    fresh: BTreeSet<u32>,
    /// Ready messages, and the target of each.
    outgoing: VecDeque<(u32, Message)>,
    mode: Mode,
    require_history: bool,
    is_set: bool,
    /// Not looked at yet.
    resume_token: Option<Bytes>,
    /// The targets below are the order's.
    first_added: u32,
    pause: Pause,
    has_ended: bool,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("targets", &self.targets.len()).finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(watch: Watch, order: Order, sources: Sources) -> Self {
        let now = Instant::now();
        let Order { targets, bookmark_interval: interval, mode, require_history, resume_token, is_set } =
            order;
        let targets: BTreeMap<u32, Watched> = watch
            .names()
            .zip(targets)
            .map(|((id, name), target)| {
                (id, Watched::new(Arc::clone(name), target.after_version, target.after_hash))
            })
            .collect();
        let all: BTreeSet<u32> = targets.keys().copied().collect();
        Self {
            watch,
            sources,
            first_added: all.last().map_or(0, |last| last.saturating_add(1)),
            fresh: if is_set { all.clone() } else { BTreeSet::new() },
            pending: all,
            targets,
            bookmarks: Bookmarks {
                interval,
                due_at: now + interval,
                asked_at: now,
                synced: false,
                held: None,
            },
            behind: VecDeque::new(),
            doubtful: BTreeSet::new(),
            outgoing: VecDeque::new(),
            mode,
            require_history,
            is_set,
            resume_token,
            pause: Pause::default(),
            has_ended: false,
        }
    }

    /// The next message, an error once, then None. May be dropped at any await without losing anything.
    ///
    /// # Errors
    /// [`SubscriptionError`]: the stream has ended; the reader may resume with a new one.
    pub async fn next(&mut self) -> Option<Result<Message, SubscriptionError>> {
        loop {
            match self.turn(Patience::Waits).await? {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// As [`Subscription::next`], but nothing once all is sent and read that there is, where `next` waits for what is yet
    /// to come.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub async fn next_ready(&mut self) -> Option<Result<Option<Message>, SubscriptionError>> {
        self.turn(Patience::Returns).await
    }

    async fn turn(&mut self, patience: Patience) -> Option<Result<Option<Message>, SubscriptionError>> {
        if self.has_ended {
            return None;
        }
        let Some(mut reading) = self.watch.mailbox.begin_reading(Instant::now()) else {
            self.has_ended = true;
            self.sources.measures.slow_readers.inc();
            return Some(Err(SubscriptionError::SlowReader));
        };
        let next = self.advance(patience).await;
        self.has_ended = next.is_err();
        next.iter().flatten().for_each(|message| self.sources.measures.sent(message));
        reading.owes_more = !(self.outgoing.is_empty() && self.pending.is_empty() && self.behind.is_empty());
        Some(next)
    }

    /// As a stream of messages.
    pub fn into_stream(self) -> impl Stream<Item = Result<Message, SubscriptionError>> + Send {
        futures::stream::unfold(self, |mut subscription| async {
            subscription.next().await.map(|next| (next, subscription))
        })
    }

    async fn advance(&mut self, patience: Patience) -> Result<Option<Message>, SubscriptionError> {
        loop {
            if let Some((_, message)) = self.outgoing.pop_front() {
                return Ok(Some(message));
            }
            if self.sources.shutdown.is_cancelled() {
                return Err(SubscriptionError::Stopping);
            }
            if let Some(token) = self.resume_token.clone() {
                self.resume(&token).await?;
                continue;
            }
            self.take_missed();
            self.queue_mark_when_due();
            if self.mode == Mode::Latest {
                self.conflate();
            }
            if !self.pending.is_empty() {
                self.compare_pending().await?;
            } else if let Some((target, goal)) = self.behind.front().copied() {
                self.fill(target, goal).await?;
            } else if let Some(polled_at) = self.bookmarks.held {
                if !self.doubtful.is_empty() {
                    self.pending.append(&mut self.doubtful);
                } else if let Some(key) = self.token_key().await? {
                    return Ok(Some(self.bookmark(polled_at, &key)));
                }
            } else {
                match self.watch.mailbox.pop() {
                    Some(Item::Changes(target, batch)) => self.arrive(target, &batch),
                    Some(Item::Mark(polled_at)) => self.bookmarks.held = Some(polled_at),
                    None if !self.doubtful.is_empty() => self.pending.append(&mut self.doubtful),
                    None if patience == Patience::Returns => return Ok(None),
                    None => self.wait().await,
                }
            }
        }
    }

    /// In mode LATEST a change says that there is a newer state, and no more: all that is queued is one look.
    fn conflate(&mut self) {
        while self.bookmarks.held.is_none() {
            match self.watch.mailbox.pop() {
                Some(Item::Changes(target, _)) => {
                    self.pending.insert(target);
                }
                Some(Item::Mark(polled_at)) => self.bookmarks.held = Some(polled_at),
                None => return,
            }
        }
    }

    fn take_missed(&mut self) {
        let missed = self.watch.mailbox.take_missed();
        let count = if missed.all { self.targets.len() } else { missed.targets.len() };
        self.sources.measures.overflows.inc_by(u64::try_from(count).unwrap_or(0));
        if missed.all {
            self.pending = self.targets.keys().copied().collect();
        } else {
            self.pending.extend(missed.targets);
        }
    }

    /// A due bookmark goes behind everything that is queued, with the last poll whose rows were queued before
    /// this call. While the source is stale there is none.
    fn queue_mark_when_due(&mut self) {
        if self.bookmarks.held.is_some() || self.watch.mailbox.has_mark() {
            return;
        }
        let now = Instant::now();
        // Read before the mark is queued: what it vouches for is in the queue then.
        let progress = *self.sources.progress.borrow_and_update();
        let Some(polled_at) = progress.fresh_poll(now) else { return };
        let brings_sync = !self.bookmarks.synced && polled_at > self.bookmarks.asked_at;
        if mutants::is(Mutant::BookmarkOutsideTheQueue) && now >= self.bookmarks.due_at {
            self.bookmarks.held = Some(polled_at);
        } else if brings_sync || now >= self.bookmarks.due_at {
            self.watch.mailbox.push_mark(polled_at);
        }
    }

    /// Nothing was skipped up to this bookmark: no target waits for the journal, none is in doubt.
    fn bookmark(&mut self, polled_at: Instant, key: &TokenKey) -> Message {
        let now = Instant::now();
        let in_sync = polled_at > self.bookmarks.asked_at;
        self.bookmarks.held = None;
        self.bookmarks.synced = in_sync;
        self.bookmarks.due_at = now + self.bookmarks.interval;
        let resume_token = self.seal(key).unwrap_or_default();
        Message::Bookmark { in_sync, source_lag: now.saturating_duration_since(polled_at), resume_token }
    }

    fn arrive(&mut self, target: u32, batch: &Batch) {
        if self.mode == Mode::Latest {
            self.pending.insert(target);
            return;
        }
        let Some(watched) = self.targets.get_mut(&target) else { return };
        match watched.arrive(batch, self.doubtful.contains(&target)) {
            Arrival::Send(events) => {
                self.doubtful.remove(&target);
                self.outgoing.push_back((target, watched.changes(events)));
            }
            Arrival::Known => {
                self.doubtful.remove(&target);
            }
            Arrival::Old => {
                self.doubtful.insert(target);
            }
            Arrival::Unclear => {
                self.doubtful.remove(&target);
                self.pending.insert(target);
            }
        }
    }

    /// A lost connection is not the reader's business: bookmarks stop, and the stream goes on when it is back.
    async fn try_later(&mut self, error: Arc<StoreError>) -> Result<(), SubscriptionError> {
        if !error.is_transient() {
            return Err(SubscriptionError::Store(error));
        }
        self.sleep().await;
        Ok(())
    }

    async fn sleep(&mut self) {
        let pause = self.pause.next();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.sources.shutdown.cancelled() => {}
        }
    }

    /// Until the queue has something, a bookmark is due, or (when one is due but the source is behind) the
    /// source has moved.
    async fn wait(&mut self) {
        let has_mark = self.watch.mailbox.has_mark();
        let is_due = Instant::now() >= self.bookmarks.due_at;
        let waits_for_source = !has_mark && (is_due || !self.bookmarks.synced);
        let progress = &mut self.sources.progress;
        tokio::select! {
            () = self.watch.mailbox.changed() => {}
            () = self.sources.shutdown.cancelled() => {}
            () = sleep_until(self.bookmarks.due_at), if !is_due => {}
            Ok(()) = progress.changed(), if waits_for_source => {}
        }
    }
}
