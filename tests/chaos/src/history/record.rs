//! What a line of a history says.

use serde::{Deserialize, Serialize};

use super::Hash;

/// An account by its number; the service knows it as `chaos_<number>`.
pub type Account = u16;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Microseconds since the run began, on one monotonic clock.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each member is named by what it is")]
pub enum Event {
    /// The first line.
    Run { seed: u64, replicas: u8, accounts: Account, command: String },
    /// A write is sent.
    Call { call: u64, replica: u8, account: Account, key: String, command: Command },
    /// Its answer came, or its end.
    Answer { call: u64, outcome: Outcome },
    /// A stream is asked for.
    Open {
        stream: u64,
        replica: u8,
        /// Who reads; one stream after the other.
        reader: u16,
        latest: bool,
        require_history: bool,
        targets: Vec<Target>,
        /// The bookmark or GoAway whose token is given.
        token: Option<u64>,
    },
    /// A whole state.
    Snapshot { stream: u64, account: Account, version: i64, hash: Hash, reason: Reason },
    /// Entries of one message.
    Changes { stream: u64, account: Account, entries: Vec<Delivered> },
    /// A bookmark; `token` is a number of this run, 0 for an empty token.
    Bookmark { stream: u64, in_sync: bool, lag_us: u64, token: u64 },
    /// A target is not watched any more.
    Removed { stream: u64, account: Account, reason: String },
    /// The service asks to come again.
    GoAway { stream: u64, token: u64 },
    /// A stream ended; empty: with OK. `by_reader`: the reader closed it.
    End { stream: u64, by_reader: bool, code: String, reason: String },
    /// A reader stops reading.
    Paused { stream: u64 },
    /// It reads on.
    Resumed { stream: u64 },
    /// A fault begins.
    Begin { strike: u32, nemesis: Nemesis, replica: Option<u8>, detail: String },
    /// It is about to be lifted; from the beginning to here its effect is certain, but for a moment.
    Lift { strike: u32 },
    /// It has ended.
    Finish { strike: u32 },
    /// History was lost on purpose: what was acknowledged before `kept_before` is kept, what is acknowledged after this
    /// line too; what lies between may be gone.
    Lost { strike: u32, kept_before: u64 },
    /// A service ended that nobody told to end, or said what it must not say.
    Fault { replica: u8, said: String },
    /// The client library ended a watch.
    Library { said: String },
    /// The last fault is over and everything runs; writes go on for a while.
    Calm,
    /// The last write was answered.
    Written,
    /// Every open stream has reached the journal's end, or the time for it was over.
    Settled,
    /// One entry of the journal, after the run.
    Entry {
        account: Account,
        version: i64,
        hash: Hash,
        operation: String,
        index: i32,
        size: i32,
        kind: i16,
        delta: Figures,
        after: Figures,
    },
    /// One remembered key, after the run.
    Operation { account: Account, key: String, operation: String, first: i64, count: i64 },
    /// What an audit of the database said.
    Audit { name: String, passed: bool, said: String },
}

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// So many more.
    Grant(i64),
    /// So many less.
    Spend(i64),
    /// Reserve so many.
    Hold(i64),
    /// Use so many of a hold, and give the rest back: two entries.
    Capture(i64),
    /// Give a hold back.
    Release,
}

/// What a write was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Acknowledged(Answered),
    /// Not done, for this reason.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// The answer to a write that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each member is named by what it is")]
pub struct Answered {
    pub operation: String,
    pub entries: Vec<Delivered>,
    /// The balance after it.
    pub version: i64,
    pub hash: Hash,
    pub figures: Figures,
    pub replayed: bool,
}

/// An entry as it was told: version, hash, place in its operation, entries of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered(pub i64, pub Hash, pub i32, pub i32);

/// Available, held, scheduled, debt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures(pub i64, pub i64, pub i64, pub i64);

/// A watched balance, and what the reader says that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each member is named by what it is")]
pub struct Target {
    pub account: Account,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
}

/// Why a snapshot came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "those of the API")]
pub enum Reason {
    Initial,
    TooOld,
    Diverged,
    Conflated,
    Unspecified,
}

/// A kind of fault.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Nemesis {
    /// kill -9 of a service, started again after a while.
    KillService,
    /// SIGTERM of each service in turn, started again.
    Rolling,
    /// SIGSTOP of a service for a while.
    FreezeService,
    /// kill -9 of PostgreSQL and all its backends, started again after a while.
    KillPostgres,
    /// Immediate shutdown of PostgreSQL, started again after a while.
    StopPostgres,
    /// SIGSTOP of the whole of PostgreSQL for a while.
    FreezePostgres,
    /// SIGSTOP of one backend for a while.
    FreezeBackend,
    /// The connection of a tail is ended.
    TerminateTail,
    /// Some connection is ended.
    TerminateSome,
    /// All connections are ended.
    TerminateAll,
    /// A service's connections to PostgreSQL are cut, and refused for a while.
    CutDatabase,
    /// A service's connections to PostgreSQL hang for a while.
    StallDatabase,
    /// The clients' connections to a service are cut.
    CutClients,
    /// The clients' connections to a service hang for a while.
    StallClients,
    /// A transaction that has written stays open, idle.
    IdleWriter,
    /// A reader stops reading for a while.
    StuckReader,
    /// A standby that lacks the last writes takes over.
    Failover,
    /// The database is dumped, and restored into a new cluster; with a loss or without.
    Restore,
}
