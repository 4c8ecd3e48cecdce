//! What the relay counts: its looks at the outbox, and what its streams sent. Every handle is made once; a message
//! costs one addition, a poll two.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::subscription::Message;

/// Upper bounds in seconds: a poll takes about a millisecond; one that takes 5 s is given up.
const POLL_BUCKETS_S: [f64; 12] =
    [0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0];

type Labels = [(&'static str, &'static str); 1];

/// The counters of a relay. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Measures {
    polls: Histogram,
    rows: Counter,
    messages: Family<Labels, Counter>,
    snapshots: Counter,
    changes: Counter,
    bookmarks: Counter,
    removals: Counter,
    currents: Counter,
    entries: Counter,
    ledger_entries: Counter,
    pub(crate) refills: Counter,
    pub(crate) overflows: Counter,
    pub(crate) slow_readers: Counter,
}

impl Default for Measures {
    fn default() -> Self {
        let messages = Family::<Labels, Counter>::default();
        let of_type = |name| messages.get_or_create_owned(&[("type", name)]);
        let (snapshots, changes, bookmarks) = (of_type("snapshot"), of_type("changes"), of_type("bookmark"));
        let (removals, currents) = (of_type("removed"), of_type("current"));
        Self {
            polls: Histogram::new(POLL_BUCKETS_S),
            rows: Counter::default(),
            messages,
            snapshots,
            changes,
            bookmarks,
            removals,
            currents,
            entries: Counter::default(),
            ledger_entries: Counter::default(),
            refills: Counter::default(),
            overflows: Counter::default(),
            slow_readers: Counter::default(),
        }
    }
}

impl Measures {
    /// Puts the counters where they are read.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Time of one look at the outbox";
        registry.register_with_unit("relay_poll_duration", help, Unit::Seconds, self.polls.clone());
        registry.register(
            "relay_rows",
            "Changes out of the outbox that somebody here watches",
            self.rows.clone(),
        );
        registry.register("watch_messages", "Messages of streams, by type", self.messages.clone());
        registry.register("watch_entries", "Journal entries in these messages", self.entries.clone());
        let help = "Journal entries in messages of WatchLedger";
        registry.register("ledger_entries", help, self.ledger_entries.clone());
        let help =
            "Pages that streams read from the journal: catch-up after attaching, or after a lost queue";
        registry.register("watch_refills", help, self.refills.clone());
        let help = "Targets of streams that were sent to the journal, since their queue was full or the source was lost";
        registry.register("watch_missed_targets", help, self.overflows.clone());
        registry.register("watch_slow_readers", "Streams ended as slow readers", self.slow_readers.clone());
    }

    pub(crate) fn polled(&self, rows: usize, took: Duration) {
        self.polls.observe(took.as_secs_f64());
        self.rows.inc_by(u64::try_from(rows).unwrap_or(0));
    }

    pub(crate) fn ledger_sent(&self, entries: usize) {
        self.ledger_entries.inc_by(u64::try_from(entries).unwrap_or(0));
    }

    pub(crate) fn sent(&self, message: &Message) {
        match message {
            Message::Snapshot { .. } => self.snapshots.inc(),
            Message::Bookmark { .. } => self.bookmarks.inc(),
            Message::Removed { .. } => self.removals.inc(),
            Message::Current { .. } => self.currents.inc(),
            Message::Changes { events, .. } => {
                self.entries.inc_by(u64::try_from(events.len()).unwrap_or(0));
                self.changes.inc()
            }
        };
    }
}
