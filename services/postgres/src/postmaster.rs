//! The server's main process as the operating system shows it: the pid file, whether that process still lives and
//! really serves this directory, its children, its signals.
//!
//! Format of `postmaster.pid`: PostgreSQL manual, section "Database File Layout", and `pidfile.h`: pid, data directory,
//! start time, port, socket directory, listen address, shared memory key, status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;
use crate::wait;

/// What the pid file of a data directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    /// The postmaster.
    pub(crate) pid: i32,
    /// The TCP port, once known.
    pub(crate) port: Option<u16>,
    /// `starting`, `stopping`, `ready` or `standby`.
    pub(crate) status: String,
}

impl PidFile {
    /// Reads the pid file of `pgdata`; `None` when there is none or no postmaster's (a stand-alone backend writes a
    /// negative pid).
    pub(crate) fn lookup(pgdata: &Path) -> Option<Self> {
        let text = fs::read_to_string(path(pgdata)).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid = lines.first()?.parse().ok().filter(|pid| *pid > 1)?;
        let port = lines.get(3).and_then(|line| line.parse().ok());
        let status = lines.get(7).map(ToString::to_string).unwrap_or_default();
        Some(Self { pid, port, status })
    }

    /// Whether connections are taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

/// Where the pid file of `pgdata` is.
pub(crate) fn path(pgdata: &Path) -> PathBuf {
    pgdata.join("postmaster.pid")
}

/// Whether process `pid` is a server that works in `pgdata`: pids are used again, so the number alone says nothing.
/// `pgdata` must be absolute and without symbolic links.
pub(crate) fn serves(pid: i32, pgdata: &Path) -> bool {
    if Path::new("/proc/self").exists() {
        // A server works in its data directory; a zombie and another user's process have no readable one.
        return fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == pgdata);
    }
    let output = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&*pgdata.to_string_lossy()))
}

/// A server process: our own child, or one adopted from a parent that died.
#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: i32,
    pgdata: PathBuf,
    /// `None` when adopted: then its end is seen, not reaped.
    child: Option<Child>,
}

impl Postmaster {
    /// A server that this process has just started.
    pub(crate) fn started(child: Child, pgdata: &Path) -> Self {
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        Self { pid, pgdata: pgdata.to_path_buf(), child: Some(child) }
    }

    /// A server that outlived its parent; the caller checked it by [`serves`].
    pub(crate) fn adopted(pid: i32, pgdata: &Path) -> Self {
        Self { pid, pgdata: pgdata.to_path_buf(), child: None }
    }

    /// The process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !serves(self.pid, &self.pgdata),
        }
    }

    /// Sends a signal; a process that is gone already is no error, its end is what the callers wait for.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until the process has ended; says whether it did.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        wait::until(limit, || self.has_ended())
    }

    /// SIGKILL to the postmaster and all its children, as an out-of-memory kill of a whole container does it; waits
    /// until none is left, so that shared memory and port are free.
    pub(crate) fn kill_all(&mut self, limit: Duration) -> Result<(), Error> {
        // Stopped first: it could otherwise fork between the listing and the kill.
        self.signal(Signal::SIGSTOP);
        let children = children_of(self.pid);
        self.signal(Signal::SIGKILL);
        for child in &children {
            let _ = kill(Pid::from_raw(*child), Signal::SIGKILL);
        }
        let ended = self.wait(limit)
            && wait::until(limit, || !children.iter().any(|child| serves(*child, &self.pgdata)));
        if ended { Ok(()) } else { Err(Error::NotStopped { pid: self.pid, waited_s: limit.as_secs() }) }
    }
}

/// The direct children of a process. Backends are all direct children of the postmaster.
fn children_of(parent: i32) -> Vec<i32> {
    let from_proc = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<i32> = from_proc.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    if !pids.is_empty() {
        return pids.into_iter().filter(|pid| parent_of(*pid) == Some(parent)).collect();
    }
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else { return Vec::new() };
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = listing.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().filter_map(|field| field.parse::<i32>().ok());
        Some((fields.next()?, fields.next()?))
    });
    pairs.filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| pid).collect()
}

/// The parent by `/proc/<pid>/stat`; the process name in it may hold blanks and brackets, so the fields count from the
/// last bracket.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid_file(text: &str) -> Option<PidFile> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path()), text).unwrap();
        PidFile::lookup(dir.path())
    }

    #[test]
    fn a_complete_pid_file_gives_pid_port_and_status() {
        let file = pid_file("4711\n/d\n1700000000\n15432\n\n127.0.0.1\n  123 4\nready   \n").unwrap();
        assert_eq!(file, PidFile { pid: 4711, port: Some(15432), status: "ready".into() });
        assert!(file.is_ready());
    }

    #[test]
    fn a_half_written_pid_file_gives_the_pid_alone() {
        let file = pid_file("4711\n/d\n").unwrap();
        assert_eq!((file.pid, file.port, file.is_ready()), (4711, None, false));
    }

    #[test]
    fn an_empty_pid_file_and_one_of_a_stand_alone_backend_name_no_postmaster() {
        assert_eq!(pid_file(""), None);
        assert_eq!(pid_file("-4711\n/d\n"), None);
    }

    #[test]
    fn a_living_process_elsewhere_does_not_serve_a_directory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!serves(own, Path::new("/nonexistent/cluster")));
    }
}
