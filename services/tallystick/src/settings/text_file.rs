//! Files that settings name. Bounded: a wrong path must not fill the memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::Error;

/// The whole text of a file.
///
/// # Errors
/// [`Error::File`] when it cannot be read, is longer than `max_bytes`, or is not UTF-8.
pub(crate) fn read(setting: &'static str, path: &Path, max_bytes: usize) -> Result<String, Error> {
    let fault = |problem: String| Error::File { setting, path: path.to_path_buf(), problem };
    let file = File::open(path).map_err(|source| fault(format!("cannot be read: {source}")))?;
    let mut text = String::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let read = file.take(limit.saturating_add(1)).read_to_string(&mut text);
    let bytes = read.map_err(|source| fault(format!("cannot be read: {source}")))?;
    if bytes > max_bytes {
        return Err(fault(format!("is longer than {max_bytes} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_faults_name_flag_and_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read("--x", file.path(), 5).unwrap(), "12345");
        let error = read("--x", file.path(), 4).unwrap_err();
        assert_eq!(error.to_string(), format!("--x {}: is longer than 4 bytes", file.path().display()));
        std::fs::write(file.path(), b"\xff").unwrap();
        assert!(read("--x", file.path(), 5).unwrap_err().to_string().contains("cannot be read"));
        assert!(read("--x", Path::new("/nowhere/at/all"), 5).is_err());
    }
}
