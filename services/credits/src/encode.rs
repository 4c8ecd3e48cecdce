//! Journal entries and balances as the API shows them; what is in them has files of its own.

mod account;
mod grant;
mod hold;

use domain::{AccountId, Crossing, Entry, Figures, Line, Timestamp, Unit};
use prost::Message;
use proto::v1;
use store::StoredBalance;

pub(crate) use account::proto_account;
pub(crate) use grant::{changed_grant, listed_grant, proto_grant};
pub(crate) use hold::{listed_hold, made_hold, proto_hold};

/// An entry as the outbox carries it and streams send it: an encoded `tallystick.credits.v1.Entry`.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    proto_entry(entry).encode_to_vec()
}

pub(crate) fn proto_entry(entry: &Entry) -> v1::Entry {
    v1::Entry {
        account_id: entry.account.to_string(),
        unit: entry.unit.to_string(),
        version: entry.version,
        entry_id: entry.id(),
        kind: i32::from(entry.kind.code()),
        operation_id: entry.operation_id.to_string(),
        operation_index: entry.operation_index,
        operation_size: entry.operation_size,
        available_delta: entry.delta.available,
        held_delta: entry.delta.held,
        scheduled_delta: entry.delta.scheduled,
        debt_delta: entry.delta.debt,
        available: entry.after.available,
        held: entry.after.held,
        scheduled: entry.after.scheduled,
        debt: entry.after.debt,
        lines: entry.lines.iter().map(proto_line).collect(),
        reference: entry.reference.clone(),
        actor: entry.actor.clone(),
        on_behalf_of: entry.on_behalf_of.clone(),
        reason: entry.reason.clone(),
        effective_at: Some(proto_timestamp(entry.effective_at)),
        recorded_at: Some(proto_timestamp(entry.recorded_at)),
        traceparent: entry.traceparent.clone().unwrap_or_default(),
        metadata_digest: entry.metadata_digest.map(|digest| digest.to_vec().into()).unwrap_or_default(),
        entry_hash: entry.hash.0.to_vec().into(),
        crossed: entry.crossed.iter().map(proto_crossing).collect(),
        hold_id: entry.hold_id.map(|hold| hold.to_string()).unwrap_or_default(),
        reversed_entry_id: reversed(entry).unwrap_or_default(),
        revocation: entry.revocation.map(grant::proto_revocation),
        hold_expires_at: entry.hold_expires_at.map(proto_timestamp),
    }
}

pub(crate) fn proto_line(line: &Line) -> v1::EntryLine {
    v1::EntryLine {
        grant_id: line.grant_id.to_string(),
        available_delta: line.available,
        held_delta: line.held,
        scheduled_delta: line.scheduled,
        reclaimed: line.reclaimed,
    }
}

pub(crate) fn proto_crossing(crossing: &Crossing) -> v1::ThresholdCrossing {
    v1::ThresholdCrossing {
        name: crossing.name.clone(),
        at: crossing.at,
        direction: i32::from(crossing.direction.code()),
    }
}

/// An entry names the reversed one by its version alone; the hash chain says which that was.
fn reversed(entry: &Entry) -> Option<String> {
    entry.reverses.map(|version| format!("{}/{version}", entry.unit))
}

/// The balance right after an entry.
pub(crate) fn balance_after(entry: &Entry) -> v1::Balance {
    v1::Balance {
        account_id: entry.account.to_string(),
        unit: entry.unit.to_string(),
        version: entry.version,
        entry_hash: entry.hash.0.to_vec().into(),
        updated_at: Some(proto_timestamp(entry.effective_at)),
        ..figures(entry.after)
    }
}

/// A balance as it was read; one at version 0 never had an entry, so it has no hash and no time.
pub(crate) fn proto_balance(balance: &StoredBalance) -> v1::Balance {
    if balance.version == 0 {
        return empty_balance(&balance.account, &balance.unit);
    }
    v1::Balance {
        account_id: balance.account.to_string(),
        unit: balance.unit.to_string(),
        version: balance.version,
        entry_hash: balance.hash.0.to_vec().into(),
        next_due_at: balance.next_due_at.map(proto_timestamp),
        updated_at: Some(proto_timestamp(balance.last_effective_at)),
        ..figures(balance.figures)
    }
}

/// A balance that never had an entry.
pub(crate) fn empty_balance(account: &AccountId, unit: &Unit) -> v1::Balance {
    v1::Balance { account_id: account.to_string(), unit: unit.to_string(), ..v1::Balance::default() }
}

pub(crate) fn figures(figures: Figures) -> v1::Balance {
    let Figures { available, held, scheduled, debt } = figures;
    v1::Balance { available, held, scheduled, debt, ..v1::Balance::default() }
}

pub(crate) fn proto_timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let micros = moment.micros();
    // Below a million, so the fallback is unreachable.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use domain::{Direction, EntryKind, GrantKind, HoldState};

    use super::*;

    #[test]
    fn the_rules_and_the_api_number_kinds_alike() {
        for kind in EntryKind::ALL {
            let name = v1::EntryKind::try_from(i32::from(kind.code())).unwrap().as_str_name();
            assert_eq!(name.replace('_', ""), format!("ENTRYKIND{}", format!("{kind:?}").to_uppercase()));
        }
        for kind in GrantKind::ALL {
            let name = v1::GrantKind::try_from(i32::from(kind.code())).unwrap().as_str_name();
            assert_eq!(name, format!("GRANT_KIND_{}", format!("{kind:?}").to_uppercase()));
        }
        for state in HoldState::ALL {
            let name = v1::HoldState::try_from(i32::from(state.code())).unwrap().as_str_name();
            assert_eq!(name, format!("HOLD_STATE_{}", state.name()));
        }
        for direction in [Direction::Below, Direction::Rearmed] {
            let name = v1::CrossingDirection::try_from(i32::from(direction.code())).unwrap().as_str_name();
            assert_eq!(name, format!("CROSSING_DIRECTION_{}", format!("{direction:?}").to_uppercase()));
        }
    }

    #[test]
    fn moments_before_1970_count_nanos_forward() {
        let moment = proto_timestamp(Timestamp::from_micros(-1));
        assert_eq!((moment.seconds, moment.nanos), (-1, 999_999_000));
        let moment = proto_timestamp(Timestamp::from_micros(1_500_000));
        assert_eq!((moment.seconds, moment.nanos), (1, 500_000_000));
    }
}
