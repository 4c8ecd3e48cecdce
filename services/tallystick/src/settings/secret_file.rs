//! Files that hold one secret. Never printed.

use std::path::Path;

use crate::error::Error;
use crate::settings::text_file;

/// The longest file of secrets, in bytes: sixteen long ones; anything larger is another file.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// The one secret of a file; spaces and line ends around it are dropped.
///
/// # Errors
/// [`Error::File`] when it cannot be read, is empty, or has more than one line.
pub(crate) fn read_one(setting: &'static str, path: &Path) -> Result<String, Error> {
    let text = text_file::read(setting, path, MAX_BYTES)?;
    let secret = text.trim();
    let problem = match secret.lines().count() {
        0 => "is empty or blank",
        1 => return Ok(secret.to_owned()),
        _ => "has more than one line",
    };
    Err(Error::File { setting, path: path.to_path_buf(), problem: problem.to_owned() })
}
