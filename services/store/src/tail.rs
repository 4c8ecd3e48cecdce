//! The outbox tail: exactly the rows that became visible since the poll before, by snapshot difference (PgQ's
//! method).
//!
//! Promises: no committed row is lost, none comes twice, and the rows of one balance come in version order,
//! whatever other transactions do, long writers and rollbacks included. Must not know: who watches, and what
//! an event says.
//!
//! Why a difference of snapshots: a row is visible in snapshot S and was not visible in the earlier snapshot P
//! exactly when its transaction committed before S and was, for P, either not begun (`xid >= xmax(P)`) or in
//! progress (`xid = any(xip(P))`). A cursor on a sequence loses rows, because numbers are taken before the
//! commit; a cursor on `xmin` loses none, but stalls behind any long writer and, ordered by xid, delivers
//! version 6 before 5 when a transaction wrote something before it took the account's lock.
//! (PostgreSQL manual, 9.27 "Transaction ID and Snapshot Information Functions".)
//!
//! The snapshot of the poll before lives only in [`Tail`], beside its connection, and a poll consumes the
//! `Tail` and gives it back only on success. So a snapshot cannot be carried to another connection (perhaps to
//! another server), and a poll that failed or was dropped half-way closes the connection: whoever reads the
//! tail connects anew, which starts from now, and reads from the journal what happened in between.

pub mod mutants;
pub(crate) mod restore;
pub(crate) mod session;
#[cfg(feature = "mutants")]
mod wrong;

use bytes::Bytes;
use domain::{AccountId, EntryHash, Unit};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use self::mutants::Mutant;
use crate::error::StoreError;
use crate::row::to_hash;

/// Most watched rows of one poll. A poll has no LIMIT (cutting a moving snapshot would lose the rest), so this
/// bounds its memory: at some 300 bytes a row, about as much as [`MAX_BYTES`].
pub const MAX_ROWS: usize = 50_000;
/// Most bytes of watched events of one poll: what one replica may well hold at once.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why the tail stopped. In every case its connection is closed; connect anew.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The server is a standby: its snapshots list no transactions in progress, so a difference would lose rows.
    #[error("the server is a standby; the tail reads primaries only")]
    Standby,
    /// More rows became visible at once than a poll may hold: read the journal instead.
    #[error("more than {MAX_ROWS} rows or {MAX_BYTES} bytes of watched events in one poll")]
    Overflow,
    /// The database failed.
    #[error("the outbox tail failed")]
    Store(#[from] StoreError),
}

/// One change as the outbox carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
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
    /// The entry, encoded as the API sends it.
    pub event: Bytes,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// A connection that follows the outbox from the moment when it was opened.
#[derive(Debug)]
pub struct Tail {
    connection: PgConnection,
    /// The snapshot of the poll before: everything visible in it was delivered, or was there at the start.
    previous: String,
    epoch: i64,
    restored: bool,
}

impl Tail {
    /// Opens a connection of its own and takes its first snapshot. What is committed later will be polled;
    /// what was committed before must be read from the journal, after this call.
    ///
    /// When the outbox holds rows of transactions that this server has not begun yet, the database was restored
    /// from a dump: the outbox is emptied, the stream epoch raised, and [`Tail::was_restored`] says so.
    ///
    /// # Errors
    /// [`TailError::Standby`], or [`TailError::Store`] when the database cannot be used.
    pub async fn connect(options: &PgConnectOptions) -> Result<Self, TailError> {
        let mut connection = session::open(options, session::APPLICATION_NAME).await?;
        let mut first = restore::look(&mut connection).await?;
        if first.standby && !mutants::is(Mutant::RelayOnAStandby) {
            return Err(TailError::Standby);
        }
        let restored = first.from_another_server;
        if restored {
            restore::start_new_epoch(&mut connection).await?;
            first = restore::look(&mut connection).await?;
        }
        let previous = mutants::kept_snapshot().unwrap_or(first.snapshot);
        Ok(Self { connection, previous, epoch: first.epoch, restored })
    }

