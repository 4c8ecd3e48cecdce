//! `tallystick verify`: proves that a ledger, or an exported journal, adds up.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use store::{Policy, Store, StoreOptions, Verified, VerifyError};

use crate::error::Error;
use crate::output;

mod decode;
mod file;

const EXAMPLES: &str = "\
Examples:
  tallystick verify --database-url postgres://tallystick@db.internal/tallystick
  tallystick verify --file user_1.jsonl           an exported journal; needs no service

Every hash and every figure is computed anew from the journal, and the balances, open lots and
open holds are compared with it: one snapshot, read beside running services, in bounded memory.
Stops at the first difference and exits with 1.

A file is checked by itself: that no entry was changed, left out or added between the first and
the last. Compare the last entry_hash with the balance's to know that nothing is missing at the
end.";

/// What to verify.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// The database, as postgres://user:password@host:port/name.
    #[arg(
        long,
        env = "TALLYSTICK_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        required_unless_present = "file"
    )]
    database_url: Option<String>,
    /// A journal that `tallystick export` has written; `-` for standard input. No database is asked then.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Verifies.
///
/// # Errors
/// [`Error::NotVerified`] with the first difference; [`Error::Database`], [`Error::File`].
pub(crate) async fn run(args: VerifyArgs) -> Result<(), Error> {
    match (args.file, args.database_url) {
        (Some(path), _) if path.as_os_str() == "-" => {
            file::verify(BufReader::new(std::io::stdin()), &path).and_then(|told| output::line(&told))
        }
        (Some(path), _) => {
            let opened = File::open(&path)
                .map_err(|source| file::fault(&path, &format!("cannot be read: {source}")))?;
            file::verify(BufReader::new(opened), &path).and_then(|told| output::line(&told))
        }
        (None, Some(url)) => database(url).await,
        (None, None) => Ok(()),
    }
}

async fn database(database_url: String) -> Result<(), Error> {
    let unusable = |source| Error::Database { setting: "--database-url", source };
    // Reads only: nothing is written by a store that is asked for nothing.
    let store = Store::open(StoreOptions {
        database_url,
        lanes: 1,
        read_connections: 1,
        policy: Policy::new(credits::encode_entry),
    })
    .map_err(unusable)?;
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} entries, {per_sec}, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let verified = store.verify(|progress| {
        bar.set_length(progress.entries_in_all);
        bar.set_position(progress.entries);
    });
    let verified = verified.await;
    bar.finish_and_clear();
    match verified {
        Ok(Verified { entries, balances, .. }) => {
            output::line(&format!("entries {entries}, balances {balances}: every hash and figure is right"))
        }
        Err(VerifyError::Difference(difference)) => Err(Error::NotVerified(difference)),
        Err(VerifyError::Store(source)) => Err(unusable(source)),
    }
}
