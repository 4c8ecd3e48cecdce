//! One change on its way to readers: encoded once, shared by all of them.

use std::sync::Arc;

use bytes::Bytes;
use domain::{AccountId, Entry, EntryHash, Unit};
use store::EncodeEvent;
use store::tail::OutboxRow;

/// One journal entry, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// Dense from 1 per balance.
    pub version: i64,
    /// Place in the operation, from 0.
    pub operation_index: i32,
    /// Entries of the operation.
    pub operation_size: i32,
    /// The entry's place in the hash chain.
    pub hash: EntryHash,
    /// `tallystick.credits.v1.Entry`.
    pub bytes: Bytes,
    /// W3C trace context of the request that made the change.
    pub traceparent: Option<String>,
}

impl Event {
    /// From the journal, encoded as the outbox would have it.
    #[must_use]
    pub fn from_entry(entry: Entry, encode: EncodeEvent) -> Self {
        let bytes = encode(&entry).into();
        Self {
            account: entry.account,
            unit: entry.unit,
            version: entry.version,
            operation_index: entry.operation_index,
            operation_size: entry.operation_size,
            hash: entry.hash,
            bytes,
            traceparent: entry.traceparent,
        }
    }

    /// Whether the operation ends here.
    #[must_use]
    pub fn ends_operation(&self) -> bool {
        self.operation_index.saturating_add(1) >= self.operation_size
    }
}

impl From<OutboxRow> for Event {
    fn from(row: OutboxRow) -> Self {
        Self {
            account: row.account,
            unit: row.unit,
            version: row.version,
            operation_index: row.operation_index,
            operation_size: row.operation_size,
            hash: row.hash,
            bytes: row.event,
            traceparent: row.traceparent,
        }
    }
}

/// Consecutive events of one balance out of one poll: whole operations, since an operation is one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) events: Arc<[Arc<Event>]>,
    pub(crate) bytes: usize,
}

impl Batch {
    /// Nothing for no events.
    pub(crate) fn lookup(events: Vec<Arc<Event>>) -> Option<Self> {
        let bytes = events.iter().map(|event| event.bytes.len()).sum();
        (!events.is_empty()).then(|| Self { events: events.into(), bytes })
    }

    /// The last version.
    pub(crate) fn last_version(&self) -> i64 {
        self.events.last().map_or(0, |event| event.version)
    }

    /// Versions follow each other, and the last operation is whole.
    pub(crate) fn is_whole(&self) -> bool {
        let dense = self
            .events
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.version.checked_add(1) == Some(b.version)));
        dense && self.events.last().is_some_and(|event| event.ends_operation())
    }
}
