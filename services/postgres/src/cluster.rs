//! A running server and its life: start or adopt, restart, kill, stop. One [`Cluster`] at a time holds a data
//! directory; dropping it stops the server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::bootstrap::{self, Durability};
use crate::copy;
use crate::error::Error;
use crate::guardian::Guardian;
use crate::home::{DATABASE, Home, OWNER, Passwords, SUPERUSER, cluster_major};
use crate::launch::{Launch, READY_LIMIT};
use crate::postmaster::{self, PidFile, Postmaster};
use crate::wait;

/// A fast shutdown writes a checkpoint; beyond this it becomes an immediate one.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// An immediate shutdown writes nothing (the server itself kills laggards after 5 s); beyond this comes SIGKILL.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);

/// How long the data live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifetime {
    /// The data stay; the server may outlive this process and is adopted by the next start.
    Persistent,
    /// Server and data directory end with the [`Cluster`] and with this process, SIGKILL included.
    Ephemeral {
        /// A directory made by [`Cluster::prepare_seed`], copied instead of running initdb.
        seed: Option<PathBuf>,
    },
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Missing, empty, or made by an earlier start. Missing parents are made too.
    pub data_dir: PathBuf,
    /// TCP port on 127.0.0.1; 0: a free one, or that of the server that is adopted.
    pub port: u16,
    /// Whether the data are kept.
    pub lifetime: Lifetime,
}

impl Options {
    /// A cluster whose data stay, on a free port.
    pub fn persistent(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: 0, lifetime: Lifetime::Persistent }
    }

    /// A cluster that leaves nothing behind, on a free port, made by initdb.
    pub fn ephemeral(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: 0, lifetime: Lifetime::Ephemeral { seed: None } }
    }
}

/// How to end a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Rolls back open transactions, disconnects clients, writes a checkpoint.
    Fast,
    /// Aborts at once; the next start recovers from the log.
    Immediate,
}

/// A PostgreSQL server on 127.0.0.1, held by this process. All methods block and may be called from any thread.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    account: Account,
    home: Home,
    passwords: Passwords,
    port: u16,
    adopted: bool,
    persistent: bool,
    postmaster: Mutex<Option<Postmaster>>,
    /// Dropped after the server has been stopped, before the lock.
    guardian: Option<Guardian>,
    _lock: File,
}

impl Cluster {
    /// Starts the server of `options.data_dir`, initialising it first when there is none, or adopts the one that an
    /// earlier process left running there. Returns when it takes connections.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::ForeignDirectory`], [`Error::MajorMismatch`], [`Error::Unreachable`],
    /// [`Error::NotStarted`], [`Error::Program`], [`Error::Io`].
    pub fn start(binaries: &Binaries, options: &Options) -> Result<Self, Error> {
        let account = Account::try_current()?;
        let (home, lock) = Home::open(&options.data_dir, &account)?;
        home.sweep();
        let persistent = options.lifetime == Lifetime::Persistent;
        // Before anything is made: from here on a death of this process leaves nothing.
        let guardian = if persistent { None } else { Some(Guardian::watch(home.root(), &home.pgdata())?) };
        let launch = Launch { binaries, account: &account, home: &home };
        let passwords = Passwords::lookup(home.root());
        let running = take_over(&home, options.port, passwords.is_some())?;
        let passwords = match passwords {
            Some(passwords) if home.pgdata().exists() => passwords,
            passwords => prepare(&launch, passwords, &options.lifetime)?,
        };
        let adopted = running.is_some();
        let (postmaster, port) = match running {
            Some(running) => running,
            None => {
                check_major(binaries, &home)?;
                launch.run(options.port)?
            }
        };
        tracing::info!(port, pid = postmaster.pid(), adopted, dir = %home.root().display(), "PostgreSQL is ready");
        let postmaster = Mutex::new(Some(postmaster));
        let binaries = binaries.clone();
        Ok(Self {
            binaries,
            account,
            home,
            passwords,
            port,
            adopted,
            persistent,
            postmaster,
            guardian,
            _lock: lock,
        })
    }

