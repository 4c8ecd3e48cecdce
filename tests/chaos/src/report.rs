//! What a validation found, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::validate::{Row, Verdict};

/// A report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing contradicts the contract.
    pub passed: bool,
    /// Records that were looked at.
    pub records: usize,
    /// Repeats the run.
    pub command: String,
    /// Every validator.
    pub validators: Vec<Row>,
}

impl Report {
    /// Of a verdict.
    pub fn new(verdict: &Verdict, records: usize, command: String) -> Self {
        Self { passed: verdict.is_good(), records, command, validators: verdict.rows() }
    }

    /// A table, the violations, and how to have it again.
    pub fn table(&self) -> String {
        let mut text = format!("{:<12} {:>10} {:>10}\n", "validator", "checked", "violated");
        for row in &self.validators {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<12} {:>10} {:>10}", row.validator, row.checked, row.violated);
        }
        for row in &self.validators {
            for violation in &row.violations {
                let _ = writeln!(text, "{}: {violation}", row.validator);
            }
        }
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let _ = writeln!(text, "{verdict}: {} records", self.records);
        if !self.command.is_empty() {
            let _ = writeln!(text, "again: {}", self.command);
        }
        text
    }
}
