//! The tables of one balance against what its journal adds up to.

mod holds;
mod lots;

use domain::{AccountId, Difference, Ended, Figures, JournalCheck, Unit};
use sqlx::PgConnection;

use super::VerifyError;
use crate::error::StoreError;

/// Rows that one statement compares.
const CHUNK: usize = 5_000;

/// One balance: its journal so far, and how many rows of the tables were found to agree with it.
pub(super) struct BalanceCheck {
    pub(super) journal: JournalCheck,
    lots: i64,
    holds: i64,
    open_holds: i64,
}

/// What is compared with a row: the version of the last entry about it, its id, and the names of the figures with the
/// expected and the found values.
type Facts<'a> = (i64, String, &'a [(&'static str, String, String)]);

/// When rows are compared that have nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More entries follow; a row that they change is compared when they were read.
    Page,
    /// All entries were read.
    End,
}

impl BalanceCheck {
    pub(super) const fn new(account: AccountId, unit: Unit) -> Self {
        Self { journal: JournalCheck::with_ended(account, unit), lots: 0, holds: 0, open_holds: 0 }
    }

    /// Compares what has nothing left and forgets it, but for what later entries touch.
    pub(super) async fn forget_ended_in_tx(&mut self, tx: &mut PgConnection) -> Result<(), VerifyError> {
        let Ended { lots, holds } = self.journal.take_ended();
        let lots = self.compare_lots_in_tx(tx, lots, Stage::Page).await?;
        let holds = self.compare_holds_in_tx(tx, holds, Stage::Page).await?;
        self.journal.keep(Ended { lots, holds });
        Ok(())
    }

    /// Compares everything that is left, when the last entry was read.
    pub(super) async fn finish_in_tx(mut self, tx: &mut PgConnection) -> Result<(), VerifyError> {
        let whole = if self.journal.is_whole() { "whole" } else { "cut off" };
        self.agree("the end of the last operation", "whole", whole)?;
        let rows = self.balance_in_tx(tx).await?;
        let Ended { lots, holds } = self.journal.take_ended();
        self.compare_lots_in_tx(tx, lots, Stage::End).await?;
        self.compare_lots_in_tx(tx, self.journal.lots().clone(), Stage::End).await?;
        self.compare_holds_in_tx(tx, holds, Stage::End).await?;
        self.compare_holds_in_tx(tx, self.journal.holds().clone(), Stage::End).await?;
        self.agree("balance.open_holds", self.open_holds, rows.open_holds)?;
        // Each row that agreed was another one, so more rows are such that no entry made.
        self.agree("the number of grants", self.lots, rows.grants)?;
        self.agree("the number of holds", self.holds, rows.holds)?;
        self.reversals_in_tx(tx, rows.reversals).await
    }

    /// The balance's own row; gives back how many rows there are.
    async fn balance_in_tx(&self, tx: &mut PgConnection) -> Result<Rows, VerifyError> {
        let (account, unit) = self.journal.balance();
        let row = sqlx::query!(
            r#"select b.available, b.held, b.scheduled, b.debt, b.version, b.entry_hash, b.open_lots, b.open_holds,
                      (select count(*) from grants where account_id = $1 and unit = $2) as "grants!",
                      (select count(*) from holds where account_id = $1 and unit = $2) as "holds!",
                      (select count(*) from reversals where account_id = $1 and unit = $2) as "reversals!"
               from balances b where b.account_id = $1 and b.unit = $2"#,
            account.as_str(),
            unit.as_str()
        )
        .fetch_optional(tx)
        .await
        .map_err(StoreError::during("read balances"))?;
        let Some(row) = row else { return Err(self.missing(self.journal.version(), "the balance")) };
        let Figures { available, held, scheduled, debt } = self.journal.figures();
        self.agree("balance.version", self.journal.version(), row.version)?;
        self.agree("balance.available", available, row.available)?;
        self.agree("balance.held", held, row.held)?;
        self.agree("balance.scheduled", scheduled, row.scheduled)?;
        self.agree("balance.debt", debt, row.debt)?;
        self.agree("balance.entry_hash", hex::encode(self.journal.hash().0), hex::encode(row.entry_hash))?;
        let open_lots = i64::try_from(self.journal.lots().len()).unwrap_or(i64::MAX);
        self.agree("balance.open_lots", open_lots, i64::from(row.open_lots))?;
        let open_holds = i64::from(row.open_holds);
        Ok(Rows { open_holds, grants: row.grants, holds: row.holds, reversals: row.reversals })
    }

    /// What came back of spends and captures, and that it is no more than they took.
    async fn reversals_in_tx(&self, tx: &mut PgConnection, found: i64) -> Result<(), VerifyError> {
        let expected = self.journal.reversals();
        let (account, unit) = self.journal.balance();
        let versions: Vec<i64> = expected.keys().copied().collect();
        for versions in versions.chunks(CHUNK) {
            let rows = sqlx::query!(
                r#"select wanted.version as "version!", r.reversed as "reversed?", r.last_version as "last_version?",
                          case when e.kind in (2, 6) then -(e.available_delta + e.held_delta) end as "taken?"
                   from unnest($3::bigint[]) as wanted(version)
                   left join reversals r on r.account_id = $1 and r.unit = $2 and r.version = wanted.version
                   left join entries e on e.account_id = $1 and e.unit = $2 and e.version = wanted.version"#,
                account.as_str(),
                unit.as_str(),
                versions
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::during("read reversals"))?;
            for row in rows {
                let Some(sum) = expected.get(&row.version) else { continue };
                let version = sum.last_version;
                let (Some(reversed), Some(last_version)) = (row.reversed, row.last_version) else {
                    return Err(self.missing(version, "the reversal"));
                };
                let subject = format!("version {}", row.version);
                let not_beyond = sum.reversed.min(row.taken.unwrap_or(0));
                self.agree_all((
                    version,
                    subject,
                    &[
                        ("reversed by the journal", not_beyond.to_string(), sum.reversed.to_string()),
                        ("reversal.reversed", sum.reversed.to_string(), reversed.to_string()),
                        ("reversal.last_version", version.to_string(), last_version.to_string()),
                    ],
                ))?;
            }
        }
        self.agree("the number of reversals", i64::try_from(expected.len()).unwrap_or(i64::MAX), found)
    }

    fn agree<T: PartialEq + ToString>(
        &self,
        what: &'static str,
        expected: T,
        found: T,
    ) -> Result<(), VerifyError> {
        if expected == found {
            return Ok(());
        }
        let version = self.journal.version();
        Err(self.journal.difference(version, what, expected.to_string(), found.to_string()).into())
    }

    /// The first of some facts that differs.
    fn agree_all(&self, (version, subject, facts): Facts<'_>) -> Result<(), VerifyError> {
        let Some((what, expected, found)) = facts.iter().find(|(_, expected, found)| expected != found)
        else {
            return Ok(());
        };
        let difference = self.journal.difference(version, what, expected.clone(), found.clone());
        Err(Box::new(Difference { subject, ..*difference }).into())
    }

    fn missing(&self, version: i64, what: &'static str) -> VerifyError {
        self.journal.difference(version, what, "there".to_owned(), "missing".to_owned()).into()
    }
}

/// How many rows a balance has.
struct Rows {
    open_holds: i64,
    grants: i64,
    holds: i64,
    reversals: i64,
}
