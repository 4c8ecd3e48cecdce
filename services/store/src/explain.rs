//! Where a balance comes from: the sums of its journal.

use domain::{AccountId, EntryKind, Figures, GrantKind, Timestamp, Unit};
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::quote::ONE_SNAPSHOT;
use crate::row::from_time;
use crate::store::Store;

/// One term of the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// What the entries did.
    pub kind: EntryKind,
    /// Where a grant or an added adjustment comes from.
    pub grant_kind: Option<GrantKind>,
    /// Credits, with their sign; never 0.
    pub amount: i64,
    /// How many entries it sums.
    pub entry_count: i64,
    /// When the first was written.
    pub first_at: Timestamp,
    /// When the last was written.
    pub last_at: Timestamp,
}

/// A balance and the terms that sum to available + held + scheduled - debt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Version of the balance; 0 when it never had an entry.
    pub version: i64,
    /// The figures that are explained.
    pub figures: Figures,
    /// Grants first, then by kind. What only moves credits within the balance (holds, releases) has no term.
    pub terms: Vec<Term>,
}

impl Store {
    /// Sums the whole journal of a balance; a second for a million entries, about, and bounded by the statement timeout
    /// of reads.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails, a row cannot be used or the sum is not the balance.
    pub async fn explain(&self, account: &AccountId, unit: &Unit) -> Result<Explanation, StoreError> {
        let begun = self.pool().begin_with(ONE_SNAPSHOT).await;
        let mut tx = begun.map_err(StoreError::during("begin"))?;
        let balance = sqlx::query!(
            "select available, held, scheduled, debt, version from balances where account_id = $1 and unit = $2",
            account.as_str(),
            unit.as_str()
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during("read balances"))?;
        let Some(balance) = balance else { return Ok(Explanation::default()) };
        let rows = sqlx::query!(
            r#"select e.kind, g.kind as "grant_kind?", count(*) as "entry_count!",
                      sum(e.available_delta + e.held_delta + e.scheduled_delta - e.debt_delta)::bigint as "amount!",
                      min(e.recorded_at) as "first_at!: OffsetDateTime",
                      max(e.recorded_at) as "last_at!: OffsetDateTime"
               from entries e
               -- The lot that the entry made: 1 a grant, 13 an adjustment.
               left join lateral (
                   select kind from grants
                   where e.kind in (1, 13) and account_id = $1 and unit = $2 and version = e.version limit 1
               ) as g on true
               where e.account_id = $1 and e.unit = $2
               group by 1, 2"#,
            account.as_str(),
            unit.as_str()
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::during("sum the journal"))?;
        let mut terms = Vec::with_capacity(rows.len());
        for row in rows.into_iter().filter(|row| row.amount != 0) {
            let grant_kind = |code| GrantKind::lookup(code).ok_or(StoreError::Corrupt("grant kind"));
            terms.push(Term {
                kind: EntryKind::lookup(row.kind).ok_or(StoreError::Corrupt("entry kind"))?,
                grant_kind: row.grant_kind.map(grant_kind).transpose()?,
                amount: row.amount,
                entry_count: row.entry_count,
                first_at: from_time(row.first_at)?,
                last_at: from_time(row.last_at)?,
            });
        }
        terms.sort_by_key(|term| (term.kind.code(), term.grant_kind.map(GrantKind::code)));
        let figures = Figures {
            available: balance.available,
            held: balance.held,
            scheduled: balance.scheduled,
            debt: balance.debt,
        };
        let sum = terms.iter().fold(0_i64, |sum, term| sum.saturating_add(term.amount));
        if sum != figures.total().saturating_sub(figures.debt) {
            return Err(StoreError::Corrupt("the journal does not sum to the balance"));
        }
        Ok(Explanation { version: balance.version, figures, terms })
    }
}
