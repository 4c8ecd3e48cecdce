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

mod marks;
mod snapshot;

use std::time::Duration;

use domain::{AccountId, Timestamp, Unit};
use futures::TryStreamExt;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use crate::error::StoreError;
use crate::export::Position;
use crate::row::to_hash;
use crate::tail::{OutboxRow, restore, session};

pub use marks::{MARK_EVERY, leave_mark};
pub use snapshot::{MAX_IN_PROGRESS, Snapshot};

/// Rows of one page, unless one operation alone has more.
pub const PAGE_ROWS: i64 = 1000;
/// Bytes of the events of one page, unless one operation alone has more.
pub const PAGE_BYTES: usize = 1024 * 1024;
/// The feed's connections in `pg_stat_activity`.
const APPLICATION_NAME: &str = "tallystick ledger";
/// Before a look whether the log has reached the disk by itself: under load others commit within it.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

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
        let target = match (look.lookup_mark()?, look.present()?) {
            (Some(mark), _) => mark,
            (None, present) if present.snapshot == *previous => {
                return Ok((self, Ahead { target: None, now }));
            }
            (None, present) => present,
        };
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
        let page = loop {
            let page = read_page(&mut self.connection, &from, &to, after, prefix, limit).await?;
            // An operation with more entries than the page: it is read whole.
            if page.is_last || !page.rows.is_empty() {
                break page;
            }
            limit = limit.saturating_mul(4);
        };
        self.check(&from).await?;
        Ok((self, page))
    }

    /// Whether the outbox goes on from a snapshot.
    ///
    /// # Errors
    /// [`FeedError::Compacted`] when it does not; [`FeedError::Store`].
    pub async fn goes_on_from(mut self, snapshot: &Snapshot) -> Result<Self, FeedError> {
        self.check(&snapshot.to_string()).await?;
        Ok(self)
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
    async fn check(&mut self, snapshot: &str) -> Result<(), FeedError> {
        let state = sqlx::query!(
            r#"select epoch as "epoch!", (extract(epoch from kept_since) * 1000000)::bigint as "kept_since_us!",
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
        Ok(())
    }
}

async fn read_origin(connection: &mut PgConnection) -> Result<Origin, StoreError> {
    sqlx::query_as!(Origin, r#"select epoch, outbox_source() as "source!" from stream_state"#)
        .fetch_one(connection)
        .await
        .map_err(StoreError::during("read where the outbox comes from"))
}

#[derive(Debug)]
struct Look {
    snapshot: String,
    now_us: i64,
    insert_lsn: String,
    is_on_disk: bool,
    mark: Option<String>,
    mark_us: Option<i64>,
}

impl Look {
    fn present(&self) -> Result<Mark, FeedError> {
        mark(&self.snapshot, self.now_us)
    }

    fn lookup_mark(&self) -> Result<Option<Mark>, FeedError> {
        let Some((snapshot, at_us)) = self.mark.as_ref().zip(self.mark_us) else { return Ok(None) };
        mark(snapshot, at_us).map(Some)
    }
}

fn mark(snapshot: &str, at_us: i64) -> Result<Mark, FeedError> {
    let snapshot = Snapshot::parse(snapshot).ok_or(StoreError::Corrupt("snapshot"))?;
    if snapshot.in_progress() > MAX_IN_PROGRESS {
        return Err(FeedError::TooManyInProgress);
    }
    Ok(Mark { snapshot, at: Timestamp::from_micros(at_us) })
}

/// The present, and the first mark whose snapshot is later than `previous`. A snapshot's xmax never goes back, so one with
/// a higher xmax was taken later and sees all that the earlier one saw.
async fn look_ahead(
    connection: &mut PgConnection,
    previous: Option<&Snapshot>,
    source: &str,
) -> Result<Look, StoreError> {
    let previous = previous.map(ToString::to_string);
    sqlx::query_as!(
        Look,
        r#"select pg_current_snapshot()::text as "snapshot!",
                  (extract(epoch from clock_timestamp()) * 1000000)::bigint as "now_us!",
                  lsn::text as "insert_lsn!", pg_current_wal_flush_lsn() >= lsn as "is_on_disk!",
                  mark.snapshot::text as mark, (extract(epoch from mark.taken_at) * 1000000)::bigint as mark_us
           from pg_current_wal_insert_lsn() as lsn
           left join lateral (
               select snapshot, taken_at from outbox_marks
               where source = $2 and next_xid > pg_snapshot_xmax($1::text::pg_snapshot)
               order by next_xid limit 1
           ) as mark on true"#,
        previous,
        source
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::during("look ahead in the ledger"))
}

/// Waits until the log is on disk up to where it was just after a snapshot was taken. Every transaction that had ended in the
/// snapshot has a record before that, so after a crash the server goes on with higher ids, and none that the
/// snapshot calls ended is given out again. A commit that anybody waits for brings the rest to the disk as well; where none
/// comes (a rollback does not), an empty one of our own does.
async fn on_disk(connection: &mut PgConnection, lsn: String, mut is_on_disk: bool) -> Result<(), StoreError> {
    const WAIT: &str = "wait for the log";
    while !is_on_disk {
        tokio::time::sleep(FLUSH_PAUSE).await;
        is_on_disk = sqlx::query_scalar!(
            r#"select pg_current_wal_flush_lsn() >= $1::text::pg_lsn as "flushed!""#,
            lsn
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::during(WAIT))?;
        if !is_on_disk {
            sqlx::query!(
                r#"select set_config('synchronous_commit', 'local', true) as a,
                          pg_logical_emit_message(true, 'tallystick', '')::text as b"#
            )
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::during(WAIT))?;
        }
    }
    Ok(())
}

/// The rows as a stream, up to the end of an operation at which the page is full.
///
/// - The first part has the transactions that had not begun in the earlier snapshot, the second those that were in progress.
/// - The later snapshot is a subquery, so that it is read once and not for every row.
async fn read_page(
    connection: &mut PgConnection,
    from: &str,
    to: &str,
    after: &Position,
    prefix: &str,
    limit: i64,
) -> Result<Page, StoreError> {
    let mut stream = sqlx::query_as!(
        Row,
        r#"select account_id as "account_id!", unit as "unit!", version as "version!",
                  operation_index as "operation_index!", operation_size as "operation_size!",
                  entry_hash as "entry_hash!", event as "event!", traceparent
           from (
               select * from outbox
               where xid >= pg_snapshot_xmax($1::text::pg_snapshot)
                 and xid < pg_snapshot_xmax($2::text::pg_snapshot)
               union all
               select * from outbox
               where xid = any(array(select pg_snapshot_xip($1::text::pg_snapshot)))
           ) as step
           where pg_visible_in_snapshot(xid, (select $2::text::pg_snapshot))
             and (account_id, unit, version) > ($3 collate "C", $4 collate "C", $5)
             and starts_with(account_id, $6)
           order by account_id, unit, version
           limit $7"#,
        from,
        to,
        after.account_id,
        after.unit,
        after.version,
        prefix,
        limit
    )
    .fetch(connection);
    let (mut rows, mut bytes, mut read) = (Vec::new(), 0_usize, 0_i64);
    let mut whole = 0;
    while let Some(row) = stream.try_next().await.map_err(StoreError::during("read a page of the ledger"))? {
        read = read.saturating_add(1);
        let row = OutboxRow::try_from(row)?;
        bytes = bytes.saturating_add(row.event.len());
        let ends_operation = row.operation_index.saturating_add(1) >= row.operation_size;
        rows.push(row);
        if ends_operation {
            whole = rows.len();
            if bytes >= PAGE_BYTES {
                return Ok(Page { rows, is_last: false });
            }
        }
    }
    rows.truncate(whole);
    Ok(Page { rows, is_last: read < limit })
}

#[derive(Debug)]
struct Row {
    account_id: String,
    unit: String,
    version: i64,
    operation_index: i32,
    operation_size: i32,
    entry_hash: Vec<u8>,
    event: Vec<u8>,
    traceparent: Option<String>,
}

impl TryFrom<Row> for OutboxRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            account: AccountId::try_new(row.account_id)?,
            unit: Unit::try_new(row.unit)?,
            version: row.version,
            operation_index: row.operation_index,
            operation_size: row.operation_size,
            hash: to_hash(&row.entry_hash)?,
            event: row.event.into(),
            traceparent: row.traceparent,
        })
    }
}