    /// Makes `seed`, from which ephemeral clusters are copied: runs initdb in `scratch` (which the user that runs the
    /// server must be able to reach, and which is removed) and copies the result to `seed`, which must not exist.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn prepare_seed(binaries: &Binaries, scratch: &Path, seed: &Path) -> Result<(), Error> {
        let account = Account::try_current()?;
        let (home, _lock) = Home::open(scratch, &account)?;
        let _guardian = Guardian::watch(home.root(), &home.pgdata())?;
        let passwords = Passwords::try_random()?;
        bootstrap::initialise(binaries, &account, &home, &passwords, Durability::Unsynced)?;
        std::fs::create_dir(seed).map_err(Error::io("create", seed))?;
        copy::tree(&home.pgdata(), &seed.join("cluster"), &Account::caller())?;
        passwords.save(seed)
    }

    /// The url of the database `tallystick` for its owner, who is no superuser. Stable over restarts but for the port.
    pub fn database_url(&self) -> String {
        self.database_url_of(DATABASE)
    }

    /// The url of any database for the role `tallystick`.
    pub fn database_url_of(&self, database: &str) -> String {
        format!("postgres://{OWNER}:{}@127.0.0.1:{}/{database}", self.passwords.owner, self.port)
    }

    /// The url of the maintenance database for the superuser; for tests.
    pub fn superuser_url(&self) -> String {
        self.superuser_url_of(SUPERUSER)
    }

    /// The url of any database for the superuser; for tests.
    pub fn superuser_url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.passwords.superuser, self.port)
    }

    /// The TCP port; the same for the whole life of this value.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the server was already running when [`Cluster::start`] came.
    pub fn was_adopted(&self) -> bool {
        self.adopted
    }

    /// The server's log file.
    pub fn log(&self) -> PathBuf {
        self.home.log()
    }

    /// The process id of the postmaster; `None` while it is stopped or when it has died.
    pub fn pid(&self) -> Option<i32> {
        let mut running = self.running();
        running.as_mut().and_then(|postmaster| (!postmaster.has_ended()).then(|| postmaster.pid()))
    }

    /// Stops the server; nothing happens when it is not running. A stop that takes too long (30 s fast, 10 s
    /// immediate) is followed by the next harder one, SIGKILL at the end.
    ///
    /// # Errors
    /// [`Error::NotStopped`] when the processes outlive even SIGKILL.
    pub fn stop(&self, mode: StopMode) -> Result<(), Error> {
        stop_in(&mut self.running(), mode)
    }

    /// SIGKILL to the postmaster and every backend at once, as a machine's out-of-memory killer or a lost container
    /// does it; returns when all are gone and the port is free.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotStopped`].
    pub fn kill(&self) -> Result<(), Error> {
        let mut running = self.running();
        let not_running = || Error::NotRunning { dir: self.home.root().to_path_buf() };
        let mut postmaster = running.take().ok_or_else(not_running)?;
        postmaster.kill_all(IMMEDIATE_LIMIT)
    }

    /// Starts the server again on the same port after [`Cluster::stop`], [`Cluster::kill`] or a death of its own;
    /// returns when recovery is complete. Nothing happens when it runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`], [`Error::Io`].
    pub fn start_again(&self) -> Result<(), Error> {
        let mut running = self.running();
        if running.as_mut().is_some_and(|postmaster| !postmaster.has_ended()) {
            return Ok(());
        }
        check_major(&self.binaries, &self.home)?;
        let launch = Launch { binaries: &self.binaries, account: &self.account, home: &self.home };
        let (postmaster, _) = launch.run(self.port)?;
        *running = Some(postmaster);
        Ok(())
    }

    /// Stops and starts again on the same port.
    ///
    /// # Errors
    /// As [`Cluster::stop`] and [`Cluster::start_again`].
    pub fn restart(&self, mode: StopMode) -> Result<(), Error> {
        self.stop(mode)?;
        self.start_again()
    }

    fn running(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mode = if self.persistent { StopMode::Fast } else { StopMode::Immediate };
        if let Err(error) = self.stop(mode) {
            tracing::error!(%error, "PostgreSQL was left running");
        }
        // Removes the directory of an ephemeral cluster.
        drop(self.guardian.take());
    }
}

