//! The webhook secrets of a process: from a variable, or from a file.

use std::path::PathBuf;

use clap::Args;
use signature::{Secret, Secrets};

use crate::error::Error;
use crate::settings::{secret_file, text_file};

/// The secret of `dev`, which everybody knows; `serve` refuses it.
pub(crate) const DEV_SECRET: &str = "whsec_tallystick_dev";

const VALUE: &str = "TALLYSTICK_STRIPE_WEBHOOK_SECRETS";
const FILE: &str = "--stripe-webhook-secrets-file";

/// Where the secrets are.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// A file with Stripe's webhook signing secrets, one a line; all of them are accepted.
    #[arg(
        long,
        env = "TALLYSTICK_STRIPE_WEBHOOK_SECRETS_FILE",
        value_name = "FILE",
        help_heading = "Secrets"
    )]
    stripe_webhook_secrets_file: Option<PathBuf>,
    /// The secrets themselves, separated by commas; meant for the variable, since a command line is no secret.
    #[arg(
        long,
        env = VALUE,
        hide_env_values = true,
        value_name = "SECRETS",
        help_heading = "Secrets"
    )]
    stripe_webhook_secrets: Option<String>,
}

impl SecretArgs {
    /// All secrets of file and variable; `None` when neither is given.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::File`] for an empty or blank one, for too many, and for the one of `dev`.
    pub(crate) fn try_read(&self) -> Result<Option<Secrets>, Error> {
        let mut texts = Vec::new();
        let mut setting = VALUE;
        if let Some(path) = &self.stripe_webhook_secrets_file {
            setting = FILE;
            let text = text_file::read(FILE, path, secret_file::MAX_BYTES)?;
            // A blank line between others is layout; a file of blank lines is a secret that is missing.
            texts.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
            if texts.is_empty() {
                let problem = "is empty or blank".to_owned();
                return Err(Error::File { setting: FILE, path: path.clone(), problem });
            }
        }
        if let Some(text) = &self.stripe_webhook_secrets {
            texts.extend(text.split(',').map(str::to_owned));
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let refused = |problem: String| Error::Config { setting, problem };
        let secrets = Secrets::try_new(texts.iter().map(String::as_str));
        let secrets = secrets.map_err(|error| refused(format!("cannot be used: {error}")))?;
        if Secret::try_new(DEV_SECRET).is_ok_and(|dev| secrets.contains(&dev)) {
            return Err(refused(format!(
                "holds {DEV_SECRET}, which everybody knows: use the secret that Stripe shows for your endpoint"
            )));
        }
        Ok(Some(secrets))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(value: Option<&str>, file: Option<&str>) -> Result<Option<Secrets>, String> {
        let mut held = tempfile::NamedTempFile::new().unwrap();
        held.write_all(file.unwrap_or_default().as_bytes()).unwrap();
        let args = SecretArgs {
            stripe_webhook_secrets_file: file.map(|_| held.path().to_path_buf()),
            stripe_webhook_secrets: value.map(str::to_owned),
        };
        args.try_read().map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        })
    }

    fn has(secrets: &Secrets, text: &str) -> bool {
        secrets.contains(&Secret::try_new(text).unwrap())
    }

    #[test]
    fn secrets_of_file_and_variable_are_all_accepted() {
        let secrets = read(Some("whsec_a, whsec_b"), Some("whsec_c\n\nwhsec_d\r\n")).unwrap().unwrap();
        assert!(["whsec_a", "whsec_b", "whsec_c", "whsec_d"].iter().all(|text| has(&secrets, text)));
        assert!(read(None, None).unwrap().is_none());
    }

    #[test]
    fn blank_secrets_are_refused() {
        for value in ["", " ", "whsec_a,", ",whsec_a", "whsec_a, ,whsec_b"] {
            assert!(read(Some(value), None).unwrap_err().contains("empty or blank"), "{value:?}");
        }
        assert!(read(None, Some("\n \n")).unwrap_err().contains("empty or blank"));
        assert!(read(Some(""), Some("whsec_a")).is_err());
    }

    #[test]
    fn the_secret_of_dev_is_refused_wherever_it_stands() {
        for (value, file) in [
            (Some("whsec_tallystick_dev"), None),
            (Some("whsec_a, whsec_tallystick_dev "), None),
            (Some("whsec_a"), Some("whsec_tallystick_dev\n")),
        ] {
            assert!(read(value, file).unwrap_err().contains("everybody knows"));
        }
    }

    #[test]
    fn no_message_holds_a_secret() {
        let error = read(Some("whsec_hid den"), None).unwrap_err();
        assert!(!error.contains("hid"), "{error}");
        assert!(!format!("{:?}", read(Some("whsec_hidden"), None)).contains("hidden"));
    }
}
