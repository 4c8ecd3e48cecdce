//! What a command does, each with its own limits and its part of the fingerprint.

use crate::canonical::Canonical;
use crate::id::{EntryRef, GrantId, HoldId, Invalid, Problem};
use crate::limits::*;
use crate::lot::{CostBasis, GrantKind, Priority};
use crate::revocation::Shortfall;
use crate::timestamp::Timestamp;

/// When a grant ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At a moment.
    At(Timestamp),
    /// This many seconds after it takes effect (the catalogue's packs).
    AfterSeconds(i64),
}

/// A new lot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// How much, in the unit's smallest step.
    pub amount: i64,
    /// Where it comes from.
    pub kind: GrantKind,
    /// When it burns, relative to the others.
    pub priority: Priority,
    /// When it becomes available; `None` or a past moment: at once.
    pub effective_at: Option<Timestamp>,
    /// When it ends.
    pub expiry: Expiry,
    /// What it cost.
    pub cost_basis: Option<CostBasis>,
}

/// Credits used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// How much, in the unit's smallest step.
    pub amount: i64,
    /// Take what there is when it is less.
    pub allow_partial: bool,
}

/// Credits to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHold {
    /// How much, in the unit's smallest step.
    pub amount: i64,
    /// Time to its end, in microseconds.
    pub ttl_us: i64,
}

/// Held credits used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Of which hold.
    pub hold_id: HoldId,
    /// How much, in the unit's smallest step; 0 only when it is final.
    pub amount: i64,
    /// Close the hold; the rest goes back to its lots.
    pub is_final: bool,
    /// Take what is beyond the hold from what is available.
    pub allow_overage: bool,
}

/// A later end for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    /// Which hold.
    pub hold_id: HoldId,
    /// Time to its new end, in microseconds.
    pub ttl_us: i64,
}

/// A hold given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which hold.
    pub hold_id: HoldId,
}

/// A spend or capture given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// The entry of the spend or capture.
    pub entry: EntryRef,
    /// How much; `None`: all that is left to give back.
    pub amount: Option<i64>,
}

/// A grant taken back, or a revocation undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoke {
    /// Which grant.
    pub grant_id: GrantId,
    /// How much of it shall be revoked in all.
    pub revoked: i64,
    /// What to do about credits that are gone; `None`: as configured.
    pub shortfall: Option<Shortfall>,
}

/// An operator's correction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// Credits to add or to take; not 0.
    pub delta: i64,
    /// When what was added ends.
    pub expires_at: Option<Timestamp>,
}

const fn check_range(field: &'static str, value: i64, min: i64, max: i64) -> Result<(), Invalid> {
    if value < min || value > max {
        return Err(Invalid::new(field, Problem::OutOfRange { min, max, actual: value }));
    }
    Ok(())
}

/// Checks an amount.
///
/// # Errors
/// [`Invalid`] for `amount` outside 1..=10^15.
const fn check_amount(amount: i64) -> Result<(), Invalid> {
    check_range("amount", amount, MIN_AMOUNT, MAX_AMOUNT)
}

fn check_ttl(ttl_us: i64) -> Result<(), Invalid> {
    if !(MIN_HOLD_TTL_US..=MAX_HOLD_LIFETIME_US).contains(&ttl_us) {
        return Err(Invalid::new("ttl", Problem::Rule("must be between 1 s and 30 days")));
    }
    Ok(())
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// GrantCredits.
    Grant(Grant),
    /// SpendCredits.
    Spend(Spend),
    /// HoldCredits.
    Hold(NewHold),
    /// CaptureHold.
    Capture(Capture),
    /// ExtendHold.
    Extend(Extend),
    /// ReleaseHold.
    Release(Release),
    /// ReverseSpend.
    Reverse(Reverse),
    /// RevokeGrant.
    Revoke(Revoke),
    /// AdjustCredits.
    Adjust(Adjust),
}

