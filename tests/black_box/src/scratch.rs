//! A directory of a test, removed with it. In the system's temporary directory, which the user who runs PostgreSQL can
//! enter; build directories often cannot be.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// An empty directory.
///
/// # Panics
/// When it cannot be made.
pub fn dir() -> TempDir {
    tempfile::Builder::new().prefix("tallystick-test-").tempdir().expect("make a temporary directory")
}

/// The data directory of a `dev` that may be killed: ends the PostgreSQL that then stays behind.
#[derive(Debug)]
pub struct DataDir {
    dir: TempDir,
}

impl DataDir {
    /// A place for data; not made yet, as for a new user.
    ///
    /// # Panics
    /// When the directory around it cannot be made.
    pub fn new() -> Self {
        let dir = dir();
        // For the user who runs PostgreSQL.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("open the directory");
        Self { dir }
    }

    /// Its path.
    ///
    /// # Panics
    /// When it is not text.
    pub fn path(&self) -> String {
        self.dir.path().join("data").to_str().expect("a path that is text").to_owned()
    }

    /// The PostgreSQL that runs here. A pid file that a dead server left does not count, even if somebody else has got
    /// the number since: a server works in its directory.
    pub fn server(&self) -> Option<Pid> {
        let file = find(&self.dir.path().join("data"), "postmaster.pid")?;
        let pid: i32 = fs::read_to_string(&file).ok()?.lines().next()?.parse().ok()?;
        let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (works_in == file.parent()?.canonicalize().ok()?).then(|| Pid::from_raw(pid))
    }
}

impl Default for DataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let Some(server) = self.server() else { return };
        // Immediate shutdown: the data go anyway.
        let _ = kill(server, Signal::SIGQUIT);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.server().is_some() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// The pid file lies in the cluster's own directory, directly below the data directory.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let inner = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path().join(name));
    inner.chain([dir.join(name)]).find(|path| path.is_file())
}
