//! Reads a history back.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{Event, Record};

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The file, from 1.
    pub file: u32,
    /// The line in it, from 1.
    pub line: u32,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "history-{:04}.jsonl:{}", self.file, self.line)
    }
}

/// A whole history.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: Vec<(Line, Record)>,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or its directory cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is no record.
    #[error("{line}: {source}")]
    Record {
        /// Which.
        line: Line,
        /// Why.
        source: serde_json::Error,
    },
    /// There is none.
    #[error("{} holds no history", .0.display())]
    Missing(PathBuf),
}

impl History {
    /// Reads the files of a directory.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub fn read(dir: &Path) -> Result<Self, HistoryError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| HistoryError::Io { path, source }
        };
        let listed = fs::read_dir(dir).map_err(io(dir))?.flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = listed.filter(|path| is_history(path)).collect();
        files.sort();
        if files.is_empty() {
            return Err(HistoryError::Missing(dir.to_owned()));
        }
        let mut records = Vec::new();
        for (path, file) in files.iter().zip(1..) {
            let lines = BufReader::new(File::open(path).map_err(io(path))?).lines();
            for (text, line) in lines.zip(1..) {
                let line = Line { file, line };
                let text = text.map_err(io(path))?;
                let record = serde_json::from_str(&text);
                records.push((line, record.map_err(|source| HistoryError::Record { line, source })?));
            }
        }
        Ok(Self { records })
    }

    /// Every record with its place.
    pub fn records(&self) -> impl Iterator<Item = (Line, &Record)> {
        self.records.iter().map(|(line, record)| (*line, record))
    }

    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }
}

/// A history out of nothing but what happened, and when.
impl FromIterator<(u64, Event)> for History {
    fn from_iter<I: IntoIterator<Item = (u64, Event)>>(events: I) -> Self {
        let lines = (1..).map(|line| Line { file: 1, line });
        let records = lines.zip(events).map(|(line, (at, event))| (line, Record { at, event }));
        Self { records: records.collect() }
    }
}

fn is_history(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("history-") && name.ends_with(".jsonl")
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Delivered, Hash, Outcome, Recorder};
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::try_new(dir.path()).unwrap();
        let events = [
            Event::Call { call: 1, replica: 0, account: 3, key: "k".into(), command: Command::Release },
            Event::Answer { call: 1, outcome: Outcome::Refused("INSUFFICIENT_CREDITS".into()) },
            Event::Changes { stream: 9, account: 3, entries: vec![Delivered(1, Hash::of(&[7; 32]), 0, 1)] },
        ];
        for event in events.clone() {
            recorder.record(event);
        }
        recorder.finish().unwrap();
        let history = History::read(dir.path()).unwrap();
        assert!(history.records().map(|(_, record)| record.at).is_sorted());
        assert!(history.records().map(|(_, record)| &record.event).eq(&events));
    }

    #[test]
    fn a_second_history_does_not_overwrite_the_first_and_a_broken_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::try_new(dir.path()).unwrap();
        assert!(Recorder::try_new(dir.path()).is_err());
        recorder.record(Event::Calm);
        recorder.finish().unwrap();
        fs::write(dir.path().join("history-0002.jsonl"), "{\"at\":1}\n").unwrap();
        let error = History::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("history-0002.jsonl:1"), "{error}");
    }
}
