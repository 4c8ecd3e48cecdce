//! The outbox beside its tail: emptying the oldest slot, and wake-ups between replicas.
//!
//! Promises: a slot is emptied by TRUNCATE of its leaf, never by DELETE, only when every row in it is older
//! than the retention, and never so that a writer waits longer than [`LOCK_TIMEOUT_MS`]. Wake-ups are hints: a
//! lost one costs time, never an event. Must not know: who watches.

mod slot;
mod wake;

use std::time::Duration;

use rand::RngExt;

pub use slot::{Emptied, empty_oldest_slot};
pub use wake::{CHANNEL, Heard, Listener, Notifier, OwnHints};

/// How long TRUNCATE waits for its lock, in milliseconds. While it waits every insert into the leaf waits
/// behind it, so this bounds what a writer can notice.
pub const LOCK_TIMEOUT_MS: u64 = 50;
/// Tries before a busy lock is given up until the next round: about two seconds with the pauses.
pub(crate) const LOCK_TRIES: u32 = 20;

/// A pause between two tries for a lock, 20–80 ms: long enough that queued writers pass, random so that
/// replicas do not meet again.
pub(crate) fn lock_pause() -> Duration {
    Duration::from_millis(rand::rng().random_range(20..=80))
}
