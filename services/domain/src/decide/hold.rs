//! HoldCredits, CaptureHold, ExtendHold, ReleaseHold.

use super::{DecideError, spend};
use crate::action::{Capture, Extend, NewHold, Release};
use crate::balance::{Balance, Operation, Posting, Stamp};
use crate::denied::Denied;
use crate::draft::Draft;
use crate::entry::{EntryKind, Line};
use crate::hold::{Hold, HoldLine, HoldState};
use crate::id::{GrantId, HoldId};
use crate::limits::MAX_OPEN_HOLDS;
use crate::lot::Change;
use crate::mutants::{self, Mutant};
use crate::timestamp::Timestamp;

pub(super) fn decide_hold(
    balance: &mut Balance,
    new: &NewHold,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    if balance.open_holds >= MAX_OPEN_HOLDS {
        return Err(Denied::TooManyOpenHolds { limit: MAX_OPEN_HOLDS }.into());
    }
    let (available, required) = (balance.figures.available, new.amount);
    if required > available {
        return Err(Denied::InsufficientCredits { available, required }.into());
    }
    let shares = spend::shares(&balance.lots, required)?;
    let taken: Vec<(usize, i64)> = shares.iter().map(|share| (share.place, share.amount)).collect();
    let lines: Vec<HoldLine> = shares
        .iter()
        .map(|share| HoldLine { grant_id: share.lot.grant_id, remaining: share.amount })
        .collect();
    let hold_id = HoldId::from_uuid(stamp.operation_id.uuid());
    let expires_at = stamp.now.plus_micros(new.ttl_us);
    let line = |line: &HoldLine| Line {
        available: -line.remaining,
        held: line.remaining,
        ..Line::of(line.grant_id)
    };
    let mut posting = Posting::of(EntryKind::Hold, stamp.now, lines.iter().map(line).collect());
    (posting.hold_id, posting.hold_expires_at) = (Some(hold_id), Some(expires_at));
    let entries = balance.post(stamp, vec![posting])?;
    for (place, amount) in taken {
        if let Some(lot) = balance.lots.get_mut(place) {
            lot.held += amount;
            lot.touch(balance.version);
        }
    }
    let hold = Hold {
        hold_id,
        version: balance.version,
        last_version: balance.version,
        amount: required,
        remaining: required,
        captured: 0,
        state: HoldState::Open,
        lines,
        created_at: stamp.now,
        expires_at,
        closed_at: None,
        change: Change::New,
    };
    balance.open_holds = balance.open_holds.saturating_add(1);
    balance.holds.push(hold.clone());
    Ok(Operation { hold: Some(hold), ..Operation::of(stamp.operation_id, entries) })
}

/// The open hold of this id, by its place.
fn find_open(balance: &Balance, hold_id: HoldId) -> Result<(usize, &Hold), Denied> {
    let found = balance.holds.iter().enumerate().find(|(_, hold)| hold.hold_id == hold_id);
    let (place, hold) = found.ok_or(Denied::HoldNotFound { hold_id })?;
    match hold.state {
        HoldState::Open => Ok((place, hold)),
        HoldState::Expired => Err(Denied::HoldExpired { hold_id, expired_at_us: hold.expires_at.micros() }),
        state @ (HoldState::Captured | HoldState::Released) => Err(Denied::HoldClosed { hold_id, state }),
    }
}

pub(super) fn decide_capture(
    balance: &mut Balance,
    capture: &Capture,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let (place, hold) = find_open(balance, capture.hold_id)?;
    let overage = capture.amount.saturating_sub(hold.remaining).max(0);
    if overage > 0 && !capture.allow_overage && !mutants::is(Mutant::CaptureBeyondHold) {
        let (remaining, required) = (hold.remaining, capture.amount);
        return Err(Denied::HoldExceeded { remaining, required }.into());
    }
    let available = balance.figures.available;
    if overage > available {
        return Err(Denied::InsufficientCredits { available, required: overage }.into());
    }

    let mut draft = Draft::of(balance, |_| false);
    let mut lines = capture_lines(&mut draft, place, capture.amount.saturating_sub(overage))?;
    overage_lines(&mut draft, overage, &mut lines)?;
    let version = draft.next_version();
    draft.post(Posting::of(EntryKind::Capture, stamp.now, lines).with_hold(capture.hold_id));
    let hold = hold_at(&mut draft, place)?;
    hold.touch(version);
    if capture.is_final {
        if hold.remaining > 0 {
            release(&mut draft, place, EntryKind::Release, stamp.now)?;
        }
        close(&mut draft, place, HoldState::Captured, stamp.now)?;
    }
    finish(draft, balance, place, stamp)
}

