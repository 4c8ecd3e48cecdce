//! Commands from lines of JSON. Bounded: a file without line ends must not fill the memory.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use prost::Message;
use proto::v1::Command;

use crate::error::Error;
use crate::output::json;

/// The argument that names the file.
pub(super) const SETTING: &str = "FILE";
/// The longest line, in bytes: a command at all its limits, every character escaped, fits.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// A command and where it stands.
#[derive(Debug)]
pub(in crate::command) struct Line {
    /// From 1; names the command in the results.
    pub(in crate::command) number: u64,
    pub(in crate::command) command: Command,
}

impl Line {
    /// Bytes that the command takes in a call, about.
    pub(super) fn bytes(&self) -> usize {
        // The tag and the length of an element of the list.
        self.command.encoded_len() + 6
    }
}

/// The commands of a file, one by one.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { reader, path: path.to_path_buf(), number: 0 }
    }

    /// The next command; blank lines are passed over.
    ///
    /// # Errors
    /// [`Error::File`] with the number of a line that is no command.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Error> {
        loop {
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes);
            self.number += 1;
            let read = read.map_err(|source| self.fault(&format!("cannot be read: {source}")))?;
            if read == 0 {
                return Ok(None);
            }
            if read > MAX_LINE_BYTES {
                return Err(self.fault(&format!("is longer than {MAX_LINE_BYTES} bytes")));
            }
            let text = std::str::from_utf8(&bytes).map_err(|_| self.fault("is not UTF-8"))?.trim();
            if !text.is_empty() {
                return self.line(text).map(Some);
            }
        }
    }

    fn line(&self, text: &str) -> Result<Line, Error> {
        let command: Command = json::decode("Command", text)
            .map_err(|problem| self.fault(&format!("is no command: {problem}")))?;
        if command.command.is_none() {
            return Err(self.fault("names no command: it must have a member such as grant, spend or hold"));
        }
        Ok(Line { number: self.number, command })
    }

    fn fault(&self, problem: &str) -> Error {
        let problem = format!("line {} {problem}", self.number);
        Error::File { setting: SETTING, path: self.path.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<u64>, String> {
        let mut lines = Lines::new(text, Path::new("x.jsonl"));
        let mut numbers = Vec::new();
        while let Some(line) = lines.next().map_err(|error| error.to_string())? {
            numbers.push(line.number);
        }
        Ok(numbers)
    }

    #[test]
    fn blank_lines_count_and_the_last_needs_no_end() {
        let text = b"{\"spend\":{\"amount\":1}}\r\n\n  \n{\"grant\":{\"amount\":\"2\"}}";
        assert_eq!(read(text).unwrap(), [1, 4]);
        let text = br#"{"hold":{"amount":1,"ttl":"600s"}}
{"capture":{"hold_id":"ho_1","final":true}}
{"extend":{"ttl":"60s"}}
{"release":{}}
{"reverse":{"entry_id":"credits/1/00"}}
{"revoke":{"revoked":1,"shortfall_policy":"SHORTFALL_POLICY_OWED"}}
{"adjust":{"delta":-3,"reason":"r"}}"#;
        assert_eq!(read(text).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(read(b"").unwrap(), [] as [u64; 0]);
    }

    #[test]
    fn a_fault_names_the_file_and_the_line() {
        let long = [b"{\"spend\":{}}\n".as_slice(), &[b' '; MAX_LINE_BYTES + 1]].concat();
        let cases: [(&[u8], &str); 5] = [
            (b"\n{\"spend\":", "line 2 is no command: EOF"),
            (b"{}", "line 1 names no command"),
            (b"{\"budget\":{}}", "line 1 is no command: "),
            (b"\xff", "line 1 is not UTF-8"),
            (&long, "line 2 is longer than 65536 bytes"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err();
            assert!(error.starts_with("FILE x.jsonl: ") && error.contains(expected), "{error}");
        }
    }
}
