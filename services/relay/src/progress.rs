//! How far the source has come, for bookmarks and for readiness.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::STALE_AFTER;

/// What the follower tells: everything that was committed before `polled_at` has been put into the queues of
/// those who watched it then. Written only after the queues.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// When the last successful poll began; none before the first.
    pub(crate) polled_at: Option<Instant>,
    /// The stream epoch of the tail's connection; 0 before the first.
    pub(crate) epoch: i64,
    /// Tails opened so far.
    pub(crate) connections: u64,
}

impl Progress {
    /// The beginning of the last poll, unless it is so old that the source counts as stale.
    pub(crate) fn fresh_poll(&self, now: Instant) -> Option<Instant> {
        self.polled_at.filter(|at| now.saturating_duration_since(*at) <= STALE_AFTER)
    }
}

/// What readiness needs to know of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// How far the relay's view may lie behind the database: the age of the last successful poll. None before
    /// the first.
    pub source_lag: Option<Duration>,
    /// The lag is so large that bookmarks have stopped.
    pub is_stale: bool,
    /// Stream epoch; 0 before the first poll.
    pub epoch: i64,
    /// Connections to the outbox opened so far; more than one means that it was lost, or overflowed.
    pub connections: u64,
    /// Open subscriptions.
    pub streams: usize,
    /// Watched (stream, balance) pairs.
    pub watches: usize,
}
