//! Checks a journal by itself, entry by entry: whoever has the entries of a balance, a customer with an exported file
//! too, can see that none was changed, left out or added.
//!
//! Whoever has the tables beside the journal compares them with what the entries add up to: see [`JournalCheck::lots`],
//! [`JournalCheck::holds`], [`JournalCheck::reversals`], and [`JournalCheck::take_ended`].

mod sums;

use std::collections::BTreeMap;

use crate::entry::{Entry, EntryHash, EntryKind};
use crate::figures::Figures;
use crate::id::{AccountId, GrantId, HoldId, OperationId, Unit};
use crate::timestamp::Timestamp;

pub use sums::{HoldSum, LotSum, ReversalSum};

/// The first thing that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{account} {unit}, version {version}: {what} is {found}, should be {expected}{}", Of(.subject))]
pub struct Difference {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// The entry; the balance's version where tables differ from the whole journal.
    pub version: i64,
    /// What differs.
    pub what: &'static str,
    /// The lot, hold or entry that it is about; empty: the entry of that version, or the balance.
    pub subject: String,
    /// What follows from the entries before.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Lots and holds with nothing left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Lots. An entry to come may refill one, or revoke of it.
    pub lots: BTreeMap<GrantId, LotSum>,
    /// Holds; some are open all the same.
    pub holds: BTreeMap<HoldId, HoldSum>,
}

/// The journal of one balance so far. Keeps lots and holds with something left, at most 10,000 of each, and the totals of
/// entries that were given back.
#[derive(Debug, Clone)]
pub struct JournalCheck {
    account: AccountId,
    unit: Unit,
    version: i64,
    hash: EntryHash,
    figures: Figures,
    effective_at: Timestamp,
    recorded_at: Timestamp,
    /// Operation of the last entry, and how many of its entries are to come.
    operation: Option<(OperationId, i32, i32)>,
    lots: BTreeMap<GrantId, LotSum>,
    holds: BTreeMap<HoldId, HoldSum>,
    reversals: BTreeMap<i64, ReversalSum>,
    ended: Ended,
    keeps_ended: bool,
}

impl JournalCheck {
    /// Before version 1.
    #[must_use]
    pub const fn new(account: AccountId, unit: Unit) -> Self {
        Self {
            account,
            unit,
            version: 0,
            hash: EntryHash([0; 32]),
            figures: Figures { available: 0, held: 0, scheduled: 0, debt: 0 },
            effective_at: Timestamp::from_micros(i64::MIN),
            recorded_at: Timestamp::from_micros(i64::MIN),
            operation: None,
            lots: BTreeMap::new(),
            holds: BTreeMap::new(),
            reversals: BTreeMap::new(),
            ended: Ended { lots: BTreeMap::new(), holds: BTreeMap::new() },
            keeps_ended: false,
        }
    }

    /// The same, for comparison with tables: also keeps what has nothing left, until [`JournalCheck::take_ended`].
    #[must_use]
    pub const fn with_ended(account: AccountId, unit: Unit) -> Self {
        let mut check = Self::new(account, unit);
        check.keeps_ended = true;
        check
    }

    /// Whose balance, and which.
    #[must_use]
    pub const fn balance(&self) -> (&AccountId, &Unit) {
        (&self.account, &self.unit)
    }

    /// Whether it is of this balance.
    #[must_use]
    pub fn is_of(&self, account: &AccountId, unit: &Unit) -> bool {
        self.account == *account && self.unit == *unit
    }

    /// Version of the last entry.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Hash of the last entry.
    #[must_use]
    pub const fn hash(&self) -> EntryHash {
        self.hash
    }

    /// The figures after the last entry.
    #[must_use]
    pub const fn figures(&self) -> Figures {
        self.figures
    }

    /// Lots with something left.
    #[must_use]
    pub const fn lots(&self) -> &BTreeMap<GrantId, LotSum> {
        &self.lots
    }

    /// Holds with something left.
    #[must_use]
    pub const fn holds(&self) -> &BTreeMap<HoldId, HoldSum> {
        &self.holds
    }

    /// Spends and captures that were given back, by their version.
    #[must_use]
    pub const fn reversals(&self) -> &BTreeMap<i64, ReversalSum> {
        &self.reversals
    }

    /// Takes out what has nothing left. What a later entry will touch again must be given back by
    /// [`JournalCheck::keep`], or its sums begin anew.
    pub fn take_ended(&mut self) -> Ended {
        std::mem::take(&mut self.ended)
    }

    /// Gives back what [`JournalCheck::take_ended`] took.
    pub fn keep(&mut self, ended: Ended) {
        self.ended.lots.extend(ended.lots);
        self.ended.holds.extend(ended.holds);
    }

