//! Journal entries, balances and lots as the API shows them.

use domain::{AccountId, Context, Entry, Figures, Lot, Timestamp, Unit};
use prost::Message;
use proto::v1;
use store::{StoredBalance, StoredGrant};

/// An entry as the outbox carries it and streams send it: an encoded `tallystick.credits.v1.Entry`.
#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    proto_entry(entry).encode_to_vec()
}

pub(crate) fn proto_entry(entry: &Entry) -> v1::Entry {
    let line = |line: &domain::Line| v1::EntryLine {
        grant_id: line.grant_id.to_string(),
        available_delta: line.available,
        held_delta: line.held,
        scheduled_delta: line.scheduled,
        reclaimed: 0,
    };
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
        lines: entry.lines.iter().map(line).collect(),
        reference: entry.reference.clone(),
        actor: entry.actor.clone(),
        on_behalf_of: entry.on_behalf_of.clone(),
        reason: entry.reason.clone(),
        effective_at: Some(proto_timestamp(entry.effective_at)),
        recorded_at: Some(proto_timestamp(entry.recorded_at)),
        traceparent: entry.traceparent.clone().unwrap_or_default(),
        metadata_digest: entry.metadata_digest.map(|digest| digest.to_vec().into()).unwrap_or_default(),
        entry_hash: entry.hash.0.to_vec().into(),
        ..v1::Entry::default()
    }
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

fn figures(figures: Figures) -> v1::Balance {
    let Figures { available, held, scheduled, debt } = figures;
    v1::Balance { available, held, scheduled, debt, ..v1::Balance::default() }
}

/// A lot as it was right after the operation that granted it; `entry` is the grant's own. A replay has the same
/// notes, since the request's fingerprint covers them.
pub(crate) fn proto_grant(lot: &Lot, entry: &Entry, context: &Context) -> v1::Grant {
    v1::Grant {
        account_id: entry.account.to_string(),
        unit: entry.unit.to_string(),
        reference: context.reference.clone(),
        metadata: context.metadata.pairs().clone().into_iter().collect(),
        created_at: Some(proto_timestamp(entry.recorded_at)),
        // Debt took all of it.
        closed_at: lot.is_empty().then(|| proto_timestamp(entry.recorded_at)),
        ..of_lot(lot)
    }
}

/// A lot as it stands, with what its granting call brought.
pub(crate) fn listed_grant(account: &AccountId, unit: &Unit, grant: StoredGrant) -> v1::Grant {
    v1::Grant {
        account_id: account.to_string(),
        unit: unit.to_string(),
        reference: grant.reference,
        metadata: grant.metadata.into_iter().collect(),
        created_at: Some(proto_timestamp(grant.created_at)),
        closed_at: grant.closed_at.map(proto_timestamp),
        ..of_lot(&grant.lot)
    }
}

/// What the lot itself says.
fn of_lot(lot: &Lot) -> v1::Grant {
    let cost = |cost: &domain::CostBasis| v1::CostBasis {
        currency: cost.currency().to_owned(),
        minor_units: cost.minor_units(),
    };
    v1::Grant {
        grant_id: lot.grant_id.to_string(),
        amount: lot.amount,
        remaining: lot.remaining,
        kind: i32::from(lot.kind.code()),
        priority: i32::from(lot.priority.get()),
        effective_at: Some(proto_timestamp(lot.effective_at)),
        expires_at: lot.expires_at.map(proto_timestamp),
        cost_basis: lot.cost_basis.as_ref().map(cost),
        grant_version: lot.version,
        held: lot.held,
        ..v1::Grant::default()
    }
}

fn proto_timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let micros = moment.micros();
    // Below a million, so the fallback is unreachable.
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use domain::{EntryKind, GrantKind};

    use super::*;

    #[test]
    fn the_rules_and_the_api_number_kinds_alike() {
        for kind in EntryKind::ALL {
            let name = v1::EntryKind::try_from(i32::from(kind.code())).unwrap().as_str_name();
            assert_eq!(name, format!("ENTRY_KIND_{}", format!("{kind:?}").to_uppercase()));
        }
        for kind in GrantKind::ALL {
            let name = v1::GrantKind::try_from(i32::from(kind.code())).unwrap().as_str_name();
            assert_eq!(name, format!("GRANT_KIND_{}", format!("{kind:?}").to_uppercase()));
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
