//! An exported journal, line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use domain::{Figures, JournalCheck};
use proto::v1;

use super::decode;
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
        let message: v1::Entry =
            json::decode("Entry", text).map_err(|problem| at_line(&format!("is no entry: {problem}")))?;
        let entry = decode::entry(&message).map_err(|problem| at_line(&format!("is no entry: {problem}")))?;
        let key = (entry.account.to_string(), entry.unit.to_string());
        if !checks.contains_key(&key) && checks.len() >= MAX_BALANCES {
            return Err(at_line(&format!("is of another balance; a file may have {MAX_BALANCES}")));
        }
        let check =
            checks.entry(key).or_insert_with(|| JournalCheck::new(entry.account.clone(), entry.unit.clone()));
        check.check(&entry).map_err(Error::NotVerified)?;
        if !decode::is_shown_as(&entry, &message) {
            let (expected, found) = ("as the service shows it", "something else");
            let what = "what no hash covers (entry_id and how values are written)";
            let difference = check.difference(entry.version, what, expected.to_owned(), found.to_owned());
            return Err(Error::NotVerified(difference));
        }
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
        assert!(error.contains("line 1 is no entry: account_id must not be empty"), "{error}");
    }
}
