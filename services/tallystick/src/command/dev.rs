//! `tallystick dev`: everything in one process, on a PostgreSQL of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use credits::{Authentication, Principal, UnitPolicy};
use signature::Secrets;
use stripe::Catalogue;

use crate::client::endpoint;
use crate::clock;
use crate::error::Error;
use crate::process::Stop;
use crate::process::embedded::{Embedded, EmbeddedOptions};
use crate::process::service::{self, CreditsRole, EdgeRole, Plan, StreamLimits, Told};
use crate::settings::data_dir::{UserDirs, runs_as_root};
use crate::settings::listen::{Bound, ListenArgs};
use crate::settings::webhook_secrets::DEV_SECRET;
use crate::telemetry::export::TraceArgs;

const EXAMPLES: &str = "\
Examples:
  tallystick dev
  tallystick dev --ephemeral                      nothing is kept
  tallystick dev --grpc-addr 127.0.0.1:0 --edge-addr 127.0.0.1:0 --ops-addr 127.0.0.1:0
      free ports, for tests

When everything runs, one line of JSON on standard output says where:
  {\"ready\":true,\"grpc\":\"127.0.0.1:7070\",\"edge\":\"127.0.0.1:7071\",\"ops\":\"127.0.0.1:7073\",
   \"database_url\":\"postgres://…\",\"webhook_secret\":\"whsec_tallystick_dev\"}
Everything else goes to standard error.

PostgreSQL: the newest installed one (15 or later), or a package that is downloaded once. It
listens on 127.0.0.1 only and syncs to disk as in production. Without --ephemeral and --data-dir
its data are kept in $XDG_DATA_HOME/tallystick/dev or ~/.local/share/tallystick/dev; for root in
/var/lib/tallystick/dev.

dev asks for no credentials, which is why it listens on loopback only; its accounts are sandbox
accounts; it sells packs `starter` (1000 credits for USD 10.00) and `studio` (5500 for USD 50.00).";

/// Lanes and read connections of a process that shares its machine with its database.
const LANES: u32 = 2;
const READ_CONNECTIONS: u32 = 16;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where `dev` listens and keeps its data.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    listen: ListenArgs,
    /// Keep PostgreSQL's data here. A server that a killed dev left there is taken over.
    #[arg(long, env = "TALLYSTICK_DATA_DIR", value_name = "DIR", help_heading = "Database")]
    data_dir: Option<PathBuf>,
    /// Throw the data away at the end, whatever ends it.
    #[arg(long, conflicts_with = "data_dir", help_heading = "Database")]
    ephemeral: bool,
    /// Use the initdb and postgres of this directory.
    #[arg(long, env = "TALLYSTICK_POSTGRES_BIN_DIR", value_name = "DIR", help_heading = "Database")]
    postgres_bin_dir: Option<PathBuf>,
    /// Use this PostgreSQL instead, as postgres://user:password@host:port/name; it is migrated at start.
    #[arg(
        long,
        env = "TALLYSTICK_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Database"
    )]
    database_url: Option<String>,
    #[command(flatten)]
    dirs: UserDirs,
    #[command(flatten)]
    traces: TraceArgs,
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`Error`]: an address that cannot be had, no PostgreSQL, a database that cannot be migrated.
pub(crate) async fn run(args: DevArgs) -> Result<(), Error> {
    args.listen.require_loopback()?;
    let stop = Stop::listen()?;
    // Before the database: a port in use is told at once.
    let bound = [
        args.listen.grpc(LOOPBACK).await?,
        args.listen.edge(LOOPBACK).await?,
        args.listen.ops(LOOPBACK).await?,
    ];
    let given = args.database_url.clone().filter(|url| !url.is_empty());
    let (embedded, database_url) = match given {
        Some(url) => (None, url),
        None => {
            let embedded = Embedded::start(args.embedded()?).await?;
            let url = embedded.database_url();
            (Some(embedded), url)
        }
    };
    let served = serve(&args, bound, database_url, &stop).await;
    if let Some(embedded) = embedded {
        embedded.stop().await?;
    }
    served
}

async fn serve(args: &DevArgs, bound: [Bound; 3], database_url: String, stop: &Stop) -> Result<(), Error> {
    let database = |source| Error::Database { setting: "--database-url", source };
    store::migrate(&database_url).await.map_err(database)?;
    if stop.is_asked() {
        return Ok(());
    }
    let [grpc, edge, ops] = bound;
    let secrets = Secrets::parse(DEV_SECRET).map_err(|error| defect(&error))?;
    let catalogue = Catalogue::dev().map_err(|error| defect(&error))?;
    let credits = endpoint("--grpc-addr", &grpc.addr.to_string())?;
    let hint = hint(&grpc, &edge);
    let credits_role = CreditsRole {
        database_url: database_url.clone(),
        lanes: LANES,
        read_connections: READ_CONNECTIONS,
        streams: StreamLimits::default(),
        sandbox: true,
        authentication: Authentication::None { principal: Arc::new(Principal::anonymous()) },
        units: UnitPolicy::Any,
        catalogue,
        livemode: false,
        secrets: Some(secrets.clone()),
    };
    let edge_role = EdgeRole { secrets, api_key: None, credits, is_remote: false };
    let plan = Plan {
        credits: Some((grpc, credits_role)),
        edge: Some((edge, edge_role)),
        ops,
        grace: args.listen.grace(),
        told: Some(Told { hint, database_url, webhook_secret: DEV_SECRET }),
    };
    service::run(plan, stop).await
}

impl DevArgs {
    /// Where traces go.
    pub(crate) fn traces(&self) -> &TraceArgs {
        &self.traces
    }

    fn embedded(&self) -> Result<EmbeddedOptions, Error> {
        let data_dir = match (&self.data_dir, self.ephemeral) {
            (Some(dir), _) => dir.clone(),
            (None, true) => self.dirs.ephemeral(&clock::new_id()),
            (None, false) => self.dirs.lookup_persistent(runs_as_root()).ok_or_else(|| Error::Config {
                setting: "--data-dir",
                problem: "has to be given, or --ephemeral, since HOME is not set".to_owned(),
            })?,
        };
        Ok(EmbeddedOptions {
            data_dir,
            ephemeral: self.ephemeral,
            bin_dir: self.postgres_bin_dir.clone(),
            cache_dir: postgres::default_cache_dir(self.dirs.xdg_cache_home.as_deref()),
        })
    }
}

/// What to do in another terminal; addresses only where they are not the default ones.
fn hint(grpc: &Bound, edge: &Bound) -> String {
    let addr = if grpc.addr.port() == 7070 { String::new() } else { format!(" --addr {}", grpc.addr) };
    let edge_addr =
        if edge.addr.port() == 7071 { String::new() } else { format!(" --edge-addr {}", edge.addr) };
    format!(
        "try, in another terminal:\n  tallystick watch user_1{addr}\n  tallystick simulate checkout --account user_1 \
         --pack starter{edge_addr}\n  tallystick spend user_1 30{addr}"
    )
}

/// Built-in values are tested; were one of them unusable, this says which.
fn defect(error: &dyn std::error::Error) -> Error {
    Error::Role { role: "dev", problem: format!("has an unusable built-in value: {error}") }
}
