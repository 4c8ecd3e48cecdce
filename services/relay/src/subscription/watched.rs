//! What one stream has sent of one balance, and what that makes of news about it. Pure.

use std::sync::Arc;

use domain::{AccountId, EntryHash, Unit};
use store::tail::mutants::{self, Mutant};

use super::{Message, SnapshotReason};
use crate::event::{Batch, Event};
use crate::heads::{Head, Wanted};
use crate::hub::Name;
use crate::limits::MAX_CATCH_UP;
use crate::token::{Fingerprint, Place};

/// How far the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// As it says itself; nothing was sent yet.
    Asked { version: Option<i64>, hash: Option<Fingerprint> },
    /// What it has, by us.
    Sent { version: i64, hash: EntryHash },
}

/// One target of a stream.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) name: Arc<Name>,
    position: Position,
}

/// What to do with changes out of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// They continue what was sent.
    Send(Vec<Arc<Event>>),
    /// The last of them was sent before: same version, same hash. Since each hash covers all before it, older
    /// ones that were dropped are confirmed.
    Known,
    /// All below what was sent; whether they belong to its history is not known yet.
    Old,
    /// A jump, another hash, or a part of an operation: ask the journal.
    Unclear,
}

/// What to do after comparing with the balance as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Nothing.
    Level,
    /// Send the journal up to this version.
    Behind(i64),
    /// Send the balance whole.
    Snapshot(SnapshotReason),
}

impl Watched {
    /// Where the reader says that it is: its version, and the hash there.
    pub(super) fn new(name: Arc<Name>, version: Option<i64>, hash: Option<EntryHash>) -> Self {
        Self { name, position: Position::Asked { version, hash: hash.map(Fingerprint::Whole) } }
    }

    /// Goes on where a token says, unless the reader has said itself where it is.
    pub(super) fn resume(&mut self, place: Place) {
        if matches!(self.position, Position::Asked { version: None, .. }) {
            self.position = Position::Asked { version: Some(place.version), hash: Some(place.hash) };
        }
    }

    /// Where the reader is, for a token; none while only the reader could say.
    pub(super) fn place(&self) -> Option<(&AccountId, &Unit, Place)> {
        let place = match self.position {
            Position::Asked { version: Some(version), hash: Some(hash) } => Place { version, hash },
            Position::Asked { .. } => return None,
            Position::Sent { version, hash } => Place { version, hash: Fingerprint::Whole(hash) },
        };
        Some((&self.name.account, &self.name.unit, place))
    }

    /// The version that the reader has; 0 for none.
    pub(super) fn version(&self) -> i64 {
        match self.position {
            Position::Asked { version, .. } => version.unwrap_or(0),
            Position::Sent { version, .. } => version,
        }
    }

    /// The hash of the version that was sent.
    pub(super) fn sent_hash(&self) -> Option<EntryHash> {
        match self.position {
            Position::Asked { .. } => None,
            Position::Sent { hash, .. } => Some(hash),
        }
    }

    /// What must be read to compare.
    pub(super) fn wanted(&self) -> Wanted {
        let Name { account, unit } = &*self.name;
        Wanted { account: account.clone(), unit: unit.clone(), version: self.version() }
    }

    /// Judges changes out of the queue, and moves on when they are to be sent. In doubt only a known hash is
    /// believed.
    pub(super) fn arrive(&mut self, batch: &Batch, in_doubt: bool) -> Arrival {
        let Position::Sent { version, hash } = self.position else { return Arrival::Unclear };
        if !batch.is_whole() {
            return Arrival::Unclear;
        }
        if batch.last_version() < version {
            return Arrival::Old;
        }
        let known = batch.events.iter().position(|event| event.version == version);
        let new = match known {
            Some(at) if batch.events.get(at).is_some_and(|event| is_same(event.hash, hash)) => {
                at.saturating_add(1)
            }
            Some(_) => return Arrival::Unclear,
            None if in_doubt => return Arrival::Unclear,
            None => 0,
        };
        let events: Vec<Arc<Event>> = batch.events.iter().skip(new).cloned().collect();
        match events.first() {
            None => Arrival::Known,
            Some(first) if version.checked_add(1) == Some(first.version) => {
                self.advance(&events);
                Arrival::Send(events)
            }
            Some(_) => Arrival::Unclear,
        }
    }

    /// These events are being sent.
    pub(super) fn advance(&mut self, events: &[Arc<Event>]) {
        if let Some(last) = events.last() {
            self.position = Position::Sent { version: last.version, hash: last.hash };
        }
    }

