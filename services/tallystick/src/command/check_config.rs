//! `tallystick check-config`: reads what `serve` would read, and says what is wrong with it before anything runs.

use clap::Args;

use crate::command::serve::{self, ServeArgs};
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick check-config --roles credits --catalogue catalogue.toml --api-keys-file keys.toml
  tallystick check-config --roles edge --credits-addr credits.internal:7070

Takes the flags and variables of `tallystick serve`, reads every file that they name, and exits
with 2 and the flag, file and line of the first fault. It listens nowhere and connects to
nothing: whether the database can be reached is `tallystick migrate`'s business.";

/// The settings of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Checks.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] for the first thing that is missing or wrong.
pub(crate) fn run(args: &CheckConfigArgs) -> Result<(), Error> {
    for line in serve::check(&args.serve)? {
        output::line(&line)?;
    }
    Ok(())
}
