//! What a watcher tells its reader.

use std::time::Duration;

use bytes::Bytes;
use proto::v1::{Balance, Entry, Error, SnapshotReason};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// The whole state of a balance; replaces what the reader had.
    Snapshot {
        /// The state.
        balance: Balance,
        /// Why it came.
        reason: SnapshotReason,
    },
    /// What happened to a balance since; whole operations, checked to be without gap.
    Changes {
        /// Owner of the balance.
        account_id: String,
        /// What is counted.
        unit: String,
        /// In version order.
        entries: Vec<Entry>,
    },
    /// Every target is as new as it was when the stream was opened. Once a stream; its bookmark follows.
    InSync,
    /// Everything up to here was told.
    Bookmark {
        /// Whether every target is as new as it was when the stream was opened.
        in_sync: bool,
        /// How far the service lies behind its database.
        source_lag: Duration,
        /// Resumes from here.
        resume_token: Bytes,
    },
    /// A target is not watched any more; the others are.
    Removed {
        /// Owner of the balance.
        account_id: String,
        /// What is counted.
        unit: String,
        /// Why, when the service said so.
        error: Option<Error>,
    },
    /// The stream is lost, or could not be opened.
    Disconnected {
        /// In words.
        why: String,
        /// When the next try begins.
        retry_in: Duration,
    },
    /// A stream is open again.
    Reconnected,
    /// No bookmark came for three intervals: what is shown may be old. Once until the next bookmark.
    Stale,
}