impl Action {
    /// The RPC's name, as it goes into the fingerprint.
    #[must_use]
    pub const fn rpc(&self) -> &'static str {
        match self {
            Self::Grant(_) => "GrantCredits",
            Self::Spend(_) => "SpendCredits",
            Self::Hold(_) => "HoldCredits",
            Self::Capture(_) => "CaptureHold",
            Self::Extend(_) => "ExtendHold",
            Self::Release(_) => "ReleaseHold",
            Self::Reverse(_) => "ReverseSpend",
            Self::Revoke(_) => "RevokeGrant",
            Self::Adjust(_) => "AdjustCredits",
        }
    }

    /// The most that the command can burn from lots in burn order: what must be loaded of them.
    #[must_use]
    pub const fn demand(&self) -> i64 {
        match self {
            Self::Spend(spend) => spend.amount,
            Self::Hold(hold) => hold.amount,
            Self::Capture(capture) if capture.allow_overage => capture.amount,
            Self::Revoke(revoke) => revoke.revoked,
            Self::Adjust(adjust) if adjust.delta < 0 => adjust.delta.saturating_neg(),
            Self::Grant(_)
            | Self::Capture(_)
            | Self::Extend(_)
            | Self::Release(_)
            | Self::Reverse(_)
            | Self::Adjust(_) => 0,
        }
    }

    /// The hold that the command names.
    #[must_use]
    pub const fn hold_id(&self) -> Option<HoldId> {
        match self {
            Self::Capture(Capture { hold_id, .. })
            | Self::Extend(Extend { hold_id, .. })
            | Self::Release(Release { hold_id }) => Some(*hold_id),
            _ => None,
        }
    }

    /// # Errors
    /// [`Invalid`] for a field outside its limits.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Grant(grant) => check_grant(grant),
            Self::Spend(spend) => check_amount(spend.amount),
            Self::Hold(hold) => check_amount(hold.amount).and(check_ttl(hold.ttl_us)),
            Self::Capture(capture) => {
                let min = if capture.is_final { 0 } else { MIN_AMOUNT };
                check_range("amount", capture.amount, min, MAX_AMOUNT)
            }
            Self::Extend(extend) => check_ttl(extend.ttl_us),
            Self::Release(_) => Ok(()),
            Self::Reverse(reverse) => reverse.amount.map_or(Ok(()), check_amount),
            Self::Revoke(revoke) => check_range("revoked", revoke.revoked, 0, MAX_AMOUNT),
            Self::Adjust(adjust) => check_adjust(adjust),
        }
    }

    pub(crate) fn feed(&self, canonical: &mut Canonical) {
        match self {
            Self::Grant(grant) => feed_grant(canonical, grant),
            Self::Spend(spend) => {
                canonical.int(spend.amount).int(i64::from(spend.allow_partial));
            }
            Self::Hold(hold) => {
                canonical.int(hold.amount).int(hold.ttl_us);
            }
            Self::Capture(capture) => {
                canonical.bytes(capture.hold_id.uuid().as_bytes()).int(capture.amount);
                canonical.int(i64::from(capture.is_final)).int(i64::from(capture.allow_overage));
            }
            Self::Extend(extend) => {
                canonical.bytes(extend.hold_id.uuid().as_bytes()).int(extend.ttl_us);
            }
            Self::Release(release) => {
                canonical.bytes(release.hold_id.uuid().as_bytes());
            }
            Self::Reverse(reverse) => {
                canonical.int(reverse.entry.version).bytes(&reverse.entry.digits);
                canonical.optional_int(reverse.amount);
            }
            Self::Revoke(revoke) => {
                canonical.bytes(revoke.grant_id.uuid().as_bytes()).int(revoke.revoked);
                canonical.optional_int(revoke.shortfall.map(|policy| i64::from(policy.code())));
            }
            Self::Adjust(adjust) => {
                canonical.int(adjust.delta).optional_int(adjust.expires_at.map(Timestamp::micros));
            }
        }
    }
}

fn check_grant(grant: &Grant) -> Result<(), Invalid> {
    check_amount(grant.amount)?;
    if let Some(moment) = grant.effective_at {
        check_moment("effective_at", moment)?;
    }
    match grant.expiry {
        Expiry::Never => Ok(()),
        Expiry::At(moment) => check_moment("expires_at", moment),
        Expiry::AfterSeconds(seconds) => {
            check_moment("expires_at", Timestamp::from_micros(0).plus_seconds(seconds))
        }
    }
}

fn check_adjust(adjust: &Adjust) -> Result<(), Invalid> {
    if adjust.delta == 0 {
        return Err(Invalid::new("delta", Problem::Rule("must not be 0")));
    }
    check_range("delta", adjust.delta, -MAX_AMOUNT, MAX_AMOUNT)?;
    match adjust.expires_at {
        None => Ok(()),
        Some(_) if adjust.delta < 0 => {
            Err(Invalid::new("expires_at", Problem::Rule("is only for credits that are added")))
        }
        Some(moment) => check_moment("expires_at", moment),
    }
}

const fn check_moment(field: &'static str, moment: Timestamp) -> Result<(), Invalid> {
    let micros = moment.micros();
    if micros < 0 || micros > MAX_TIMESTAMP_US {
        let rule = "must be a moment between the years 1970 and 9999";
        return Err(Invalid::new(field, Problem::Rule(rule)));
    }
    Ok(())
}

fn feed_grant(canonical: &mut Canonical, grant: &Grant) {
    canonical.int(grant.amount).int(i64::from(grant.kind.code())).int(i64::from(grant.priority.get()));
    canonical.optional_int(grant.effective_at.map(Timestamp::micros));
    match grant.expiry {
        Expiry::Never => canonical.int(0),
        Expiry::At(moment) => canonical.int(1).int(moment.micros()),
        Expiry::AfterSeconds(seconds) => canonical.int(2).int(seconds),
    };
    match &grant.cost_basis {
        None => canonical.int(0),
        Some(cost) => canonical.int(1).text(cost.currency()).int(cost.minor_units()),
    };
}
