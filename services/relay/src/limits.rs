//! Every limit of the relay, with its unit and its reason.

use std::time::Duration;

/// Most targets of one subscription: one page of a screen needs tens; a thousand still attach with one read.
pub const MAX_TARGETS: usize = 1000;
/// Subscriptions of one process, by default: some 16 kB each when idle, so about 160 MB.
pub const DEFAULT_MAX_STREAMS: usize = 10_000;
/// Watched (stream, balance) pairs of one process: some 430 bytes each, so about 430 MB.
pub const MAX_WATCHES: usize = 1_000_000;
/// Callers of one process that may wait for a version at once: each is a watch of its own.
pub const MAX_WAITERS: usize = 10_000;
/// Events that may wait for one reader: seconds of a busy balance; more is read from the journal again.
pub const MAX_QUEUED_EVENTS: usize = 256;
/// Bytes of events that may wait for one reader.
pub const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Bytes of events that may wait for all readers of the process together, each reader's counted, shared or
/// not: when many readers are stuck at once, their queues go before the process does.
pub const MAX_QUEUED_BYTES_OF_ALL: usize = 256 * 1024 * 1024;
/// Changes that a reader may be behind before it gets a Snapshot instead of them: about a second of catch-up.
pub const MAX_CATCH_UP: i64 = 10_000;
/// Entries of one read of the journal: some 200 kB, a few milliseconds.
pub const JOURNAL_PAGE: i64 = 500;
/// Bytes of events of one Changes, unless one operation alone has more: well below the 4 MiB that gRPC clients
/// take by default.
pub const MAX_CHANGES_BYTES: usize = 256 * 1024;
/// Balances of one read of heads, so that a mass reconnect is a few large reads.
pub const HEADS_PER_READ: usize = 1000;
/// Reads of heads, and reads of journal pages, at once per process: the pool has other users.
pub const READS_AT_ONCE: usize = 4;
/// Requests for heads that may wait to be batched; beyond it the askers wait.
pub const WAITING_HEADS: usize = 1024;

/// How long a reader may leave its queue untouched before its stream ends.
pub const SLOW_READER_AFTER: Duration = Duration::from_secs(30);
/// Shortest interval between bookmarks.
pub const MIN_BOOKMARK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest interval between bookmarks.
pub const MAX_BOOKMARK_INTERVAL: Duration = Duration::from_secs(3600);
/// Age of the last poll from which on the source counts as stale and bookmarks stop. A checkpoint may hold a
/// poll up for some 100 ms; two seconds are no hiccup.
pub const STALE_AFTER: Duration = Duration::from_secs(2);

/// Longest time between two polls while hints of other replicas are heard: what a lost hint may cost.
pub const SAFETY_POLL: Duration = Duration::from_millis(25);
/// Longest time between two polls while nobody watches: the first watch wakes the follower, so this only tells
/// readiness in time that the source is gone.
pub const UNWATCHED_POLL: Duration = Duration::from_millis(100);
/// Longest time between two polls without hints.
pub const POLL_ONLY: Duration = Duration::from_millis(5);
/// Shortest time between the beginnings of two polls: under full load a poll takes up the commits of 2 ms, and
/// a replica costs the database at most a fifth of a core.
pub const MIN_POLL_GAP: Duration = Duration::from_millis(2);
/// A poll that takes longer is given up with its connection; above the tail's own `statement_timeout`, so it
/// catches what the server cannot: a dead network.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time to open the tail.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without a poll after which the tail is opened anew instead of catching up in one huge poll.
pub const STALL_AFTER: Duration = Duration::from_secs(30);
/// Shortest time between two hints to other replicas: commits of this time share one.
pub const HINT_DEBOUNCE: Duration = Duration::from_millis(3);
/// First and longest pause between tries to reach the database.
pub const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between tries to reach the database.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Time between two looks for an outdated outbox slot; a slot is hours long.
pub const RETENTION_ROUND: Duration = Duration::from_secs(60);

/// Longest time between two looks of a ledger stream at the outbox: what a lost hint may cost a projection.
pub const LEDGER_POLL: Duration = Duration::from_millis(50);
/// Shortest time between two looks of a ledger stream: a step takes up the commits of 10 ms.
pub const LEDGER_GAP: Duration = Duration::from_millis(10);
/// Entries of one message of a ledger stream, unless one operation alone has more.
pub const MAX_LEDGER_ENTRIES: usize = 500;
/// Time between two counts of what has changed since the last mark in the ledger: under 10,000 changes a second a step between
/// marks is two such counts long.
pub const MARK_ROUND: Duration = Duration::from_secs(1);
