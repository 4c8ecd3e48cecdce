//! Finds a directory that holds a PostgreSQL server which runs here: named by the caller, installed, downloaded
//! earlier, or obtained now as a package. A directory counts only when its programs have been run as the user that
//! will run the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::error::Error;
use crate::package::{self, Route};

/// The oldest major version that Tallystick supports.
pub const MINIMUM_MAJOR: u32 = 15;

/// Where distributions install; `*` is a version.
const INSTALL_DIRS: [&str; 7] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Library/PostgreSQL/*/bin",
    "/opt/postgresql/*/bin",
];

/// Where to look for a server, and what to accept.
#[derive(Debug, Clone)]
pub struct Search {
    /// Use this directory and no other (`--postgres-bin-dir`).
    pub bin_dir: Option<PathBuf>,
    /// Look at `pg_config`, `PATH` and the usual install directories.
    pub installed: bool,
    /// Packages to obtain a server from, in order, when nothing else is there; empty: never download.
    pub routes: Vec<Route>,
    /// Where obtained servers are kept; see [`crate::default_cache_dir`].
    pub cache_dir: PathBuf,
    /// Accept this major version only: that of an existing data directory ([`crate::cluster_major`]).
    pub major: Option<u32>,
}

impl Search {
    /// Looks everywhere, accepts any supported version.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            bin_dir: None,
            installed: true,
            routes: vec![Route::PythonWheel, Route::NpmPackage],
            cache_dir: cache_dir.into(),
            major: None,
        }
    }
}

/// A directory with a PostgreSQL server that has been seen to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
    version: String,
}

impl Binaries {
    /// Finds a server: `search.bin_dir` alone when given, else the first that works of `pg_config`, `PATH`, install
    /// directories (newest first), cache, packages. May download about 25 MB and take minutes when it must.
    ///
    /// # Errors
    /// [`Error::BinDir`] or [`Error::Unreachable`] for the named directory, [`Error::NotFound`] with every place that
    /// was tried, [`Error::NoAccount`].
    pub fn find(search: &Search) -> Result<Self, Error> {
        let account = Account::try_current()?;
        if let Some(dir) = &search.bin_dir {
            return Self::named(dir, search.major, &account);
        }
        let mut tried = Vec::new();
        if search.installed {
            for dir in installed_dirs(&mut tried) {
                match Self::check(&dir, search.major, &account) {
                    Ok(found) => return Ok(found),
                    Err(problem) => tried.push(format!("{}: {problem}", dir.display())),
                }
            }
        }
        for route in &search.routes {
            let obtained = package::obtain(*route, &search.cache_dir);
            let checked = obtained.and_then(|dir| match Self::check(&dir, search.major, &account) {
                Ok(found) => Ok(found),
                Err(problem) => Err(format!("{}: {problem}", dir.display())),
            });
            match checked {
                Ok(found) => return Ok(found),
                Err(problem) => tried.push(problem),
            }
        }
        Err(Error::NotFound { tried })
    }

    /// The directory that holds `initdb` and `postgres`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The major version, at least [`MINIMUM_MAJOR`].
    pub fn major(&self) -> u32 {
        self.major
    }

    /// What `postgres --version` says.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    fn named(dir: &Path, major: Option<u32>, account: &Account) -> Result<Self, Error> {
        let problem = |problem: String| Error::BinDir { dir: dir.to_path_buf(), problem };
        let absolute = dir.canonicalize().map_err(|source| problem(source.to_string()))?;
        account.check_reachable(&absolute, "the PostgreSQL programs")?;
        Self::check(&absolute, major, account).map_err(problem)
    }

    /// Runs the programs of `dir`; the error is one line for the list of what was tried.
    fn check(dir: &Path, wanted: Option<u32>, account: &Account) -> Result<Self, String> {
        for program in ["initdb", "postgres"] {
            if !dir.join(program).is_file() {
                return Err(format!("has no {program}"));
            }
        }
        account.check_reachable(dir, "the PostgreSQL programs").map_err(|error| error.to_string())?;
        let initdb = version_of(&dir.join("initdb"), account)?;
        let version = version_of(&dir.join("postgres"), account)?;
        let major = major_in(&version).ok_or_else(|| format!("postgres --version said `{version}`"))?;
        if major_in(&initdb) != Some(major) {
            return Err(format!("initdb and postgres differ: `{initdb}`, `{version}`"));
        }
        if major < MINIMUM_MAJOR {
            return Err(format!("version {major} is older than {MINIMUM_MAJOR}"));
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != major) {
            return Err(format!("version {major}, the data directory needs {wanted}"));
        }
        Ok(Self { dir: dir.to_path_buf(), major, version })
    }
}

fn version_of(program: &Path, account: &Account) -> Result<String, String> {
    let output = account.command(program).arg("--version").output();
    let output = output.map_err(|error| format!("{} does not run: {error}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} does not run ({}): {}", program.display(), output.status, said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → 15; a beta says `18beta1`.
fn major_in(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

/// The candidate directories in order of preference, links resolved (a program in `PATH` is often a link into the
/// directory that holds the whole server), each once.
fn installed_dirs(tried: &mut Vec<String>) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    match Command::new("pg_config").arg("--bindir").output() {
        Ok(output) if output.status.success() => {
            dirs.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        }
        Ok(output) => tried.push(format!("pg_config --bindir: {}", output.status)),
        Err(_) => tried.push("pg_config: not on PATH".to_owned()),
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path)
        .filter_map(|dir| dir.join("initdb").canonicalize().ok()?.parent().map(Path::to_path_buf))
        .collect();
    if on_path.is_empty() {
        tried.push("initdb: not on PATH".to_owned());
    }
    dirs.extend(on_path);
    for pattern in INSTALL_DIRS {
        let found = expand(pattern);
        if found.is_empty() {
            tried.push(format!("{pattern}: nothing there"));
        }
        dirs.extend(found);
    }
    let mut seen = Vec::new();
    for dir in dirs {
        let dir = dir.canonicalize().unwrap_or(dir);
        if !seen.contains(&dir) {
            seen.push(dir);
        }
    }
    seen
}

/// Directories that match a pattern with one `*` in one component, highest number first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return Vec::new() };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            let major = version.split('.').next()?.parse().ok()?;
            let dir = PathBuf::from(format!("{parent}/{name}{after}"));
            dir.is_dir().then_some((major, dir))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas_alone() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_in("initdb (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_in("something else"), None);
    }

    #[test]
    fn install_directories_are_listed_newest_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pg-9.6", "pg-15", "pg-17", "other-18"] {
            fs::create_dir_all(root.path().join(name).join("bin")).unwrap();
        }
        let found = expand(&format!("{}/pg-*/bin", root.path().display()));
        let names: Vec<_> =
            found.iter().map(|dir| dir.strip_prefix(root.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["pg-17/bin", "pg-15/bin", "pg-9.6/bin"].map(PathBuf::from));
    }
}