    /// The stream epoch at the time of connecting. Raised by every restore from a dump.
    #[must_use]
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether connecting found a database that was restored from a dump, and raised the epoch.
    #[must_use]
    pub const fn was_restored(&self) -> bool {
        self.restored
    }

    /// The rows that became visible since the poll before and that `keep(account, unit)` wants, ordered by
    /// account, unit and version.
    ///
    /// # Errors
    /// [`TailError`]; the connection is closed then, and also when the future is dropped.
    pub async fn poll(
        mut self,
        keep: impl FnMut(&str, &str) -> bool + Send,
    ) -> Result<(Self, Vec<OutboxRow>), TailError> {
        let (snapshot, mut rows) = newly_visible(&mut self.connection, &self.previous, keep).await?;
        mutants::keep_snapshot(&snapshot);
        self.previous = snapshot;
        // Rows of one poll may come from many transactions, in any order. Versions of a balance are handed out
        // under its account's lock, which is held until the commit is visible: what is visible is a dense
        // prefix, so sorting one poll by version is enough, and the next poll goes on where this one ended.
        if !mutants::is(Mutant::XminHorizon) {
            rows.sort_unstable_by(|a, b| {
                (&a.account, &a.unit, a.version).cmp(&(&b.account, &b.unit, b.version))
            });
        }
        Ok((self, rows))
    }

    /// Whether nothing was committed since the poll before: a tenth of a poll's work. Equal snapshots see the same
    /// transactions, so a poll would have no rows.
    ///
    /// # Errors
    /// As [`Tail::poll`].
    pub async fn is_level(mut self) -> Result<(Self, bool), TailError> {
        let is_level = current_snapshot(&mut self.connection).await? == self.previous;
        Ok((self, is_level))
    }

    /// A poll whose rows nobody would take: goes on from now without reading them, and says so. `nobody_watches` is asked
    /// after the new snapshot was taken; when somebody came meanwhile, all stays as it was (`false`), and the next poll
    /// has every row.
    ///
    /// Who is not seen by `nobody_watches` begins to watch after the snapshot, so what it then reads holds
    /// everything that is passed over here.
    ///
    /// # Errors
    /// As [`Tail::poll`].
    pub async fn skip(
        mut self,
        nobody_watches: impl FnOnce() -> bool + Send,
    ) -> Result<(Self, bool), TailError> {
        let snapshot = current_snapshot(&mut self.connection).await?;
        let skips = nobody_watches();
        if skips {
            self.previous = snapshot;
        }
        Ok((self, skips))
    }
}

async fn current_snapshot(connection: &mut PgConnection) -> Result<String, StoreError> {
    sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "snapshot!""#)
        .fetch_one(connection)
        .await
        .map_err(StoreError::during("poll the outbox"))
}

/// The one statement of the tail: all its parts, and the snapshot that it returns, are of one snapshot, so
/// nothing can fall between two polls. Rows are taken as a stream: those that nobody watches are dropped as
/// they pass, and memory stays bounded however much was written.
///
/// - The first part gives the new snapshot, also when there are no rows.
/// - The second has the transactions that had not begun, the third those that were in progress. When none were, the
///   statement is one without it: to start its 16 index scans costs as much as the whole rest of a poll.
/// - `xid < xmax(now)` holds for every row that this server wrote. Rows of a dump may break it; they are never
///   delivered.
/// - No condition on `slot`: one probe of a leaf's index costs some 10 µs (0.37 ms a poll with 480,000 rows in
///   16 leaves, with and without one), and so the tail depends on no clock, neither the server's nor the slot
///   length against the time between two polls.
async fn newly_visible(
    connection: &mut PgConnection,
    previous: &str,
    mut keep: impl FnMut(&str, &str) -> bool + Send,
) -> Result<(String, Vec<OutboxRow>), TailError> {
    let mut stream = rows_after(connection, previous);
    let mut snapshot = None;
    let mut rows = Vec::new();
    let mut bytes = 0_usize;
    while let Some(row) = stream.try_next().await.map_err(StoreError::during("poll the outbox"))? {
        if row.snapshot.is_some() {
            snapshot = row.snapshot;
            continue;
        }
        let is_kept = match (&row.account_id, &row.unit) {
            (Some(account), Some(unit)) => keep(account, unit),
            _ => false,
        };
        let is_kept = is_kept && !(mutants::is(Mutant::LimitOnAMovingSnapshot) && rows.len() == 100);
        if is_kept {
            let row = OutboxRow::try_from(row)?;
            bytes = bytes.saturating_add(row.event.len());
            rows.push(row);
            if rows.len() > MAX_ROWS || bytes > MAX_BYTES {
                return Err(TailError::Overflow);
            }
        }
    }
    let snapshot = snapshot.ok_or(StoreError::Corrupt("poll without a snapshot"))?;
    Ok((snapshot, rows))
}

