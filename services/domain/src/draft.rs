//! An operation of several postings while it is made, on a copy of its balance: a refusal on the way leaves the
//! balance as it was. Lots move at once, figures when all is posted; the debt alone is kept along the way.

use std::collections::HashMap;

use crate::balance::{Balance, Posting, Stamp};
use crate::decide::DecideError;
use crate::denied::Denied;
use crate::entry::{Entry, EntryKind, Line};
use crate::id::GrantId;
use crate::limits::{DEFAULT_PRIORITY, MAX_BALANCE, MAX_OPEN_LOTS};
use crate::lot::{Change, GrantKind, Lot, Priority};
use crate::mutants::{self, Mutant};
use crate::revocation::Revoked;
use crate::timestamp::Timestamp;

/// The copy, and what was posted on it.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) balance: Balance,
    /// The debt after all postings so far.
    pub(crate) debt: i64,
    postings: Vec<Posting>,
    places: HashMap<GrantId, usize>,
}

impl Draft {
    /// Closed lots that are `wanted` are open in it.
    pub(crate) fn of(balance: &Balance, wanted: impl Fn(GrantId) -> bool) -> Self {
        let mut balance = balance.clone();
        balance.reopen(wanted);
        let places = balance.lots.iter().enumerate().map(|(place, lot)| (lot.grant_id, place)).collect();
        Self { debt: balance.figures.debt, balance, postings: Vec::new(), places }
    }

    /// The version that the next posting will have.
    pub(crate) fn next_version(&self) -> i64 {
        let posted = i64::try_from(self.postings.len()).unwrap_or(i64::MAX);
        self.balance.version.saturating_add(posted).saturating_add(1)
    }

    /// A lot that must have been loaded.
    pub(crate) fn lot_at(&mut self, grant_id: GrantId) -> Result<&mut Lot, DecideError> {
        let place = self.places.get(&grant_id).copied();
        let lot = place.and_then(|place| self.balance.lots.get_mut(place));
        lot.ok_or(DecideError::Broken("a lot behind a hold or entry was not loaded"))
    }

    /// A lot that must have been loaded, touched by the next posting.
    pub(crate) fn lot(&mut self, grant_id: GrantId) -> Result<&mut Lot, DecideError> {
        let version = self.next_version();
        let lot = self.lot_at(grant_id)?;
        lot.touch(version);
        Ok(lot)
    }

    /// The lots in burn order, without touching them.
    pub(crate) fn lots(&self) -> &[Lot] {
        &self.balance.lots
    }

    pub(crate) fn post(&mut self, posting: Posting) {
        self.postings.push(posting);
    }

    /// The last posting, for what more happens at its moment.
    pub(crate) fn last_posting(&mut self) -> Option<&mut Posting> {
        self.postings.last_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.postings.is_empty()
    }

    /// Gives `amount` held credits of a lot back to it: first what its revocation keeps, then what repays debt.
    pub(crate) fn unhold(&mut self, grant_id: GrantId, amount: i64) -> Result<Line, DecideError> {
        let debt = self.debt;
        let lot = self.lot(grant_id)?;
        let reclaimed = lot.revoked.reclaim(amount);
        let repaid = amount.saturating_sub(reclaimed).min(debt);
        lot.held = lot.held.saturating_sub(amount);
        lot.remaining = lot.remaining.saturating_sub(reclaimed).saturating_sub(repaid);
        let available = amount.saturating_sub(reclaimed).saturating_sub(repaid);
        self.debt = debt.saturating_sub(repaid);
        if mutants::is(Mutant::ReleaseToTheWrongLot) {
            self.move_to_the_first_lot(grant_id, available);
        }
        let reclaimed = if mutants::is(Mutant::ReclaimedNotSaid) { 0 } else { reclaimed };
        Ok(Line { available, held: amount.saturating_neg(), reclaimed, ..Line::of(grant_id) })
    }

    fn move_to_the_first_lot(&mut self, from: GrantId, amount: i64) {
        let Some(first) = self.balance.lots.first().map(|lot| lot.grant_id) else { return };
        if let Ok(lot) = self.lot(from) {
            lot.remaining = lot.remaining.saturating_sub(amount);
        }
        if let Ok(lot) = self.lot(first) {
            lot.remaining = lot.remaining.saturating_add(amount);
        }
    }

    /// Ends what is not held of those lots whose time is over, as a posting of its own.
    pub(crate) fn expire(&mut self, lots: &[GrantId], at: Timestamp) -> Result<(), DecideError> {
        if mutants::is(Mutant::ReleasedLotLivesOn) {
            return Ok(());
        }
        let mut lines = Vec::new();
        for grant_id in lots {
            let ended = |lot: &Lot| lot.grant_id == *grant_id && lot.has_ended(at) && lot.available() > 0;
            let place = self.places.get(grant_id).and_then(|place| self.balance.lots.get(*place));
            if place.is_some_and(ended) {
                lines.extend(expire(self.lot(*grant_id)?));
            }
        }
        if !lines.is_empty() {
            self.post(Posting::of(EntryKind::Expiry, at, lines));
        }
        Ok(())
    }

