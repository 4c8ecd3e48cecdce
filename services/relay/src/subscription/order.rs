//! What a reader asks for.

use std::time::Duration;

use bytes::Bytes;
use domain::{AccountId, EntryHash, Unit};

/// One balance to watch, and where to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// The last version that the reader has, ≥ 0. None: a Snapshot comes first. 0: every change from version 1.
    pub after_version: Option<i64>,
    /// The entry hash of `after_version`, when the reader knows it. Without a version it means nothing.
    pub after_hash: Option<EntryHash>,
}

/// How much of what happens is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every version, in order.
    #[default]
    EveryChange,
    /// Snapshots only: after each change the newest committed state.
    Latest,
}

/// What a reader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The balances, none twice.
    pub targets: Vec<Target>,
    /// Time between bookmarks.
    pub bookmark_interval: Duration,
    /// How much is sent.
    pub mode: Mode,
    /// A target that is too far behind for changes is removed ([`Message::Removed`]), and gets no Snapshot.
    pub require_history: bool,
    /// Where to go on with the targets that do not say it themselves.
    pub resume_token: Option<Bytes>,
    /// Targets come and go: there may be none, and each says when it is current ([`super::Message::Current`]).
    pub is_set: bool,
}

impl Order {
    /// Every change of these balances.
    #[must_use]
    pub const fn new(targets: Vec<Target>, bookmark_interval: Duration) -> Self {
        Self {
            targets,
            bookmark_interval,
            mode: Mode::EveryChange,
            require_history: false,
            resume_token: None,
            is_set: false,
        }
    }
}