    /// The message for them.
    pub(super) fn changes(&self, events: Vec<Arc<Event>>) -> Message {
        let Name { account, unit } = &*self.name;
        Message::Changes { account: account.clone(), unit: unit.clone(), events }
    }

    /// The message that it is current.
    pub(super) fn current(&self) -> Message {
        let Name { account, unit } = &*self.name;
        Message::Current { account: account.clone(), unit: unit.clone() }
    }

    /// Compares what the reader has with the journal. With [`Comparison::Snapshot`] the head's balance is being
    /// sent.
    pub(super) fn compare(&mut self, head: &Head) -> Comparison {
        let comparison = self.judge(head);
        if matches!(comparison, Comparison::Snapshot(_)) {
            self.position = Position::Sent { version: head.balance.version, hash: head.balance.hash };
        }
        comparison
    }

    /// The head's balance is being sent instead of what lies between.
    pub(super) fn skip_to(&mut self, head: &Head) {
        self.position = Position::Sent { version: head.balance.version, hash: head.balance.hash };
    }

    fn judge(&mut self, head: &Head) -> Comparison {
        let (version, hash) = match self.position {
            Position::Asked { version: None, .. } => return Comparison::Snapshot(SnapshotReason::Initial),
            Position::Asked { version: Some(version), hash } => (version, hash),
            Position::Sent { version, .. } if mutants::is(Mutant::DuplicatesByVersionAlone) => {
                (version, None)
            }
            Position::Sent { version, hash } => (version, Some(Fingerprint::Whole(hash))),
        };
        // Version 0 is the empty history, which every history continues; its hash is zeros.
        let in_journal = if version == 0 { Some(EntryHash::default()) } else { head.hash_at };
        let Some(in_journal) = in_journal.filter(|have| hash.is_none_or(|hash| hash.fits(have))) else {
            return Comparison::Snapshot(SnapshotReason::ResetDiverged);
        };
        let newest = head.balance.version;
        if version > newest {
            return Comparison::Snapshot(SnapshotReason::ResetDiverged);
        }
        if newest.saturating_sub(version) > MAX_CATCH_UP {
            return Comparison::Snapshot(SnapshotReason::ResetTooOld);
        }
        self.position = Position::Sent { version, hash: in_journal };
        if version == newest { Comparison::Level } else { Comparison::Behind(newest) }
    }
}

