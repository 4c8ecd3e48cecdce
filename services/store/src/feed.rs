//! All changes of the ledger for readers who come back: steps from one snapshot to a later one, each in pages.
//!
//! Promises: a step's pages together are exactly the rows that its later snapshot sees and its earlier one does not, by
//! (account, unit, version), so that a place inside is a position in that order; a step that the outbox may not hold whole any
//! more is [`FeedError::Compacted`], never a step with a hole. Between two calls no transaction, snapshot or lock is held. Must
//! not know: who reads, and what a token looks like.
//!
//! Why this is dense: a balance's version v + 1 is written under the account's lock, which v's transaction gives back after
//! it has become visible. So every snapshot that sees v + 1 sees v, what lies between two snapshots is a run of versions of each
//! balance, and sorting it by version is enough, whichever transaction was begun first.
//!
//! Why nothing is lost, one hazard after the other:
//!
//! | hazard | held by |
//! | --- | --- |
//! | TRUNCATE takes rows before they are read; it is not even hidden from statements that began before it | every page asks *after* its rows what was emptied (`record_emptied` in the migrations writes it) |
//! | a crash loses transactions that were not on disk, and their ids are given out again | a snapshot is used once all that had ended in it is on disk |
//! | a failover or a restore gives ids of a snapshot to other transactions | [`Origin`]: server, timeline, outbox, stream epoch |
//! | a standby's snapshots list nothing in progress | refused |

mod look;
mod marks;
mod page;
mod snapshot;

use domain::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use self::look::{look_ahead, on_disk};
use self::page::read_page;
use crate::error::StoreError;
use crate::export::Position;
use crate::tail::{OutboxRow, restore, session};

pub use marks::{MARK_EVERY, leave_mark};
pub use snapshot::{MAX_IN_PROGRESS, Snapshot};

/// Rows of one page, unless one operation alone has more.
pub const PAGE_ROWS: i64 = 1000;
/// Bytes of the events of one page, unless one operation alone has more.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// The feed's connections in `pg_stat_activity`.
const APPLICATION_NAME: &str = "tallystick ledger";

/// Why a feed stopped. In every case its connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The server is a standby.
    #[error("the server is a standby; ledger streams read primaries only")]
    Standby,
    /// Rows between the reader's snapshot and now may be gone, or its snapshot is not of this history.
    #[error("the outbox is kept since {oldest:?}, and does not go on from the snapshot")]
    Compacted {
        /// A snapshot from before it cannot be used.
        oldest: Timestamp,
    },
    /// A snapshot that no token could hold.
    #[error("more than {MAX_IN_PROGRESS} transactions are in progress")]
    TooManyInProgress,
    /// The database failed.
    #[error("the ledger could not be followed")]
    Store(#[from] StoreError),
}

/// What transaction ids mean something in: two snapshots can be compared when their origins are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Raised by a restore from a dump, and by operators.
    pub epoch: i64,
    /// The server's system identifier, its timeline, and the object ids of the database and the outbox (`outbox_source` in the
    /// migrations).
    pub source: String,
}

/// A snapshot and when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What is visible.
    pub snapshot: Snapshot,
    /// By the database's clock.
    pub at: Timestamp,
}

/// What follows a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Where the next step leads; none while nothing has changed.
    pub target: Option<Mark>,
    /// The database's time.
    pub now: Timestamp,
}

/// Some rows of a step.
#[derive(Debug)]
pub struct Page {
    /// By account, unit and version; whole operations.
    pub rows: Vec<OutboxRow>,
    /// The step has no more.
    pub is_last: bool,
    /// The database's time after it was read.
    pub now: Timestamp,
}

/// A connection that follows the ledger. Calls consume it and give it back only on success, so a call that failed or
/// was dropped closes the connection, and whoever follows connects anew and is asked again where it comes from.
#[derive(Debug)]
pub struct Feed {
    connection: PgConnection,
    origin: Origin,
}

impl Feed {
    /// Opens a connection of its own. A database that was restored from a dump gets a new epoch, as in
    /// [`crate::tail::Tail::connect`].
    ///
    /// # Errors
    /// [`FeedError::Standby`], or [`FeedError::Store`] when the database cannot be used.
    pub async fn connect(options: &PgConnectOptions) -> Result<Self, FeedError> {
        let mut connection = session::open(options, APPLICATION_NAME).await?;
        let first = restore::look(&mut connection).await?;
        if first.standby {
            return Err(FeedError::Standby);
        }
        if first.from_another_server {
            restore::start_new_epoch(&mut connection).await?;
        }
        let origin = read_origin(&mut connection).await?;
        Ok(Self { connection, origin })
    }

    /// What snapshots of this connection are of.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The present, for a reader who comes without a past.
    ///
    /// # Errors
    /// [`FeedError::TooManyInProgress`], [`FeedError::Store`].
    pub async fn now(mut self) -> Result<(Self, Mark), FeedError> {
        let look = look_ahead(&mut self.connection, None, &self.origin.source).await?;
        let mark = look.present()?;
        on_disk(&mut self.connection, look.insert_lsn, look.is_on_disk).await?;
        Ok((self, mark))
    }

