//! Starts the server process and waits until it takes connections, crash recovery included.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::error::Error;
use crate::home::Home;
use crate::port::free_port;
use crate::postmaster::{self, PidFile, Postmaster};
use crate::{program, wait};

/// Crash recovery replays up to max_wal_size (1 GB) of log before the server is ready.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(120);
/// Orphaned backends of a killed server finish their statement before they notice; until then its memory is in use.
const ORPHAN_LIMIT: Duration = Duration::from_secs(30);
/// Another process may take a free port between our look and the server's bind; ten times in a row it does not.
const PORT_ATTEMPTS: u32 = 10;

/// What a start needs to know.
pub(crate) struct Launch<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) account: &'a Account,
    pub(crate) home: &'a Home,
}

impl Launch<'_> {
    /// Starts on `port`, or on a free one when it is 0; returns the server and its port.
    pub(crate) fn run(&self, port: u16) -> Result<(Postmaster, u16), Error> {
        self.clear_stale_pid_file()?;
        let mut attempt = 1;
        loop {
            let chosen = if port == 0 { free_port()? } else { port };
            match self.on_port(chosen) {
                Err(Error::NotStarted { tail, .. })
                    if port == 0 && attempt < PORT_ATTEMPTS && tail.contains("could not bind") =>
                {
                    attempt += 1;
                }
                outcome => return outcome.map(|postmaster| (postmaster, chosen)),
            }
        }
    }

    /// The server clears a pid file whose process is gone, but refuses to start when the number belongs to another
    /// process by now; that one is known here not to serve this directory.
    fn clear_stale_pid_file(&self) -> Result<(), Error> {
        let pgdata = self.home.pgdata();
        match PidFile::lookup(&pgdata) {
            Some(file) if !postmaster::serves(file.pid, &pgdata) => {
                let path = postmaster::path(&pgdata);
                fs::remove_file(&path).map_err(Error::io("remove", path))
            }
            _ => Ok(()),
        }
    }

    fn on_port(&self, port: u16) -> Result<Postmaster, Error> {
        let mut outcome = self.once(port);
        wait::until(ORPHAN_LIMIT, || {
            let orphans = matches!(&outcome, Err(Error::NotStarted { tail, .. })
                if tail.contains("pre-existing shared memory block"));
            if orphans {
                outcome = self.once(port);
            }
            !orphans
        });
        outcome
    }

    fn once(&self, port: u16) -> Result<Postmaster, Error> {
        let log = self.home.open_log(self.account)?;
        let log_start = log.metadata().map_err(Error::io("read", self.home.log()))?.len();
        let errors = log.try_clone().map_err(Error::io("open", self.home.log()))?;
        let mut command = self.account.command(&self.binaries.postgres());
        command.arg("-D").arg(self.home.pgdata()).arg("-p").arg(port.to_string());
        for setting in self.settings()? {
            command.arg("-c").arg(setting);
        }
        // Its own process group: Ctrl-C at the terminal is for us, and we then stop the server in order.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().map_err(Error::io("run", self.binaries.postgres()))?;
        self.await_ready(child, log_start)
    }

    /// What guards data and access: on the command line, where neither a file nor `alter system` changes it.
    fn settings(&self) -> Result<Vec<String>, Error> {
        let socket_dir = self.home.socket_dir(self.account)?.unwrap_or_default();
        Ok(vec![
            "listen_addresses=127.0.0.1".to_owned(),
            // Quoted as a list element: the path may hold blanks or commas.
            match socket_dir.display().to_string() {
                none if none.is_empty() => "unix_socket_directories=".to_owned(),
                dir => format!("unix_socket_directories=\"{}\"", dir.replace('"', "\"\"")),
            },
            "logging_collector=off".to_owned(),
            "fsync=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "synchronous_commit=on".to_owned(),
        ])
    }

    fn await_ready(&self, child: Child, log_start: u64) -> Result<Postmaster, Error> {
        let pgdata = self.home.pgdata();
        let mut postmaster = Postmaster::started(child, &pgdata);
        let mut ready = false;
        let settled = wait::until(READY_LIMIT, || {
            let file = PidFile::lookup(&pgdata);
            ready = file.is_some_and(|file| file.pid == postmaster.pid() && file.is_ready());
            ready || postmaster.has_ended()
        });
        if ready {
            return Ok(postmaster);
        }
        let reason = if settled {
            "the server ended while starting".to_owned()
        } else {
            postmaster.kill_all(READY_LIMIT)?;
            format!("not ready within {} s", READY_LIMIT.as_secs())
        };
        let log = self.home.log();
        let tail = log_since(&log, log_start);
        Err(Error::NotStarted { reason, log, tail })
    }
}

fn log_since(log: &PathBuf, start: u64) -> String {
    let mut text = Vec::new();
    let read = fs::File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut text)
    });
    match read {
        Ok(_) => program::tail(&String::from_utf8_lossy(&text)),
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}
