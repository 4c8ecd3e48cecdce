//! Offline checks of what callers and watchers were told against what lies in the database. Pure: every check takes the
//! records and the journal, and panics with the first contradiction.

use std::collections::{BTreeMap, BTreeSet};

use proto::v1::{Balance, Entry};

use crate::journal::{Journal, Operation};
use crate::load::{Action, Answer, Call};
use crate::watcher::Seen;

/// How many calls had which answer; for the test's own output, and to see that a test tested something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were acknowledged.
    pub acknowledged: usize,
    /// Calls that were refused.
    pub refused: usize,
    /// Calls without a certain answer.
    pub unknown: usize,
    /// Keys whose outcome nobody was told, though they were written.
    pub written_in_silence: usize,
}

/// I3, I7: an acknowledged key is in the journal exactly once, as it was answered, each time that it was asked; a key
/// that was only ever refused is not there; an unknown one is there at most once. No key is there that nobody sent.
///
/// # Panics
/// With the first call that was told something else than the truth.
pub fn assert_truth(calls: &[Call], journal: &Journal) -> Tally {
    let mut tally = Tally::default();
    let mut by_key: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_key.entry((&call.account, &call.key)).or_default().push(call);
        match &call.answer {
            Answer::Acknowledged { .. } => tally.acknowledged += 1,
            Answer::Refused(_) => tally.refused += 1,
            Answer::Unknown(told) => {
                assert!(!told.contains("INTERNAL"), "a fault that callers should not see: {call:?}");
                tally.unknown += 1;
            }
        }
    }
    for ((account, key), calls) in &by_key {
        let stored = journal.operations.get(&((*account).to_owned(), (*key).to_owned()));
        tally.written_in_silence += usize::from(assert_key(calls, stored, journal));
    }
    let accounts: BTreeSet<&str> = by_key.keys().map(|(account, _)| *account).collect();
    for (account, key) in journal.operations.keys().filter(|(account, _)| accounts.contains(account.as_str()))
    {
        assert!(by_key.contains_key(&(account.as_str(), key.as_str())), "nobody sent {key} of {account}");
    }
    tally
}

/// All calls of one key. Answers whether it was written though nobody was told.
fn assert_key(calls: &[&Call], stored: Option<&Operation>, journal: &Journal) -> bool {
    let acknowledged = calls.iter().filter(|call| matches!(call.answer, Answer::Acknowledged { .. }));
    let mut told = false;
    for call in acknowledged {
        let stored = stored.unwrap_or_else(|| panic!("acknowledged and lost: {call:?}"));
        assert_answer(call, stored, journal);
        told = true;
    }
    let silent = calls.iter().any(|call| matches!(call.answer, Answer::Unknown(_)));
    assert!(stored.is_none() || told || silent, "refused and written all the same: {calls:?}");
    if stored.is_some() && told {
        // A refusal after the acknowledgement would deny what is there.
        let first = calls.iter().position(|call| matches!(call.answer, Answer::Acknowledged { .. }));
        let denied = calls.iter().skip(first.unwrap_or_default()).find(|call| denies(call));
        assert!(denied.is_none(), "denied after it was acknowledged: {denied:?}");
    }
    stored.is_some() && !told
}

/// Whether the answer says that the command cannot be done. A service that is not there says nothing of the kind.
fn denies(call: &Call) -> bool {
    matches!(&call.answer, Answer::Refused(told) if told.contains("INSUFFICIENT") || told.contains("REUSED"))
}

fn assert_answer(call: &Call, stored: &Operation, journal: &Journal) {
    let Answer::Acknowledged { operation_id, balance, entries } = &call.answer else { return };
    assert_eq!(operation_id, &stored.operation_id, "{call:?}");
    let written = journal.entries_of(&call.account, stored);
    assert_eq!(entries.len(), written.len(), "{call:?}");
    for (told, is) in entries.iter().zip(written) {
        assert_same(told, is);
    }
    let last = entries.last().unwrap_or_else(|| panic!("no entries: {call:?}"));
    assert_after(balance, last);
    let (action, delta) = match call.action {
        Action::Grant(amount) => (amount, last.available_delta - last.debt_delta),
        Action::Spend(amount) => (-amount, last.available_delta),
    };
    assert_eq!(action, delta, "{call:?}");
}

/// What was told of an entry is what the journal has.
fn assert_same(told: &Entry, is: &domain::Entry) {
    let told_figures = [told.available, told.held, told.scheduled, told.debt];
    let figures = [is.after.available, is.after.held, is.after.scheduled, is.after.debt];
    let told_deltas = [told.available_delta, told.held_delta, told.scheduled_delta, told.debt_delta];
    let deltas = [is.delta.available, is.delta.held, is.delta.scheduled, is.delta.debt];
    let same = told.account_id == is.account.as_str()
        && told.unit == is.unit.as_str()
        && told.version == is.version
        && told.entry_hash == is.hash.0.as_slice()
        && told.operation_id == is.operation_id.to_string()
        && (told.operation_index, told.operation_size) == (is.operation_index, is.operation_size)
        && (told_figures, told_deltas) == (figures, deltas);
    assert!(same, "told {told:?}, the journal has {is:?}");
}

/// The balance of an answer is the one right after its last entry.
fn assert_after(balance: &Balance, last: &Entry) {
    let told = (balance.available, balance.held, balance.scheduled, balance.debt, balance.version);
    let is = (last.available, last.held, last.scheduled, last.debt, last.version);
    assert_eq!(told, is);
    assert_eq!(balance.entry_hash, last.entry_hash);
}

/// I6: a watcher kept every promise, and saw every entry of its accounts once, in order, as the journal has it.
///
/// # Panics
/// With the first difference.
pub fn assert_watched(seen: &Seen, journal: &Journal) {
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    for (account, entries) in &seen.entries {
        let written = journal.credits_of(account);
        assert_eq!(entries.len(), written.len(), "entries of {account}: seen and written");
        for (told, is) in entries.iter().zip(written) {
            assert_same(told, is);
        }
    }
}

/// The last version of every account of a watcher, to wait for before it is asked.
pub fn versions<'a>(accounts: &'a [String], journal: &'a Journal) -> impl Iterator<Item = (&'a str, i64)> {
    accounts.iter().map(|account| {
        (account.as_str(), journal.credits_of(account).last().map_or(0, |entry| entry.version))
    })
}
