//! Checks a journal by itself, entry by entry: whoever has the entries of a balance, a customer with an exported file
//! too, can see that none was changed, left out or added.

use std::collections::BTreeMap;

use crate::entry::{Entry, EntryHash, EntryKind};
use crate::figures::Figures;
use crate::id::{AccountId, GrantId, HoldId, Unit};
use crate::timestamp::Timestamp;

/// The first thing that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{account} {unit}, version {version}: {what} is {found}, should be {expected}")]
pub struct Difference {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// The entry; the balance's version where tables differ from the whole journal.
    pub version: i64,
    /// What differs.
    pub what: &'static str,
    /// What follows from the entries before.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What the lines say of a lot that has something left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LotSum {
    /// Can be spent.
    pub available: i64,
    /// Reserved by holds.
    pub held: i64,
    /// Not effective yet.
    pub scheduled: i64,
}

/// The journal of one balance so far. Keeps lots with something left and open holds only, at most 10,000 of each.
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
    operation: Option<(crate::id::OperationId, i32, i32)>,
    lots: BTreeMap<GrantId, LotSum>,
    holds: BTreeMap<HoldId, i64>,
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
        }
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

    /// What holds reserve, those that reserve something.
    #[must_use]
    pub const fn holds(&self) -> &BTreeMap<HoldId, i64> {
        &self.holds
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
        let say = |(id, index, size): (crate::id::OperationId, i32, i32)| format!("{id}, {index} of {size}");
        self.equal(entry, "place in the operation", &say(expected), &say(found))
    }

    fn check_lines(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let mut sum = Figures { debt: entry.delta.debt, ..Figures::default() };
        for line in &entry.lines {
            let delta =
                Figures { available: line.available, held: line.held, scheduled: line.scheduled, debt: 0 };
            sum = sum.checked_add(delta).unwrap_or(sum);
            let lot = self.lots.entry(line.grant_id).or_default();
            lot.available = lot.available.saturating_add(line.available);
            lot.held = lot.held.saturating_add(line.held);
            lot.scheduled = lot.scheduled.saturating_add(line.scheduled);
            let lot = *lot;
            let is_sound = lot.available >= 0 && lot.held >= 0 && lot.scheduled >= 0;
            self.equal(entry, "soundness of a lot", &true, &is_sound)?;
            if lot == LotSum::default() {
                self.lots.remove(&line.grant_id);
            }
        }
        self.equal(entry, "sum of the lines", &Shown(Some(&entry.delta)), &Shown(Some(&sum)))
    }

    fn check_hold(&mut self, entry: &Entry) -> Result<(), Box<Difference>> {
        let Some(hold_id) = entry.hold_id else { return Ok(()) };
        let is_known = self.holds.contains_key(&hold_id);
        if entry.kind == EntryKind::Hold {
            self.equal(entry, "hold is known", &false, &is_known)?;
        }
        let held = self.holds.get(&hold_id).copied().unwrap_or(0).saturating_add(entry.delta.held);
        self.equal(entry, "soundness of a hold", &true, &(held >= 0))?;
        if held == 0 {
            self.holds.remove(&hold_id);
        } else {
            self.holds.insert(hold_id, held);
        }
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
        Box::new(Difference { account, unit, version, what, expected, found })
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
