//! `tallystick completions`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  tallystick completions bash > /etc/bash_completion.d/tallystick
  tallystick completions zsh > \"${fpath[1]}/_tallystick\"
  tallystick completions fish > ~/.config/fish/completions/tallystick.fish

A shell that is already open has to be opened again.";

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Writes the script to standard output.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Error> {
    let script = script(args.shell);
    io::stdout().write_all(&script).map_err(Error::io("write to standard output"))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tallystick", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in ["simulate", "check-config", "idempotency-key"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
