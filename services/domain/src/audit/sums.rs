//! What a journal's entries add up to for one lot, one hold and one entry that was given back.

use std::collections::BTreeMap;

use crate::entry::{Entry, EntryKind, Line};
use crate::id::GrantId;
use crate::revocation::Parts;
use crate::timestamp::Timestamp;

/// What the lines say of a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LotSum {
    /// Version of the first entry that moved it: the one that made it.
    pub version: i64,
    /// Version of the last.
    pub last_version: i64,
    /// What it was made with.
    pub amount: i64,
    /// Can be spent.
    pub available: i64,
    /// Reserved by holds.
    pub held: i64,
    /// Not effective yet.
    pub scheduled: i64,
    /// What has expired of it.
    pub expired: i64,
    /// What was revoked of it.
    pub revoked: Parts,
}

impl LotSum {
    /// A lot that this line is the first of. What repaid debt at once is part of its amount and of no line.
    pub(super) fn of(entry: &Entry, line: &Line) -> Self {
        let makes = matches!(entry.kind, EntryKind::Grant | EntryKind::Adjustment);
        let repaid = if makes { entry.delta.debt.saturating_neg() } else { 0 };
        let amount = line.available.saturating_add(line.scheduled).saturating_add(repaid);
        Self { version: entry.version, amount, ..Self::default() }
    }

    /// What is left, held credits included.
    #[must_use]
    pub const fn remaining(&self) -> i64 {
        self.available.saturating_add(self.held).saturating_add(self.scheduled)
    }

    pub(super) fn add(&mut self, entry: &Entry, line: &Line) {
        self.last_version = entry.version;
        self.available = self.available.saturating_add(line.available);
        self.held = self.held.saturating_add(line.held);
        self.scheduled = self.scheduled.saturating_add(line.scheduled);
        if entry.kind == EntryKind::Expiry {
            self.expired = self.expired.saturating_sub(line.available);
        }
        // What a revocation keeps of credits that come back was forgiven before.
        let kept =
            Parts { taken: line.reclaimed, forgiven: line.reclaimed.saturating_neg(), ..Parts::default() };
        self.revoked = self.revoked.plus(kept);
    }

    pub(super) const fn is_sound(&self) -> bool {
        self.available >= 0 && self.held >= 0 && self.scheduled >= 0
    }
}

/// What the entries say of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldSum {
    /// Version of the entry that made it.
    pub version: i64,
    /// Version of the last entry of it.
    pub last_version: i64,
    /// What that entry did.
    pub last_kind: EntryKind,
    /// Credits reserved at first.
    pub amount: i64,
    /// Credits still reserved.
    pub remaining: i64,
    /// Credits used from it, without overage.
    pub captured: i64,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What it reserves of each lot; lots that it has used up are left out.
    pub lines: BTreeMap<GrantId, i64>,
}

impl HoldSum {
    pub(super) const fn of(entry: &Entry) -> Self {
        Self {
            version: entry.version,
            last_version: entry.version,
            last_kind: entry.kind,
            amount: entry.delta.held,
            remaining: 0,
            captured: 0,
            expires_at: None,
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        (self.last_version, self.last_kind) = (entry.version, entry.kind);
        self.remaining = self.remaining.saturating_add(entry.delta.held);
        if entry.kind == EntryKind::Capture {
            self.captured = self.captured.saturating_sub(entry.delta.held);
        }
        self.expires_at = entry.hold_expires_at.or(self.expires_at);
        for line in entry.lines.iter().filter(|line| line.held != 0) {
            let held = self.lines.entry(line.grant_id).or_default();
            *held = held.saturating_add(line.held);
            if *held == 0 {
                self.lines.remove(&line.grant_id);
            }
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.remaining >= 0 && self.lines.values().all(|held| *held >= 0)
    }
}

/// How much of a spend or capture its reversals gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReversalSum {
    /// Credits, those that repaid debt or that a revocation kept included.
    pub reversed: i64,
    /// Version of the last reversal.
    pub last_version: i64,
}

impl ReversalSum {
    pub(super) fn add(&mut self, entry: &Entry) {
        let kept = entry.lines.iter().map(|line| line.reclaimed).fold(0, i64::saturating_add);
        let back = entry.delta.available.saturating_sub(entry.delta.debt).saturating_add(kept);
        self.reversed = self.reversed.saturating_add(back);
        self.last_version = entry.version;
    }
}
