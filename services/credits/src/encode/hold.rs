//! Holds as the API shows them.

use domain::{AccountId, Context, Entry, Hold, HoldLine, Unit};
use proto::v1;
use store::StoredHold;

use super::proto_timestamp;

/// A hold as it was right after the operation that made it; `entry` is the operation's own.
pub(crate) fn made_hold(hold: &Hold, entry: &Entry, context: &Context) -> v1::Hold {
    v1::Hold {
        reference: context.reference.clone(),
        metadata: context.metadata.pairs().clone().into_iter().collect(),
        ..proto_hold(hold, entry)
    }
}

/// A hold as it stands, with the notes of the call that made it.
pub(crate) fn listed_hold(account: &AccountId, unit: &Unit, stored: StoredHold) -> v1::Hold {
    v1::Hold {
        reference: stored.reference,
        metadata: stored.metadata.into_iter().collect(),
        ..of_balance(account, unit, &stored.hold)
    }
}

/// A hold as it was right after an entry that changed it, without the notes of the call that made it: they are not
/// worth a read of the journal at every heartbeat.
pub(crate) fn proto_hold(hold: &Hold, entry: &Entry) -> v1::Hold {
    of_balance(&entry.account, &entry.unit, hold)
}

fn of_balance(account: &AccountId, unit: &Unit, hold: &Hold) -> v1::Hold {
    let line =
        |line: &HoldLine| v1::HoldLine { grant_id: line.grant_id.to_string(), remaining: line.remaining };
    v1::Hold {
        hold_id: hold.hold_id.to_string(),
        account_id: account.to_string(),
        unit: unit.to_string(),
        amount: hold.amount,
        remaining: hold.remaining,
        captured: hold.captured,
        released: hold.released(),
        state: i32::from(hold.state.code()),
        expires_at: Some(proto_timestamp(hold.expires_at)),
        latest_expires_at: Some(proto_timestamp(hold.latest_expires_at())),
        created_at: Some(proto_timestamp(hold.created_at)),
        closed_at: hold.closed_at.map(proto_timestamp),
        lines: hold.lines.iter().map(line).collect(),
        hold_version: hold.version,
        ..v1::Hold::default()
    }
}
