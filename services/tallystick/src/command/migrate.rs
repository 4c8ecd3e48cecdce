//! `tallystick migrate`: brings a database's schema up to date, before or while services run.

use clap::Args;

use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick migrate --database-url postgres://tallystick@db.internal/tallystick
  TALLYSTICK_DATABASE_URL=… tallystick migrate

Migrations go forward only and run beside services of the version before. Several at once wait
for each other; one that finds nothing to do does nothing. `dev` migrates its database by itself,
`serve` only with --migrate.";

/// Which database.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MigrateArgs {
    /// The database, as postgres://user:password@host:port/name; its role must own the schema.
    #[arg(long, env = "TALLYSTICK_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

/// Migrates.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn run(args: &MigrateArgs) -> Result<(), Error> {
    let database = |source| Error::Database { setting: "--database-url", source };
    store::migrate(&args.database_url).await.map_err(database)?;
    output::note("the database is up to date");
    Ok(())
}
