//! `chaos run` runs chaos and validates what was seen; `chaos validate` validates a history again.
//!
//! Exit codes: 0 nothing contradicts the contract; 1 something does, or the run could not be finished; 2 wrong usage.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use chaos::history::{Event, History, Nemesis};
use chaos::report::Report;
use chaos::validate::{Bounds, validate};
use chaos::{Progress, Settings};
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  chaos run --duration 600                        ten minutes, a seed by chance
  chaos run --seed 7 --nemesis failover,restore   these faults alone
  chaos validate target/chaos/7                   look at a history again";

/// Random traffic and faults against real processes, and offline checks of what was seen.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run, and validate
    Run(RunArgs),
    /// Validate the history of a run
    Validate {
        /// Where it lies
        dir: PathBuf,
        /// Report as one JSON object on standard output
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Seed of commands, readers and faults; by chance unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds of faults, at least; from 180 on faults are longer, and some come together
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    duration: u64,
    /// Service processes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "N")]
    replicas: u8,
    /// Faults, separated by commas; all unless given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULTS")]
    nemesis: Vec<Nemesis>,
    /// A directory for history and logs, which must have none; target/chaos/<seed> unless given
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The program; built from this workspace unless given
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Given to the services as TALLYSTICK_MUTANT
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Writers
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64), value_name = "N")]
    writers: u8,
    /// Readers with random habits, besides the five that are always there
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=200), value_name = "N")]
    wanderers: u8,
    /// Accounts
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    accounts: u16,
    /// Report as one JSON object on standard output
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    fn settings(&self) -> Settings {
        let seed = self.seed.unwrap_or_else(rand::random);
        let dir = self.dir.clone().unwrap_or_else(|| Path::new("target/chaos").join(seed.to_string()));
        let nemeses = if self.nemesis.is_empty() { chaos::possible() } else { self.nemesis.clone() };
        let program = self.binary.clone().unwrap_or_else(|| harness::program().clone());
        Settings {
            seed,
            duration: Duration::from_secs(self.duration),
            replicas: self.replicas,
            nemeses,
            dir,
            program,
            mutant: self.mutant.clone(),
            accounts: self.accounts,
            writers: self.writers,
            pause: Duration::from_millis(20),
            wanderers: self.wanderers,
            command: self.again(seed),
        }
    }

    /// The command that repeats this run.
    fn again(&self, seed: u64) -> String {
        let mut command = format!(
            "chaos run --seed {seed} --duration {} --replicas {} --writers {} --wanderers {} --accounts {}",
            self.duration, self.replicas, self.writers, self.wanderers, self.accounts
        );
        let names = self.nemesis.iter().filter_map(clap::ValueEnum::to_possible_value);
        let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
        let more = [
            ("--nemesis", Some(names.join(",")).filter(|names| !names.is_empty())),
            ("--binary", self.binary.as_ref().map(|path| path.display().to_string())),
            ("--mutant", self.mutant.clone()),
        ];
        for (flag, value) in more {
            if let Some(value) = value {
                command.push_str(&format!(" {flag} {value}"));
            }
        }
        command
    }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Validate { dir, json } => judge(&dir, json),
    }
}

fn run(args: &RunArgs) -> ExitCode {
    let settings = args.settings();
    eprintln!("again: {}", settings.command);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ran = runtime.block_on(chaos::run(&settings, tell));
    eprintln!();
    match ran {
        Ok(()) => judge(&settings.dir, args.json),
        Err(error) => failed(&error),
    }
}

/// On a terminal one line that changes.
fn tell(progress: &Progress) {
    let Progress { elapsed, what, acknowledged, lines } = progress;
    let line =
        format!("{:>7.1} s  {acknowledged:>8} writes  {lines:>9} records  {what}", elapsed.as_secs_f64());
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{line}");
    } else {
        eprintln!("{line}");
    }
}

fn judge(dir: &Path, json: bool) -> ExitCode {
    let history = match History::read(dir) {
        Ok(history) => history,
        Err(error) => return failed(&error),
    };
    let command = history.records().find_map(|(_, record)| match &record.event {
        Event::Run { command, .. } => Some(command.clone()),
        _ => None,
    });
    let verdict = validate(&history, &Bounds::default());
    let report = Report::new(&verdict, history.len(), command.unwrap_or_default());
    if json {
        match serde_json::to_string(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => return failed(&error),
        }
    } else {
        println!("{}history: {}", report.table(), dir.display());
    }
    if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("chaos: {error}");
    ExitCode::FAILURE
}