/// Uses `amount` of the hold's own lines, in burn order.
fn capture_lines(draft: &mut Draft, place: usize, amount: i64) -> Result<Vec<Line>, DecideError> {
    let mut left = amount;
    let mut lines = Vec::new();
    let hold = hold_at(draft, place)?;
    for line in &mut hold.lines {
        let taken = left.min(line.remaining);
        if taken > 0 {
            left -= taken;
            line.remaining -= taken;
            lines.push(Line { held: -taken, ..Line::of(line.grant_id) });
        }
    }
    hold.remaining -= amount;
    hold.captured += amount;
    for line in &lines {
        let lot = draft.lot(line.grant_id)?;
        lot.held += line.held;
        lot.remaining += line.held;
    }
    Ok(lines)
}

/// Burns what is beyond the hold; a lot that gave held credits too has one line for both.
fn overage_lines(draft: &mut Draft, overage: i64, lines: &mut Vec<Line>) -> Result<(), DecideError> {
    let shares = spend::shares(draft.lots(), overage)?;
    let shares: Vec<(GrantId, i64)> = shares.iter().map(|share| (share.lot.grant_id, share.amount)).collect();
    for (grant_id, amount) in shares {
        draft.lot(grant_id)?.remaining -= amount;
        match lines.iter_mut().find(|line| line.grant_id == grant_id) {
            Some(line) => line.available -= amount,
            None => lines.push(Line { available: -amount, ..Line::of(grant_id) }),
        }
    }
    Ok(())
}

pub(super) fn decide_extend(
    balance: &mut Balance,
    extend: &Extend,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let hold_id = extend.hold_id;
    let (place, hold) = find_open(balance, hold_id)?;
    let wanted = stamp.now.plus_micros(extend.ttl_us);
    let latest = hold.latest_expires_at();
    if wanted > latest {
        return Err(Denied::HoldLifetimeExceeded { hold_id, latest_us: latest.micros() }.into());
    }
    // A heartbeat that comes late must not shorten what a later one has won.
    let shortens = mutants::is(Mutant::ExtensionShortens);
    let expires_at = if shortens { wanted } else { hold.expires_at.max(wanted) };
    let mut posting = Posting::of(EntryKind::HoldExtension, stamp.now, Vec::new()).with_hold(hold_id);
    posting.hold_expires_at = Some(expires_at);
    let entries = balance.post(stamp, vec![posting])?;
    let version = balance.version;
    let hold = balance.holds.get_mut(place).ok_or(NO_HOLD)?;
    hold.expires_at = expires_at;
    hold.touch(version);
    let hold = Some(hold.clone());
    Ok(Operation { hold, ..Operation::of(stamp.operation_id, entries) })
}

pub(super) fn decide_release(
    balance: &mut Balance,
    released: &Release,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let (place, _) = find_open(balance, released.hold_id)?;
    let mut draft = Draft::of(balance, |_| false);
    release(&mut draft, place, EntryKind::Release, stamp.now)?;
    close(&mut draft, place, HoldState::Released, stamp.now)?;
    finish(draft, balance, place, stamp)
}

const NO_HOLD: DecideError = DecideError::Broken("a hold has no place in its balance");

fn hold_at(draft: &mut Draft, place: usize) -> Result<&mut Hold, DecideError> {
    draft.balance.holds.get_mut(place).ok_or(NO_HOLD)
}

/// Gives all that a hold reserves back to its lots, last line first, by an entry of this kind; a lot that ended
/// meanwhile ends now, by an entry of its own.
pub(crate) fn release(
    draft: &mut Draft,
    place: usize,
    kind: EntryKind,
    at: Timestamp,
) -> Result<(), DecideError> {
    let version = draft.next_version();
    let debt = draft.debt;
    let hold = hold_at(draft, place)?;
    hold.touch(version);
    let hold_id = hold.hold_id;
    let given: Vec<HoldLine> = hold.lines.iter().rev().filter(|line| line.remaining > 0).copied().collect();
    let lines: Vec<Line> = given
        .iter()
        .map(|line| draft.unhold(line.grant_id, line.remaining))
        .collect::<Result<_, DecideError>>()?;
    let repaid = draft.debt - debt;
    draft.post(Posting::of(kind, at, lines).with_debt(repaid).with_hold(hold_id));
    let lots: Vec<GrantId> = given.iter().map(|line| line.grant_id).collect();
    draft.expire(&lots, at)
}

/// Ends a hold that reserves nothing any more.
pub(crate) fn close(
    draft: &mut Draft,
    place: usize,
    state: HoldState,
    at: Timestamp,
) -> Result<(), DecideError> {
    hold_at(draft, place)?.close(state, at);
    draft.balance.open_holds = draft.balance.open_holds.saturating_sub(1);
    Ok(())
}

fn finish(
    draft: Draft,
    balance: &mut Balance,
    place: usize,
    stamp: Stamp<'_>,
) -> Result<Operation, DecideError> {
    let entries = draft.finish(balance, stamp, None)?;
    let hold = balance.holds.get(place).cloned();
    Ok(Operation { hold, ..Operation::of(stamp.operation_id, entries) })
}
