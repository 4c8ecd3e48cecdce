//! What was missed, out of the journal: whole operations, page by page.

use std::sync::Arc;

use domain::{Entry, EntryHash};
use store::{Store, StoreError};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::watched::Watched;
use crate::event::Event;
use crate::hub::Name;
use crate::limits::{JOURNAL_PAGE, MAX_CHANGES_BYTES};

/// Reads of the journal, a few at a time for the whole process.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
    readers: Arc<Semaphore>,
}

/// One page.
#[derive(Debug)]
pub(super) enum Page {
    /// What comes next, cut into messages; at least one operation.
    Events(Vec<Vec<Arc<Event>>>),
    /// The journal does not continue what was sent.
    Broken,
}

impl Journal {
    pub(crate) fn new(store: Store, readers: usize) -> Self {
        Self { store, readers: Arc::new(Semaphore::new(readers)) }
    }

    /// What follows what was sent, at least one operation and about [`JOURNAL_PAGE`] entries.
    ///
    /// Read by a task of its own: a stream is not run while its reader takes nothing, wherever it stands, and must not
    /// keep a place here nor a connection of the database meanwhile.
    pub(super) async fn page(&self, watched: &Watched) -> Result<Page, StoreError> {
        let (sent, hash) = (watched.version(), watched.sent_hash());
        let (journal, name) = (self.clone(), Arc::clone(&watched.name));
        let read = async move { journal.read_page(&name, sent, hash).await };
        let read = AbortOnDropHandle::new(tokio::spawn(read.in_current_span()));
        // A task that ended early has read nothing.
        read.await.unwrap_or(Ok(Page::Broken))
    }

    /// The entry that was sent last is read again with what follows it, in one statement: its hash shows that
    /// the page continues this history and no other.
    async fn read_page(&self, name: &Name, sent: i64, hash: Option<EntryHash>) -> Result<Page, StoreError> {
        let mut entries = self.read(name, sent.saturating_sub(1).max(0)).await?;
        if sent > 0 {
            let is_ours = |first: &Entry| first.version == sent && Some(first.hash) == hash;
            if !entries.first().is_some_and(is_ours) {
                return Ok(Page::Broken);
            }
            entries.remove(0);
        }
        // An operation longer than a page is read to its end: at most some 10,000 entries (MAX_OPEN_LOTS).
        while let Some(last) = entries.last().filter(|_| !entries.iter().any(ends_operation)) {
            let more = self.read(name, last.version).await?;
            if more.is_empty() {
                return Ok(Page::Broken);
            }
            entries.extend(more);
        }
        let whole = entries.iter().rposition(ends_operation).map_or(0, |last| last.saturating_add(1));
        entries.truncate(whole);
        let expected = (sent.saturating_add(1)..).take(entries.len());
        if entries.is_empty() || !entries.iter().map(|entry| entry.version).eq(expected) {
            return Ok(Page::Broken);
        }
        Ok(Page::Events(self.messages(entries)))
    }

    async fn read(&self, name: &Name, after: i64) -> Result<Vec<Entry>, StoreError> {
        // The semaphore is never closed.
        let _permit = self.readers.acquire().await.ok();
        self.store.entries_after(&name.account, &name.unit, after, JOURNAL_PAGE).await
    }

    /// Cuts between operations, so that no message is larger than it need be.
    fn messages(&self, entries: Vec<Entry>) -> Vec<Vec<Arc<Event>>> {
        let mut messages = Vec::new();
        let (mut message, mut operation) = (Vec::new(), Vec::new());
        let (mut message_bytes, mut operation_bytes) = (0_usize, 0_usize);
        for entry in entries {
            let event = Arc::new(Event::from_entry(entry, self.store.encode()));
            operation_bytes = operation_bytes.saturating_add(event.bytes.len());
            let ends = event.ends_operation();
            operation.push(event);
            if !ends {
                continue;
            }
            if !message.is_empty() && message_bytes.saturating_add(operation_bytes) > MAX_CHANGES_BYTES {
                messages.push(std::mem::take(&mut message));
                message_bytes = 0;
            }
            message.append(&mut operation);
            message_bytes = message_bytes.saturating_add(std::mem::take(&mut operation_bytes));
        }
        if !message.is_empty() {
            messages.push(message);
        }
        messages
    }
}

fn ends_operation(entry: &Entry) -> bool {
    entry.operation_index.saturating_add(1) >= entry.operation_size
}
