//! A grant as a lot: how much of it is left, and when its turn to burn comes.

use crate::id::{GrantId, Invalid, Problem};
use crate::limits::{DEFAULT_PRIORITY, MAX_PRIORITY};
use crate::revocation::Revoked;
use crate::timestamp::Timestamp;

/// Where a grant comes from, in burn order: what was given away burns before what was paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum GrantKind {
    /// Given away.
    #[default]
    Promotion,
    /// Given to make up for something.
    Compensation,
    /// Corrected by hand.
    Adjustment,
    /// Part of a subscription's period.
    Subscription,
    /// Bought.
    Purchase,
}

impl GrantKind {
    /// Every kind, in burn order.
    pub const ALL: [Self; 5] =
        [Self::Promotion, Self::Compensation, Self::Adjustment, Self::Subscription, Self::Purchase];

    /// The number that the API and the database use: 1–5, in burn order.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Promotion => 1,
            Self::Compensation => 2,
            Self::Adjustment => 3,
            Self::Subscription => 4,
            Self::Purchase => 5,
        }
    }

    /// The kind of a code.
    #[must_use]
    pub fn lookup(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// 0–100, lower burns first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// # Errors
    /// [`Invalid`] for `priority` above 100.
    pub fn try_new(value: i64) -> Result<Self, Invalid> {
        let max = i64::from(MAX_PRIORITY);
        let out_of_range = Invalid::new("priority", Problem::OutOfRange { min: 0, max, actual: value });
        match u8::try_from(value) {
            Ok(small) if small <= MAX_PRIORITY => Ok(Self(small)),
            _ => Err(out_of_range),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(DEFAULT_PRIORITY)
    }
}

/// What a grant cost: an ISO 4217 currency in lower case, and its minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostBasis {
    currency: String,
    minor_units: i64,
}

impl CostBasis {
    /// # Errors
    /// [`Invalid`] for `cost_basis.currency` that is not three lower-case letters, or
    /// `cost_basis.minor_units` outside 0..=10^15.
    pub fn try_new(currency: impl Into<String>, minor_units: i64) -> Result<Self, Invalid> {
        let currency = currency.into();
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_lowercase()) {
            let rule = "must be an ISO 4217 code of three lower-case letters";
            return Err(Invalid::new("cost_basis.currency", Problem::Rule(rule)));
        }
        if !(0..=crate::limits::MAX_AMOUNT).contains(&minor_units) {
            let problem = Problem::OutOfRange { min: 0, max: crate::limits::MAX_AMOUNT, actual: minor_units };
            return Err(Invalid::new("cost_basis.minor_units", problem));
        }
        Ok(Self { currency, minor_units })
    }

    /// ISO 4217, lower case.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// In the currency's minor unit.
    #[must_use]
    pub const fn minor_units(&self) -> i64 {
        self.minor_units
    }
}

/// What the batch did to a lot, so that the store writes just what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// As it was loaded.
    None,
    /// Loaded and changed.
    Changed,
    /// Made by this batch.
    New,
}

/// The order in which lots burn: priority, soonest expiry (none last), kind, version of the granting entry.
/// The version makes it total: nothing else is needed.
pub type BurnKey = (Priority, ExpiryKey, GrantKind, i64);

/// An expiry that sorts "never" after every moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpiryKey {
    /// At a moment.
    At(Timestamp),
    /// Never.
    Never,
}

/// One grant and what is left of it. `remaining` includes `held`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    /// Its id.
    pub grant_id: GrantId,
    /// Version of the entry that granted it.
    pub version: i64,
    /// Version of the last entry that touched it.
    pub last_version: i64,
    /// Where it comes from.
    pub kind: GrantKind,
    /// Its place in the burn order.
    pub priority: Priority,
    /// What was granted.
    pub amount: i64,
    /// What is left, held credits included.
    pub remaining: i64,
    /// What holds reserve of `remaining`.
    pub held: i64,
    /// What has expired of it.
    pub expired: i64,
    /// What was revoked of it.
    pub revoked: Revoked,
    /// When it becomes, or became, available.
    pub effective_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether it has become available.
    pub active: bool,
    /// What it cost.
    pub cost_basis: Option<CostBasis>,
    /// What the batch did to it.
    pub change: Change,
}

impl Lot {
    /// Its place in the burn order.
    #[must_use]
    pub fn burn_key(&self) -> BurnKey {
        let expiry = self.expires_at.map_or(ExpiryKey::Never, ExpiryKey::At);
        (self.priority, expiry, self.kind, self.version)
    }

    /// What can be spent of it now.
    #[must_use]
    pub const fn available(&self) -> i64 {
        if self.active { self.remaining.saturating_sub(self.held) } else { 0 }
    }

    /// What no hold reserves, available or scheduled.
    #[must_use]
    pub const fn unheld(&self) -> i64 {
        self.remaining.saturating_sub(self.held)
    }

    /// Whether its time ended by then; held credits live on.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Nothing is left: the lot is closed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// When it changes by itself: activation first, then the expiry of what is not held.
    #[must_use]
    pub const fn due_at(&self) -> Option<Timestamp> {
        if self.is_empty() {
            return None;
        }
        if !self.active {
            return Some(self.effective_at);
        }
        if self.available() > 0 { self.expires_at } else { None }
    }

    /// Marks the lot as touched by the entry of this version.
    pub(crate) fn touch(&mut self, version: i64) {
        self.last_version = version;
        if self.change == Change::None {
            self.change = Change::Changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_kinds_agree_and_follow_the_burn_order() {
        for pair in GrantKind::ALL.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].code() < pair[1].code());
        }
        for kind in GrantKind::ALL {
            assert_eq!(GrantKind::lookup(kind.code()), Some(kind));
        }
        assert_eq!(GrantKind::lookup(0), None);
    }

    #[test]
    fn a_lot_without_expiry_burns_after_one_with() {
        assert!(ExpiryKey::At(Timestamp::from_micros(i64::MAX)) < ExpiryKey::Never);
    }

    #[test]
    fn priorities_run_from_0_to_100() {
        assert!(Priority::try_new(0).is_ok() && Priority::try_new(100).is_ok());
        assert!(Priority::try_new(101).is_err() && Priority::try_new(-1).is_err());
    }
}
