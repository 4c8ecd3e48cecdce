//! Runs a program to its end within a limit and keeps the end of what it said, for the error message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::Error;
use crate::wait;

/// Enough for the reason, not for a flood.
const TAIL_LINES: usize = 20;

/// Runs `command`, feeds it `input`, and fails with the tail of its output when it fails or outlasts `limit`.
pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Result<(), Error> {
    let program = PathBuf::from(command.get_program());
    let mut output = tempfile::tempfile().map_err(Error::io("create", std::env::temp_dir()))?;
    let (stdout, stderr) = (clone(&output)?, clone(&output)?);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(Error::io("run", &program))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading tells why in its output, which says more than the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let mut status = None;
    wait::until(limit, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let status = match status {
        Some(status) if status.success() => return Ok(()),
        Some(status) => status.to_string(),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            format!("no end within {} s", limit.as_secs())
        }
    };
    let mut text = Vec::new();
    output.seek(SeekFrom::Start(0)).map_err(Error::io("read the output of", &program))?;
    output.read_to_end(&mut text).map_err(Error::io("read the output of", &program))?;
    let program = program.display().to_string();
    Err(Error::Program { program, status, output: tail(&String::from_utf8_lossy(&text)) })
}

fn clone(file: &File) -> Result<File, Error> {
    file.try_clone().map_err(Error::io("open again", std::env::temp_dir()))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failing_program_reports_its_status_and_output() {
        let error =
            run(&mut shell("cat; echo broken >&2; exit 3"), "in\n", Duration::from_secs(10)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("in\nbroken"), "{text}");
    }

    #[test]
    fn a_program_that_outlasts_its_limit_is_killed() {
        let error = run(&mut shell("exec sleep 600"), "", Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("no end within"), "{error}");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(tail(&text).lines().count(), TAIL_LINES);
        assert!(tail(&text).ends_with("line 99"));
    }
}
