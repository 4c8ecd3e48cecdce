//! Offline checks of a history. Pure: each takes the facts of a history and says what contradicts the contract, with
//! the line that shows it.
//!
//! | validator | what it holds |
//! | --- | --- |
//! | ordered, unique, atomic, resumed | promises 1, 2, 4, 5 |
//! | reliable, diverged | promises 3 and 8 |
//! | bookmarked, silent, current | promises 6 (and that bookmarks stop while the source is cut) and 7 |
//! | converged, immune | every stream reaches the journal's end; an idle writer delays nobody |
//! | figures, keys, operations, dense, streamed, truthful | I1 and I2, I3, I4, I5, I6, I7 |
//! | audited, sound | the database's own audits; services, streams and library end only as they may |
//!
//! Must not know how a run is made: a history of another harness would do.

mod answers;
mod bookmarks;
mod ends;
mod facts;
mod ledger;
mod liveness;
mod order;
mod snapshots;
mod walk;

#[cfg(test)]
mod script;

use std::time::Duration;

use serde::Serialize;

use crate::history::{History, Line};
pub use facts::Facts;

/// Violations of one validator that are kept; the others are counted.
const KEPT: usize = 20;

/// What a validator may take for granted about time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How much later than it was sent a message may be seen when nothing holds it up.
    pub margin: Duration,
    /// How late a change may come to a stream while a stranger's transaction is open.
    pub delivery: Duration,
    /// How old the source may be before bookmarks stop: the contract's two seconds.
    pub stale_after: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            margin: Duration::from_millis(1000),
            delivery: Duration::from_millis(2500),
            stale_after: Duration::from_secs(2),
        }
    }
}

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The line that shows it; none: the history as a whole.
    pub line: Option<Line>,
    /// What is wrong.
    pub said: String,
}

/// What one validator found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many things it looked at: a validator that saw nothing has proved nothing.
    pub checked: u64,
    /// The first contradictions.
    pub violations: Vec<Violation>,
    /// All contradictions.
    pub violated: u64,
}

impl Findings {
    /// Looks at one thing: what is wrong with it, if anything is.
    fn check(&mut self, line: impl Into<Option<Line>>, wrong: Option<String>) {
        self.checked += 1;
        if let Some(said) = wrong {
            self.violated += 1;
            if self.violations.len() < KEPT {
                self.violations.push(Violation { line: line.into(), said });
            }
        }
    }
}

type Validator = fn(&Facts<'_>, &Bounds) -> Findings;

/// Every validator by name.
const VALIDATORS: [(&str, Validator); 19] = [
    ("ordered", order::ordered),
    ("unique", order::unique),
    ("reliable", snapshots::reliable),
    ("atomic", order::atomic),
    ("resumed", order::resumed),
    ("bookmarked", bookmarks::bookmarked),
    ("silent", bookmarks::silent),
    ("current", bookmarks::current),
    ("diverged", snapshots::diverged),
    ("converged", liveness::converged),
    ("immune", liveness::immune),
    ("figures", ledger::figures),
    ("keys", answers::keys),
    ("operations", ledger::operations),
    ("dense", ledger::dense),
    ("streamed", ledger::streamed),
    ("truthful", answers::truthful),
    ("audited", ends::audited),
    ("sound", ends::sound),
];

/// What all validators found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// By name, in the order of the table.
    pub findings: Vec<(&'static str, Findings)>,
}

/// One row of a report.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub validator: &'static str,
    /// What it looked at.
    pub checked: u64,
    /// What it found.
    pub violated: u64,
    /// The first of that, with lines.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Whether nothing contradicts the contract.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|(_, findings)| findings.violated == 0)
    }

    /// For a report.
    pub fn rows(&self) -> Vec<Row> {
        let say = |violation: &Violation| match violation.line {
            Some(line) => format!("{line}: {}", violation.said),
            None => violation.said.clone(),
        };
        let row = |(validator, findings): &(&'static str, Findings)| Row {
            validator,
            checked: findings.checked,
            violated: findings.violated,
            violations: findings.violations.iter().map(say).collect(),
        };
        self.findings.iter().map(row).collect()
    }
}

/// Runs every validator.
pub fn validate(history: &History, bounds: &Bounds) -> Verdict {
    let facts = Facts::of(history);
    Verdict { findings: VALIDATORS.map(|(name, validator)| (name, validator(&facts, bounds))).to_vec() }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
