//! One balance while a batch works on it: its figures, the lots that were loaded, and the entries it gains.

use crate::command::Context;
use crate::decide::DecideError;
use crate::entry::{Entry, EntryHash, EntryKind, Line};
use crate::figures::Figures;
use crate::hold::Hold;
use crate::id::{AccountId, GrantId, HoldId, OperationId, Unit};
use crate::lot::Lot;
use crate::mutants::{self, Mutant};
use crate::reversal::Reversible;
use crate::revocation::Parts;
use crate::threshold::{Armed, Threshold, cross};
use crate::timestamp::Timestamp;

/// Whether an account may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountState {
    /// It may.
    #[default]
    Active,
    /// Credits may come in, but not go out.
    Frozen,
    /// Nothing may change.
    Closed,
}

/// The state of (account, unit), with the lots, holds and entries that this batch may need.
///
/// The loader promises: every lot and hold that is due; in burn order at least as many available lots as the batch
/// can spend; the holds, grants and entries that its commands name, where they exist; and every lot behind these holds
/// and entries. What was not loaded is therefore never touched; of it only the next due time matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub unit: Unit,
    /// Available, held, scheduled, debt.
    pub figures: Figures,
    /// Version of the last entry; 0 before the first.
    pub version: i64,
    /// Hash of the last entry; zeros before the first.
    pub hash: EntryHash,
    /// Effective time of the last entry.
    pub last_effective_at: Option<Timestamp>,
    /// Lots with something left, loaded or not.
    pub open_lots: i64,
    /// Holds that are open, loaded or not.
    pub open_holds: i64,
    /// The earliest due time among the lots and holds that were not loaded.
    pub unloaded_due_at: Option<Timestamp>,
    /// Loaded open lots, in burn order.
    pub lots: Vec<Lot>,
    /// Loaded lots with nothing left, those that this batch emptied included.
    pub closed: Vec<Lot>,
    /// Loaded holds, open and closed.
    pub holds: Vec<Hold>,
    /// Loaded spends and captures that may be reversed.
    pub spends: Vec<Reversible>,
    /// Thresholds of this unit.
    pub thresholds: Vec<Threshold>,
    /// Which of them are armed.
    pub armed: Armed,
}

/// An accepted command: 1..n entries with consecutive versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its entries; the first one is the command's own, and the balance is that after the last.
    pub entries: Vec<Entry>,
    /// The lots that its answer shows, as they were right afterwards: the one that it made, or took back.
    pub grants: Vec<Lot>,
    /// The hold that it made or changed, as it was right afterwards.
    pub hold: Option<Hold>,
}

impl Operation {
    /// One that shows its entries alone.
    pub(crate) const fn of(id: OperationId, entries: Vec<Entry>) -> Self {
        Self { id, entries, grants: Vec::new(), hold: None }
    }
}

/// An entry before it has a version, an operation and a hash.
#[derive(Debug, Clone)]
pub(crate) struct Posting {
    pub(crate) kind: EntryKind,
    pub(crate) delta: Figures,
    pub(crate) lines: Vec<Line>,
    pub(crate) effective_at: Timestamp,
    pub(crate) hold_id: Option<HoldId>,
    pub(crate) hold_expires_at: Option<Timestamp>,
    pub(crate) reverses: Option<i64>,
    pub(crate) revocation: Option<Parts>,
}

impl Posting {
    /// One that moves what its lines say.
    pub(crate) fn of(kind: EntryKind, effective_at: Timestamp, lines: Vec<Line>) -> Self {
        let mut delta = Figures::default();
        for line in &lines {
            delta.available = delta.available.saturating_add(line.available);
            delta.held = delta.held.saturating_add(line.held);
            delta.scheduled = delta.scheduled.saturating_add(line.scheduled);
        }
        Self {
            kind,
            delta,
            lines,
            effective_at,
            hold_id: None,
            hold_expires_at: None,
            reverses: None,
            revocation: None,
        }
    }

    /// Takes the lines of another one of the same kind and moment.
    pub(crate) fn join(&mut self, other: Self) {
        let joined = self.delta.checked_add(other.delta);
        // Figures are below 2^53, so the sum of a settlement fits; `Balance::post` refuses what does not add up.
        self.delta = joined.unwrap_or(self.delta);
        self.lines.extend(other.lines);
    }

    /// And changes the debt.
    pub(crate) fn with_debt(mut self, delta: i64) -> Self {
        self.delta.debt = delta;
        self
    }

    /// And belongs to a hold.
    pub(crate) fn with_hold(mut self, hold_id: HoldId) -> Self {
        self.hold_id = Some(hold_id);
        self
    }
}

/// Who and when, for all entries of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp<'a> {
    pub(crate) operation_id: OperationId,
    pub(crate) context: &'a Context,
    pub(crate) now: Timestamp,
}

impl Balance {
    /// A balance without entries: zero at version 0.
    #[must_use]
    pub const fn empty(account: AccountId, unit: Unit) -> Self {
        Self {
            account,
            unit,
            figures: Figures { available: 0, held: 0, scheduled: 0, debt: 0 },
            version: 0,
            hash: EntryHash([0; 32]),
            last_effective_at: None,
            open_lots: 0,
            open_holds: 0,
            unloaded_due_at: None,
            lots: Vec::new(),
            closed: Vec::new(),
            holds: Vec::new(),
            spends: Vec::new(),
            thresholds: Vec::new(),
            armed: Armed::new(),
        }
    }

