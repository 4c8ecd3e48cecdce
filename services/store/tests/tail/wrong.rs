//! Two tails that are known to be wrong, to show that the checker can fail.

use sqlx::{PgConnection, Row};

fn rows(rows: Vec<sqlx::postgres::PgRow>) -> Vec<(String, i64)> {
    rows.into_iter().map(|row| (row.get("account_id"), row.get("version"))).collect()
}

/// `seq > last`: a transaction that took its numbers earlier and commits later is lost.
pub struct SequenceCursor {
    connection: PgConnection,
    last: i64,
}

impl SequenceCursor {
    pub fn new(connection: PgConnection) -> Self {
        Self { connection, last: 0 }
    }

    pub async fn poll(&mut self) -> Vec<(String, i64)> {
        let found = sqlx::query("select account_id, version, seq from outbox where seq > $1 order by seq")
            .bind(self.last)
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        self.last = found.last().map_or(self.last, |row| row.get("seq"));
        rows(found)
    }
}

/// Everything below the oldest transaction in progress, ordered by transaction: waits for any long writer, and
/// a transaction that wrote something before it took the account's lock comes before its predecessor.
pub struct XminHorizon {
    connection: PgConnection,
    horizon: String,
}

impl XminHorizon {
    pub fn new(connection: PgConnection) -> Self {
        Self { connection, horizon: "0".to_owned() }
    }

    pub async fn poll(&mut self) -> Vec<(String, i64)> {
        let horizon: String = sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text")
            .fetch_one(&mut self.connection)
            .await
            .unwrap();
        let found = sqlx::query(
            "select account_id, version from outbox where xid >= $1::text::xid8 and xid < $2::text::xid8 \
             order by xid, seq",
        )
        .bind(&self.horizon)
        .bind(&horizon)
        .fetch_all(&mut self.connection)
        .await
        .unwrap();
        self.horizon = horizon;
        rows(found)
    }
}
