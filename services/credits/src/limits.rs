//! Every limit of the gRPC service, with its unit and its reason.

use std::time::Duration;

/// Largest request message, in bytes: twice the largest Stripe body, four times a watch of 1000 long targets.
pub(crate) const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Largest Stripe body, in bytes: what the edge reads.
pub(crate) const MAX_STRIPE_BODY_BYTES: usize = stripe::MAX_EVENT_BYTES;
/// Time of a call that brings no deadline, and the most that one may have: Stripe's checkout waits as long for its
/// webhook.
pub(crate) const MAX_CALL_TIME: Duration = Duration::from_secs(10);
/// Kept back from a caller's deadline so that the answer arrives before it gives up: this, or a tenth of a short one.
pub(crate) const WAY_BACK: Duration = Duration::from_millis(100);
/// Beyond the call's own deadline: a call that still runs then is defective, and its outcome is not known.
pub(crate) const LAST_RESORT: Duration = Duration::from_secs(5);
/// How far the edge's clock and the time that it needs to forward an event may put `received_at` off, in seconds.
pub(crate) const MAX_RECEIPT_SKEW_S: i64 = 60;
/// Most fields that one refusal lists: enough for every field of a write, bounded for a watch of 1000 targets.
pub(crate) const MAX_VIOLATIONS: usize = 32;
/// Most queries of one BatchGetBalances: those of a full page of accounts, read by one statement.
pub(crate) const MAX_QUERIES: usize = 1000;
/// Reads of past balances that one BatchGetBalances does at once: a few, so that others get connections, too.
pub(crate) const MAX_PAST_READS: usize = 4;
/// Most commands of one ApplyBatch: a second of work of a small installation, well within a call's time.
pub(crate) const MAX_COMMANDS: usize = 1000;
/// Commands of one account that a batch has queued at once: a quarter of what a lane commits together, so that a batch
/// of one account is fast and leaves room for others.
pub(crate) const MAX_IN_ORDER: usize = 64;
/// Most items of one page of a list.
pub(crate) const MAX_PAGE_SIZE: i64 = 1000;
/// Items of a page whose size the caller leaves open.
pub(crate) const DEFAULT_PAGE_SIZE: i64 = 100;
/// Most entries of one page of an export: ten times those of a list, since nobody looks at it.
pub(crate) const MAX_EXPORT_SIZE: i64 = 5000;
/// Entries of an export's page whose size the caller leaves open.
pub(crate) const DEFAULT_EXPORT_SIZE: i64 = 1000;
/// Bytes of one page of an export: below the 4 MiB that gRPC clients take.
pub(crate) const MAX_EXPORT_BYTES: usize = 3 << 20;
/// Most kinds that one filter names: more than there are.
pub(crate) const MAX_KINDS: usize = 32;
/// Time between bookmarks of a stream that names none.
pub(crate) const DEFAULT_BOOKMARK_INTERVAL: Duration = Duration::from_secs(5);
/// Longest resume token, in bytes: three times one of 1000 targets.
pub(crate) const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Longest pause that a GoAway asks for: the readers of a replica that stops come to the others over a second.
pub(crate) const MAX_RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Due balances that one attach settles at a time: a batch of the store takes more, other callers wait less.
pub(crate) const MAX_SETTLING: usize = 32;
/// HTTP/2 streams of one connection, calls and watches together; a client beyond it waits.
pub(crate) const MAX_HTTP2_STREAMS: u32 = 1000;
/// Bytes of all headers of one request: a key, a trace context and what proxies add.
pub(crate) const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// A connection is asked for a sign of life this often, so that a dead one frees its streams.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Time that it has to answer.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a stream may have waiting for its reader inside HTTP/2, beside the message of which they are the beginning. hyper's own 400 KiB for each stream are
/// what 10,000 stuck readers would make the process hold.
pub(crate) const MAX_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of requests that one stream may have waiting to be read: HTTP/2's own default. A set whose reader takes no answers
/// is not read, and must leave room on its connection for the calls beside it.
pub(crate) const MAX_UNREAD_BYTES: u32 = 64 * 1024;
/// Bytes of requests that all streams of one connection may have waiting.
pub(crate) const MAX_UNREAD_BYTES_OF_ALL: u32 = 1024 * 1024;
/// The pause after a failed accept (no file descriptors left): others have to end first.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time from a connection's begin to the end of its HTTP/2 preface, which clients send at once and unasked.
const PREFACE_TIME: Duration = Duration::from_secs(10);

/// Time for which nothing may move over a connection: that of a slow reader, and time to hear of it.
const STUCK_TIME: Duration = Duration::from_secs(40);

/// Limits that depend on the machine, or that tests make small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Time that a connection has to send its HTTP/2 preface; it is closed then.
    pub preface: Duration,
    /// Time for which nothing may move over a connection that has something to send; it is closed then. Longer than
    /// the 30 s after which a reader hears SLOW_READER when it reads on.
    pub stuck: Duration,
    /// Calls that are served at once, Stripe's events apart; beyond it OVERLOADED at once. Each of the store's
    /// queues holds as many, so that a call that is let in is rarely refused there.
    pub concurrent_calls: usize,
    /// Stripe's events that are served at once: a share of their own, so that other calls cannot starve them.
    pub concurrent_stripe_events: usize,
    /// Commands of all batches that may be in the store's queues at once; the others wait for their turn within their
    /// call's time, so that batches leave room for single calls. At least 64.
    pub batched_commands: usize,
    /// Reads that may wait for a version at once; a part of `concurrent_calls`, so that waiting cannot take it all.
    pub waiting_reads: usize,
    /// Open streams of the process; about 16 kB each while idle.
    pub streams: usize,
    /// Open streams of one principal: one caller cannot take them all.
    pub streams_per_principal: usize,
    /// Open streams of the ledger: each reads the database on a connection of its own.
    pub ledger_streams: usize,
    /// A stream ends, with a GoAway, at a random moment between this age and twice that: so that load finds its way to
    /// replicas that came later.
    pub stream_age: Duration,
    /// After the shutdown signal: time for calls in flight and for streams to take their end. Then connections are
    /// cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            preface: PREFACE_TIME,
            stuck: STUCK_TIME,
            concurrent_calls: 1024,
            concurrent_stripe_events: 128,
            batched_commands: 512,
            waiting_reads: 256,
            streams: 10_000,
            streams_per_principal: 5_000,
            ledger_streams: 4,
            stream_age: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(15),
        }
    }
}
