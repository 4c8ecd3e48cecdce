//! A process that ends with its test: killed when dropped, and by a guardian when the test process itself is killed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::binary;

/// Lines of standard error that are kept for a failed test; the end of a log says why.
const KEPT_LINES: usize = 200;
/// Lines of standard output that may wait for the test; a process that writes more waits, too.
const WAITING_LINES: usize = 10_000;

/// Ends the process `$1` when the pipe of its standard input closes, as it does also when the test is killed.
const GUARDIAN: &str = "trap '' INT TERM HUP QUIT; read -r _; kill -KILL \"$1\" 2>/dev/null";

/// A running `tallystick`. Its standard output is read line by line; the end of its standard error is kept and shown
/// when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guardian: Child,
    stdout: mpsc::Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: JoinHandle<()>,
}

impl Process {
    /// Starts the program with these arguments, and with these variables in an environment without any `TALLYSTICK_…`.
    ///
    /// # Panics
    /// When the program cannot be built or started.
    pub async fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_keeping(arguments, variables, KEPT_LINES).await
    }

    /// As [`Process::start`], with so many lines of standard error to look at.
    ///
    /// # Panics
    /// As [`Process::start`].
    pub async fn start_keeping(arguments: &[&str], variables: &[(&str, &str)], kept_lines: usize) -> Self {
        let path = tokio::task::spawn_blocking(binary::program).await.expect("the program is there");
        Self::start_program(path, arguments, variables, kept_lines)
    }

    /// As [`Process::start_keeping`], of the program at this path.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_program(
        path: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        kept_lines: usize,
    ) -> Self {
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in foreign_variables() {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied()).kill_on_drop(true);
        let mut child = command.spawn().expect("start the program");
        let pid = child.id().expect("a process that was just started has an id");
        let guardian = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "tallystick-guardian", &pid.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("start the guardian");
        let (sender, stdout) = mpsc::channel(WAITING_LINES);
        read_lines(child.stdout.take().expect("a pipe"), sender);
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let stderr_reader = keep_lines(child.stderr.take().expect("a pipe"), Arc::clone(&stderr), kept_lines);
        Self { name: arguments.join(" "), child, guardian, stdout, stderr, stderr_reader }
    }

    /// The next line of standard output.
    ///
    /// # Panics
    /// When none comes within `limit`, or the output has ended.
    pub async fn line(&mut self, limit: Duration) -> String {
        let line = timeout(limit, self.stdout.recv()).await;
        let line =
            line.unwrap_or_else(|_| panic!("`{}` wrote no line within {limit:?}{}", self.name, self.log()));
        line.unwrap_or_else(|| panic!("`{}` ended its output{}", self.name, self.log()))
    }

    /// The lines until the end of standard output.
    ///
    /// # Panics
    /// When the output has not ended within `limit`.
    pub async fn rest(&mut self, limit: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        let read = async {
            while let Some(line) = self.stdout.recv().await {
                lines.push(line);
            }
        };
        let ended = timeout(limit, read).await.is_ok();
        assert!(ended, "`{}` still runs after {limit:?}{}", self.name, self.log());
        lines
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap_or_else(|| panic!("`{}` is gone{}", self.name, self.log()));
        let pid = Pid::from_raw(i32::try_from(pid).expect("process ids are small"));
        kill(pid, signal).expect("send a signal");
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let status = timeout(limit, self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("`{}` still runs after {limit:?}{}", self.name, self.log()));
        // From now on the process id may be given to a stranger.
        let _ = self.guardian.start_kill();
        status.expect("wait for a child")
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Panics
    /// When it is gone already.
    pub async fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended(Duration::from_secs(10)).await;
    }

    /// SIGTERM, and the status with which it ends within `limit`.
    ///
    /// # Panics
    /// When it is gone already or does not end.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended(limit).await
    }

    /// Whether it has not ended.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("ask for a child's status").is_none()
    }

    /// The last lines of standard error so far.
    pub fn stderr(&self) -> String {
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The last lines of standard error, once it has ended.
    ///
    /// # Panics
    /// When it has not within `limit`.
    pub async fn all_stderr(&mut self, limit: Duration) -> String {
        let ended = timeout(limit, &mut self.stderr_reader).await.is_ok();
        assert!(ended, "`{}` has ended, its standard error has not{}", self.name, self.log());
        self.stderr()
    }

    fn log(&self) -> String {
        format!("; its standard error:\n{}", self.end_of_stderr())
    }

    fn end_of_stderr(&self) -> String {
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let unseen = lines.len().saturating_sub(KEPT_LINES);
        lines.iter().skip(unseen).map(|line| format!("{line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child first: the guardian is there for the case that nobody comes this far.
        let _ = self.child.start_kill();
        let _ = self.guardian.start_kill();
        if std::thread::panicking() {
            eprintln!("--- standard error of `{}`:\n{}---", self.name, self.end_of_stderr());
        }
    }
}

/// Settings of the person who runs the tests must not change what they test; only the place of PostgreSQL may.
fn foreign_variables() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        name.to_str().is_some_and(|name| {
            (name.starts_with("TALLYSTICK_") || name.starts_with("OTEL_"))
                && name != "TALLYSTICK_POSTGRES_BIN_DIR"
        })
    })
}

fn read_lines(pipe: impl AsyncRead + Unpin + Send + 'static, lines: mpsc::Sender<String>) {
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            if lines.send(line).await.is_err() {
                break;
            }
        }
    });
}

fn keep_lines(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    kept: Arc<Mutex<VecDeque<String>>>,
    kept_lines: usize,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == kept_lines {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    })
}
