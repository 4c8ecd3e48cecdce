//! What can go wrong with an embedded server, one variant per thing the operator has to do about it.
//! Messages name the directory or program and the next step; sources stay in `source()`.

use std::path::PathBuf;

/// Why a server could not be found, prepared, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable PostgreSQL anywhere; `tried` has one line per place looked at.
    #[error(
        "no usable PostgreSQL (version 15 or newer) was found. Tried:\n  - {}\nInstall postgresql 15 or newer, \
         pass --postgres-bin-dir with the directory that holds initdb and postgres, or set \
         TALLYSTICK_DATABASE_URL to a running server",
        tried.join("\n  - ")
    )]
    NotFound {
        /// One line per place: where and why not.
        tried: Vec<String>,
    },
    /// The directory that the caller named cannot be used.
    #[error("--postgres-bin-dir {} cannot be used: {problem}", dir.display())]
    BinDir {
        /// The directory as given.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Running as root and there is neither a user `postgres` nor `nobody` to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody` to run it \
         as: create one, or start this program as an ordinary user"
    )]
    NoAccount,
    /// The user that runs the server cannot enter a directory on the way.
    #[error(
        "user `{account}`, which runs PostgreSQL because this program runs as root, cannot enter {}: \
         choose another place for {purpose}, or allow it with `chmod o+x {}`", dir.display(), dir.display()
    )]
    Unreachable {
        /// The first directory of the path that cannot be entered.
        dir: PathBuf,
        /// The user that the server runs as.
        account: String,
        /// What lies there: the data directory or the binaries.
        purpose: &'static str,
    },
    /// A living process holds the data directory.
    #[error(
        "data directory {} is in use by process {holder}: stop it, or choose another data directory", dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process id written in the lock file, or `unknown`.
        holder: String,
    },
    /// The directory holds something that this crate did not make.
    #[error("{} is not a PostgreSQL data directory made by tallystick ({problem}): choose an empty one", dir.display())]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        problem: String,
    },
    /// The data directory was made by another major version.
    #[error(
        "data directory {} was made by PostgreSQL {found}, the binaries in {} are version {binaries}: pass \
         --postgres-bin-dir with those of version {found}, or choose another data directory", dir.display(),
        bin_dir.display()
    )]
    MajorMismatch {
        /// The data directory.
        dir: PathBuf,
        /// Its major version.
        found: u32,
        /// Where the binaries are.
        bin_dir: PathBuf,
        /// Their major version.
        binaries: u32,
    },
    /// A program of PostgreSQL ended with an error.
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        /// What ran.
        program: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended while starting, or did not become ready in time.
    #[error("PostgreSQL did not start: {reason}. The end of {}:\n{tail}", log.display())]
    NotStarted {
        /// Ended, or not ready within the limit.
        reason: String,
        /// The server's log file.
        log: PathBuf,
        /// Its last lines since this start.
        tail: String,
    },
    /// The server process outlived even SIGKILL within the limit.
    #[error("PostgreSQL (process {pid}) did not end within {waited_s} s")]
    NotStopped {
        /// The postmaster.
        pid: i32,
        /// Seconds waited in all.
        waited_s: u64,
    },
    /// The cluster is not running, so there is nothing to restart, kill or ask.
    #[error("PostgreSQL in {} is not running", dir.display())]
    NotRunning {
        /// The data directory.
        dir: PathBuf,
    },
    /// No free TCP port on 127.0.0.1.
    #[error("no free TCP port on 127.0.0.1 was found in {attempts} attempts")]
    NoFreePort {
        /// How many were tried.
        attempts: u32,
    },
    /// The operating system refused something.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done, as a verb: `create`, `read`, `run`.
        action: &'static str,
        /// What to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err`: an [`Error::Io`] that names what was being done to which path.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
