//! Logs, on standard error. Promises: colour only on a terminal; one JSON object a line on request.
//!
//! Nothing that is logged may hold a secret, a database URL, a key or the body of an event; that is up to the callers.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::error::Error;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What is logged: a level, or a filter by module such as `info,store=debug`.
    #[arg(long, env = "TALLYSTICK_LOG", value_name = "FILTER", global = true, help_heading = "Logging")]
    log: Option<String>,
    /// The fallback that Rust programs share; read here so that `--help` shows it.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", global = true, hide = true)]
    rust_log: Option<String>,
    /// How logs look on standard error.
    #[arg(
        long,
        env = "TALLYSTICK_LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        global = true,
        help_heading = "Logging"
    )]
    log_format: LogFormat,
}

/// Starts logging; to be called once.
///
/// # Errors
/// [`Error::Config`] when the filter cannot be read.
pub(crate) fn start(args: &LogArgs, default_filter: &str) -> Result<(), Error> {
    let filter = args.log.as_deref().or(args.rust_log.as_deref()).unwrap_or(default_filter);
    let filter = EnvFilter::try_new(filter).map_err(|fault| Error::Config {
        setting: "--log",
        problem: format!("is not a log filter: {fault}"),
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match args.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).try_init(),
    };
    started.map_err(|fault| Error::Config { setting: "--log", problem: fault.to_string() })
}
