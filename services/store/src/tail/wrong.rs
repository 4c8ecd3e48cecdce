//! The defects `SequenceCursor` and `XminHorizon`, for the mutation gate: the statement of a poll as others write it.

use futures::StreamExt;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::mutants::{self, Mutant};
use super::{Row, Rows};

/// The highest number that was visible to a snapshot, or that the poll before returned in a snapshot's place.
const FIRST: &str =
    "(select coalesce(max(seq), 0) from outbox where pg_visible_in_snapshot(xid, $1::text::pg_snapshot))";
const NEXT: &str = "$1::text::bigint";

/// The rows of such a poll.
pub(super) fn rows<'a>(connection: &'a mut PgConnection, previous: &'a str) -> Rows<'a> {
    let (place, condition, order) = if mutants::is(Mutant::SequenceCursor) {
        let last = if previous.contains(':') { FIRST } else { NEXT };
        (format!("(select coalesce(max(seq), {last})::text from outbox)"), format!("seq > {last}"), "seq")
    } else {
        let condition = "xid >= pg_snapshot_xmin($1::text::pg_snapshot) and xid < pg_snapshot_xmin(pg_current_snapshot())";
        ("pg_current_snapshot()::text".to_owned(), condition.to_owned(), "xid, seq")
    };
    let sql = format!(
        "select {place} as snapshot, null as account_id, null as unit, null::bigint as version, \
                null::int as operation_index, null::int as operation_size, null::bytea as entry_hash, \
                null::bytea as event, null as traceparent \
         union all \
         select * from (select null, account_id, unit, version, operation_index, operation_size, entry_hash, event, \
                traceparent from outbox where {condition} order by {order}) as rows"
    );
    #[expect(clippy::disallowed_methods, reason = "a defect, in builds for tests alone")]
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(previous).fetch(connection);
    rows.map(|row| {
        let row = row?;
        Ok(Row {
            snapshot: row.try_get(0)?,
            account_id: row.try_get(1)?,
            unit: row.try_get(2)?,
            version: row.try_get(3)?,
            operation_index: row.try_get(4)?,
            operation_size: row.try_get(5)?,
            entry_hash: row.try_get(6)?,
            event: row.try_get(7)?,
            traceparent: row.try_get(8)?,
        })
    })
    .boxed()
}
