//! What the commands print: text for people, JSON for programs, failures for both.

pub(crate) mod account;
pub(crate) mod balance;
pub(crate) mod entry;
pub(crate) mod failure;
pub(crate) mod grant;
pub(crate) mod hold;
pub(crate) mod json;
pub(crate) mod plain;
pub(crate) mod repeat;
pub(crate) mod stamp;
pub(crate) mod stream;
pub(crate) mod term;

use std::io::{self, Write};

use crate::error::Error;

/// Writes one line to standard output at once, so that a reader at the other end of a pipe sees it now.
///
/// # Errors
/// [`Error::Io`]. A reader that has gone ends the process quietly with 0, as `head` expects of its writers.
pub(crate) fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(Error::io("write to standard output")),
    }
}

/// A remark for the person at the terminal, on standard error; that nobody can read it is no failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
