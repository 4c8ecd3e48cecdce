//! What the program tells about itself: logs on standard error, and traces to a collector.
//!
//! | file | what |
//! | --- | --- |
//! | `telemetry/filter.rs` | what no filter of a user can bring into the log |
//! | `telemetry/json.rs` | the lines of `--log-format json` |
//! | `telemetry/export.rs` | spans to a collector: bounded, in the background, flushed at the end |
//!
//! Promises: colour only on a terminal; one JSON object a line on request; nothing here waits for a collector. Nothing
//! that is logged may hold a secret, a database URL, a key or the body of an event; that is up to the callers, and
//! `filter.rs` keeps out the dependencies that would print what they carry.

pub(crate) mod export;
mod filter;
mod json;

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::error::Error;
use crate::telemetry::export::TraceArgs;

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
    ///
    /// `info,tallystick::ledger=debug` adds a line for each balance change, with the figures before and after.
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

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging, and tracing when a collector is named; to be called once, within a runtime.
///
/// # Errors
/// [`Error::Config`] when the filter or the collector's address cannot be used.
pub(crate) fn start(args: &LogArgs, traces: Option<&TraceArgs>, default_filter: &str) -> Result<(), Error> {
    let filter = args.log.as_deref().or(args.rust_log.as_deref()).unwrap_or(default_filter);
    let filter = EnvFilter::try_new(filter).map_err(|fault| Error::Config {
        setting: "--log",
        problem: format!("is not a log filter: {fault}"),
    })?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines: Lines = match args.log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).compact().boxed(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(json::JsonLines).boxed(),
    };
    let mut layers = vec![lines.with_filter(filter.and(filter_fn(filter::may_be_logged))).boxed()];
    if let Some(exported) = traces.map(TraceArgs::layer).transpose()?.flatten() {
        layers.push(exported);
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|fault| Error::Config { setting: "--log", problem: fault.to_string() })
}