fn stop_in(running: &mut Option<Postmaster>, mode: StopMode) -> Result<(), Error> {
    let Some(mut postmaster) = running.take() else { return Ok(()) };
    if mode == StopMode::Fast {
        postmaster.signal(Signal::SIGINT);
        if postmaster.wait(FAST_LIMIT) {
            return Ok(());
        }
    }
    postmaster.signal(Signal::SIGQUIT);
    if postmaster.wait(IMMEDIATE_LIMIT) { Ok(()) } else { postmaster.kill_all(IMMEDIATE_LIMIT) }
}

/// Adopts the living server of this directory when its port suits and its passwords are known; otherwise stops it.
fn take_over(home: &Home, port: u16, passwords_known: bool) -> Result<Option<(Postmaster, u16)>, Error> {
    let pgdata = home.pgdata();
    let Some(file) = PidFile::lookup(&pgdata).filter(|file| postmaster::serves(file.pid, &pgdata)) else {
        return Ok(None);
    };
    let mut postmaster = Postmaster::adopted(file.pid, &pgdata);
    let mut current = None;
    wait::until(READY_LIMIT, || {
        current = PidFile::lookup(&pgdata).filter(|now| now.pid == file.pid && now.is_ready());
        current.is_some() || postmaster.has_ended()
    });
    match current.and_then(|now| now.port) {
        Some(found) if passwords_known && (port == 0 || port == found) => Ok(Some((postmaster, found))),
        _ => stop_in(&mut Some(postmaster), StopMode::Fast).map(|()| None),
    }
}

/// Makes the data directory, or gives an existing one new passwords when theirs are lost.
fn prepare(launch: &Launch<'_>, known: Option<Passwords>, lifetime: &Lifetime) -> Result<Passwords, Error> {
    let Launch { binaries, account, home } = launch;
    if home.pgdata().exists() {
        let passwords = Passwords::try_random()?;
        check_major(binaries, home)?;
        bootstrap::set_passwords(binaries, account, home, &passwords)?;
        return Ok(passwords);
    }
    if let Lifetime::Ephemeral { seed: Some(seed) } = lifetime {
        let missing =
            || Error::ForeignDirectory { dir: seed.clone(), problem: "a seed has passwords".to_owned() };
        let passwords = Passwords::lookup(seed).ok_or_else(missing)?;
        let unfinished = home.new_unfinished();
        copy::tree(&seed.join("cluster"), &unfinished, account)?;
        passwords.save(home.root())?;
        bootstrap::finish(home, &unfinished)?;
        return Ok(passwords);
    }
    let passwords = match known {
        Some(passwords) => passwords,
        None => Passwords::try_random()?,
    };
    let durability =
        if *lifetime == Lifetime::Persistent { Durability::Synced } else { Durability::Unsynced };
    bootstrap::initialise(binaries, account, home, &passwords, durability)?;
    Ok(passwords)
}

fn check_major(binaries: &Binaries, home: &Home) -> Result<(), Error> {
    let dir = home.root().to_path_buf();
    match cluster_major(&dir) {
        Some(major) if major == binaries.major() => Ok(()),
        Some(found) => {
            let bin_dir = binaries.dir().to_path_buf();
            Err(Error::MajorMismatch { dir, found, bin_dir, binaries: binaries.major() })
        }
        None => Err(Error::ForeignDirectory { dir, problem: "cluster/PG_VERSION is missing".to_owned() }),
    }
}
