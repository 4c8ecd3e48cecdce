//! The catalogue, from a file.

use std::path::Path;

use stripe::{Catalogue, MAX_CATALOGUE_BYTES};

use crate::error::Error;
use crate::settings::text_file;

const SETTING: &str = "--catalogue";

/// Reads and checks a catalogue.
///
/// # Errors
/// [`Error::File`] with line and field of the first fault.
pub(crate) fn read(path: &Path) -> Result<Catalogue, Error> {
    let text = text_file::read(SETTING, path, MAX_CATALOGUE_BYTES)?;
    Catalogue::parse(&text).map_err(|error| Error::File {
        setting: SETTING,
        path: path.to_path_buf(),
        problem: error.to_string(),
    })
}
