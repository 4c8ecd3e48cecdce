//! An entry as the rules know it, from one as the API shows it.

use domain::{
    AccountId, Crossing, Direction, Entry, EntryHash, EntryKind, Figures, Line, Parts, Timestamp, Unit,
};
use prost::Message;
use proto::v1;

/// The entry.
///
/// # Errors
/// A sentence with the field that no service would have written.
pub(super) fn entry(message: &v1::Entry) -> Result<Entry, String> {
    let invalid = |invalid: domain::Invalid| format!("{} {}", invalid.field, invalid.problem);
    Ok(Entry {
        account: AccountId::try_new(message.account_id.as_str()).map_err(invalid)?,
        unit: Unit::try_new(message.unit.as_str()).map_err(invalid)?,
        version: message.version,
        operation_id: message.operation_id.parse().map_err(invalid)?,
        operation_index: message.operation_index,
        operation_size: message.operation_size,
        kind: i16::try_from(message.kind)
            .ok()
            .and_then(EntryKind::lookup)
            .ok_or("kind is none that this version knows")?,
        delta: Figures {
            available: message.available_delta,
            held: message.held_delta,
            scheduled: message.scheduled_delta,
            debt: message.debt_delta,
        },
        after: Figures {
            available: message.available,
            held: message.held,
            scheduled: message.scheduled,
            debt: message.debt,
        },
        lines: message
            .lines
            .iter()
            .map(|line| self::line(line).map_err(invalid))
            .collect::<Result<_, _>>()?,
        reference: message.reference.clone(),
        actor: message.actor.clone(),
        on_behalf_of: message.on_behalf_of.clone(),
        reason: message.reason.clone(),
        effective_at: moment(message.effective_at.as_ref()).ok_or("effective_at is missing")?,
        recorded_at: moment(message.recorded_at.as_ref()).ok_or("recorded_at is missing")?,
        traceparent: Some(message.traceparent.clone()).filter(|trace| !trace.is_empty()),
        metadata_digest: digest(&message.metadata_digest, "metadata_digest")?,
        hold_id: match message.hold_id.as_str() {
            "" => None,
            id => Some(id.parse().map_err(invalid)?),
        },
        hold_expires_at: moment(message.hold_expires_at.as_ref()),
        reverses: match message.reversed_entry_id.rsplit_once('/') {
            None => None,
            Some((_, version)) => Some(version.parse().map_err(|_| "reversed_entry_id is none")?),
        },
        crossed: message.crossed.iter().map(crossing).collect::<Option<_>>().ok_or("crossed is unknown")?,
        revocation: message.revocation.as_ref().map(|parts| Parts {
            expired: parts.expired,
            taken: parts.taken,
            owed: parts.owed,
            forgiven: parts.forgiven,
        }),
        hash: EntryHash(digest(&message.entry_hash, "entry_hash")?.ok_or("entry_hash is missing")?),
    })
}

/// Whether the entry, shown again, is the message: no hash covers `entry_id`, a unit left out, or a part of a
/// microsecond, and these must not say something else.
pub(super) fn is_shown_as(entry: &Entry, message: &v1::Entry) -> bool {
    credits::encode_entry(entry) == message.encode_to_vec()
}

fn line(line: &v1::EntryLine) -> Result<Line, domain::Invalid> {
    Ok(Line {
        grant_id: line.grant_id.parse()?,
        available: line.available_delta,
        held: line.held_delta,
        scheduled: line.scheduled_delta,
        reclaimed: line.reclaimed,
    })
}

fn crossing(crossing: &v1::ThresholdCrossing) -> Option<Crossing> {
    let direction = i16::try_from(crossing.direction).ok().and_then(Direction::lookup)?;
    Some(Crossing { name: crossing.name.clone(), at: crossing.at, direction })
}

/// To the microsecond, as the journal counts.
fn moment(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let at = at?;
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos) / 1_000)?;
    Some(Timestamp::from_micros(micros))
}

fn digest(bytes: &[u8], field: &str) -> Result<Option<[u8; 32]>, String> {
    match bytes {
        [] => Ok(None),
        bytes => bytes.try_into().map(Some).map_err(|_| format!("{field} must have 32 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> v1::Entry {
        let mut entry = Entry {
            account: AccountId::try_new("user_1").unwrap(),
            unit: Unit::try_new("").unwrap(),
            version: 1,
            operation_id: domain::OperationId::from_uuid(uuid::Uuid::from_u128(7)),
            operation_index: 0,
            operation_size: 1,
            kind: EntryKind::Adjustment,
            delta: Figures::default(),
            after: Figures::default(),
            lines: Vec::new(),
            reference: "order".to_owned(),
            actor: "shop".to_owned(),
            on_behalf_of: String::new(),
            reason: String::new(),
            effective_at: Timestamp::from_micros(1),
            recorded_at: Timestamp::from_micros(2),
            traceparent: None,
            metadata_digest: Some([3; 32]),
            hold_id: Some(domain::HoldId::from_uuid(uuid::Uuid::from_u128(8))),
            hold_expires_at: Some(Timestamp::from_micros(3)),
            reverses: Some(4),
            crossed: vec![Crossing { name: "low".to_owned(), at: 5, direction: Direction::Below }],
            revocation: Some(Parts { expired: 1, taken: 2, owed: 3, forgiven: 4 }),
            hash: EntryHash::default(),
        };
        entry.hash = entry.chained(EntryHash::default());
        v1::Entry::decode(credits::encode_entry(&entry).as_slice()).unwrap()
    }

    #[test]
    fn an_entry_is_read_back_whole() {
        let message = message();
        assert!(is_shown_as(&entry(&message).unwrap(), &message));
    }

    #[test]
    fn what_no_service_writes_is_named() {
        type Change = fn(&mut v1::Entry);
        let changes: [(Change, &str); 3] = [
            (|entry| entry.account_id.clear(), "account_id"),
            (|entry| entry.kind = 99, "kind"),
            (|entry| entry.entry_hash = vec![1].into(), "entry_hash must have 32 bytes"),
        ];
        for (change, expected) in changes {
            let mut changed = message();
            change(&mut changed);
            let problem = entry(&changed).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn what_no_hash_covers_is_compared() {
        let changes: [fn(&mut v1::Entry); 4] = [
            |entry| entry.entry_id.push('0'),
            |entry| entry.unit.clear(),
            |entry| "other/4".clone_into(&mut entry.reversed_entry_id),
            |entry| entry.effective_at.as_mut().unwrap().nanos += 1,
        ];
        for change in changes {
            let mut changed = message();
            change(&mut changed);
            assert!(!is_shown_as(&entry(&changed).unwrap(), &changed), "{changed:?}");
        }
    }
}
