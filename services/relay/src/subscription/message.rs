//! What a reader gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::{AccountId, Unit};
use store::StoredBalance;

use crate::event::Event;

/// Why a Snapshot was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotReason {
    /// The reader asked for one.
    Initial,
    /// The reader is further behind than changes are sent for.
    ResetTooOld,
    /// What the reader has is not in the journal.
    ResetDiverged,
    /// Changes in between were left out, as the reader asked.
    Conflated,
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The whole state of one balance; replaces what the reader has of it. Zero at version 0 without entries.
    Snapshot {
        /// The balance.
        balance: StoredBalance,
        /// Why.
        reason: SnapshotReason,
    },
    /// What happened to one balance since the message before: whole operations. (After a resume from within an
    /// operation, the first holds the rest of it.)
    Changes {
        /// Whose balance.
        account: AccountId,
        /// Which unit of it.
        unit: Unit,
        /// At least one; consecutive versions.
        events: Vec<Arc<Event>>,
    },
    /// Everything that was committed up to `source_lag` ago was sent before this.
    Bookmark {
        /// Every target is at least as new as it was when the request came.
        in_sync: bool,
        /// How far the stream may lie behind the database.
        source_lag: Duration,
        /// Resumes every target from here.
        resume_token: Bytes,
    },
    /// A balance is not watched any more: the reader wants every change, and is too far behind for that.
    Removed {
        /// Whose balance.
        account: AccountId,
        /// Which unit of it.
        unit: Unit,
        /// Version asked for.
        version: i64,
        /// First version from which changes are sent.
        oldest: i64,
    },
    /// All that was committed when the target was asked for has been sent. Only where targets come and go
    /// ([`super::Order::is_set`]).
    Current {
        /// Whose balance.
        account: AccountId,
        /// Which unit of it.
        unit: Unit,
    },
}