fn rows_after<'a>(connection: &'a mut PgConnection, previous: &'a str) -> Rows<'a> {
    #[cfg(feature = "mutants")]
    if mutants::is(Mutant::SequenceCursor) || mutants::is(Mutant::XminHorizon) {
        return wrong::rows(connection, previous);
    }
    // `xmin:xmax:xip_list` (PostgreSQL manual, 9.27 "Transaction ID and Snapshot Information Functions").
    if previous.ends_with(':') {
        begun_since(connection, previous)
    } else {
        begun_since_or_in_progress(connection, previous)
    }
}

type Rows<'a> = BoxStream<'a, Result<Row, sqlx::Error>>;

fn begun_since<'a>(connection: &'a mut PgConnection, previous: &'a str) -> Rows<'a> {
    sqlx::query_as!(
        Row,
        r#"select pg_current_snapshot()::text as snapshot, null::text as account_id, null::text as unit,
                  null::bigint as version, null::int as operation_index, null::int as operation_size,
                  null::bytea as entry_hash, null::bytea as event, null::text as traceparent
           union all
           select null, account_id, unit, version, operation_index, operation_size, entry_hash, event, traceparent
           from outbox
           where xid >= pg_snapshot_xmax($1::text::pg_snapshot)
             and xid < pg_snapshot_xmax(pg_current_snapshot())"#,
        previous
    )
    .fetch(connection)
}

fn begun_since_or_in_progress<'a>(connection: &'a mut PgConnection, previous: &'a str) -> Rows<'a> {
    sqlx::query_as!(
        Row,
        r#"select pg_current_snapshot()::text as snapshot, null::text as account_id, null::text as unit,
                  null::bigint as version, null::int as operation_index, null::int as operation_size,
                  null::bytea as entry_hash, null::bytea as event, null::text as traceparent
           union all
           select null, account_id, unit, version, operation_index, operation_size, entry_hash, event, traceparent
           from outbox
           where xid >= pg_snapshot_xmax($1::text::pg_snapshot)
             and xid < pg_snapshot_xmax(pg_current_snapshot())
           union all
           select null, account_id, unit, version, operation_index, operation_size, entry_hash, event, traceparent
           from outbox
           where xid = any(array(select pg_snapshot_xip($1::text::pg_snapshot)))
             and xid < pg_snapshot_xmax(pg_current_snapshot())"#,
        previous
    )
    .fetch(connection)
}

/// One row of the statement: the snapshot, or a change.
#[derive(Debug)]
struct Row {
    snapshot: Option<String>,
    account_id: Option<String>,
    unit: Option<String>,
    version: Option<i64>,
    operation_index: Option<i32>,
    operation_size: Option<i32>,
    entry_hash: Option<Vec<u8>>,
    event: Option<Vec<u8>>,
    traceparent: Option<String>,
}

impl TryFrom<Row> for OutboxRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        const MISSING: StoreError = StoreError::Corrupt("outbox column");
        Ok(Self {
            account: AccountId::try_new(row.account_id.ok_or(MISSING)?)?,
            unit: Unit::try_new(row.unit.ok_or(MISSING)?)?,
            version: row.version.ok_or(MISSING)?,
            operation_index: row.operation_index.ok_or(MISSING)?,
            operation_size: row.operation_size.ok_or(MISSING)?,
            hash: to_hash(&row.entry_hash.ok_or(MISSING)?)?,
            event: row.event.ok_or(MISSING)?.into(),
            traceparent: row.traceparent,
        })
    }
}