    /// Credits that come to a live lot from outside: debt is repaid first, and what is beyond the granted amount goes
    /// into the pot.
    pub(crate) fn refill(
        &mut self,
        grant_id: GrantId,
        amount: i64,
        pot: &mut Pot,
    ) -> Result<Line, DecideError> {
        let repaid = amount.min(self.debt);
        self.debt = self.debt.saturating_sub(repaid);
        let left = amount.saturating_sub(repaid);
        let lot = self.lot(grant_id)?;
        let kept = left.min(lot.amount.saturating_sub(lot.remaining));
        lot.remaining = lot.remaining.saturating_add(kept);
        pot.add(left.saturating_sub(kept), lot.expires_at);
        Ok(Line { available: kept, ..Line::of(grant_id) })
    }

    /// Makes a lot of what is in the pot, debt first. `None` when nothing is left for it.
    pub(crate) fn pour(&mut self, pot: &Pot, grant_id: GrantId) -> Option<(Line, Lot)> {
        let repaid = pot.amount.min(self.debt);
        self.debt = self.debt.saturating_sub(repaid);
        let amount = pot.amount.saturating_sub(repaid);
        if amount == 0 {
            return None;
        }
        let lot = Lot {
            grant_id,
            version: self.next_version(),
            last_version: self.next_version(),
            kind: GrantKind::Compensation,
            priority: Priority::try_new(i64::from(DEFAULT_PRIORITY)).unwrap_or_default(),
            amount,
            remaining: amount,
            held: 0,
            expired: 0,
            revoked: Revoked::default(),
            effective_at: pot.now,
            expires_at: pot.expires_at,
            active: true,
            cost_basis: None,
            change: Change::New,
        };
        Some((Line { available: amount, ..Line::of(grant_id) }, lot))
    }

    /// Posts everything and replaces the balance. A new lot joins it.
    ///
    /// # Errors
    /// [`Denied`] when a limit of the balance would be passed; [`DecideError::Broken`] when an invariant would break.
    pub(crate) fn finish(
        mut self,
        balance: &mut Balance,
        stamp: Stamp<'_>,
        new_lot: Option<Lot>,
    ) -> Result<Vec<Entry>, DecideError> {
        let mut after = self.balance.figures;
        // Each entry keeps the limit, also one whose credits expire again by the next entry.
        let mut would_be = 0;
        for posting in &self.postings {
            after = after.checked_add(posting.delta).ok_or(DecideError::Broken("I1: figures overflow"))?;
            would_be = would_be.max(after.total()).max(after.debt);
        }
        if would_be > MAX_BALANCE {
            return Err(Denied::BalanceLimitExceeded { limit: MAX_BALANCE, would_be }.into());
        }
        let entries = self.balance.post(stamp, self.postings)?;
        new_lot.into_iter().for_each(|lot| self.balance.insert_lot(lot));
        self.balance.close_empty_lots();
        if self.balance.open_lots > MAX_OPEN_LOTS {
            return Err(Denied::TooManyOpenLots { limit: MAX_OPEN_LOTS }.into());
        }
        *balance = self.balance;
        Ok(entries)
    }
}

/// Ends what is not held of a lot; held credits do not expire while they are held.
pub(crate) fn expire(lot: &mut Lot) -> Option<Line> {
    let ended = lot.available();
    if ended == 0 || mutants::is(Mutant::LostExpiry) {
        return None;
    }
    lot.remaining = lot.remaining.saturating_sub(ended);
    lot.expired = lot.expired.saturating_add(ended);
    Some(Line { available: ended.saturating_neg(), ..Line::of(lot.grant_id) })
}

/// Credits that have no lot to return to: they become one new lot, which lasts as long as the longest of its parts.
#[derive(Debug)]
pub(crate) struct Pot {
    amount: i64,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    grace_ends_at: Timestamp,
}

impl Pot {
    pub(crate) const fn new(now: Timestamp, grace_s: i64) -> Self {
        Self { amount: 0, expires_at: None, now, grace_ends_at: now.plus_seconds(grace_s) }
    }

    /// Credits of a lot that ends, or has ended, at `expires_at`; the latter get the grace.
    pub(crate) fn add(&mut self, amount: i64, expires_at: Option<Timestamp>) {
        if amount == 0 {
            return;
        }
        let expires_at = expires_at.map(|at| if at <= self.now { self.grace_ends_at } else { at });
        let is_first = self.amount == 0;
        self.amount = self.amount.saturating_add(amount);
        self.expires_at = match (self.expires_at, expires_at) {
            (_, other) if is_first => other,
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
}