    /// Where to go from `previous`: the next mark on the way where one was left, else the present.
    ///
    /// # Errors
    /// [`FeedError::TooManyInProgress`], [`FeedError::Store`].
    pub async fn ahead(mut self, previous: &Snapshot) -> Result<(Self, Ahead), FeedError> {
        let look = look_ahead(&mut self.connection, Some(previous), &self.origin.source).await?;
        let now = Timestamp::from_micros(look.now_us);
        let target = match look.lookup_mark()? {
            Some(mark) => mark,
            None => look.present()?,
        };
        if target.snapshot == *previous {
            return Ok((self, Ahead { target: None, now }));
        }
        on_disk(&mut self.connection, look.insert_lsn, look.is_on_disk).await?;
        Ok((self, Ahead { target: Some(target), now }))
    }

    /// The next rows of the step from `from` to `to`, after a position in it, of accounts that begin with `prefix`.
    ///
    /// # Errors
    /// [`FeedError::Compacted`] when the step may not be whole any more; [`FeedError::Store`].
    pub async fn page(
        mut self,
        from: &Snapshot,
        to: &Snapshot,
        after: &Position,
        prefix: &str,
    ) -> Result<(Self, Page), FeedError> {
        let (from, to) = (from.to_string(), to.to_string());
        let mut limit = PAGE_ROWS;
        let (rows, is_last) = loop {
            let (rows, is_last) = read_page(&mut self.connection, &from, &to, after, prefix, limit).await?;
            // An operation with more entries than the page: it is read whole.
            if is_last || !rows.is_empty() {
                break (rows, is_last);
            }
            limit = limit.saturating_mul(4);
        };
        let now = self.check(&from).await?;
        Ok((self, Page { rows, is_last, now }))
    }

    /// Whether the outbox goes on from a snapshot; the database's time.
    ///
    /// # Errors
    /// [`FeedError::Compacted`] when it does not; [`FeedError::Store`].
    pub async fn goes_on_from(mut self, snapshot: &Snapshot) -> Result<(Self, Timestamp), FeedError> {
        let now = self.check(&snapshot.to_string()).await?;
        Ok((self, now))
    }

    /// What to say to a reader whose snapshot is of another history: [`FeedError::Compacted`], unless the database fails.
    pub async fn another_history(mut self) -> FeedError {
        let oldest = sqlx::query_scalar!(
            r#"select (extract(epoch from kept_since) * 1000000)::bigint as "us!" from stream_state"#
        )
        .fetch_one(&mut self.connection)
        .await;
        match oldest {
            Ok(oldest) => FeedError::Compacted { oldest: Timestamp::from_micros(oldest) },
            Err(error) => StoreError::during("read since when the outbox is kept")(error).into(),
        }
    }

    /// A statement of its own, after those that read rows: what a TRUNCATE took from them is recorded by then, since it
    /// commits before it lets go of the leaf.
    ///
    /// Emptied were rows of transactions up to `emptied_xid`. The snapshot had not seen one of them when it is not below the
    /// snapshot's xmax, or was in progress there; except for one that was still in progress when the last slot was
    /// emptied: it held no lock on it, and had written nothing there. (A transaction that stays open for days, prepared and
    /// forgotten perhaps, would else end every stream at every slot.)
    ///
    /// In doubt it says that rows are gone: one that was in progress in the snapshot, is older than what was emptied and has
    /// ended since may have written elsewhere, or nothing at all. With slots that are days old when they go, such a one has
    /// been open for days.
    ///
    /// Says the database's time.
    async fn check(&mut self, snapshot: &str) -> Result<Timestamp, FeedError> {
        let state = sqlx::query!(
            r#"select epoch as "epoch!", (extract(epoch from kept_since) * 1000000)::bigint as "kept_since_us!",
                      (extract(epoch from clock_timestamp()) * 1000000)::bigint as "now_us!",
                      coalesce(emptied_xid >= pg_snapshot_xmax(s)
                               or exists (select from pg_snapshot_xip(s) as x
                                          where x <= emptied_xid and pg_visible_in_snapshot(x, emptied_in)), false)
                      or pg_snapshot_xmax(s) > pg_snapshot_xmax(pg_current_snapshot()) as "compacted!"
               from stream_state, (select $1::text::pg_snapshot as s) as snapshot"#,
            snapshot
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(StoreError::during("ask what the outbox was emptied of"))?;
        if state.compacted || state.epoch != self.origin.epoch {
            return Err(FeedError::Compacted { oldest: Timestamp::from_micros(state.kept_since_us) });
        }
        Ok(Timestamp::from_micros(state.now_us))
    }
}

async fn read_origin(connection: &mut PgConnection) -> Result<Origin, StoreError> {
    sqlx::query_as!(Origin, r#"select epoch, outbox_source() as "source!" from stream_state"#)
        .fetch_one(connection)
        .await
        .map_err(StoreError::during("read where the outbox comes from"))
}
