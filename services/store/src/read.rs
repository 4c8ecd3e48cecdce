//! Reads of balances and of the journal, from the primary.

use domain::{AccountId, Entry, EntryHash, Figures, Timestamp, Unit};
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::journal;
use crate::row::{from_time, to_hash};
use crate::store::Store;

/// A balance as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBalance {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub unit: Unit,
    /// The four figures.
    pub figures: Figures,
    /// Version of the last entry.
    pub version: i64,
    /// Hash of the last entry.
    pub hash: EntryHash,
    /// When it changes by itself next.
    pub next_due_at: Option<Timestamp>,
    /// Effective time of the last entry.
    pub last_effective_at: Timestamp,
    /// A change was due, by the database's clock or the account's own, when it was read.
    pub is_due: bool,
}

impl Store {
    /// The balances among `keys` that have entries, in no order. The caller bounds the number of keys.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn balances(&self, keys: &[(AccountId, Unit)]) -> Result<Vec<StoredBalance>, StoreError> {
        let (accounts, units): (Vec<String>, Vec<String>) = keys
            .iter()
            .map(|(account, unit)| (account.as_str().to_owned(), unit.as_str().to_owned()))
            .unzip();
        let rows = sqlx::query!(
            r#"select b.account_id, b.unit, b.available, b.held, b.scheduled, b.debt, b.version, b.entry_hash,
                      b.last_effective_at, b.next_due_at as "next_due_at: OffsetDateTime",
                      coalesce(b.next_due_at <= coalesce(a.test_clock_at, clock_timestamp()), false) as "is_due!"
               from unnest($1::text[], $2::text[]) as wanted(account_id, unit)
               join balances b on b.account_id = wanted.account_id and b.unit = wanted.unit
               -- For a sandbox account's own clock.
               join accounts a on a.account_id = b.account_id"#,
            &accounts,
            &units
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("read balances"))?;
        rows.into_iter()
            .map(|row| {
                Ok(StoredBalance {
                    account: AccountId::try_new(row.account_id)?,
                    unit: Unit::try_new(row.unit)?,
                    figures: Figures {
                        available: row.available,
                        held: row.held,
                        scheduled: row.scheduled,
                        debt: row.debt,
                    },
                    version: row.version,
                    hash: to_hash(&row.entry_hash)?,
                    next_due_at: row.next_due_at.map(from_time).transpose()?,
                    last_effective_at: from_time(row.last_effective_at)?,
                    is_due: row.is_due,
                })
            })
            .collect()
    }

    /// Entries of one balance after version `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn entries_after(
        &self,
        account: &AccountId,
        unit: &Unit,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let first = after.saturating_add(1);
        // Versions are dense, so a range of versions is a limit.
        let last = after.saturating_add(limit);
        journal::entries_between(self.pool(), account, unit, first, last).await
    }

    /// The hashes of those entries that exist, in no order. The caller bounds the number of keys.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn entry_hashes(
        &self,
        keys: &[(AccountId, Unit, i64)],
    ) -> Result<Vec<((AccountId, Unit, i64), EntryHash)>, StoreError> {
        let accounts: Vec<String> = keys.iter().map(|(account, ..)| account.as_str().to_owned()).collect();
        let units: Vec<String> = keys.iter().map(|(_, unit, _)| unit.as_str().to_owned()).collect();
        let versions: Vec<i64> = keys.iter().map(|(.., version)| *version).collect();
        let rows = sqlx::query!(
            r#"select e.account_id, e.unit, e.version, e.entry_hash
               from unnest($1::text[], $2::text[], $3::bigint[]) as wanted(account_id, unit, version)
               join entries e on e.account_id = wanted.account_id and e.unit = wanted.unit
                             and e.version = wanted.version"#,
            &accounts,
            &units,
            &versions
        )
        .fetch_all(self.pool())
        .await
        .map_err(StoreError::during("read entry hashes"))?;
        rows.into_iter()
            .map(|row| {
                let key = (AccountId::try_new(row.account_id)?, Unit::try_new(row.unit)?, row.version);
                Ok((key, to_hash(&row.entry_hash)?))
            })
            .collect()
    }
}
