//! Writes a history while it happens.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Event, Record};

/// A file is followed by the next one when it is longer.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// A history that is longer than so many files ends the run: about an hour of traffic.
const MOST_FILES: u32 = 48;

/// Writes records to the files of a directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Open>>,
    began: Instant,
}

#[derive(Debug)]
struct Open {
    dir: PathBuf,
    files: u32,
    bytes: u64,
    lines: u64,
    out: BufWriter<File>,
    failed: Option<String>,
}

impl Recorder {
    /// Begins a history in this directory, which is made if it is missing and must not have one.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn try_new(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let out = create(dir, 1)?;
        let open = Open { dir: dir.to_owned(), files: 1, bytes: 0, lines: 0, out, failed: None };
        Ok(Self { shared: Arc::new(Mutex::new(open)), began: Instant::now() })
    }

    /// Writes what happens now, and gives the time.
    pub fn record(&self, event: Event) -> u64 {
        let mut open = self.open();
        // Within the lock: the order of the lines is the order of the times.
        let at = self.now();
        let line = serde_json::to_string(&Record { at, event });
        let written = line.map_err(io::Error::from).and_then(|line| open.write(&line));
        if let Err(error) = written {
            open.failed.get_or_insert_with(|| error.to_string());
        }
        at
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.open().lines
    }

    /// Why the history is not whole, if it is not.
    pub fn failure(&self) -> Option<String> {
        self.open().failed.clone()
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// When that, or a record before, could not be written.
    pub fn finish(&self) -> io::Result<()> {
        let mut open = self.open();
        open.out.flush()?;
        open.failed.take().map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > FILE_BYTES {
            self.out.flush()?;
            if self.files == MOST_FILES {
                return Err(io::Error::other("the history is full"));
            }
            self.files += 1;
            self.out = create(&self.dir, self.files)?;
            self.bytes = 0;
        }
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX) + 1;
        self.lines += 1;
        writeln!(self.out, "{line}")
    }
}

fn create(dir: &Path, number: u32) -> io::Result<BufWriter<File>> {
    File::create_new(dir.join(format!("history-{number:04}.jsonl"))).map(BufWriter::new)
}
