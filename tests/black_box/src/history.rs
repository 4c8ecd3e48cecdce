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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::{AccountId, EntryHash, EntryKind, Figures, OperationId, Timestamp, Unit};

    use super::*;

    const KEY: &str = "k";

    /// One grant of 5 to account `a` under key `k`, as the journal has it.
    fn journal() -> Journal {
        let operation_id: OperationId = "op_00000000000000000000000000000007".parse().unwrap();
        let figures = Figures { available: 5, held: 0, scheduled: 0, debt: 0 };
        let entry = domain::Entry {
            account: AccountId::try_new("a").unwrap(),
            unit: Unit::try_new("").unwrap(),
            version: 1,
            operation_id,
            operation_index: 0,
            operation_size: 1,
            kind: EntryKind::Grant,
            delta: figures,
            after: figures,
            lines: Vec::new(),
            reference: String::new(),
            actor: String::new(),
            on_behalf_of: String::new(),
            reason: String::new(),
            effective_at: Timestamp::from_micros(0),
            recorded_at: Timestamp::from_micros(0),
            traceparent: None,
            metadata_digest: None,
            hold_id: None,
            hold_expires_at: None,
            reverses: None,
            crossed: Vec::new(),
            revocation: None,
            hash: EntryHash([9; 32]),
        };
        let operation = Operation {
            operation_id: operation_id.to_string(),
            unit: "credits".to_owned(),
            first_version: 1,
            entry_count: 1,
        };
        let mut journal = Journal::default();
        journal.balances.insert(("a".to_owned(), "credits".to_owned()), vec![entry]);
        journal.operations.insert(("a".to_owned(), KEY.to_owned()), operation);
        journal
    }

    /// That grant, as a caller or a watcher is told of it.
    fn told() -> Entry {
        Entry {
            account_id: "a".to_owned(),
            unit: "credits".to_owned(),
            version: 1,
            operation_id: "op_00000000000000000000000000000007".to_owned(),
            operation_size: 1,
            available_delta: 5,
            available: 5,
            entry_hash: Bytes::from_static(&[9; 32]),
            ..Entry::default()
        }
    }

    fn acknowledged(entry: Entry) -> Answer {
        let balance =
            Balance { available: 5, version: 1, entry_hash: entry.entry_hash.clone(), ..Balance::default() };
        let operation_id = entry.operation_id.clone();
        Answer::Acknowledged { operation_id, balance: Box::new(balance), entries: vec![entry] }
    }

    fn call(key: &str, answer: Answer) -> Call {
        Call { account: "a".to_owned(), key: key.to_owned(), action: Action::Grant(5), answer }
    }

    fn refused() -> Answer {
        Answer::Refused("INSUFFICIENT_CREDITS".to_owned())
    }

    fn unknown() -> Answer {
        Answer::Unknown("OUTCOME_UNKNOWN".to_owned())
    }

    #[test]
    fn what_was_acknowledged_and_lies_there_is_the_truth() {
        let tally = assert_truth(&[call(KEY, acknowledged(told())), call("other", refused())], &journal());
        assert_eq!((tally.acknowledged, tally.refused, tally.written_in_silence), (1, 1, 0));
    }

    #[test]
    fn an_unknown_outcome_may_be_either() {
        assert_eq!(assert_truth(&[call(KEY, unknown())], &journal()).written_in_silence, 1);
        assert_eq!(assert_truth(&[call(KEY, unknown())], &Journal::default()).written_in_silence, 0);
    }

    #[test]
    #[should_panic(expected = "acknowledged and lost")]
    fn a_lost_write_is_found() {
        assert_truth(&[call(KEY, acknowledged(told()))], &Journal::default());
    }

    #[test]
    #[should_panic(expected = "refused and written all the same")]
    fn a_write_that_was_refused_is_found() {
        assert_truth(&[call(KEY, refused())], &journal());
    }

    #[test]
    #[should_panic(expected = "denied after it was acknowledged")]
    fn a_refusal_after_the_acknowledgement_is_found() {
        assert_truth(&[call(KEY, acknowledged(told())), call(KEY, refused())], &journal());
    }

    #[test]
    #[should_panic(expected = "nobody sent")]
    fn a_write_that_nobody_asked_for_is_found() {
        assert_truth(&[call("other", refused())], &journal());
    }

    #[test]
    #[should_panic(expected = "the journal has")]
    fn an_answer_with_another_hash_is_found() {
        let entry = Entry { entry_hash: Bytes::from_static(&[8; 32]), ..told() };
        assert_truth(&[call(KEY, acknowledged(entry))], &journal());
    }

    #[test]
    #[should_panic(expected = "entries of a: seen and written")]
    fn a_change_that_a_watcher_missed_is_found() {
        let seen = Seen { entries: BTreeMap::from([("a".to_owned(), Vec::new())]), ..Seen::default() };
        assert_watched(&seen, &journal());
    }
}
