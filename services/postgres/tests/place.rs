//! What the tests of this crate share: a directory that the server's user can enter, a query, and a process that holds
//! a cluster and can be killed. Compiled into each test binary as a module, so not every part is used in each.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::new_without_default,
    reason = "shared test code"
)]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use postgres::{Binaries, Search};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// Far above what a loaded machine needs; reached only by a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// The servers' programs, found once.
pub fn binaries() -> Binaries {
    static FOUND: OnceLock<Binaries> = OnceLock::new();
    let find = || Binaries::find(&Search::new(postgres::default_cache_dir(None))).unwrap();
    FOUND.get_or_init(find).clone()
}

/// A temporary directory, open to the server's user; removed at the end.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the test `hold_a_cluster` of this binary in a process of its own.
    pub fn parent_process(&self, lifetime: &str, name: &str) -> Parent {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hold_a_cluster", "--ignored", "--nocapture"]);
        command.env("HOLD_DATA_DIR", self.path(name)).env("HOLD_LIFETIME", lifetime);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Parent(command.spawn().unwrap())
    }
}

/// A process that holds a cluster.
pub struct Parent(Child);

impl Parent {
    /// Waits for the cluster: the postmaster's pid and the owner's url.
    pub fn ready(&mut self) -> (i32, String) {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.contains("READY ")).unwrap();
        let mut words = line.split_once("READY ").unwrap().1.split_whitespace();
        (words.next().unwrap().parse().unwrap(), words.next().unwrap().to_owned())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first column of the first row as text; empty when there is no row.
pub fn query(url: &str, sql: &str) -> String {
    try_query(url, sql).unwrap()
}

/// As [`query`], with the error.
pub fn try_query(url: &str, sql: &str) -> Result<String, sqlx::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await?;
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(&mut connection).await?;
        row.map_or(Ok(String::new()), |row| row.try_get_unchecked(0))
    })
}

/// Whether process `pid` works in a directory below `dir`: a server of it.
pub fn serves(pid: i32, dir: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd"))
        .is_ok_and(|cwd| cwd.starts_with(dir.canonicalize().unwrap_or_default()))
}

/// Waits for something in another process.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come within {} s", LIMIT.as_secs());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