    /// Whether the last operation is there as a whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.operation.is_none_or(|(_, index, size)| index.saturating_add(1) == size)
    }

    /// Checks the next entry.
    ///
    /// # Errors
    /// [`Difference`] for the first thing that does not follow from the entries before.
    pub fn check(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let version = self.version.saturating_add(1);
        self.equal(entry, "account", &self.account, &entry.account)?;
        self.equal(entry, "unit", &self.unit, &entry.unit)?;
        self.equal(entry, "version", &version, &entry.version)?;
        let hash = entry.chained(self.hash);
        self.equal(entry, "entry_hash", &hex::encode(hash.0), &hex::encode(entry.hash.0))?;
        let after = self.figures.checked_add(entry.delta);
        self.equal(entry, "sum of the deltas", &Shown(after.as_ref()), &Shown(Some(&entry.after)))?;
        self.equal(entry, "soundness of the figures", &true, &entry.after.are_sound())?;
        let is_late = entry.effective_at >= self.effective_at && entry.recorded_at >= self.recorded_at;
        self.equal(entry, "order in time", &true, &is_late)?;
        self.check_operation(entry)?;
        self.check_lines(entry)?;
        self.check_hold(entry)?;
        self.check_reversal(entry)?;
        (self.version, self.hash, self.figures) = (version, hash, entry.after);
        (self.effective_at, self.recorded_at) = (entry.effective_at, entry.recorded_at);
        self.operation = Some((entry.operation_id, entry.operation_index, entry.operation_size));
        Ok(())
    }

    fn check_operation(&self, entry: &Entry) -> Result<(), Box<Difference>> {
        let expected = match self.operation {
            Some((id, index, size)) if !self.is_whole() => (id, index.saturating_add(1), size),
            _ => (entry.operation_id, 0, entry.operation_size.max(1)),
        };
        let found = (entry.operation_id, entry.operation_index, entry.operation_size);
        let say = |(id, index, size): (OperationId, i32, i32)| format!("{id}, {index} of {size}");
        self.equal(entry, "place in the operation", &say(expected), &say(found))
    }

    fn check_lines(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let mut sum = Figures { debt: entry.delta.debt, ..Figures::default() };
        for (place, line) in entry.lines.iter().enumerate() {
            let delta =
                Figures { available: line.available, held: line.held, scheduled: line.scheduled, debt: 0 };
            sum = sum.checked_add(delta).unwrap_or(sum);
            let known = self.lots.remove(&line.grant_id).or_else(|| self.ended.lots.remove(&line.grant_id));
            let mut lot = known.unwrap_or_else(|| LotSum::of(entry, line));
            lot.add(entry, line);
            // The revoked lot is the first line.
            if let Some(parts) = entry.revocation.filter(|_| place == 0) {
                lot.revoked = lot.revoked.plus(parts);
            }
            self.equal(entry, "soundness of a lot", &true, &lot.is_sound())?;
            if lot.remaining() != 0 {
                self.lots.insert(line.grant_id, lot);
            } else if self.keeps_ended {
                self.ended.lots.insert(line.grant_id, lot);
            }
        }
        let has_lot = entry.revocation.is_none() || !entry.lines.is_empty();
        self.equal(entry, "presence of the revoked lot", &true, &has_lot)?;
        self.equal(entry, "sum of the lines", &Shown(Some(&entry.delta)), &Shown(Some(&sum)))
    }

    fn check_hold(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let Some(hold_id) = entry.hold_id else {
            return self.equal(entry, "held credits that belong to no hold", &0, &entry.delta.held);
        };
        let known = self.holds.remove(&hold_id).or_else(|| self.ended.holds.remove(&hold_id));
        if entry.kind == EntryKind::Hold {
            self.equal(entry, "hold is known", &false, &known.is_some())?;
        }
        let mut hold = known.unwrap_or_else(|| HoldSum::of(entry));
        hold.add(entry);
        self.equal(entry, "soundness of a hold", &true, &hold.is_sound())?;
        if hold.remaining != 0 {
            self.holds.insert(hold_id, hold);
        } else if self.keeps_ended {
            self.ended.holds.insert(hold_id, hold);
        }
        Ok(())
    }

    fn check_reversal(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let is_reversal = entry.kind == EntryKind::Reversal;
        let Some(version) = entry.reverses.filter(|_| is_reversal) else {
            return self.equal(entry, "name of the entry that came back", &false, &is_reversal);
        };
        self.equal(entry, "order of a reversal", &true, &(version < entry.version))?;
        self.reversals.entry(version).or_default().add(entry);
        Ok(())
    }

    fn equal<T: PartialEq + std::fmt::Display>(
        &self,
        entry: &Entry,
        what: &'static str,
        expected: &T,
        found: &T,
    ) -> Result<(), Box<Difference>> {
        if expected == found {
            return Ok(());
        }
        Err(self.difference(entry.version, what, expected.to_string(), found.to_string()))
    }

    /// A difference of this balance.
    #[must_use]
    pub fn difference(
        &self,
        version: i64,
        what: &'static str,
        expected: String,
        found: String,
    ) -> Box<Difference> {
        let (account, unit) = (self.account.clone(), self.unit.clone());
        Box::new(Difference { account, unit, version, what, subject: String::new(), expected, found })
    }
}

/// The subject of a difference, where there is one.
struct Of<'a>(&'a str);

impl std::fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

/// Figures as a reader wants them.
#[derive(PartialEq)]
struct Shown<'a>(Option<&'a Figures>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("beyond all bounds"),
            Some(Figures { available, held, scheduled, debt }) => {
                write!(f, "available {available}, held {held}, scheduled {scheduled}, debt {debt}")
            }
        }
    }
}
