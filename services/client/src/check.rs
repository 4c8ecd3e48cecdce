//! Where each balance stands, what to ask next, and whether what came may follow. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::v1::{Balance, Changes, Entry, Snapshot, SnapshotReason, WatchMode, WatchTarget};

use crate::WatchError;

#[derive(Debug, Clone, Default)]
struct Place {
    version: Option<i64>,
    hash: Bytes,
    /// The stream was asked for a first snapshot, which has not come.
    initial_due: bool,
    /// Nothing came since a resume, which may have been inside an operation.
    resumed: bool,
}

/// All targets that are still watched.
#[derive(Debug)]
pub(crate) struct Places {
    places: BTreeMap<(String, String), Place>,
    mode: WatchMode,
    require_history: bool,
}

impl Places {
    pub(crate) fn new(mode: WatchMode, require_history: bool) -> Self {
        Self { places: BTreeMap::new(), mode, require_history }
    }

    /// Adds a target; false when it is there already.
    pub(crate) fn add(&mut self, target: WatchTarget) -> bool {
        let unit = if target.unit.is_empty() { "credits".to_owned() } else { target.unit };
        let place = Place { version: target.after_version, hash: target.after_hash, ..Place::default() };
        self.places.insert((target.account_id, unit), place).is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn mode(&self) -> WatchMode {
        self.mode
    }

    pub(crate) fn require_history(&self) -> bool {
        self.require_history
    }

    pub(crate) fn remove(&mut self, account: &str, unit: &str) {
        self.places.remove(&(account.to_owned(), unit.to_owned()));
    }

    /// The targets of the next stream, each from where it stands.
    pub(crate) fn ask(&mut self) -> Vec<WatchTarget> {
        let target = |((account, unit), place): (&(String, String), &mut Place)| {
            place.initial_due = place.version.is_none();
            place.resumed = place.version.is_some();
            WatchTarget {
                account_id: account.clone(),
                unit: unit.clone(),
                after_version: place.version,
                after_hash: place.hash.clone(),
            }
        };
        self.places.iter_mut().map(target).collect()
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// [`WatchError::ContractBroken`] when it may not come here.
    pub(crate) fn snapshot(&mut self, snapshot: Snapshot) -> Result<(Balance, SnapshotReason), WatchError> {
        let reason = snapshot.reason();
        let Some(balance) = snapshot.balance else {
            return Err(broken("", "", "a snapshot with a balance", "none"));
        };
        let (account, unit) = (&balance.account_id, &balance.unit);
        let latest = self.mode == WatchMode::Latest;
        let require_history = self.require_history;
        let place = self.place(account, unit)?;
        let got = format!("snapshot {} at version {}", reason.as_str_name(), balance.version);
        let wrong = match reason {
            SnapshotReason::Initial if !place.initial_due => Some("no INITIAL snapshot, none was asked for"),
            SnapshotReason::ResetTooOld if require_history => Some("history, which was required"),
            SnapshotReason::Conflated if !latest => Some("every change"),
            SnapshotReason::Conflated if place.version.is_some_and(|last| balance.version < last) => {
                Some("a state that is not older")
            }
            _ => None,
        };
        if let Some(expected) = wrong {
            return Err(broken(account, unit, expected, &got));
        }
        *place =
            Place { version: Some(balance.version), hash: balance.entry_hash.clone(), ..Place::default() };
        Ok((balance, reason))
    }

    /// Takes changes.
    ///
    /// # Errors
    /// [`WatchError::ContractBroken`] for a gap, a repetition, a part of an operation, or a balance not watched.
    pub(crate) fn changes(&mut self, changes: &Changes) -> Result<(), WatchError> {
        let (account, unit) = (&changes.account_id, &changes.unit);
        if self.mode == WatchMode::Latest {
            return Err(broken(account, unit, "snapshots only", "changes"));
        }
        let place = self.place(account, unit)?;
        let Some(mut version) = place.version else {
            return Err(broken(account, unit, "an INITIAL snapshot first", "changes"));
        };
        let mut before: Option<&Entry> = None;
        for entry in &changes.entries {
            if (&entry.account_id, &entry.unit) != (account, unit) {
                let got = format!("one of {}, {}", entry.account_id, entry.unit);
                return Err(broken(account, unit, "its own entries", &got));
            }
            if version.checked_add(1) != Some(entry.version) {
                let expected = format!("version {}", version.saturating_add(1));
                return Err(broken(account, unit, &expected, &format!("version {}", entry.version)));
            }
            let joined = std::mem::take(&mut place.resumed);
            follows(before, entry, joined).map_err(|expected| {
                let (index, size) = (entry.operation_index, entry.operation_size);
                let got = format!("entry {index} of {size} at version {}", entry.version);
                broken(account, unit, &expected, &got)
            })?;
            version = entry.version;
            before = Some(entry);
        }
        let Some(last) = before else { return Err(broken(account, unit, "at least one entry", "none")) };
        if !ends_operation(last) {
            let got = format!("entry {} of {} as the last", last.operation_index, last.operation_size);
            return Err(broken(account, unit, "the whole operation", &got));
        }
        (place.version, place.hash) = (Some(version), last.entry_hash.clone());
        Ok(())
    }

    fn place(&mut self, account: &str, unit: &str) -> Result<&mut Place, WatchError> {
        let place = self.places.get_mut(&(account.to_owned(), unit.to_owned()));
        place.ok_or_else(|| broken(account, unit, "a watched balance", "another"))
    }
}

fn ends_operation(entry: &Entry) -> bool {
    entry.operation_index.checked_add(1) == Some(entry.operation_size)
}

/// Whether an entry may stand where it does in its operation; otherwise what was expected.
fn follows(before: Option<&Entry>, entry: &Entry, joined: bool) -> Result<(), String> {
    let (index, size) = (entry.operation_index, entry.operation_size);
    if !(0..size).contains(&index) {
        return Err("a place within its operation".to_owned());
    }
    match before {
        Some(before) if !ends_operation(before) => {
            let next = before.operation_index + 1;
            let same = entry.operation_id == before.operation_id && size == before.operation_size;
            if same && index == next { Ok(()) } else { Err(format!("entry {next} of the operation before")) }
        }
        None if joined => Ok(()),
        _ if index == 0 => Ok(()),
        _ => Err("entry 0 of an operation".to_owned()),
    }
}

fn broken(account: &str, unit: &str, expected: &str, got: &str) -> WatchError {
    WatchError::ContractBroken {
        account: account.to_owned(),
        unit: unit.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
    }
}

#[cfg(test)]
mod tests;
