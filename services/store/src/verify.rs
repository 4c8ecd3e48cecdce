//! Verifies the whole ledger: every balance and hash anew from the journal, and the tables against it.
//!
//! One snapshot, read by pages of the primary key; of one balance at a time the lots and holds with something left are
//! kept, so memory is bounded however long the journal is. Reports the first difference.

use std::collections::BTreeMap;

use domain::{AccountId, Difference, Entry, JournalCheck, LotSum, Unit};
use sqlx::{Connection, PgConnection};

use crate::error::StoreError;
use crate::export::{Position, entries_after};
use crate::quote::ONE_SNAPSHOT;
use crate::store::Store;

/// Entries of one page.
const PAGE: i64 = 5_000;

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
        let connected = PgConnection::connect_with(self.connect_options()).await;
        let mut connection = connected.map_err(StoreError::during("connect"))?;
        let begun = connection.begin_with(ONE_SNAPSHOT).await;
        let mut tx = begun.map_err(StoreError::during("begin"))?;
        let mut verified = Verified { entries_in_all: entries_in_all(&mut tx).await?, ..Verified::default() };
        progress(verified);
        let mut position = Position::default();
        let mut check: Option<JournalCheck> = None;
        loop {
            let page = entries_after(&mut *tx, &position, PAGE).await?;
            let Some(last) = page.last() else { break };
            position = Position::after(last);
            for entry in &page {
                if !check.as_ref().is_some_and(|check| is_of(check, entry)) {
                    let next = JournalCheck::new(entry.account.clone(), entry.unit.clone());
                    if let Some(done) = check.replace(next) {
                        finish_in_tx(&mut tx, &done).await?;
                        verified.balances = verified.balances.saturating_add(1);
                    }
                }
                if let Some(check) = &mut check {
                    check.check(entry)?;
                }
                verified.entries = verified.entries.saturating_add(1);
            }
            progress(verified);
        }
        if let Some(done) = check {
            finish_in_tx(&mut tx, &done).await?;
            verified.balances = verified.balances.saturating_add(1);
        }
        without_entries_in_tx(&mut tx).await?;
        progress(verified);
        Ok(verified)
    }
}

fn is_of(check: &JournalCheck, entry: &Entry) -> bool {
    check.is_of(&entry.account, &entry.unit)
}

async fn entries_in_all(tx: &mut PgConnection) -> Result<u64, StoreError> {
    // Versions are dense, so they count the entries.
    let sum = sqlx::query_scalar!(r#"select coalesce(sum(version), 0)::bigint as "sum!" from balances"#);
    let sum = sum.fetch_one(tx).await.map_err(StoreError::during("count entries"))?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// The tables of one balance against its whole journal.
async fn finish_in_tx(tx: &mut PgConnection, check: &JournalCheck) -> Result<(), VerifyError> {
    let (account, unit) = check.balance();
    let version = check.version();
    let differs = |what, expected: String, found: String| {
        if expected == found { Ok(()) } else { Err(check.difference(version, what, expected, found)) }
    };
    differs("the end of the last operation", "whole".to_owned(), whole(check).to_owned())?;
    let row = sqlx::query!(
        r#"select available, held, scheduled, debt, version, entry_hash, open_lots, open_holds
           from balances where account_id = $1 and unit = $2"#,
        account.as_str(),
        unit.as_str()
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(StoreError::during("read balances"))?;
    let row = row
        .ok_or_else(|| check.difference(version, "the balance", "there".to_owned(), "missing".to_owned()))?;
    let figures = check.figures();
    for (what, expected, found) in [
        ("balance.version", version, row.version),
        ("balance.available", figures.available, row.available),
        ("balance.held", figures.held, row.held),
        ("balance.scheduled", figures.scheduled, row.scheduled),
        ("balance.debt", figures.debt, row.debt),
    ] {
        differs(what, expected.to_string(), found.to_string())?;
    }
    differs("balance.entry_hash", hex::encode(check.hash().0), hex::encode(row.entry_hash))?;
    let lots = lots_in_tx(tx, account, unit).await?;
    let open = i64::try_from(lots.len()).unwrap_or(i64::MAX);
    differs("balance.open_lots", open.to_string(), row.open_lots.to_string())?;
    differs("the open lots", format!("{:?}", check.lots()), format!("{lots:?}"))?;
    let (holds, open) = holds_in_tx(tx, account, unit).await?;
    differs("balance.open_holds", open.to_string(), row.open_holds.to_string())?;
    differs("the open holds", format!("{:?}", check.holds()), format!("{holds:?}"))?;
    Ok(())
}

fn whole(check: &JournalCheck) -> &'static str {
    if check.is_whole() { "whole" } else { "cut off" }
}

async fn lots_in_tx(
    tx: &mut PgConnection,
    account: &AccountId,
    unit: &Unit,
) -> Result<BTreeMap<domain::GrantId, LotSum>, StoreError> {
    let rows = sqlx::query!(
        r#"select grant_id, remaining, held, active from grants
           where account_id = $1 and unit = $2 and closed_at is null"#,
        account.as_str(),
        unit.as_str()
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read open lots"))?;
    let lot = |remaining: i64, held: i64, active: bool| {
        let unheld = remaining.saturating_sub(held);
        let (available, scheduled) = if active { (unheld, 0) } else { (0, unheld) };
        LotSum { available, held, scheduled }
    };
    let sum = |row: (sqlx::types::Uuid, LotSum)| (domain::GrantId::from_uuid(row.0), row.1);
    Ok(rows.into_iter().map(|row| sum((row.grant_id, lot(row.remaining, row.held, row.active)))).collect())
}

/// What open holds reserve, those that reserve something; and how many are open.
async fn holds_in_tx(
    tx: &mut PgConnection,
    account: &AccountId,
    unit: &Unit,
) -> Result<(BTreeMap<domain::HoldId, i64>, usize), StoreError> {
    let rows = sqlx::query!(
        "select hold_id, remaining from holds where account_id = $1 and unit = $2 and closed_at is null",
        account.as_str(),
        unit.as_str()
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during("read open holds"))?;
    let open = rows.len();
    let holds = rows.into_iter().filter(|row| row.remaining != 0);
    Ok((holds.map(|row| (domain::HoldId::from_uuid(row.hold_id), row.remaining)).collect(), open))
}

/// A balance that the journal does not know.
async fn without_entries_in_tx(tx: &mut PgConnection) -> Result<(), VerifyError> {
    let row = sqlx::query!(
        r#"select b.account_id, b.unit, b.version from balances b
           where not exists (
               select from entries e where e.account_id = b.account_id and e.unit = b.unit and e.version = 1
           )
           limit 1"#
    )
    .fetch_optional(tx)
    .await
    .map_err(StoreError::during("find balances without entries"))?;
    let Some(row) = row else { return Ok(()) };
    let account = AccountId::try_new(row.account_id).map_err(StoreError::from)?;
    let unit = Unit::try_new(row.unit).map_err(StoreError::from)?;
    let check = JournalCheck::new(account, unit);
    Err(check.difference(row.version, "the journal", "there".to_owned(), "missing".to_owned()).into())
}
