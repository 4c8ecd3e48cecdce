//! Verifies the whole ledger: every balance and hash anew from the journal, and the tables against it.
//!
//! One snapshot, read by pages of the primary key. Of one balance at a time the lots and holds with something left are
//! kept, and the totals of entries that were given back; what has nothing left is compared with its row at the end of
//! the page and forgotten, unless a later entry touches it. So memory is bounded however long the journal is. Reports
//! the first difference.

mod tables;

use domain::{AccountId, Difference, Unit};
use sqlx::{Connection, PgConnection};

use crate::error::StoreError;
use crate::export::{Position, entries_after};
use crate::quote::ONE_SNAPSHOT;
use crate::store::{BY_KEY, Store};
use tables::BalanceCheck;

/// Entries of one page.
const PAGE: i64 = 5_000;
/// Lines of one page, unless its first entry alone has more.
const MAX_LINES: usize = 200_000;

/// How far a verification got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Entries checked.
    pub entries: u64,
    /// Balances checked.
    pub balances: u64,
    /// Entries that the balances say there are.
    pub entries_in_all: u64,
}

/// Why a verification ended early.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something does not add up.
    #[error("the ledger does not add up: {0}")]
    Difference(Box<Difference>),
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Box<Difference>> for VerifyError {
    fn from(difference: Box<Difference>) -> Self {
        Self::Difference(difference)
    }
}

impl Store {
    /// Verifies everything; `progress` hears of every page.
    ///
    /// # Errors
    /// [`VerifyError::Difference`] with the first difference.
    pub async fn verify(&self, mut progress: impl FnMut(Verified)) -> Result<Verified, VerifyError> {
        // A connection of its own: it holds a snapshot for long, and must not meet the timeouts of short reads.
        let options = self.connect_options().clone().options(BY_KEY);
        let connected = PgConnection::connect_with(&options).await;
        let mut connection = connected.map_err(StoreError::during("connect"))?;
        let begun = connection.begin_with(ONE_SNAPSHOT).await;
        let mut tx = begun.map_err(StoreError::during("begin"))?;
        let mut verified = Verified { entries_in_all: entries_in_all(&mut tx).await?, ..Verified::default() };
        progress(verified);
        let mut position = Position::default();
        let mut check: Option<BalanceCheck> = None;
        loop {
            let page = entries_after(&mut *tx, &position, PAGE, MAX_LINES).await?;
            let Some(last) = page.last() else { break };
            position = Position::after(last);
            for entry in &page {
                if !check.as_ref().is_some_and(|check| check.journal.is_of(&entry.account, &entry.unit)) {
                    let next = BalanceCheck::new(entry.account.clone(), entry.unit.clone());
                    if let Some(done) = check.replace(next) {
                        done.finish_in_tx(&mut tx).await?;
                        verified.balances = verified.balances.saturating_add(1);
                    }
                }
                if let Some(check) = &mut check {
                    check.journal.check(entry)?;
                }
                verified.entries = verified.entries.saturating_add(1);
            }
            if let Some(check) = &mut check {
                check.forget_ended_in_tx(&mut tx).await?;
            }
            progress(verified);
        }
        if let Some(done) = check {
            done.finish_in_tx(&mut tx).await?;
            verified.balances = verified.balances.saturating_add(1);
        }
        without_entries_in_tx(&mut tx).await?;
        progress(verified);
        Ok(verified)
    }
}

async fn entries_in_all(tx: &mut PgConnection) -> Result<u64, StoreError> {
    // Versions are dense, so they count the entries.
    let sum = sqlx::query_scalar!(r#"select coalesce(sum(version), 0)::bigint as "sum!" from balances"#);
    let sum = sum.fetch_one(tx).await.map_err(StoreError::during("count entries"))?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Rows of a balance that the journal does not know.
async fn without_entries_in_tx(tx: &mut PgConnection) -> Result<(), VerifyError> {
    // Lots and the rest of known balances were counted with them.
    let row = sqlx::query!(
        r#"select account_id as "account_id!", unit as "unit!", version as "version!" from (
               select account_id, unit, version from balances
               union all select account_id, unit, version from grants
               union all select account_id, unit, version from holds
               union all select account_id, unit, version from reversals
           ) as r
           where not exists (
               select from entries e where e.account_id = r.account_id and e.unit = r.unit and e.version = 1
           )
           limit 1"#
    )
    .fetch_optional(tx)
    .await
    .map_err(StoreError::during("find balances without entries"))?;
    let Some(row) = row else { return Ok(()) };
    let account = AccountId::try_new(row.account_id).map_err(StoreError::from)?;
    let unit = Unit::try_new(row.unit).map_err(StoreError::from)?;
    let check = BalanceCheck::new(account, unit);
    let (expected, found) = ("there".to_owned(), "missing".to_owned());
    Err(check.journal.difference(row.version, "the journal", expected, found).into())
}
