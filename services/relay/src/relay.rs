//! The relay of one process: its tasks, and what the services ask of it.

use std::collections::HashSet;
use std::sync::Arc;

use store::outbox::OwnHints;
use store::{Store, TokenKey};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::SubscribeError;
use crate::follow::Follower;
use crate::heads::Heads;
use crate::hub::Hub;
use crate::ledger::{Ledger, LedgerOrder};
use crate::limits::{
    DEFAULT_MAX_STREAMS, MAX_BOOKMARK_INTERVAL, MAX_TARGETS, MAX_WAITERS, MAX_WATCHES, MIN_BOOKMARK_INTERVAL,
    READS_AT_ONCE,
};
use crate::measure::Measures;
use crate::progress::{Health, Progress};
use crate::subscription::{Journal, Order, Subscription};
use crate::{ledger, marks, retention, wake};

/// How commits of other replicas are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WakeUps {
    /// By LISTEN, with a poll every 25 ms for what LISTEN loses.
    #[default]
    Listen,
    /// By a poll every 5 ms: for a database behind a pooler that cannot LISTEN.
    PollOnly,
}

/// How a relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayOptions {
    /// How commits of other replicas are noticed.
    pub wake_ups: WakeUps,
    /// Subscriptions of this process, at least 1.
    pub max_streams: usize,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self { wake_ups: WakeUps::default(), max_streams: DEFAULT_MAX_STREAMS }
    }
}

/// The relay. Cheap to clone.
#[derive(Clone)]
pub struct Relay(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) hub: Arc<Hub>,
    pub(crate) heads: Heads,
    pub(crate) waiters: Semaphore,
    pub(crate) shutdown: CancellationToken,
    journal: Journal,
    store: Store,
    token_key: Arc<OnceCell<TokenKey>>,
    streams: Arc<Semaphore>,
    max_streams: usize,
    progress: watch::Receiver<Progress>,
    hints: watch::Receiver<wake::Hints>,
    tasks: TaskTracker,
    measures: Measures,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts the tasks, which connect by themselves and end with `shutdown`. The database may be down.
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn spawn(store: Store, options: RelayOptions, shutdown: CancellationToken) -> Self {
        let tasks = TaskTracker::new();
        let hub = Arc::new(Hub::new());
        let measures = Measures::default();
        let (progress, progress_receiver) = watch::channel(Progress::default());
        let (hints, hints_receiver) = watch::channel(wake::Hints::default());
        let follower = Follower {
            store: store.clone(),
            hub: Arc::clone(&hub),
            progress,
            hints: hints_receiver.clone(),
            shutdown: shutdown.clone(),
            measures: measures.clone(),
        };
        tasks.spawn(follower.run());
        tasks.spawn(retention::run(store.clone(), shutdown.clone()));
        tasks.spawn(marks::run(store.clone(), shutdown.clone()));
        if options.wake_ups == WakeUps::Listen {
            let own = OwnHints::default();
            tasks.spawn(wake::listen(store.clone(), own.clone(), hints, shutdown.clone()));
            tasks.spawn(wake::notify(store.clone(), own, shutdown.clone()));
        }
        let heads = Heads::spawn(store.clone(), &tasks, shutdown.clone());
        Self(Arc::new(Inner {
            hub,
            heads,
            waiters: Semaphore::new(MAX_WAITERS),
            journal: Journal::new(store.clone(), READS_AT_ONCE),
            store,
            token_key: Arc::default(),
            streams: Arc::new(Semaphore::new(options.max_streams.min(Semaphore::MAX_PERMITS))),
            max_streams: options.max_streams,
            progress: progress_receiver,
            hints: hints_receiver,
            shutdown,
            tasks,
            measures,
        }))
    }

    /// Opens a subscription. Its changes are queued from now on; nothing is read until the first
    /// [`Subscription::next`].
    ///
    /// # Errors
    /// [`SubscribeError`]; the request cannot be served, or not now.
    pub fn subscribe(&self, order: Order) -> Result<Subscription, SubscribeError> {
        check(&order)?;
        let inner = &self.0;
        if inner.shutdown.is_cancelled() {
            return Err(SubscribeError::Stopping);
        }
        let permit = Arc::clone(&inner.streams)
            .try_acquire_owned()
            .map_err(|_| SubscribeError::TooManyStreams { limit: inner.max_streams })?;
        if inner.hub.watches().saturating_add(order.targets.len()) > MAX_WATCHES {
            return Err(SubscribeError::TooManyWatches);
        }
        let balances: Vec<_> = order.targets.iter().map(|t| (t.account.clone(), t.unit.clone())).collect();
        let watch = inner.hub.watch(&balances);
        Ok(Subscription::new(
            watch,
            order,
            crate::subscription::Sources {
                store: inner.store.clone(),
                token_key: Arc::clone(&inner.token_key),
                heads: inner.heads.clone(),
                journal: inner.journal.clone(),
                progress: inner.progress.clone(),
                shutdown: inner.shutdown.clone(),
                measures: inner.measures.clone(),
                _permit: permit,
            },
        ))
    }

    /// Opens a stream of all changes of the ledger, which has a connection of its own: the caller bounds their number. The
    /// database is asked from the first [`Ledger::next`] on.
    ///
    /// # Errors
    /// [`SubscribeError::Stopping`].
    pub fn watch_ledger(&self, order: LedgerOrder) -> Result<Ledger, SubscribeError> {
        let inner = &self.0;
        if inner.shutdown.is_cancelled() {
            return Err(SubscribeError::Stopping);
        }
        let sources = ledger::Sources {
            store: inner.store.clone(),
            token_key: Arc::clone(&inner.token_key),
            hints: inner.hints.clone(),
            shutdown: inner.shutdown.clone(),
            measures: inner.measures.clone(),
        };
        Ok(Ledger::new(sources, order))
    }

    /// What readiness needs to know.
    #[must_use]
    pub fn health(&self) -> Health {
        let inner = &self.0;
        let progress = *inner.progress.borrow();
        let now = Instant::now();
        Health {
            source_lag: progress.polled_at.map(|at| now.saturating_duration_since(at)),
            is_stale: progress.fresh_poll(now).is_none(),
            epoch: progress.epoch,
            connections: progress.connections,
            streams: inner.max_streams.saturating_sub(inner.streams.available_permits()),
            watches: inner.hub.watches(),
        }
    }

    /// What is counted.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.0.measures
    }

    /// Waits until all tasks have ended after shutdown.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// What a request must keep to.
fn check(order: &Order) -> Result<(), SubscribeError> {
    let (targets, interval) = (&order.targets, order.bookmark_interval);
    if targets.is_empty() && !order.is_set {
        return Err(SubscribeError::NoTargets);
    }
    if targets.len() > MAX_TARGETS {
        return Err(SubscribeError::TooManyTargets { actual: targets.len() });
    }
    let mut seen = HashSet::new();
    for (index, target) in targets.iter().enumerate() {
        if let Some(actual) = target.after_version.filter(|version| *version < 0) {
            return Err(SubscribeError::NegativeVersion { index, actual });
        }
        if !seen.insert((&target.account, &target.unit)) {
            return Err(SubscribeError::DuplicateTarget { index });
        }
    }
    if !(MIN_BOOKMARK_INTERVAL..=MAX_BOOKMARK_INTERVAL).contains(&interval) {
        return Err(SubscribeError::BookmarkInterval { actual: interval });
    }
    Ok(())
}
