//! Lots as the API shows them.

use domain::{AccountId, Context, Entry, Lot, Parts, Unit};
use proto::v1;
use store::StoredGrant;

use super::proto_timestamp;

/// A lot as it was right after the operation that made it; `entry` is the operation's own. A replay has the same notes,
/// since the request's fingerprint covers them.
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

/// A lot as it was right after `entry`, which changed it, with what its granting call brought. The lot may have been
/// filled and emptied since: what was empty then was so by that entry's time at the latest.
pub(crate) fn changed_grant(lot: &Lot, entry: &Entry, stored: StoredGrant) -> v1::Grant {
    let closed_at = stored.closed_at.filter(|at| *at <= entry.recorded_at).unwrap_or(entry.recorded_at);
    v1::Grant {
        closed_at: lot.is_empty().then(|| proto_timestamp(closed_at)),
        ..listed_grant(&entry.account, &entry.unit, StoredGrant { lot: lot.clone(), ..stored })
    }
}

/// What the lot itself says.
fn of_lot(lot: &Lot) -> v1::Grant {
    let cost = |cost: &domain::CostBasis| v1::CostBasis {
        currency: cost.currency().to_owned(),
        minor_units: cost.minor_units(),
    };
    let revoked = lot.revoked.total();
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
        revoked,
        revocation: (revoked != 0).then(|| proto_revocation(lot.revoked.parts())),
        ..v1::Grant::default()
    }
}

pub(super) const fn proto_revocation(parts: Parts) -> v1::Revocation {
    let Parts { expired, taken, owed, forgiven } = parts;
    v1::Revocation { expired, taken, owed, forgiven }
}
