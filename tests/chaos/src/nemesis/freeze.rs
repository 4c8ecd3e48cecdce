//! SIGSTOP and SIGCONT that go together whatever happens to this process.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// Stops the processes `$@`, says so, and continues them when the pipe of its standard input closes, as it does also
/// when this process is killed.
const SCRIPT: &str =
    r#"trap '' INT TERM HUP; kill -STOP "$@" 2>/dev/null; echo; read -r _; kill -CONT "$@" 2>/dev/null"#;

/// Processes that are stopped until this is dropped.
#[derive(Debug)]
pub(super) struct Frozen {
    shell: Child,
}

impl Frozen {
    /// Stops them; those that are gone do not matter.
    ///
    /// # Panics
    /// When there is no shell.
    pub(super) fn these(pids: &[i32]) -> Self {
        let pids = pids.iter().map(ToString::to_string);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "freeze"]).args(pids).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("start a shell");
        let said = shell.stdout.as_mut().map(|out| out.read_exact(&mut [0]));
        said.expect("a pipe").expect("the shell says that they are stopped");
        Self { shell }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The direct children of a process.
pub(super) fn children_of(pid: i32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test]
    async fn frozen_processes_go_on_when_the_guard_is_gone() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let frozen = Frozen::these(&[i32::try_from(child.id()).unwrap()]);
        let limit = std::time::Duration::from_secs(10);
        harness::eventually("a stopped process", limit, async || state(child.id()) == Some('T')).await;
        drop(frozen);
        harness::eventually("a running process", limit, async || state(child.id()) == Some('S')).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
