//! A hold: credits that are reserved for a job, lot by lot, until they are captured, released or out of time.

use crate::id::{GrantId, HoldId};
use crate::limits::MAX_HOLD_LIFETIME_US;
use crate::lot::Change;
use crate::timestamp::Timestamp;

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// Credits are reserved, perhaps none any more.
    Open,
    /// Closed by a final capture.
    Captured,
    /// Closed by a release.
    Released,
    /// Closed by its time.
    Expired,
}

impl HoldState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Captured, Self::Released, Self::Expired];

    /// The number that the API and the database use.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Open => 1,
            Self::Captured => 2,
            Self::Released => 3,
            Self::Expired => 4,
        }
    }

    /// The state of a code.
    #[must_use]
    pub fn lookup(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Upper case, as the API's metadata say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Captured => "CAPTURED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// What a hold reserves of one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLine {
    /// The lot.
    pub grant_id: GrantId,
    /// Credits still reserved of it.
    pub remaining: i64,
}

/// Credits reserved. `remaining` is the sum of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub hold_id: HoldId,
    /// Version of the entry that made it.
    pub version: i64,
    /// Version of the last entry that touched it.
    pub last_version: i64,
    /// Credits reserved at first.
    pub amount: i64,
    /// Credits still reserved.
    pub remaining: i64,
    /// Credits used from it, without overage.
    pub captured: i64,
    /// Where it stands.
    pub state: HoldState,
    /// The lots behind it, in burn order; those that are used up stay with 0.
    pub lines: Vec<HoldLine>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// What the batch did to it.
    pub change: Change,
}

impl Hold {
    /// Whether it can be captured, extended and released.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == HoldState::Open
    }

    /// Credits given back to their lots, or kept by a revocation or a debt when they should have been.
    #[must_use]
    pub const fn released(&self) -> i64 {
        self.amount.saturating_sub(self.captured).saturating_sub(self.remaining)
    }

    /// The latest end that extensions can give it.
    #[must_use]
    pub const fn latest_expires_at(&self) -> Timestamp {
        self.created_at.plus_micros(MAX_HOLD_LIFETIME_US)
    }

    /// When it ends by itself, while it is open.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.is_open().then_some(self.expires_at)
    }

    /// Marks the hold as touched by the entry of this version.
    pub(crate) fn touch(&mut self, version: i64) {
        self.last_version = version;
        if self.change == Change::None {
            self.change = Change::Changed;
        }
    }

    /// Ends it; what it still reserved must have been given back.
    pub(crate) fn close(&mut self, state: HoldState, at: Timestamp) {
        self.state = state;
        self.remaining = 0;
        self.lines.iter_mut().for_each(|line| line.remaining = 0);
        self.closed_at = Some(at);
    }
}
