//! `tallystick serve`: roles of the service, as they run in production.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use crate::error::Error;
use crate::process::Stop;
use crate::process::service::{self, Plan, StreamLimits};
use crate::settings::address;
use crate::settings::listen::ListenArgs;
use crate::settings::webhook_secrets::SecretArgs;
use crate::telemetry::export::TraceArgs;

mod roles;

const EXAMPLES: &str = "\
Examples:
  tallystick serve --roles credits --catalogue catalogue.toml --api-keys-file keys.toml
  tallystick serve --roles edge --credits-addr credits.internal:7070

Roles:
  credits  the gRPC service; needs a database, a catalogue and API keys
  edge     receives Stripe's webhooks and hands them to the credits role; needs webhook secrets
           and, when the credits role is elsewhere, its address and an API key with scope
           `stripe`; never a database

When all roles run and the database is reached, one line of JSON on standard output says where
they listen. SIGTERM ends the process in order within --grace.";

/// Where `serve` listens unless it is told otherwise: its clients are on other machines.
const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Most lanes: each is a connection for writes.
const MAX_LANES: i64 = 64;
/// Most connections for reads.
const MAX_READ_CONNECTIONS: i64 = 512;
/// Most streams: a gigabyte of memory while they are idle.
const MAX_STREAMS: i64 = 100_000;

/// A part of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The gRPC service.
    Credits,
    /// The receiver of webhooks.
    Edge,
}

/// What to run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// What to run, separated by commas.
    #[arg(
        long,
        env = "TALLYSTICK_ROLES",
        value_enum,
        value_delimiter = ',',
        required = true,
        value_name = "ROLES"
    )]
    roles: Vec<Role>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    credits: CreditsArgs,
    #[command(flatten)]
    edge: EdgeArgs,
    #[command(flatten)]
    traces: TraceArgs,
}

impl ServeArgs {
    /// Where traces go.
    pub(crate) fn traces(&self) -> &TraceArgs {
        &self.traces
    }
}

/// What the credits role needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Role credits")]
struct CreditsArgs {
    /// The database, as postgres://user:password@host:port/name. Prefer the variable: it holds a password.
    #[arg(long, env = "TALLYSTICK_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Bring the database's schema up to date before anything else.
    #[arg(long, env = "TALLYSTICK_MIGRATE", value_parser = BoolishValueParser::new())]
    migrate: bool,
    /// What is sold, and which units exist (TOML).
    #[arg(long, env = "TALLYSTICK_CATALOGUE", value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Stripe events are about real money. Events of the other mode are stored and ignored.
    #[arg(long, env = "TALLYSTICK_LIVEMODE", value_parser = BoolishValueParser::new())]
    livemode: bool,
    /// The hashes of the accepted API keys (TOML); see `tallystick key new`.
    #[arg(long, env = "TALLYSTICK_API_KEYS_FILE", value_name = "FILE")]
    api_keys_file: Option<PathBuf>,
    /// Accept everybody who can reach the port, without credentials.
    #[arg(long, env = "TALLYSTICK_INSECURE_NO_AUTH", value_parser = BoolishValueParser::new())]
    insecure_no_auth: bool,
    /// Batches that may run at once: two where the database shares the machine, more where it has its own.
    #[arg(
        long,
        env = "TALLYSTICK_LANES",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=MAX_LANES),
        value_name = "N"
    )]
    lanes: u32,
    /// Connections for reads.
    #[arg(
        long,
        env = "TALLYSTICK_READ_CONNECTIONS",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=MAX_READ_CONNECTIONS),
        value_name = "N"
    )]
    read_connections: u32,
    /// Watches that may be open at once; more are refused as OVERLOADED.
    #[arg(
        long,
        env = "TALLYSTICK_MAX_STREAMS",
        default_value_t = StreamLimits::default().process,
        value_parser = clap::value_parser!(u32).range(1..=MAX_STREAMS),
        value_name = "N"
    )]
    max_streams: u32,
    /// Watches that one caller (API key) may have open at once; more are refused as TOO_MANY_STREAMS.
    #[arg(
        long,
        env = "TALLYSTICK_MAX_STREAMS_PER_CALLER",
        default_value_t = StreamLimits::default().per_key,
        value_parser = clap::value_parser!(u32).range(1..=MAX_STREAMS),
        value_name = "N"
    )]
    max_streams_per_caller: u32,
}

/// What the edge role needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Role edge")]
struct EdgeArgs {
    /// Where the credits role listens for gRPC, as host:port, unless it runs in this process.
    #[arg(long, env = "TALLYSTICK_CREDITS_ADDR", value_name = "HOST:PORT")]
    credits_addr: Option<String>,
    /// A file with the edge's API key, whose scope is `stripe`.
    #[arg(long, env = "TALLYSTICK_EDGE_API_KEY_FILE", value_name = "FILE")]
    edge_api_key_file: Option<PathBuf>,
    /// The key itself, unless a file is given; meant for the variable, since a command line is no secret.
    #[arg(long, env = "TALLYSTICK_EDGE_API_KEY", hide_env_values = true, value_name = "KEY")]
    edge_api_key: Option<String>,
}

/// What the settings say, a line for each role, without running anything.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`] for the first thing that is missing or wrong.
pub(crate) fn check(args: &ServeArgs) -> Result<Vec<String>, Error> {
    let settings = roles::Settings::try_read(args)?;
    Ok(settings.summary().into_iter().chain([args.traces.summary()?]).collect())
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`Error`]: settings that cannot be used, addresses that cannot be had, a database that cannot be migrated.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Error> {
    // Everything that can be known to be wrong is told before anything listens.
    let settings = roles::Settings::try_read(&args)?;
    let stop = Stop::listen()?;
    let ops = args.listen.ops(EVERYWHERE).await?;
    let grpc = if settings.has_credits() { Some(args.listen.grpc(EVERYWHERE).await?) } else { None };
    let edge = if settings.has_edge() { Some(args.listen.edge(EVERYWHERE).await?) } else { None };
    if let (true, Some(url)) = (args.credits.migrate, settings.database_url()) {
        let database = |source| Error::Database { setting: "--database-url", source };
        store::migrate(url).await.map_err(database)?;
        tracing::info!("the database is up to date");
    }
    if args.credits.insecure_no_auth && grpc.is_some() {
        tracing::warn!("--insecure-no-auth: whoever reaches the gRPC port may grant and spend");
    }
    let inside = grpc.as_ref().map(|bound| address::from_inside(bound.addr));
    let (credits, edge_role) = settings.into_roles(inside)?;
    let plan = Plan {
        credits: grpc.zip(credits),
        edge: edge.zip(edge_role),
        ops,
        grace: args.listen.grace(),
        told: None,
    };
    service::run(plan, &stop).await
}