    /// The time of the next command: the database's clock, but never before the last entry.
    #[must_use]
    pub fn now(&self, database_clock: Timestamp) -> Timestamp {
        self.last_effective_at.map_or(database_clock, |last| last.max(database_clock))
    }

    /// When the balance changes by itself next.
    #[must_use]
    pub fn next_due_at(&self) -> Option<Timestamp> {
        let with_holds = !mutants::is(Mutant::DueTimeWithoutHolds);
        let holds = self.holds.iter().filter_map(Hold::due_at).filter(|_| with_holds);
        self.lots.iter().filter_map(Lot::due_at).chain(holds).chain(self.unloaded_due_at).min()
    }

    /// Puts a lot into its place in the burn order.
    pub(crate) fn insert_lot(&mut self, lot: Lot) {
        let key = lot.burn_key();
        let place = self.lots.partition_point(|other| other.burn_key() < key);
        self.lots.insert(place, lot);
        self.open_lots = self.open_lots.saturating_add(1);
    }

    /// Moves emptied lots out of the burn order.
    pub(crate) fn close_empty_lots(&mut self) {
        let closed = self.lots.extract_if(.., |lot| lot.is_empty());
        let before = self.closed.len();
        self.closed.extend(closed);
        let count = i64::try_from(self.closed.len() - before).unwrap_or(i64::MAX);
        self.open_lots = self.open_lots.saturating_sub(count);
    }

    /// Puts closed lots back into the burn order, where credits shall return to them. Those that stay empty are
    /// closed again by [`Balance::close_empty_lots`].
    pub(crate) fn reopen(&mut self, wanted: impl Fn(GrantId) -> bool) {
        let closed: Vec<Lot> = self.closed.extract_if(.., |lot| wanted(lot.grant_id)).collect();
        closed.into_iter().for_each(|lot| self.insert_lot(lot));
    }

    /// Turns postings into the entries of one operation: versions, figures, hashes, thresholds. Checks invariant I1 and
    /// that the lines of each posting sum to its deltas (I2) before anything is changed.
    ///
    /// # Errors
    /// [`DecideError::Broken`] when a rule made an unsound posting: a defect, never a caller's fault.
    pub(crate) fn post(
        &mut self,
        stamp: Stamp<'_>,
        postings: Vec<Posting>,
    ) -> Result<Vec<Entry>, DecideError> {
        let size = i32::try_from(postings.len()).map_err(|_| DecideError::Broken("operation size"))?;
        let (mut figures, mut version, mut hash) = (self.figures, self.version, self.hash);
        let mut last = self.last_effective_at;
        let mut armed = std::mem::take(&mut self.armed);
        let mut entries = Vec::with_capacity(postings.len());
        for (operation_index, posting) in (0..size).zip(postings) {
            check_lines(&posting)?;
            let before = figures.available;
            let after = figures.checked_add(posting.delta).filter(|after| after.are_sound());
            figures = after.ok_or(DecideError::Broken("I1: figures"))?;
            version = version.checked_add(1).ok_or(DecideError::Broken("I5: version"))?;
            let effective_at = last.map_or(posting.effective_at, |last| last.max(posting.effective_at));
            let mut entry = self.entry(stamp, posting, (version, operation_index, size));
            entry.effective_at = effective_at;
            entry.after = figures;
            entry.crossed = cross(&self.thresholds, &mut armed, before, figures.available);
            entry.hash = entry.chained(hash);
            (hash, last) = (entry.hash, Some(effective_at));
            entries.push(entry);
        }
        (self.figures, self.version, self.hash, self.last_effective_at) = (figures, version, hash, last);
        self.armed = armed;
        Ok(entries)
    }

    fn entry(&self, stamp: Stamp<'_>, posting: Posting, (version, index, size): (i64, i32, i32)) -> Entry {
        let context = stamp.context;
        Entry {
            account: self.account.clone(),
            unit: self.unit.clone(),
            version,
            operation_id: stamp.operation_id,
            operation_index: index,
            operation_size: size,
            kind: posting.kind,
            delta: posting.delta,
            after: Figures::default(),
            lines: posting.lines,
            reference: context.reference.clone(),
            actor: context.actor.clone(),
            on_behalf_of: context.on_behalf_of.clone(),
            reason: context.reason.clone(),
            effective_at: posting.effective_at,
            recorded_at: stamp.now,
            traceparent: context.traceparent.clone(),
            metadata_digest: context.metadata.digest(),
            hold_id: posting.hold_id,
            hold_expires_at: posting.hold_expires_at,
            reverses: posting.reverses,
            crossed: Vec::new(),
            revocation: posting.revocation,
            hash: EntryHash::default(),
        }
    }
}

fn check_lines(posting: &Posting) -> Result<(), DecideError> {
    let mut sum = Figures::default();
    for line in &posting.lines {
        let delta =
            Figures { available: line.available, held: line.held, scheduled: line.scheduled, debt: 0 };
        sum = sum.checked_add(delta).ok_or(DecideError::Broken("I2: lines overflow"))?;
    }
    if (Figures { debt: posting.delta.debt, ..sum }) == posting.delta {
        Ok(())
    } else {
        Err(DecideError::Broken("I2: lines do not sum to the entry"))
    }
}
