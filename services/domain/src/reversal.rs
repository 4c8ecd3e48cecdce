//! A spend or capture as a reversal needs it: what it took from which lot, and how much came back already.

use crate::entry::{Entry, EntryKind, Line};
use crate::id::EntryRef;
use crate::lot::Change;
use crate::mutants::{self, Mutant};

/// An entry that took credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversible {
    /// Its name.
    pub entry: EntryRef,
    /// What it moved, in burn order.
    pub lines: Vec<Line>,
    /// Credits given back by earlier reversals.
    pub reversed: i64,
    /// Version of the last reversal; 0 before the first.
    pub last_version: i64,
    /// What the batch did to it.
    pub change: Change,
}

impl Reversible {
    /// The entry with what came back of it; `None` when it is no spend and no capture.
    #[must_use]
    pub fn lookup(entry: &Entry, reversed: i64, last_version: i64) -> Option<Self> {
        let takes = matches!(entry.kind, EntryKind::Spend | EntryKind::Capture);
        let lines = entry.lines.clone();
        takes.then(|| Self { entry: entry.name(), lines, reversed, last_version, change: Change::None })
    }

    /// What a line took from its lot, available and held credits together.
    pub(crate) const fn taken(line: &Line) -> i64 {
        line.available.saturating_add(line.held).saturating_neg()
    }

    /// Credits that can still be given back.
    #[must_use]
    pub fn reversible(&self) -> i64 {
        let taken = self.lines.iter().map(Self::taken).fold(0, i64::saturating_add);
        taken.saturating_sub(self.reversed)
    }

    /// Notes that `amount` came back by the entry of this version.
    pub(crate) fn give_back(&mut self, amount: i64, version: i64) {
        if self.change == Change::None {
            self.change = if self.last_version == 0 { Change::New } else { Change::Changed };
        }
        self.reversed = self.reversed.saturating_add(amount);
        self.last_version = version;
    }

    /// The next `amount` credits to give back, last line first, by the place of the line.
    pub(crate) fn parts(&self, amount: i64) -> Vec<(Line, i64)> {
        let (mut skipped, mut left) = (self.reversed, amount);
        let mut parts = Vec::new();
        let forwards = mutants::is(Mutant::FirstLineFirst);
        for step in 0..self.lines.len() {
            let place = if forwards { step } else { self.lines.len() - 1 - step };
            let Some(line) = self.lines.get(place) else { break };
            let taken = Self::taken(line);
            let skip = skipped.min(taken);
            skipped -= skip;
            let part = left.min(taken - skip);
            left -= part;
            if part > 0 {
                parts.push((*line, part));
            }
        }
        parts
    }
}
