//! The lines of `tallystick watch`: one a snapshot or entry, in columns that stay where they are.

use proto::v1::{Entry, Snapshot, SnapshotReason};

use crate::output::{balance, entry, plain, stamp};

/// Whether a column for the account is needed, and how wide it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    account: Option<usize>,
}

impl Columns {
    /// Columns for these accounts: one account needs no column.
    pub(crate) fn new(accounts: &[String]) -> Self {
        let widest = accounts.iter().map(|account| account.chars().count()).max().unwrap_or(0);
        Self { account: (accounts.len() > 1).then(|| widest.max("ACCOUNT".len())) }
    }

    /// Columns for accounts that are not known before.
    pub(crate) const fn of_width(width: usize) -> Self {
        Self { account: Some(width) }
    }

    /// The names of the columns.
    pub(crate) fn header(self) -> String {
        self.row(&["TIME", "ACCOUNT", "UNIT", "VERSION", "EVENT", "CHANGE", "AVAILABLE", ""])
    }

    /// The line of a snapshot.
    pub(crate) fn snapshot(self, snapshot: &Snapshot) -> String {
        let of = snapshot.balance.clone().unwrap_or_default();
        let others = balance::others(&of);
        let mut remarks = others.trim_start_matches(", ").to_owned();
        let reason = match SnapshotReason::try_from(snapshot.reason) {
            Ok(SnapshotReason::Initial | SnapshotReason::Unspecified) => "",
            Ok(SnapshotReason::ResetTooOld) => "too far back: changes between were skipped",
            Ok(SnapshotReason::ResetDiverged) => "history differs: forget what came before",
            Ok(SnapshotReason::Conflated) => "the newest state",
            Err(_) => "reason unknown to this version",
        };
        if !reason.is_empty() && !remarks.is_empty() {
            remarks.push_str(", ");
        }
        remarks.push_str(reason);
        self.row(&[
            &stamp::shown(of.updated_at.as_ref()),
            &plain::shown(&of.account_id),
            &plain::shown(&of.unit),
            &of.version.to_string(),
            "snapshot",
            "",
            &of.available.to_string(),
            &remarks,
        ])
    }

    /// The line of an entry.
    pub(crate) fn entry(self, of: &Entry) -> String {
        self.row(&[
            &stamp::shown(of.recorded_at.as_ref()),
            &plain::shown(&of.account_id),
            &plain::shown(&of.unit),
            &of.version.to_string(),
            &entry::kind(of),
            &entry::delta(of),
            &of.available.to_string(),
            &entry::remarks(of),
        ])
    }

    fn row(self, cells: &[&str; 8]) -> String {
        let [time, account, unit, version, event, change, available, remarks] = cells;
        let time_width = stamp::WIDTH;
        let account = self.account.map(|width| format!("{account:<width$}  ")).unwrap_or_default();
        let line = format!(
            "{time:<time_width$}  {account}{unit:<8}  {version:>7}  {event:<14}  {change:>10}  {available:>10}  {remarks}"
        );
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Balance, EntryKind};

    use super::*;

    fn entry() -> Entry {
        Entry {
            account_id: "user_1".to_owned(),
            unit: "credits".to_owned(),
            version: 2,
            kind: EntryKind::Spend.into(),
            available_delta: -30,
            available: 970,
            reference: "job_17".to_owned(),
            recorded_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            ..Entry::default()
        }
    }

    #[test]
    fn columns_line_up() {
        let columns = Columns::new(&["user_1".to_owned()]);
        let snapshot = Snapshot {
            balance: Some(Balance {
                unit: "credits".to_owned(),
                available: 1000,
                version: 1,
                ..Balance::default()
            }),
            reason: SnapshotReason::Initial.into(),
        };
        assert_eq!(
            [columns.header(), columns.snapshot(&snapshot), columns.entry(&entry())].join("\n"),
            "\
TIME                      UNIT      VERSION  EVENT               CHANGE   AVAILABLE
-                         credits         1  snapshot                          1000
2023-11-14T22:13:20.000Z  credits         2  spend                  -30         970  job_17"
        );
    }

    #[test]
    fn several_accounts_get_a_column() {
        let columns = Columns::new(&["user_1".to_owned(), "a_longer_name".to_owned()]);
        assert!(columns.header().contains("ACCOUNT        UNIT"));
        assert!(columns.entry(&entry()).contains("Z  user_1         credits"));
    }

    #[test]
    fn a_reset_says_why() {
        let balance = Balance { held: 5, ..Balance::default() };
        let snapshot = Snapshot { balance: Some(balance), reason: SnapshotReason::ResetDiverged.into() };
        let line = Columns::new(&[]).snapshot(&snapshot);
        assert!(line.ends_with("5 held, history differs: forget what came before"), "{line}");
    }
}
