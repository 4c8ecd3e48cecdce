//! What a tail must do, as a model: for each account the versions 1, 2, 3 … of committed transactions.

use std::collections::BTreeMap;

/// What a tail did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(dead_code, reason = "the fields are read by whoever reads a failure")]
pub enum Fault {
    /// The version is not the one after the last: it came twice, too early or too late.
    OutOfOrder { account: String, last: i64, got: i64 },
    /// It was delivered, but nobody committed it.
    NeverCommitted { account: String, got: i64 },
    /// It was committed, and was not delivered.
    Lost { account: String, committed: i64, last: i64 },
}

/// Compares deliveries with commits.
#[derive(Debug)]
pub struct Checker {
    committed: BTreeMap<String, i64>,
    delivered: BTreeMap<String, i64>,
}

impl Checker {
    /// Nothing is committed yet. Deliveries of other accounts are not looked at.
    pub fn new(accounts: &[String]) -> Self {
        let committed = accounts.iter().map(|account| (account.clone(), 0)).collect();
        Self { committed, delivered: BTreeMap::new() }
    }

    /// A transaction committed these last versions.
    pub fn commit(&mut self, versions: BTreeMap<String, i64>) {
        self.committed.extend(versions);
    }

    /// The last committed version of an account.
    pub fn committed(&self, account: &str) -> i64 {
        self.committed.get(account).copied().unwrap_or(0)
    }

    /// Takes one delivery. Goes on behind the highest version after a fault.
    pub fn take(&mut self, rows: &[(String, i64)]) -> Result<(), Fault> {
        let mut fault = None;
        for (account, got) in rows {
            // Rows of earlier interleavings are not ours.
            let Some(committed) = self.committed.get(account) else { continue };
            let last = self.delivered.entry(account.clone()).or_insert(0);
            if got > committed {
                fault.get_or_insert(Fault::NeverCommitted { account: account.clone(), got: *got });
            } else if *got != *last + 1 {
                fault.get_or_insert(Fault::OutOfOrder { account: account.clone(), last: *last, got: *got });
            }
            *last = (*last).max(*got);
        }
        fault.map_or(Ok(()), Err)
    }

    /// Everything that was committed was delivered.
    pub fn is_up_to_date(&self) -> Result<(), Fault> {
        for (account, committed) in &self.committed {
            let last = self.delivered.get(account).copied().unwrap_or(0);
            if last < *committed {
                return Err(Fault::Lost { account: account.clone(), committed: *committed, last });
            }
        }
        Ok(())
    }
}