fn is_same(a: EntryHash, b: EntryHash) -> bool {
    a == b || mutants::is(Mutant::DuplicatesByVersionAlone)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::{Figures, Timestamp};
    use store::StoredBalance;

    use super::*;

    fn account() -> AccountId {
        AccountId::try_new("a").unwrap()
    }

    fn unit() -> Unit {
        Unit::try_new("").unwrap()
    }

    fn hash(history: u8, version: i64) -> EntryHash {
        let mut bytes = [history; 32];
        bytes[..8].copy_from_slice(&version.to_be_bytes());
        if version == 0 { EntryHash::default() } else { EntryHash(bytes) }
    }

    fn event(history: u8, version: i64, index: i32, size: i32) -> Arc<Event> {
        Arc::new(Event {
            account: account(),
            unit: unit(),
            version,
            operation_index: index,
            operation_size: size,
            hash: hash(history, version),
            bytes: Bytes::new(),
            traceparent: None,
        })
    }

    /// One-entry operations of a history.
    fn batch(history: u8, versions: impl IntoIterator<Item = i64>) -> Batch {
        Batch::lookup(versions.into_iter().map(|version| event(history, version, 0, 1)).collect()).unwrap()
    }

    fn head(history: u8, version: i64, asked: i64) -> Head {
        let balance = StoredBalance {
            account: account(),
            unit: unit(),
            figures: Figures::default(),
            version,
            hash: hash(history, version),
            next_due_at: None,
            last_effective_at: Timestamp::from_micros(0),
            is_due: false,
        };
        Head { balance, hash_at: (1..=version).contains(&asked).then(|| hash(history, asked)) }
    }

    fn watched(after_version: Option<i64>, after_hash: Option<EntryHash>) -> Watched {
        Watched::new(Arc::new(Name { account: account(), unit: unit() }), after_version, after_hash)
    }

    /// A target that has sent `version` of history 1.
    fn at(version: i64) -> Watched {
        let mut watched = watched(Some(version), None);
        assert_eq!(watched.compare(&head(1, version, version)), Comparison::Level);
        watched
    }

    fn sent(arrival: Arrival) -> Vec<i64> {
        let Arrival::Send(events) = arrival else { panic!("{arrival:?}") };
        events.iter().map(|event| event.version).collect()
    }

    #[test]
    fn the_first_comparison_answers_what_was_asked() {
        use Comparison::{Behind, Level, Snapshot};
        use SnapshotReason::{Initial, ResetDiverged, ResetTooOld};
        let far = MAX_CATCH_UP + 1;
        for (name, mut asked, head, expected) in [
            ("no version", watched(None, None), head(1, 5, 0), Snapshot(Initial)),
            ("no version, no entries", watched(None, None), head(1, 0, 0), Snapshot(Initial)),
            ("from the start", watched(Some(0), None), head(1, 5, 0), Behind(5)),
            ("from the start, no entries", watched(Some(0), None), head(1, 0, 0), Level),
            ("behind", watched(Some(3), None), head(1, 5, 3), Behind(5)),
            ("behind with hash", watched(Some(3), Some(hash(1, 3))), head(1, 5, 3), Behind(5)),
            ("level", watched(Some(5), Some(hash(1, 5))), head(1, 5, 5), Level),
            ("another hash", watched(Some(3), Some(hash(2, 3))), head(1, 5, 3), Snapshot(ResetDiverged)),
            ("a hash of nothing", watched(Some(0), Some(hash(2, 3))), head(1, 5, 0), Snapshot(ResetDiverged)),
            ("the future", watched(Some(6), None), head(1, 5, 6), Snapshot(ResetDiverged)),
            ("the far future", watched(Some(i64::MAX), None), head(1, 5, i64::MAX), Snapshot(ResetDiverged)),
            ("just near enough", watched(Some(0), None), head(1, MAX_CATCH_UP, 0), Behind(MAX_CATCH_UP)),
            ("too far", watched(Some(0), None), head(1, far, 0), Snapshot(ResetTooOld)),
        ] {
            assert_eq!(asked.compare(&head), expected, "{name}");
        }
    }

    #[test]
    fn the_next_version_is_sent_and_moves_on() {
        let mut watched = at(3);
        assert_eq!(sent(watched.arrive(&batch(1, 4..=6), false)), [4, 5, 6]);
        assert_eq!((watched.version(), watched.sent_hash()), (6, Some(hash(1, 6))));
    }

    #[test]
    fn a_jump_is_never_shown() {
        assert_eq!(at(3).arrive(&batch(1, 5..=6), false), Arrival::Unclear);
        assert_eq!(at(3).arrive(&batch(1, [4, 6]), false), Arrival::Unclear);
    }

    #[test]
    fn what_was_sent_is_known_by_its_hash_and_only_the_rest_is_sent() {
        assert_eq!(at(3).arrive(&batch(1, 2..=3), false), Arrival::Known);
        assert_eq!(sent(at(3).arrive(&batch(1, 2..=5), true)), [4, 5]);
    }

    #[test]
    fn a_duplicate_version_with_another_hash_is_not_dropped() {
        assert_eq!(at(3).arrive(&batch(2, 2..=3), false), Arrival::Unclear);
        assert_eq!(at(3).arrive(&batch(2, 3..=5), false), Arrival::Unclear);
    }

    #[test]
    fn an_older_version_leaves_a_doubt_that_the_next_version_alone_does_not_remove() {
        assert_eq!(at(3).arrive(&batch(2, 1..=2), false), Arrival::Old);
        assert_eq!(at(3).arrive(&batch(2, 4..=4), true), Arrival::Unclear);
    }

    #[test]
    fn a_part_of_an_operation_is_not_sent() {
        let part = Batch::lookup(vec![event(1, 4, 0, 2)]).unwrap();
        assert_eq!(at(3).arrive(&part, false), Arrival::Unclear);
    }

    #[test]
    fn a_live_target_whose_version_is_gone_from_the_journal_has_diverged() {
        let diverged = Comparison::Snapshot(SnapshotReason::ResetDiverged);
        for (name, head) in [("shorter", head(1, 3, 5)), ("other", head(2, 7, 5)), ("empty", head(1, 0, 5))] {
            let mut watched = at(5);
            assert_eq!(watched.compare(&head), diverged, "{name}");
            assert_eq!(watched.version(), head.balance.version, "{name}");
        }
    }
}
