//! The command line: every command, its place and its help.

use clap::{Parser, Subcommand};

use crate::command::{
    account, adjust, balance, batch, bench, capture, check_config, completions, dev, events, explain, export,
    extend, grant, grants, history, hold, holds, key, ledger, migrate, quote, release, reverse, revoke,
    serve, simulate, spend, units, verify, watch,
};
use crate::error::Error;
use crate::telemetry::LogArgs;
use crate::telemetry::export::TraceArgs;

const EXAMPLES: &str = "\
Examples:
  tallystick dev                                  everything on this machine
  tallystick watch user_1                         follow a balance, in another terminal
  tallystick simulate checkout --account user_1 --pack starter
                                                  deliver the event of a paid checkout
  tallystick spend user_1 30 --reference job_17   use credits
  tallystick balance user_1 --json                read a balance
  tallystick history user_1                       what happened to it
  tallystick grants user_1                        what there is left, and when it expires
  tallystick hold user_1 200 --ttl 10m            reserve credits for a job
  tallystick explain user_1                       where the balance comes from
  tallystick batch commands.jsonl                 many commands in one go

Exit codes:
  0  done
  1  refused by the service, or failed
  2  used or configured wrongly

A setting that shows a variable [env: …] can be set by it; the flag wins.";

/// Prepaid credits for SaaS: Stripe webhooks in, gRPC out, balances live.
#[derive(Debug, Parser)]
#[command(name = "tallystick", version, after_help = EXAMPLES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine, for development
    Dev(dev::DevArgs),
    /// Run roles of the service
    Serve(Box<serve::ServeArgs>),
    /// Read what `serve` would read, and say what is wrong with it
    CheckConfig(Box<check_config::CheckConfigArgs>),
    /// Bring a database's schema up to date
    Migrate(migrate::MigrateArgs),
    /// Deliver simulated Stripe events to a running edge
    #[command(subcommand)]
    Simulate(simulate::Simulate),
    /// Put credits into a balance
    Grant(Box<grant::GrantArgs>),
    /// Take credits from a balance
    Spend(Box<spend::SpendArgs>),
    /// Reserve credits for a job
    Hold(Box<hold::HoldArgs>),
    /// Use credits of a hold
    Capture(Box<capture::CaptureArgs>),
    /// Give a hold a later end
    Extend(Box<extend::ExtendArgs>),
    /// Give a hold back to its lots
    Release(Box<release::ReleaseArgs>),
    /// Give a spend or capture back
    Reverse(Box<reverse::ReverseArgs>),
    /// Take a grant back, or undo that
    Revoke(Box<revoke::RevokeArgs>),
    /// Correct a balance by hand
    Adjust(Box<adjust::AdjustArgs>),
    /// Say what a spend would do
    Quote(quote::QuoteArgs),
    /// Read a balance
    Balance(balance::BalanceArgs),
    /// Show the journal of a balance, newest first
    History(Box<history::HistoryArgs>),
    /// Show the lots of a balance: what is left, and when it expires
    Grants(grants::GrantsArgs),
    /// Show the holds of a balance
    Holds(holds::HoldsArgs),
    /// Show where a balance comes from
    Explain(explain::ExplainArgs),
    /// Write an account's journal to a file that anybody can check
    Export(export::ExportArgs),
    /// Prove that a ledger or an exported journal adds up
    Verify(verify::VerifyArgs),
    /// Look up and change accounts, for operators
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Look at the inbox of Stripe events, and try one again
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Show the units that the catalogue declares
    Units(units::UnitsArgs),
    /// Send the commands of a file, one JSON object a line
    Batch(batch::BatchArgs),
    /// Follow balances live
    Watch(watch::WatchArgs),
    /// Follow all changes of the ledger, for projections
    Ledger(ledger::LedgerArgs),
    /// Put load on a running service, and measure it
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Make API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Write what a shell needs to complete commands and flags
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// [`Error`], to be shown to the user.
    pub(crate) async fn run(self) -> Result<(), Error> {
        match self {
            Self::Dev(args) => dev::run(args).await,
            Self::Serve(args) => serve::run(*args).await,
            Self::CheckConfig(args) => check_config::run(&args),
            Self::Migrate(args) => migrate::run(&args).await,
            Self::Simulate(simulate::Simulate::Checkout(args)) => simulate::run(&args).await,
            Self::Grant(args) => grant::run(*args).await,
            Self::Spend(args) => spend::run(*args).await,
            Self::Hold(args) => hold::run(*args).await,
            Self::Capture(args) => capture::run(*args).await,
            Self::Extend(args) => extend::run(*args).await,
            Self::Release(args) => release::run(*args).await,
            Self::Reverse(args) => reverse::run(*args).await,
            Self::Revoke(args) => revoke::run(*args).await,
            Self::Adjust(args) => adjust::run(*args).await,
            Self::Quote(args) => quote::run(args).await,
            Self::Holds(args) => holds::run(args).await,
            Self::Explain(args) => explain::run(args).await,
            Self::Export(args) => export::run(args).await,
            Self::Verify(args) => verify::run(args).await,
            Self::Account(command) => command.run().await,
            Self::Events(command) => command.run().await,
            Self::Balance(args) => balance::run(args).await,
            Self::History(args) => history::run(*args).await,
            Self::Grants(args) => grants::run(args).await,
            Self::Units(args) => units::run(&args).await,
            Self::Batch(args) => batch::run(args).await,
            Self::Watch(args) => watch::run(args).await,
            Self::Ledger(args) => ledger::run(args).await,
            Self::Bench(bench) => bench.run().await,
            Self::Key(key::Key::New(args)) => key::run(&args),
            Self::Completions(args) => completions::run(&args),
        }
    }

    /// Whether its user is a program, which wants errors as JSON too.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Serve(_) | Self::CheckConfig(_) | Self::Migrate(_) => false,
            Self::Key(_) | Self::Completions(_) | Self::Verify(_) => false,
            Self::Account(command) => command.wants_json(),
            Self::Events(command) => command.wants_json(),
            Self::Hold(args) => args.client.json,
            Self::Capture(args) => args.client.json,
            Self::Extend(args) => args.client.json,
            Self::Release(args) => args.client.json,
            Self::Reverse(args) => args.client.json,
            Self::Revoke(args) => args.client.json,
            Self::Adjust(args) => args.client.json,
            Self::Quote(args) => args.client.json,
            Self::Holds(args) => args.client.json,
            Self::Explain(args) => args.client.json,
            Self::Export(args) => args.client.json,
            Self::Simulate(simulate::Simulate::Checkout(args)) => args.json,
            Self::Grant(args) => args.client.json,
            Self::Spend(args) => args.client.json,
            Self::Balance(args) => args.client.json,
            Self::History(args) => args.client.json,
            Self::Grants(args) => args.client.json,
            Self::Units(args) => args.client.json,
            Self::Batch(args) => args.client.json,
            Self::Watch(args) => args.client.json,
            Self::Ledger(args) => args.client.json,
            Self::Bench(bench) => bench.wants_json(),
        }
    }

    /// Where the traces of a service go.
    pub(crate) fn traces(&self) -> Option<&TraceArgs> {
        match self {
            Self::Dev(args) => Some(args.traces()),
            Self::Serve(args) => Some(args.traces()),
            _ => None,
        }
    }

    /// Services tell what they do; client commands speak up only when something is wrong.
    pub(crate) fn default_log_filter(&self) -> &'static str {
        match self {
            // The driver's remarks on every notice and closed connection are of no use here. Nor are those on each try to
            // connect to a standby, some ten a second: the tail and readiness tell of it.
            Self::Dev(_) | Self::Serve(_) | Self::Migrate(_) => {
                "info,sqlx=warn,sqlx_core::pool::connection=error,sqlx_core::pool::inner=off"
            }
            _ => "warn,sqlx_core::pool::inner=off",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&command);
    }

    #[test]
    fn a_negative_amount_reaches_the_service_which_names_the_field() {
        let cli = Cli::try_parse_from(["tallystick", "grant", "user_1", "-5"]).unwrap();
        let Command::Grant(args) = cli.command else { panic!("another command") };
        assert_eq!(args.amount, -5);
    }

    #[test]
    fn an_amount_that_is_no_64_bit_integer_is_a_usage_error_that_names_it() {
        for amount in ["99999999999999999999", "1.5", "ten", ""] {
            let error = Cli::try_parse_from(["tallystick", "spend", "user_1", amount]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{amount}");
            assert!(error.to_string().contains("<AMOUNT>"), "{error}");
        }
    }

    #[test]
    fn no_secret_of_the_environment_is_shown_in_the_help() {
        fn check(command: &clap::Command) {
            let secret = |name: &str| {
                ["SECRET", "KEY", "DATABASE_URL"].iter().any(|word| name.contains(word))
                    && !name.ends_with("_FILE")
            };
            for argument in command.get_arguments() {
                let name =
                    argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                assert!(!secret(&name) || argument.is_hide_env_values_set(), "{name}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
