//! Commands of the program that end by themselves.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use harness::Process;

/// A command that takes longer has hung; the slowest start on a loaded machine is far below.
const LIMIT: Duration = Duration::from_secs(40);

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// The lines of its standard output.
    pub stdout: Vec<String>,
    /// The end of its standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// The only line of standard output, as JSON, of a command that succeeded.
    ///
    /// # Panics
    /// When it failed, or wrote something else.
    pub fn json(&self) -> Value {
        assert!(self.status.success(), "{self:?}");
        let [line] = self.stdout.as_slice() else { panic!("not one line: {self:?}") };
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The error that a command called with `--json` wrote to standard error; it comes last.
    ///
    /// # Panics
    /// When there is none.
    pub fn error_json(&self) -> Value {
        let line = self.stderr.lines().rfind(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("no error as JSON: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// Runs the program to its end.
///
/// # Panics
/// When it does not end within 40 s.
pub async fn run(arguments: &[&str]) -> Finished {
    run_with(arguments, &[]).await
}

/// As [`run`], with variables in its environment.
///
/// # Panics
/// As [`run`].
pub async fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    finish(Process::start(arguments, variables).await).await
}

/// Waits for the end of a command.
pub(crate) async fn finish(mut process: Process) -> Finished {
    let stdout = process.rest(LIMIT).await;
    let status = process.ended(LIMIT).await;
    let stderr = process.all_stderr(LIMIT).await;
    Finished { status, stdout, stderr }
}

/// Starts a command that goes on, such as `watch`.
///
/// # Panics
/// When it cannot be started.
pub async fn start(arguments: &[&str]) -> Process {
    Process::start(arguments, &[]).await
}
