//! Copies an initialised data directory: a test that starts from a copy saves the seconds of initdb.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::account::Account;
use crate::error::Error;

/// Copies the directory `from` to `to`, which must not exist, and gives every part to `account`.
pub(crate) fn tree(from: &Path, to: &Path, account: &Account) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io("read", &source))?;
        if kind.is_dir() {
            tree(&source, &target, account)?;
        } else {
            // Keeps the mode; initdb makes no links.
            fs::copy(&source, &target).map_err(Error::io("copy", &source))?;
            account.own(&target)?;
        }
    }
    account.own(to)
}
