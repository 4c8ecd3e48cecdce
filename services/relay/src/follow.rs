//! The follower: one task per process that polls the outbox tail and fills the hub's queues.
//!
//! Every way in which the tail can end (lost connection, overflow, a poll that hangs, a stall, a restored
//! database) leads to one place: a new connection starts from now, and *then* every watched balance is compared
//! with the journal. Polls are woken by hints and happen without them.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use store::tail::mutants::{self, Mutant};
use store::tail::{Tail, TailError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::limits::{
    CONNECT_TIMEOUT, MIN_POLL_GAP, POLL_ONLY, POLL_TIMEOUT, SAFETY_POLL, STALL_AFTER, UNWATCHED_POLL,
};
use crate::measure::Measures;
use crate::pause::Pause;
use crate::progress::Progress;
use crate::wake::Hints;

/// What the follower needs.
pub(crate) struct Follower {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) hints: watch::Receiver<Hints>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) measures: Measures,
}

/// What a poll is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// A commit, a hint, a first watch: there is something to read, or to be sure of.
    News,
    /// The time is up.
    Time,
}

/// Why the tail is opened anew.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("no poll for {0:?}")]
    Stalled(Duration),
}

impl Follower {
    /// Follows until shutdown.
    pub(crate) async fn run(mut self) {
        let mut pause = Pause::default();
        let shutdown = self.shutdown.clone();
        loop {
            let ended = tokio::select! {
                ended = self.follow(&mut pause) => ended,
                () = shutdown.cancelled() => return,
            };
            match &ended {
                // The database is well; the journal has the rest.
                Ended::Tail(TailError::Overflow) | Ended::Stalled(_) => {
                    tracing::info!(reason = %ended, "the outbox tail jumps to now");
                    continue;
                }
                _ => tracing::warn!(error = &ended as &dyn std::error::Error, "the outbox tail was lost"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause.next()) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// One connection's life.
    async fn follow(&mut self, pause: &mut Pause) -> Ended {
        let mut tail = match timeout(CONNECT_TIMEOUT, Tail::connect(self.store.connect_options())).await {
            Ok(Ok(tail)) => tail,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Timeout(CONNECT_TIMEOUT),
        };
        if tail.was_restored() {
            tracing::warn!(
                epoch = tail.epoch(),
                "the database was restored from a dump; a new stream epoch begins"
            );
        }
        // After the tail's first snapshot: what is committed from here on will be polled, so whatever the
        // streams read now joins up with it. Before the first poll: no bookmark may overtake it.
        if !mutants::is(Mutant::SnapshotKeptOverAReconnect) {
            self.hub.recheck_all(Instant::now());
        }
        self.progress.send_modify(|progress| {
            progress.epoch = tail.epoch();
            progress.connections = progress.connections.wrapping_add(1);
        });
        let mut committed = self.store.committed();
        let mut last = Instant::now();
        let mut woken = Woken::News;
        loop {
            committed.borrow_and_update();
            self.hints.borrow_and_update();
            let began = Instant::now();
            let silence = began.saturating_duration_since(last);
            if silence > STALL_AFTER {
                return Ended::Stalled(silence);
            }
            last = began;
            let polled = match woken {
                Woken::News => self.poll(tail, began).await,
                Woken::Time => self.look(tail, began).await,
            };
            tail = match polled {
                Ok(tail) => tail,
                Err(ended) => return ended,
            };
            pause.reset();
            woken = self.wait(began, &mut committed).await;
        }
    }

    /// A poll that nobody asked for: most often there is nothing, which costs little to see.
    async fn look(&self, tail: Tail, began: Instant) -> Result<Tail, Ended> {
        let Ok(looked) = timeout(POLL_TIMEOUT, tail.is_level()).await else {
            return Err(Ended::Timeout(POLL_TIMEOUT));
        };
        let (tail, is_level) = looked?;
        if !is_level {
            return self.poll(tail, began).await;
        }
        self.measures.polled(0, began.elapsed());
        self.progress.send_modify(|progress| progress.polled_at = Some(began));
        Ok(tail)
    }

    /// One poll: rows into the queues, then the progress that vouches for them.
    async fn poll(&self, tail: Tail, began: Instant) -> Result<Tail, Ended> {
        if self.hub.watches() == 0 {
            return self.pass_over(tail, began).await;
        }
        let polled = tail.poll(|account, unit| self.hub.is_watched(account, unit));
        let Ok(polled) = timeout(POLL_TIMEOUT, polled).await else {
            return Err(Ended::Timeout(POLL_TIMEOUT));
        };
        let (tail, rows) = polled?;
        self.measures.polled(rows.len(), began.elapsed());
        self.hub.deliver(rows, Instant::now());
        self.progress.send_modify(|progress| progress.polled_at = Some(began));
        Ok(tail)
    }

    /// A poll while nobody watches, which reads no rows. Somebody who came meanwhile is a first watch, so that the next
    /// poll follows at once.
    async fn pass_over(&self, tail: Tail, began: Instant) -> Result<Tail, Ended> {
        let Ok(passed) = timeout(POLL_TIMEOUT, tail.skip(|| self.hub.watches() == 0)).await else {
            return Err(Ended::Timeout(POLL_TIMEOUT));
        };
        let (tail, is_passed) = passed?;
        if is_passed {
            self.measures.polled(0, began.elapsed());
            self.progress.send_modify(|progress| progress.polled_at = Some(began));
        }
        Ok(tail)
    }

    /// Until the next poll is worth it: a commit here, a hint from elsewhere, a first watch, or the time is up. While
    /// nobody watches, commits and hints are no reason.
    async fn wait(&mut self, began: Instant, committed: &mut watch::Receiver<u64>) -> Woken {
        sleep_until(began + MIN_POLL_GAP).await;
        let is_watched = self.hub.watches() > 0;
        let longest = match (is_watched, self.hints.borrow().are_heard) {
            (false, _) => UNWATCHED_POLL,
            (true, _) if mutants::is(Mutant::NotifyAsTheOnlyWakeUp) => Duration::from_secs(3600),
            (true, true) => SAFETY_POLL,
            (true, false) => POLL_ONLY,
        };
        tokio::select! {
            Ok(()) = committed.changed(), if is_watched => Woken::News,
            Ok(()) = self.hints.changed(), if is_watched => Woken::News,
            () = self.hub.first_watch() => Woken::News,
            () = sleep_until(began + longest) => Woken::Time,
        }
    }
}
