//! An exported journal, line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use domain::{
    AccountId, Crossing, Direction, Entry, EntryHash, EntryKind, Figures, JournalCheck, Line, Parts,
    Timestamp, Unit,
};
use proto::v1;

use crate::error::Error;
use crate::output::json;

/// The longest line: an entry over all 10,000 lots of a balance fits.
const MAX_LINE_BYTES: u64 = 4 << 20;
/// Most balances of one file: one account has few units.
const MAX_BALANCES: usize = 1000;

/// Checks every line, and says what was found.
///
/// # Errors
/// [`Error::File`] with the number of a line that is no entry; [`Error::NotVerified`] with the first difference.
pub(super) fn verify(mut reader: impl BufRead, path: &Path) -> Result<String, Error> {
    let mut checks: BTreeMap<(String, String), JournalCheck> = BTreeMap::new();
    let (mut number, mut entries) = (0_u64, 0_u64);
    loop {
        let mut bytes = Vec::new();
        number += 1;
        let at_line = |problem: &str| fault(path, &format!("line {number} {problem}"));
        let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| at_line(&format!("cannot be read: {source}")))?;
        if read == 0 {
            break;
        }
        if u64::try_from(read).is_ok_and(|read| read > MAX_LINE_BYTES) {
            return Err(at_line(&format!("is longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| at_line("is not UTF-8"))?.trim();
        if text.is_empty() {
            continue;
        }
        let entry: v1::Entry =
            json::decode("Entry", text).map_err(|problem| at_line(&format!("is no entry: {problem}")))?;
        let entry = to_entry(entry).ok_or_else(|| at_line("is no entry: a field has no usable value"))?;
        let key = (entry.account.to_string(), entry.unit.to_string());
        if !checks.contains_key(&key) && checks.len() >= MAX_BALANCES {
            return Err(at_line(&format!("is of another balance; a file may have {MAX_BALANCES}")));
        }
        let check =
            checks.entry(key).or_insert_with(|| JournalCheck::new(entry.account.clone(), entry.unit.clone()));
        check.check(&entry).map_err(Error::NotVerified)?;
        entries += 1;
    }
    if let Some(cut) = checks.values().find(|check| !check.is_whole()) {
        let what = "the end of the last operation";
        return Err(Error::NotVerified(cut.difference(
            cut.version(),
            what,
            "whole".to_owned(),
            "cut off".to_owned(),
        )));
    }
    Ok(told(entries, &checks))
}

fn told(entries: u64, checks: &BTreeMap<(String, String), JournalCheck>) -> String {
    let mut lines =
        vec![format!("entries {entries}, balances {}: every hash and figure is right", checks.len())];
    for ((account, unit), check) in checks {
        let Figures { available, held, scheduled, debt } = check.figures();
        lines.push(format!(
            "{account} {unit} at version {}: {available} available, {held} held, {scheduled} scheduled, {debt} owed; \
             entry_hash {:?}",
            check.version(),
            check.hash()
        ));
    }
    lines.join("\n")
}

pub(super) fn fault(path: &Path, problem: &str) -> Error {
    Error::File { setting: "--file", path: path.to_path_buf(), problem: problem.to_owned() }
}

/// `None` when a field means nothing to the rules.
fn to_entry(entry: v1::Entry) -> Option<Entry> {
    let unit = Unit::try_new(entry.unit).ok()?;
    let reverses = match entry.reversed_entry_id.as_str() {
        "" => None,
        // "<unit>/<version>"
        name => Some(name.strip_prefix(unit.as_str())?.strip_prefix('/')?.parse().ok()?),
    };
    Some(Entry {
        account: AccountId::try_new(entry.account_id).ok()?,
        version: entry.version,
        operation_id: entry.operation_id.parse().ok()?,
        operation_index: entry.operation_index,
        operation_size: entry.operation_size,
        kind: EntryKind::lookup(i16::try_from(entry.kind).ok()?)?,
        delta: Figures {
            available: entry.available_delta,
            held: entry.held_delta,
            scheduled: entry.scheduled_delta,
            debt: entry.debt_delta,
        },
        after: Figures {
            available: entry.available,
            held: entry.held,
            scheduled: entry.scheduled,
            debt: entry.debt,
        },
        lines: entry.lines.into_iter().map(to_line).collect::<Option<_>>()?,
        reference: entry.reference,
        actor: entry.actor,
        on_behalf_of: entry.on_behalf_of,
        reason: entry.reason,
        effective_at: to_moment(entry.effective_at?)?,
        recorded_at: to_moment(entry.recorded_at?)?,
        traceparent: None,
        metadata_digest: match entry.metadata_digest.len() {
            0 => None,
            _ => Some(entry.metadata_digest.as_ref().try_into().ok()?),
        },
        hold_id: (!entry.hold_id.is_empty()).then(|| entry.hold_id.parse()).transpose().ok()?,
        hold_expires_at: match entry.hold_expires_at {
            None => None,
            Some(moment) => Some(to_moment(moment)?),
        },
        reverses,
        crossed: entry.crossed.into_iter().map(to_crossing).collect::<Option<_>>()?,
        revocation: entry.revocation.map(|parts| Parts {
            expired: parts.expired,
            taken: parts.taken,
            owed: parts.owed,
            forgiven: parts.forgiven,
        }),
        hash: EntryHash(entry.entry_hash.as_ref().try_into().ok()?),
        unit,
    })
}

fn to_line(line: v1::EntryLine) -> Option<Line> {
    Some(Line {
        grant_id: line.grant_id.parse().ok()?,
        available: line.available_delta,
        held: line.held_delta,
        scheduled: line.scheduled_delta,
        reclaimed: line.reclaimed,
    })
}

fn to_crossing(crossing: v1::ThresholdCrossing) -> Option<Crossing> {
    let direction = Direction::lookup(i16::try_from(crossing.direction).ok()?)?;
    Some(Crossing { name: crossing.name, at: crossing.at, direction })
}

fn to_moment(moment: prost_types::Timestamp) -> Option<Timestamp> {
    let micros = moment.seconds.checked_mul(1_000_000)?.checked_add(i64::from(moment.nanos / 1_000))?;
    Some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<String, String> {
        verify(text.as_bytes(), Path::new("x.jsonl")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_sound_and_other_texts_are_named_by_their_line() {
        assert_eq!(checked("\n").unwrap(), "entries 0, balances 0: every hash and figure is right");
        let error = checked("\n{\"version\":").unwrap_err();
        assert!(error.starts_with("--file x.jsonl: line 2 is no entry: "), "{error}");
        let error = checked("{}").unwrap_err();
        assert!(error.contains("line 1 is no entry: a field has no usable value"), "{error}");
    }
}
