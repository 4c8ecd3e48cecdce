//! `tallystick key`: makes API keys. The service keeps only their hashes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use credits::{ApiKey, KeyRing, MAX_KEYS_FILE_BYTES, Scope};

use crate::clock;
use crate::error::Error;
use crate::output;
use crate::settings::text_file;

const EXAMPLES: &str = "\
Examples:
  tallystick key new --id billing --scopes read,spend --keys-file keys.toml > billing.key
  tallystick key new --id edge --scopes stripe --keys-file keys.toml > edge.key
  tallystick key new --id tenant_7 --scopes read --account-prefix tenant_7:

The key itself goes to standard output, this once. What the service needs to know it goes into
the keys file (`serve --api-keys-file`), or to standard error without --keys-file. A key without
--account and --account-prefix covers every account. Two keys may have one id, so that a key can
be replaced without a gap.";

const KEYS_FILE: &str = "--keys-file";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key
    New(NewArgs),
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyScope {
    /// Read and watch balances.
    Read,
    /// Grant credits, and take grants back.
    Grant,
    /// Spend credits, hold them, and give them back.
    Spend,
    /// Correct balances by hand; for operators.
    Adjust,
    /// Hand over Stripe events; for the edge.
    Stripe,
    /// Read the journal of all accounts; for exports.
    Ledger,
    /// Freeze and close accounts, set thresholds, erase data; for operators.
    Admin,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Read => Self::Read,
            KeyScope::Grant => Self::Grant,
            KeyScope::Spend => Self::Spend,
            KeyScope::Adjust => Self::Adjust,
            KeyScope::Stripe => Self::Stripe,
            KeyScope::Ledger => Self::Ledger,
            KeyScope::Admin => Self::Admin,
        }
    }
}

/// Whose key, and what it may do.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct NewArgs {
    /// Who holds it; the journal shows it as the actor.
    #[arg(long, value_name = "ID")]
    id: String,
    /// What it may do, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', required = true, value_name = "SCOPES")]
    scopes: Vec<KeyScope>,
    /// The one account that it covers.
    #[arg(long, value_name = "ACCOUNT", conflicts_with = "account_prefix")]
    account: Option<String>,
    /// The accounts that it covers, by the beginning of their ids.
    #[arg(long, value_name = "PREFIX")]
    account_prefix: Option<String>,
    /// Add the key's hash to this file, made if missing.
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
}

/// Makes a key.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] when the service could not use it; then no file was changed.
pub(crate) fn run(args: &NewArgs) -> Result<(), Error> {
    let key = ApiKey::new(clock::random_bytes());
    let entry = entry(args, &key);
    // The service's own reader says whether it could use this.
    let checked = KeyRing::parse(&entry);
    checked
        .map_err(|error| Error::Config { setting: "the key", problem: format!("cannot be used: {error}") })?;
    match &args.keys_file {
        Some(path) => append(path, &entry)?,
        None => output::note(&format!("for the file of `serve --api-keys-file`:\n\n{entry}")),
    }
    output::line(&key.text())
}

fn entry(args: &NewArgs, key: &ApiKey) -> String {
    let scopes: Vec<String> = args.scopes.iter().map(|scope| quoted(Scope::from(*scope).name())).collect();
    let mut entry = format!(
        "[[keys]]\nid = {}\nhash = \"{}\"\nscopes = [{}]\n",
        quoted(&args.id),
        key.hash(),
        scopes.join(", ")
    );
    for (name, value) in [("account", &args.account), ("account_prefix", &args.account_prefix)] {
        if let Some(value) = value {
            entry.push_str(&format!("{name} = {}\n", quoted(value)));
        }
    }
    entry
}

/// As a TOML string. JSON's escapes are TOML's too, but for DEL, which no id may have.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Adds the entry if the whole file can be used then.
fn append(path: &Path, entry: &str) -> Result<(), Error> {
    let fault = |problem: String| Error::File { setting: KEYS_FILE, path: path.to_path_buf(), problem };
    let present = match fs::exists(path) {
        Ok(true) => text_file::read(KEYS_FILE, path, MAX_KEYS_FILE_BYTES)?,
        _ => String::new(),
    };
    let gap = if present.is_empty() {
        ""
    } else if present.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let whole = format!("{present}{gap}{entry}");
    KeyRing::parse(&whole).map_err(|error| fault(format!("cannot be used with this key: {error}")))?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(format!("{gap}{entry}").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error: io::Error| fault(format!("cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> NewArgs {
        let cli = Cli::try_parse_from(["tallystick", "key", "new"].iter().chain(words)).unwrap();
        let Command::Key(Key::New(args)) = cli.command else { panic!("another command") };
        args
    }

    #[test]
    fn keys_are_added_to_a_file_that_the_service_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let file = path.to_str().unwrap();
        run(&args(&["--id", "billing", "--scopes", "read,spend", "--keys-file", file])).unwrap();
        run(&args(&["--id", "t", "--scopes", "read", "--account-prefix", "t:", "--keys-file", file]))
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        KeyRing::parse(&text).unwrap();
        assert_eq!(text.matches("[[keys]]").count(), 2);
        assert!(text.contains("scopes = [\"read\", \"spend\"]") && text.contains("account_prefix = \"t:\""));
        assert!(!text.contains("tsk_"), "the key itself stays out of the file");
    }

    #[test]
    fn a_key_that_the_service_would_refuse_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let file = path.to_str().unwrap();
        for id in ["", "a b", "tallystick", "a\"\nhash = \"b"] {
            let error = run(&args(&["--id", id, "--scopes", "read", "--keys-file", file])).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{id:?}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "nonsense").unwrap();
        let path = file.path().to_str().unwrap();
        assert!(run(&args(&["--id", "a", "--scopes", "read", "--keys-file", path])).is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "nonsense");
    }
}
