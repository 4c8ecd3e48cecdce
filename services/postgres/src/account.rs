//! The operating system user that runs the server. PostgreSQL refuses root, so as root every program of it runs as
//! `postgres`, else `nobody`; any other caller runs it as itself.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

use crate::error::Error;

/// Tried in this order when the caller is root.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// Whom to run the server's programs as.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// `None`: as the caller. Never root.
    switch_to: Option<User>,
}

impl Account {
    /// The caller, or as root an unprivileged user.
    pub(crate) fn try_current() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self { switch_to: None });
        }
        let user = UNPRIVILEGED.iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = user.filter(|user| !user.uid.is_root()).ok_or(Error::NoAccount)?;
        Ok(Self { switch_to: Some(user) })
    }

    /// The caller itself, whoever that is; for files, never for the server.
    pub(crate) fn caller() -> Self {
        Self { switch_to: None }
    }

    /// A command that runs as this user, in `/` (the caller's directory may be closed to the user), without stdin and
    /// without the caller's `PG*` and locale variables, which would change what the server does.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let foreign =
                name.to_str().is_none_or(|n| n.starts_with("PG") || n.starts_with("LC_") || n == "LANG");
            if foreign {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(user) = &self.switch_to {
            // The standard library also drops root's supplementary groups when it changes the user.
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Gives `path` to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        let Some(user) = &self.switch_to else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(Error::io("change the owner of", path))
    }

    /// Checks that this user can enter `dir` and every directory above it, by really trying.
    pub(crate) fn check_reachable(&self, dir: &Path, purpose: &'static str) -> Result<(), Error> {
        let Some(user) = &self.switch_to else { return Ok(()) };
        if self.can_enter(dir) {
            return Ok(());
        }
        let mut path: Vec<&Path> = dir.ancestors().collect();
        path.reverse();
        let closed = path.into_iter().find(|ancestor| !self.can_enter(ancestor)).unwrap_or(dir);
        Err(Error::Unreachable { dir: closed.to_path_buf(), account: user.name.clone(), purpose })
    }

    fn can_enter(&self, dir: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "cd -- \"$1\"", "sh"]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}
