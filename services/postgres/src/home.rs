//! The directory that one cluster owns, its layout, lock and passwords.
//!
//! `cluster/` is PostgreSQL's own data directory, complete from the moment it has that name; `cluster.new.*/` one in the
//! making; `tallystick.lock` is locked while a [`crate::Cluster`] lives; `owner.password` and `superuser.password`
//! (0600) keep the urls stable over restarts; `postgres.log` is the server's log; `socket/` its Unix socket.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::account::Account;
use crate::error::Error;
use crate::wait;

/// The database of the application.
pub const DATABASE: &str = "tallystick";
/// The role that owns it; no superuser.
pub const OWNER: &str = "tallystick";
/// The role that initdb makes, for tests and operators.
pub const SUPERUSER: &str = "postgres";

/// `sockaddr_un.sun_path` takes 107 bytes and a NUL (unix(7)), 103 on macOS; the name in it is `.s.PGSQL.65535.lock`.
const SOCKET_DIR_MAX_BYTES: usize = 103 - "/.s.PGSQL.65535.lock".len();
/// The log is moved aside at a start when it is longer: it must not fill a disk.
const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// 192 bits: cannot be guessed.
const PASSWORD_BYTES: usize = 24;

const UNFINISHED: &str = "cluster.new.";
const LOCK: &str = "tallystick.lock";
/// A lock that was just let go may still be held for a moment: a child that this process is starting has a copy of
/// the file until it executes its program (fork(2), flock(2)).
const LOCK_LIMIT: Duration = Duration::from_secs(1);
const OWNER_PASSWORD: &str = "owner.password";
const SUPERUSER_PASSWORD: &str = "superuser.password";

/// The major version of the cluster in `data_dir`; `None` when there is none yet.
pub fn cluster_major(data_dir: &Path) -> Option<u32> {
    fs::read_to_string(data_dir.join("cluster/PG_VERSION")).ok()?.trim().parse().ok()
}

/// The passwords of the two roles: lower-case hexadecimal, so they need no quoting in SQL and urls.
#[derive(Clone)]
pub(crate) struct Passwords {
    pub(crate) owner: String,
    pub(crate) superuser: String,
}

impl Passwords {
    /// New random ones.
    pub(crate) fn try_random() -> Result<Self, Error> {
        Ok(Self { owner: random_hex()?, superuser: random_hex()? })
    }

    /// Those of `dir`, when both files are there and whole.
    pub(crate) fn lookup(dir: &Path) -> Option<Self> {
        let read = |name: &str| {
            let text = fs::read_to_string(dir.join(name)).ok()?;
            let text = text.trim();
            let whole = text.len() == 2 * PASSWORD_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
            whole.then(|| text.to_owned())
        };
        Some(Self { owner: read(OWNER_PASSWORD)?, superuser: read(SUPERUSER_PASSWORD)? })
    }

    /// Keeps them in `dir`, readable by the caller alone; each file is whole or absent.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), Error> {
        for (name, password) in [(OWNER_PASSWORD, &self.owner), (SUPERUSER_PASSWORD, &self.superuser)] {
            let path = dir.join(name);
            let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::io("create", &path))?;
            file.write_all(password.as_bytes()).map_err(Error::io("write", &path))?;
            file.as_file().sync_all().map_err(Error::io("write", &path))?;
            file.persist(&path).map_err(|error| Error::io("create", &path)(error.error))?;
        }
        Ok(())
    }
}

/// Passwords stay out of logs.
impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(..)")
    }
}

fn random_hex() -> Result<String, Error> {
    let mut bytes = [0; PASSWORD_BYTES];
    let path = Path::new("/dev/urandom");
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The paths of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// Makes the directory if it is missing, checks that it is ours and that the server's user can reach it, and locks
    /// it for as long as the returned file lives. The lock ends with the process, however that dies.
    pub(crate) fn open(dir: &Path, account: &Account) -> Result<(Self, File), Error> {
        let absolute = std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
        if let Some(parent) = absolute.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&absolute) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.map_err(Error::io("create", &absolute))?,
        }
        let root = absolute.canonicalize().map_err(Error::io("resolve", &absolute))?;
        check_ours(&root)?;
        let lock = lock(&root)?;
        account.own(&root)?;
        fs::set_permissions(&root, Permissions::from_mode(0o700))
            .map_err(Error::io("change the mode of", &root))?;
        account.check_reachable(&root, "the data directory")?;
        Ok((Self { root }, lock))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's data directory.
    pub(crate) fn pgdata(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// A new name for a data directory in the making. Never the same twice: an initdb that outlived its killed parent
    /// may still be writing under an earlier one.
    pub(crate) fn new_unfinished(&self) -> PathBuf {
        self.root.join(format!("{UNFINISHED}{:016x}", RandomState::new().build_hasher().finish()))
    }

    /// Removes what interrupted starts left. What an initdb without parent writes meanwhile goes at the next start.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// Opens the log to append, moving a long one aside.
    pub(crate) fn open_log(&self, account: &Account) -> Result<File, Error> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_MAX_BYTES) {
            fs::rename(&path, self.root.join("postgres.log.1")).map_err(Error::io("rename", &path))?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        account.own(&path)?;
        Ok(file)
    }

    /// The directory of the Unix socket, made if missing; `None` when its path is too long for a socket: then the
    /// server listens on TCP alone, which is what the urls name anyway.
    pub(crate) fn socket_dir(&self, account: &Account) -> Result<Option<PathBuf>, Error> {
        let dir = self.root.join("socket");
        if dir.as_os_str().len() > SOCKET_DIR_MAX_BYTES {
            return Ok(None);
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.map_err(Error::io("create", &dir))?,
        }
        account.own(&dir)?;
        Ok(Some(dir))
    }
}

/// Refuses a directory with somebody else's files before anything in it changes owner or mode.
fn check_ours(root: &Path) -> Result<(), Error> {
    if root.join(LOCK).exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(root).map_err(Error::io("read", root))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            let problem = format!("it has files but no {LOCK}");
            Err(Error::ForeignDirectory { dir: root.to_path_buf(), problem })
        }
    }
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    let mut file = file.map_err(Error::io("open", &path))?;
    let mut outcome = Ok(());
    wait::until(LOCK_LIMIT, || {
        outcome = file.try_lock();
        !matches!(outcome, Err(TryLockError::WouldBlock))
    });
    match outcome {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
            return Err(Error::InUse { dir: root.to_path_buf(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(Error::io("write", &path))?;
    Ok(file)
}
