//! Makes a new data directory: initdb, settings, the application's role and database. All of it happens in
//! `cluster.new.*`, which gets its final name only when it is complete and on disk, so that an interrupted start leaves
//! nothing half done that looks whole.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::error::Error;
use crate::home::{DATABASE, Home, OWNER, Passwords, SUPERUSER};
use crate::program;

/// Initdb takes one to five seconds on a laptop; a loaded machine with a slow disk gets a minute and more.
const LIMIT: Duration = Duration::from_secs(180);

/// Sizes for a developer's machine, and times in UTC. What guards data and access is given on the command line at
/// every start instead, where no file can change it.
const SETTINGS: &str = "
# tallystick
max_connections = 200
shared_buffers = '128MB'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
";

/// Whether a new data directory must survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Flushed to disk before it gets its name.
    Synced,
    /// For directories that are removed at the end anyway.
    Unsynced,
}

/// Makes `home`'s data directory and keeps `passwords` beside it.
pub(crate) fn initialise(
    binaries: &Binaries,
    account: &Account,
    home: &Home,
    passwords: &Passwords,
    durability: Durability,
) -> Result<(), Error> {
    let dir = home.new_unfinished();
    initdb(binaries, account, home, &dir, &passwords.superuser)?;
    let conf = dir.join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(&conf).map_err(Error::io("open", &conf))?;
    file.write_all(SETTINGS.as_bytes()).map_err(Error::io("write", &conf))?;
    drop(file);
    let password = &passwords.owner;
    let statements = format!(
        "create role {OWNER} login nosuperuser nocreatedb nocreaterole password '{password}'\n\
         create database {DATABASE} owner {OWNER}\n"
    );
    // Without fsync: nothing counts before the flush below.
    stand_alone(account.command(&binaries.postgres()), &["-F"], &dir, &statements)?;
    if durability == Durability::Synced {
        let mut sync = account.command(&binaries.initdb());
        sync.arg("--sync-only").arg("-D").arg(&dir);
        program::run(&mut sync, "", LIMIT)?;
    }
    passwords.save(home.root())?;
    finish(home, &dir)
}

/// Gives both roles of an existing, stopped cluster the passwords of `passwords`.
pub(crate) fn set_passwords(
    binaries: &Binaries,
    account: &Account,
    home: &Home,
    passwords: &Passwords,
) -> Result<(), Error> {
    let Passwords { owner, superuser } = passwords;
    let statements =
        format!("alter role {OWNER} password '{owner}'\nalter role {SUPERUSER} password '{superuser}'\n");
    stand_alone(account.command(&binaries.postgres()), &[], &home.pgdata(), &statements)?;
    passwords.save(home.root())
}

/// The rename that makes the directory exist, and its flush.
pub(crate) fn finish(home: &Home, unfinished: &Path) -> Result<(), Error> {
    let pgdata = home.pgdata();
    fs::rename(unfinished, &pgdata).map_err(Error::io("create", &pgdata))?;
    let root = home.root();
    File::open(root).and_then(|dir| dir.sync_all()).map_err(Error::io("flush", root))
}

fn initdb(
    binaries: &Binaries,
    account: &Account,
    home: &Home,
    dir: &Path,
    password: &str,
) -> Result<(), Error> {
    let file = home.root().join("initdb.password");
    let _ = fs::remove_file(&file);
    let mut writer = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&file)
        .map_err(Error::io("create", &file))?;
    writer.write_all(password.as_bytes()).map_err(Error::io("write", &file))?;
    account.own(&file)?;
    let mut command = account.command(&binaries.initdb());
    command.args([
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        "--no-sync",
        "--username",
        SUPERUSER,
    ]);
    command.arg("--pwfile").arg(&file).arg("-D").arg(dir);
    let outcome = program::run(&mut command, "", LIMIT);
    let _ = fs::remove_file(&file);
    outcome
}

/// Runs statements, one a line, in a stand-alone backend: it needs neither a client nor a port nor a password.
fn stand_alone(mut postgres: Command, flags: &[&str], pgdata: &Path, statements: &str) -> Result<(), Error> {
    // Without exit_on_error a failed statement would be a line on stderr and exit status 0.
    postgres.args(["--single", "-c", "exit_on_error=on", "-c", "log_checkpoints=off"]).args(flags);
    postgres.arg("-D").arg(pgdata).arg("postgres");
    program::run(&mut postgres, statements, LIMIT)
}
